"""The pictures: each module draws one thing and knows neither methods nor mathematics.

looks      title, colour, dash and marker of every named method
plots      shared by all plots: linked image frames, figures with units
image      composite or single band of a cube, with picks, truth outline and mask on top
spectra    spectra of picked pixels on a wavelength axis, bad bands as gaps
maps       score maps side by side on one rank scale, linked
decide     ROC curves with operating points; a histogram of scores where there is no truth
curves     scalars against step, with reference lines
steps      three linked images under one step slider
form       widgets made from any Config, giving overrides
player     start, pause, resume, stop, progress and time left of a run
card       what a scene is and where it comes from; explanations and errors
gallery    samples as small pictures, in rows
coresets   easy-to-hard map with lasso, trajectories, class bars, overlaps, accuracy by budget
save       PNG, CSV and NetCDF bytes of what is shown

A view takes labelled arrays, numbers and texts, and gives a Panel object in its `panel`. It is drawn with Bokeh models on
`ColumnDataSource`s: to show something else, change a source; never build a new figure.
"""

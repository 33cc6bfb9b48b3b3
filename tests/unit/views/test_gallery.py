"""Samples as pictures: bands to colours, spectra to lines, many in one image."""

from __future__ import annotations

import numpy as np

from workbench.views.gallery import LINE, PAPER, Gallery, mosaic, tiles


def test_one_band_is_grey_and_three_are_red_green_blue():
    grey = tiles(np.array([[[[0.0, 1.0], [0.5, np.nan]]]]))
    assert grey.shape == (1, 2, 2, 3)
    assert grey[0, 0, 1].tolist() == [255, 255, 255]
    assert grey[0, 1, 0].tolist() == [127, 127, 127]  # 0.5 of 255, cut
    assert grey[0, 1, 1].tolist() == [0, 0, 0]  # missing
    colour = tiles(np.stack([np.full((2, 2), v) for v in (1.0, 0.0, 0.2)])[None])
    assert colour[0, 0, 0].tolist() == [255, 0, 51]


def test_values_beyond_0_to_1_are_stretched_over_all_samples_together():
    values = np.zeros((2, 1, 10, 10))
    values[1] = 100.0
    shown = tiles(values)
    assert (shown[0] == 0).all()
    assert (shown[1] == 255).all()


def test_of_many_bands_three_are_shown_and_large_chips_are_thinned():
    values = np.linspace(0, 1, 5)[None, :, None, None] * np.ones((1, 5, 100, 100))
    shown = tiles(values, side=40)
    assert shown.shape == (1, 34, 34, 3)  # every third row and column
    assert shown[0, 0, 0].tolist() == [191, 127, 63]  # bands 3, 2 and 1 of 0 to 4, whose values are 0.75, 0.5, 0.25


def test_a_pixel_becomes_the_line_of_its_spectrum():
    spectra = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])[:, :, None, None]
    shown = tiles(spectra, side=20)
    assert shown.shape == (2, 20, 20, 3)
    inked = (shown == np.array(LINE)).all(-1)
    # 3 + (1 - level) (20 - 7): row 16 for the lowest, row 3 for the highest value, one pixel more on both sides
    assert np.flatnonzero(inked[0].all(1)).tolist() == [15, 16, 17]
    assert np.flatnonzero(inked[1].all(1)).tolist() == [2, 3, 4]
    assert (shown[0][0] == PAPER).all()


def test_a_mosaic_goes_row_by_row():
    pictures = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((3, 2, 2, 3), np.uint8)
    whole = mosaic(pictures, 2)
    assert whole.shape == (5, 5, 3)
    assert (whole[:2, 3:] == 1).all()
    assert (whole[3:, :2] == 2).all()
    assert (whole[2] == 255).all()
    assert (whole[3:, 3:] == 255).all()


def test_a_gallery_shows_what_there_is_place_for_and_tells_what_is_tapped():
    from bokeh.events import Tap

    view, tapped = Gallery(2, 2), []
    view.on_tap(tapped.append)
    view.show(np.zeros((5, 3, 3, 3), np.uint8), list("abcde"))
    assert view.source.data["id"] == list("abcd")
    for x, y in ((1.5, 0.2), (0.5, 1.9), (2.5, 0.5), (None, None)):
        view._tap(Tap(view.figure, x=x, y=y))
    assert tapped == ["b", "c"]
    view.show(np.zeros((1, 3, 3, 3), np.uint8), ["a"])
    view._tap(Tap(view.figure, x=1.5, y=0.5))  # an empty place
    assert tapped == ["b", "c"]


def test_row_0_of_a_picture_is_at_the_top():
    """On an axis that falls, as in all views of images, Bokeh draws the first row at the top with its default origin only."""
    figure = Gallery(2, 1).figure
    image = next(r.glyph for r in figure.renderers if type(r.glyph).__name__ == "ImageRGBA")
    assert figure.y_range.start > figure.y_range.end
    assert image.origin == "bottom_left"

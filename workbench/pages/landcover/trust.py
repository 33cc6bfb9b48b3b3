"""Third tab: raw values alone, the bank alone, and both: their probabilities and certainty side by side; and all rows of the comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui

from workbench.pages.landcover.findings import OWN
from workbench.pages.landcover.state import LandcoverState
from workbench.views.card import escape, explain, heading, html
from workbench.views.classes import ClassMap
from workbench.views.fields import Field
from workbench.views.looks import class_colours
from workbench.views.plots import Frame, batched
from workbench.views.screen import grid, wrapped
from workbench.views.tables import Column, Marked, html_table

INVITATION = (
    "When a run has finished, this tab shows what the classifier knows from raw values alone, from the features of the diffusion network "
    "alone, and from both: class, probability and entropy of each pixel. Below are all rivals and controls under the same split."
)
NO_MAP = "This run made no maps (its setting <b>map</b> was off). The table below has the accuracies."
ENTROPY = "entropy, 1 = all classes alike"
SHORT = {OWN: "both: raw values and bank", "raw_only": "raw values alone", "bank": "bank alone"}


class Trust:
    """Class maps above, entropy or probability below, for each of the three; the picked pixel and the table of all rows."""

    def __init__(self, state: LandcoverState) -> None:
        self.state = state
        small: dict[str, Any] = {"size": "small", "margin": (6, 8)}
        self.quantity = pmui.Select(label="Lower row", options={ENTROPY: -1}, value=-1, width=300, **small)
        self.text = html(margin=(12, 8))
        self.frame = Frame()
        self.maps = {name: ClassMap(self.frame, title) for name, title in SHORT.items()}
        self.fields = {name: Field(self.frame, "", palette="uncertainty") for name in SHORT}
        self.pixel = html(margin=(4, 8))
        self.rows = html(margin=(4, 8))
        drawn = [self.maps[n].panel for n in SHORT] + [self.fields[n].panel for n in SHORT]
        self._maps = pn.Column(
            wrapped(self.quantity, self.text),
            grid(*drawn, least=250, most=3),
            heading("Probabilities of the picked pixel"),
            self.pixel,
            sizing_mode="stretch_width",
            margin=0,
        )
        self._none = pn.Column(html(NO_MAP, margin=(8, 8)), sizing_mode="stretch_width", margin=0, visible=False)
        self._content = pn.Column(
            self._maps,
            self._none,
            heading("All rows, under the same split"),
            self.rows,
            visible=False,
            sizing_mode="stretch_width",
            margin=0,
        )
        self._invite = explain("Raw, deep, or both?", INVITATION, height=420)
        self.panel = pn.Column(self._content, self._invite, sizing_mode="stretch_width", margin=(8, 4))
        self.quantity.param.watch(batched(lambda _: self.draw()), "value")
        for view in self.maps.values():
            view.on_tap(state.pick)

    def take(self) -> None:
        """Reset for another result, or for none."""
        findings = self.state.findings
        self._content.visible, self._invite.visible = findings is not None, findings is None
        if findings is None:
            return
        self._maps.visible, self._none.visible = bool(findings.mapped), not findings.mapped
        self.quantity.param.update(
            options={ENTROPY: -1} | {f"probability of {n}": i for i, n in enumerate(findings.names)}, value=-1
        )
        self._compare()
        self.draw()

    def draw(self) -> None:
        """Draw the maps of the visible image, when the tab is visible."""
        state, findings = self.state, self.state.findings
        if findings is None or state.data is None or state.tab != 2 or not findings.mapped:
            return
        if self.frame.shape != state.shape:
            self.frame.fit(*state.shape)
        which = int(self.quantity.value)
        for name in SHORT:
            self.maps[name].show(findings.layer("labels", name, state.shown), findings.names)
            values = findings.layer("uncertainty" if which < 0 else "probability", name, state.shown)
            shown = values if values is None or which < 0 else values[which]
            what = "entropy" if which < 0 else f"probability of {findings.names[which]}"
            mean = "" if shown is None else f", mean {np.nanmean(shown):.3f}"
            self.fields[name].show(shown, f"{what}{mean}")
        image = state.images[state.shown]
        self.text.object = f"Image <b>{escape(image)}</b>" if image else ""
        self._of_pixel()

    def _of_pixel(self) -> None:
        state, findings = self.state, self.state.findings
        assert findings is not None
        picked = state.picked
        self.frame.mark(picked)
        if picked is None:
            self.pixel.object = "Click a pixel of a map."
            return
        row, column = picked
        columns = [findings.layer("probability", name, state.shown) for name in SHORT]
        colours = class_colours(len(findings.names))
        rows = [
            (Marked(name, colours[n]), *(None if p is None else float(p[n, row, column]) for p in columns))
            for n, name in enumerate(findings.names)
        ]
        true = state.labels()[row, column]
        told = f"true class {escape(findings.names[true])}" if true >= 0 else "not labelled"
        titles = ["class", *(Column(text, "", 3) for text in SHORT.values())]
        self.pixel.object = f"Row {row}, column {column}: {told}" + html_table(titles, rows)

    def _compare(self) -> None:
        findings, result = self.state.findings, self.state.result
        assert findings is not None
        assert result is not None
        rows = []
        for name in findings.classifiers:
            scores = findings.scores(name)
            rows.append((findings.title(name), scores.oa, scores.aa, scores.kappa))
        columns = ["row", Column("OA", "higher", 3), Column("AA", "higher", 3), Column("kappa", "higher", 3)]
        split = escape(str(result.attrs.get("split", "not named")))
        self.rows.object = f"<b>Split</b>: {split}; one seed" + html_table(columns, rows)

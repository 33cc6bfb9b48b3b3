"""Third tab: the kinds of errors (TIDE), and scores inshore and offshore apart."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import panel as pn
import panel_material_ui as pmui
import xarray as xr

from workbench.metrics.detect_errors import KINDS, Errors, errors
from workbench.pages.detection.findings import PLACES, by_place, of_images
from workbench.pages.detection.state import DetectionState
from workbench.views.card import explain, html
from workbench.views.kinds import picture
from workbench.views.looks import DETECTORS, look
from workbench.views.picture import PictureView
from workbench.views.plots import batched
from workbench.views.screen import grid, wrapped
from workbench.views.tables import Column, Marked, html_table

INVITATION = (
    "When a run has finished, this tab sorts the errors of each detector into six kinds, and says how much AP50 would rise if one kind "
    "alone were mended. Where the scene says which images have land, it shows the scores inshore and offshore apart."
)
NOTES = (
    "<b>class</b>: on a true box of another class. <b>location</b>: overlaps a true box by IoU 0.1 to 0.5. <b>both</b>: the same, of "
    "another class. <b>duplicate</b>: on a true box that a better detection has. <b>background</b>: on nothing. <b>missed</b>: true boxes "
    "without any of these. D. Bolya et al., TIDE, ECCV 2020, arXiv 2008.08115. The bars do not add up: mending one kind changes the "
    "others."
)


class _Sorted(NamedTuple):
    """Errors at all images that are counted, and scores by place."""

    why: Errors
    scores: dict[str, dict[str, tuple[float, float]]]  # detector, place -> AP50, AP


class Mistakes:
    """Bars of one detector, and a table of all."""

    def __init__(self, state: DetectionState) -> None:
        self.state = state
        self._drawn: Any = None
        self._choosing = False
        self.detectors = pmui.Select(label="Errors of", options={"": ""}, value="", size="small", width=260, margin=(6, 8))
        self.text = html(margin=(10, 8))
        self.lost, self.count = PictureView(), PictureView()
        self.table = html(margin=(8, 8))
        self._content = pn.Column(
            wrapped(self.detectors, self.text),
            grid(self.lost.panel, self.count.panel, least=320),
            html(NOTES, margin=(2, 8), styles={"font-size": "0.78rem", "opacity": ".8", "line-height": "1.4"}),
            self.table,
            visible=False,
            sizing_mode="stretch_width",
            margin=0,
        )
        self._invite = explain("What kind of errors?", INVITATION, height=420)
        self.panel = pn.Column(self._content, self._invite, sizing_mode="stretch_width", margin=(8, 4))
        self.detectors.param.watch(batched(lambda e: self._choosing or state.param.update(detector=e.new)), "value")

    def take(self) -> None:
        """Reset for another result, or for none."""
        self._drawn = None
        known = self.state.findings is not None
        self._content.visible, self._invite.visible = known, not known
        if self.state.findings is not None:
            self._choosing = True
            found = self.state.findings.found
            name = self.state.detector if self.state.detector in found else "sarnet"
            self.detectors.param.update(options={look(n, DETECTORS).title: n for n in found}, value=name)
            self._choosing = False
        self.draw()

    def draw(self) -> None:
        """Sort the errors, when the tab is visible."""
        state, findings = self.state, self.state.findings
        if findings is None or state.images is None or state.tab != 2 or state.runner.live is None:
            return
        name = state.detector if state.detector in findings.found else "sarnet"
        self._choosing = True
        self.detectors.value = name
        self._choosing = False
        now = (str(state.runner.live.folder), name, state.place, state.key)
        if self._drawn == now:
            return
        self._drawn = now
        self.text.object = "Sorting …"
        near, most, classes = state.near(), state.most, max(len(state.names), 1)
        counted, every = state.tested, state.basis
        parts = {PLACES[0]: every}
        if near is not None:
            parts |= {p: [i for i in every if near[i] == (p == PLACES[1])] for p in PLACES[1:]}
        parts = {p: ids for p, ids in parts.items() if ids and len(state.true(ids).box)}
        true, asked_true = state.true(every), state.true(counted)

        def make() -> _Sorted:
            why = errors(of_images(findings.found[name], counted), asked_true, classes, most=most)
            scores = {n: by_place(f, true, parts, classes, most) for n, f in findings.found.items()}
            return _Sorted(why, scores)

        state.later(("errors", *now), make, lambda made: self._show(made.result(), now))

    def _show(self, made: _Sorted, asked: Any) -> None:
        if asked != self._drawn:
            return
        state, name = self.state, asked[1]
        where = "" if state.near() is None else f", {state.place}"
        self.text.object = (
            f"<b>{look(name, DETECTORS).title}</b>: AP50 {made.why.ap50:.3f} on {len(state.tested)} test images{where}; IoU ≥ 0.5, every "
            f"score, at most {state.most} boxes an image (maxDets)"
        )
        for view, values, title in (
            (self.lost, [made.why.lost[k] for k in KINDS], "AP50 that mending one kind would add"),
            (self.count, [float(made.why.number[k]) for k in KINDS], "errors of each kind"),
        ):
            array = xr.DataArray(np.array(values), {"error": list(KINDS)}, "error", attrs={"long_name": title})
            view.show(picture(title, array))
        places = list(next(iter(made.scores.values())))
        columns = ["", *(Column(f"{m}, {p}", "higher", 3) for p in places for m in ("AP50", "AP"))]
        rows = []
        for n, of in made.scores.items():
            one = look(n, DETECTORS)
            rows.append([Marked(one.title, one.colour), *(v for p in places for v in of[p])])
        head = (
            f"<b>All detectors</b>, IoU ≥ 0.5 (AP50) and 0.5 to 0.95 (AP), at most {state.most} boxes an image; best in bold"
        )
        note = "<div style='opacity:.75;margin-top:4px'>CFAR has the factor that is best on these images, which favours it.</div>"
        self.table.object = head + html_table(columns, rows) + note

"""Second tab: score maps side by side, ROC curves, and a threshold with its detections and false alarms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui

from workbench import runs
from workbench.errors import InputError
from workbench.methods import load
from workbench.metrics.anomaly import at_threshold, auc_f_tau, roc
from workbench.pages.anomaly.state import APART, DETECTORS, FAST, AnomalyState
from workbench.pages.frame.queue import begin
from workbench.runs.watch import Live
from workbench.views import save
from workbench.views.card import explain, explanation, html, problem
from workbench.views.decide import HistogramView, RocView
from workbench.views.glimpse import FINEST, Part, rasterised
from workbench.views.image import ImageView
from workbench.views.looks import ANOMALY
from workbench.views.maps import OWN, RANK, ScoreMap
from workbench.views.plots import batched
from workbench.views.screen import beside, grid, wrapped
from workbench.views.tables import Column, Marked, html_table

RULE = (
    '<div style="font-size:.78rem;line-height:1.35;opacity:.85">Scores of different detectors have different units. <b>Rank</b> '
    "colours a pixel by the share of pixels that score at least as high: one scale for all maps. Pan, zoom, crosshair and "
    "picks are linked.</div>"
)
NO_TRUTH = (
    '<div style="opacity:.85;font-size:.82rem;line-height:1.4">This scene has no truth mask, so there is no detection rate, no '
    "false-alarm rate and no ROC curve. The histogram shows the threshold among all scores. To add a mask, use "
    "<b>Open your own file</b>.</div>"
)
BUTTONS = (*FAST, *APART)  # computed on request: those of APART; for a large scene, all
LARGE = "Reads the whole file, in a separate process. Each cell of the map is the highest score of its pixels."
RUN_FIRST = "Needs a run: start one under <b>BSDM live</b>. The untrained map comes first."
# what a detector of APART does with its default settings, and how long that takes on 100 x 100 pixels and 190 bands, one core
ABOUT = {
    "local-rx": (
        "RX with a local background: a ring around every pixel, inner window {inner}, outer {outer}.",
        "a few seconds",
    ),
    "crd": ("How badly the ring around a pixel predicts it: inner window {inner}, outer {outer}.", "about 2 s"),
    "kifd": ("How few random cuts isolate a pixel: {trees} trees, {components} kernel components.", "about 2 s"),
    "auto-ad": ("What an autoencoder of this scene reproduces badly: {steps} training steps.", "about 30 s"),
}
WHOLE = ("auto-ad",)  # these need the scene in memory


def waiting(name: str, large: bool = False) -> str:
    """HTML of the text in place of the map of a detector that has not been computed; large: of a scene larger than memory."""
    if large and name in WHOLE:
        return "Needs the scene in memory, and this one is too large. Run it on a cropped part."
    if name in APART:
        does, cost = ABOUT[name]
        return f"{does.format(**load(name).Config().model_dump())} {cost[0].upper()}{cost[1:]} for 100 × 100 pixels, in a separate process."
    if name not in FAST:
        return RUN_FIRST
    return LARGE if large else "Computing …"


class Compare:
    """A map of each detector, all on one scale, ROC or histogram, mask, and a table of detections and false alarms."""

    def __init__(self, state: AnomalyState) -> None:
        self.state = state
        self.launched: dict[str, Live] = {}
        self._part: Part | None = None  # visible part of maps that are too large for memory
        self._curves: dict[str, tuple[np.ndarray, np.ndarray, str]] = {}
        self._f_tau: dict[str, float] = {}
        self._refitting = False
        stretch = {"sizing_mode": "stretch_width", "margin": 0}
        self.maps = {n: ScoreMap(state.frame, ANOMALY[n].title) for n in DETECTORS}
        self._waiting = {
            n: explain(ANOMALY[n].title, waiting(n), height=206 if n not in BUTTONS else 160) for n in DETECTORS
        }
        self.buttons = {
            n: pmui.Button(label="Compute", icon="play_arrow", variant="outlined", size="small", align="center")
            for n in BUTTONS
        }
        cells = []
        for name, view in self.maps.items():
            view.panel.visible = False
            more = [self.buttons[name]] if name in self.buttons else []
            cells.append(pn.Column(self._waiting[name], *more, view.panel, **stretch))
        self.overlay = ImageView(state.frame, "Flagged pixels", axes=False)
        self.roc = RocView(height=275)
        self.histogram = HistogramView(height=275)
        self._no_truth = pn.Column(self.histogram.panel, html(NO_TRUTH, margin=(0, 4)), **stretch)
        self.logs = pmui.Switch(label="Log false-alarm axis", value=True, size="small", margin=(2, 8))
        self.scales = pmui.RadioButtonGroup(options=[RANK, OWN], value=RANK, size="small", width=190, margin=(4, 8, 4, 0))
        self.palettes = pmui.Select(
            label="Palette", options=["Cividis", "Viridis"], value="Cividis", size="small", width=110, margin=(4, 8)
        )
        titles = {ANOMALY[n].title: n for n in DETECTORS}
        self.chosen = pmui.Select(
            label="Detector whose pixels are flagged",
            options=titles,
            value=state.detector,
            size="small",
            margin=(12, 8, 2, 0),
        )
        self.cuts = pmui.DiscreteSlider(
            label="", options={"1 %": 1.0}, value=1.0, show_value=False, sizing_mode="stretch_width", margin=(2, 10)
        )
        self.verdict = html(margin=(2, 0))
        self.png = save.download("Maps as PNG", self._png, "scores.png")
        self.netcdf = save.download("Maps as NetCDF", self._netcdf, "scores.nc")
        self.panel = beside(
            pn.Column(
                wrapped(self.scales, self.palettes, html(RULE, margin=(2, 4), min_width=260)),
                grid(*cells, least=220, most=3),
                self.chosen,
                self.cuts,
                self.verdict,
                wrapped(self.png, self.netcdf),
                **stretch,
            ),
            pn.Column(self.overlay.panel, self.roc.panel, self.logs, self._no_truth, **stretch),
            least=(700, 300),
            margin=(8, 4),
        )

        self.chosen.param.watch(lambda e: state.param.update(detector=e.new), "value")
        self.cuts.param.watch(lambda e: self._refitting or state.param.update(flag=e.new), "value")
        state.param.watch(batched(lambda _: self.overlay.show(state.rgb, place=state.place)), "preset")
        self.logs.param.watch(batched(lambda e: self.roc.set_log(e.new)), "value")
        for widget in (self.scales, self.palettes):
            widget.param.watch(batched(self._scale), "value")
        for name, button in self.buttons.items():
            button.on_click(batched(lambda _, name=name: self.start(name)))
        for view in (self.overlay, *self.maps.values()):
            view.on_tap(state.pick)
            view.on_look(self._looked)

    # --- scores -----------------------------------------------------------------------------------------------------

    def take(self, first: bool) -> None:
        """Reset for a newly opened scene, and show the scores computed so far."""
        state = self.state
        self.launched = {}
        for button in self.buttons.values():
            button.loading = False
        self.drop(*DETECTORS)
        has_truth = state.mask_of_truth is not None
        self.roc.panel.visible = self.logs.visible = has_truth
        self.roc.show({}, "", 10)
        self._no_truth.visible = not has_truth
        pixels = state.data.sizes["y"] * state.data.sizes["x"]
        cuts = percentages(pixels)
        wanted = max(state.flag, 1e-9) if first else 1.0
        wanted = min(cuts, key=lambda c: abs(np.log(c / wanted)))
        self._refitting = True  # the browser moves the slider only if its value changes, so change it twice
        self.cuts.options = {_spelled(c, pixels): c for c in cuts}
        self.cuts.value = cuts[0] if wanted != cuts[0] else cuts[-1]
        self.cuts.value = wanted
        self._refitting = False
        state.flag = wanted
        self.overlay.show(state.rgb, place=state.place)
        for name in state.refused:
            self.refuse(name)
        for name in state.scores:
            self.put(name)
        self._pick_up()

    def refuse(self, name: str) -> None:
        """Show why detector `name` cannot score this scene."""
        self._waiting[name].object = explanation(ANOMALY[name].title, problem(self.state.refused[name]))

    def put(self, name: str) -> None:
        """Show the new map of detector `name`."""
        state = self.state
        self._curves.pop(name, None)
        auc = state.aucs.get(name)
        self.maps[name].show(state.scores[name].values, f"AUC {auc:.4f}" if auc is not None else "", state.grain(name))
        self._reveal(name, True)
        self._decide()

    def drop(self, *names: str) -> None:
        """Remove the maps of these detectors, and show their texts instead."""
        for name in names:
            self._curves.pop(name, None)
            self.maps[name].show(None)
            self._waiting[name].object = explanation(ANOMALY[name].title, waiting(name, self.state.large))
            self._reveal(name, False)
        self._decide()

    def _reveal(self, name: str, shown: bool) -> None:
        self.maps[name].panel.visible, self._waiting[name].visible = shown, not shown
        if name in self.buttons:
            large = self.state.large
            self.buttons[name].visible = not shown and (name not in WHOLE if large else name in APART)

    def _scale(self, *_: Any) -> None:
        for view in self.maps.values():
            view.set_scale(self.scales.value, self.palettes.value)

    def _looked(self, rows: tuple[float, float], columns: tuple[float, float]) -> None:
        """Rasterise maps that are too large for memory again after a pan or zoom, if few pixels are visible."""
        state = self.state
        if not state.fine or (part := state.glimpse.part(rows, columns)) == self._part:
            return
        self._part = part
        fine = dict(state.fine) if part.pixels <= FINEST else {}

        def show(refined: dict[str, np.ndarray]) -> None:
            for name in state.fine:
                if self._part == part:
                    self.maps[name].refine(refined.get(name), part.place if name in refined else None)

        state.work(lambda: {name: rasterised(map_, part) for name, map_ in fine.items()}, show)

    # --- threshold --------------------------------------------------------------------------------------------------

    def choose(self) -> None:
        """Select the detector of the state."""
        self.chosen.value = self.state.detector
        self._decide()

    def _decide(self) -> None:
        state, truth = self.state, self.state.mask_of_truth
        if truth is None:
            if state.detector in state.scores:
                self.histogram.show(state.scores[state.detector].values, ANOMALY[state.detector].title)
        else:
            for name, score in state.scores.items():
                if name not in self._curves:
                    curve = roc(score.values, truth)
                    self._curves[name] = (*corners(curve.pf, curve.pd), ANOMALY[name].colour)
                    self._f_tau[name] = auc_f_tau(score.values, truth)
            curves = {ANOMALY[n].title: c for n, c in self._curves.items()}
            self.roc.show(curves, ANOMALY[state.detector].title, int((truth == 0).sum()))
        self.cut()

    def cut(self, *_: Any) -> None:
        """Draw the mask over the images, and update the table of detections."""
        state, truth = self.state, self.state.mask_of_truth
        if state.data is None:
            return
        with pn.io.hold():
            if self.cuts.value != state.flag and state.flag in self.cuts.options.values():
                self.cuts.value = state.flag
            self.cuts.label = f"Flag {_spelled(state.flag, state.data.sizes['y'] * state.data.sizes['x'])}"
            mask = state.flagged()
            self.overlay.flag(mask, grain=state.grain())
            self.overlay.figure.title.text = f"Flagged by {ANOMALY[state.detector].title}"
            points, lines = {}, []
            for name in (n for n in DETECTORS if n in state.scores):
                at = state.threshold(name)
                line = {"name": name, "threshold": at, "flagged": int(state.flagged(name).sum())}
                if truth is not None:
                    line |= {"f_tau": self._f_tau[name], **at_threshold(state.scores[name].values, truth, at)}
                    points[ANOMALY[name].title] = (line["pf"], line["pd"])
                lines.append(line)
            self.roc.operate(points)
            if state.detector in state.scores:
                self.histogram.mark(state.threshold(state.detector))
            self.verdict.object = _verdict(lines, state.detector, state.aucs, truth)

    # --- detectors in separate processes ------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Launch detector `name` on the scene in a separate process."""
        state = self.state
        try:
            folder = begin(name, state.source, None, state.root, state.called)
        except InputError as error:
            self._waiting[name].object = explanation(ANOMALY[name].title, problem(str(error)))
            return
        self.launched[name], self.buttons[name].loading = Live(folder), True
        state.tick()

    def news(self) -> bool:
        """Whether a launched detector has ended."""
        return any(live.status in runs.FINAL for live in self.launched.values())

    def _pick_up(self) -> None:
        """Show the newest finished run of each detector of APART on this scene with its default settings, or follow one that runs.

        A large scene is left out: its fingerprint, which tells its runs, takes as long to compute as the scene to read.
        """
        state = self.state
        if state.large:
            return
        wanted = {name: load(name).Config().model_dump(mode="json") for name in APART if name not in state.scores}
        for folder, about in reversed(list(runs.iter_status(state.root))):
            name = about.get("method")
            same = name in wanted and about.get("config") == wanted[name]
            if not same or about["status"] not in ("running", "finished"):
                continue
            if about["scene"].get("fingerprint") == state.mark:
                del wanted[name]
                self.launched[name], self.buttons[name].loading = Live(folder), True
        if self.launched:
            self.poll()
            state.tick()

    def poll(self) -> bool:
        """Collect the results of launched detectors; True while one is running."""
        for name, live in list(self.launched.items()):
            status = live.status
            if status not in runs.FINAL:
                continue
            try:
                if status != "finished":
                    raise InputError(live.error or status)
                result = runs.result(live.folder, chunks=None)
            except (InputError, OSError) as error:
                self._waiting[name].object = explanation(ANOMALY[name].title, problem(str(error)))
            else:
                if "score_overview" in result:
                    self.state.put_large(name, result)
                else:
                    self.state.put(name, result["score"], float(result["auc"]) if "auc" in result else None)
            del self.launched[name]
            self.buttons[name].loading = False
        return bool(self.launched)

    # --- downloads --------------------------------------------------------------------------------------------------

    def _png(self) -> Any:
        shown = {self.maps[n].figure.title.text: s.values for n, s in self.state.scores.items()}
        return save.maps_png(shown, self.state.called, self.state.mask_of_truth)

    def _netcdf(self) -> Any:
        return save.maps_netcdf({n.replace("-", "_"): s for n, s in self.state.scores.items()}, self.state.data)


def percentages(pixels: int) -> list[float]:
    """Percentages that the slider of flagged pixels offers: from one pixel to all, log spaced."""
    counts = np.unique(np.round(np.geomspace(1, max(pixels, 2), 140)).astype(int))
    return [100 * int(n) / pixels for n in counts if n <= pixels]


def _spelled(cut: float, pixels: int) -> str:
    n = round(cut / 100 * pixels)
    return f"the highest {cut:.3g} % ({n:,} pixel{'s' if n != 1 else ''})"


def corners(pf: np.ndarray, pd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points of a ROC staircase at which it turns; points on a straight segment are redundant.

    >>> [v.tolist() for v in corners(np.array([0, 0, 0.5, 1.0]), np.array([0, 1.0, 1.0, 1.0]))]
    [[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]]
    """
    if pf.size < 3:
        return pf, pd
    a, b = np.diff(pf), np.diff(pd)
    turns = np.r_[True, ~np.isclose(a[:-1] * b[1:], b[:-1] * a[1:], rtol=1e-9, atol=1e-15), True]
    return pf[turns], pd[turns]


def _verdict(lines: list[dict[str, Any]], chosen: str, aucs: Mapping[str, float], truth: np.ndarray | None) -> str:
    """HTML table: detections and false alarms of each detector at the same share of flagged pixels; the chosen one is shaded."""
    if not lines:
        return "<i>The detectors are being computed …</i>"
    names = [line["name"] for line in lines]
    titled = [Marked(ANOMALY[name].title, ANOMALY[name].colour) for name in names]
    cut = [(f"{line['threshold']:.5g}", f"{line['flagged']:,}") for line in lines]
    shaded = names.index(chosen) if chosen in names else None
    if truth is None:
        return html_table(["detector", "threshold", "flagged"], [[t, *c] for t, c in zip(titled, cut, strict=True)], shaded)
    marked, clear = int((truth > 0).sum()), int((truth == 0).sum())
    rows = [
        [
            title,
            aucs.get(line["name"]),
            line["f_tau"],
            *numbers,
            f"{line['tp']:,} of {marked:,}",
            f"{line['fp']:,} of {clear:,}",
            line["pd"],
            line["pf"],
        ]
        for title, line, numbers in zip(titled, lines, cut, strict=True)
    ]
    columns = [
        "detector",
        Column("AUC(D,F)", "higher"),
        Column("AUC(F,τ)", "lower"),
        "threshold",
        "flagged",
        "hits",
        "false alarms",
    ]
    return html_table([*columns, Column("PD", "higher"), Column("PF", "lower", 5)], rows, shaded)

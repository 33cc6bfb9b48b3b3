"""Third tab: start, watch, pause and stop BSDM; step through its training and through the K passes of the trained network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import panel as pn
import xarray as xr

from workbench.pages.anomaly.state import AnomalyState
from workbench.pages.frame.runner import Runner
from workbench.runs.watch import Live
from workbench.views.card import explain
from workbench.views.curves import Curves
from workbench.views.looks import ANOMALY, BLUE, REFERENCES, Look
from workbench.views.ranks import written
from workbench.views.screen import beside, grid
from workbench.views.steps import Steps, Still

TAB = "BSDM live"
FIRST = ("steps", "passes", "show_every", "seed")
MEAN, CODE = REFERENCES["sigma2"].title, REFERENCES["sigma2_code"].title
OWN = ANOMALY["bsdm"]
LEVELS = [REFERENCES[n] for n in ("untrained", "rx", "ridge-rx", "pca-rx")]
# scalar of a run -> plot and reference line
SCALARS = {
    "sigma2": ("loss", MEAN),
    "sigma2_code": ("loss", CODE),
    "auc_untrained": ("auc", "untrained"),
    "auc_rx": ("auc", "RX"),
    "auc_ridge_rx": ("auc", "ridge-RX"),
    "auc_pca_rx": ("auc", "PCA-RX"),
}
# what the plots say until they have a point
UNTIL = {
    "loss": "Drawn from the first training step on.",
    "auc": "Drawn from the first score map on, then every <i>show every</i> steps.",
    "passes": "Drawn when the untrained network has suppressed the cube; the trained one follows after the training.",
}
INVITATION = (
    "Press <b>Start</b>. The network trains on this scene alone, in a separate process that continues when this page "
    "is closed; loss, AUC and score map are updated while it trains. Then the cube passes through the network K times."
    "<br><br>RX, ridge-RX, PCA-RX and the "
    "<b>untrained</b> network are shown for comparison: most of the gain over RX exists before any training."
)


class Train:
    """Controls on the left; loss, AUC and the film on the right."""

    def __init__(self, state: AnomalyState) -> None:
        self.state = state
        self._stills: dict[int, Still] = {}
        self._newest: Mapping[str, Any] | None = None  # event with the newest score map of the training
        self._untrained = False  # whether the curve of the untrained network is drawn
        self.runner = Runner(state, "bsdm", self, first=FIRST, tab=TAB)
        self.runner.form.reset.label = "Paper's values"  # the defaults of bsdm
        stretch = {"sizing_mode": "stretch_width", "margin": 0}
        floors = [REFERENCES["sigma2"], REFERENCES["sigma2_code"]]
        high = {"height": 255, "dots": True}
        self.loss = Curves(
            "training step",
            "loss (mean squared error)",
            [Look("loss", BLUE)],
            floors,
            height=255,
            log=True,
            words=UNTIL["loss"],
        )
        self.auc = Curves("training step", "AUC after K passes", [OWN], LEVELS, **high, words=UNTIL["auc"])
        lines = [Look("trained", OWN.colour), REFERENCES["untrained"]]
        self.passes = Curves("passes k", "AUC after k passes", lines, [REFERENCES["rx"]], **high, words=UNTIL["passes"])
        self.steps = Steps(
            state.frame,
            {"training": "While training", "passes": "Pass by pass"},
            lambda bands: state.data["hsi"].isel(band=list(bands)).values,
        )
        self._no_truth = pn.pane.HTML(
            "<span style='opacity:.8'>No truth mask, so no AUC. Loss and maps are still updated.</span>",
            visible=False,
        )
        self._watch = pn.Column(
            grid(self.loss.panel, self.auc.panel, self.passes.panel, least=300),
            self._no_truth,
            self.steps.panel,
            visible=False,
            **stretch,
        )
        self._invite = explain("Watch BSDM suppress the background", INVITATION, height=420)
        self.panel = beside(
            pn.Column(*self.runner.controls, sizing_mode="stretch_width", margin=(0, 14, 0, 0)),
            pn.Column(self._watch, self._invite, **stretch),
            least=(200, 640),
            margin=(8, 4),
        )
        self.steps.on_move(self._moved)
        for view in (self.steps.quiet, self.steps.background, self.steps.scene, self.steps.score):
            view.on_tap(state.pick)

    # --- called by the runner ----------------------------------------------------------------------------------------

    def take(self, first: bool) -> None:
        """Reset for a newly opened scene; for the first one, follow the run named in the address."""
        has_truth = self.state.mask_of_truth is not None
        self.auc.panel.visible = self.passes.panel.visible = has_truth
        self._no_truth.visible = not has_truth
        self.runner.take(self.state.run if first else "")

    def summary(self, config: Mapping[str, Any]) -> str:
        """Text of a run in the list of runs."""
        return f"{config.get('steps')} training steps"

    def cleared(self) -> None:
        """Remove curves, film and the scores of the network; no run is followed."""
        self._stills, self._newest, self._untrained = {}, None, False
        self.state.drop("untrained", "trained")
        self.state.quieten(None)
        for curves in (self.loss, self.auc, self.passes):
            curves.clear()
        self.steps.clear()
        self._watch.visible, self._invite.visible = False, True

    def watching(self, config: Mapping[str, Any], fresh: bool) -> None:
        """Show the plots instead of the invitation."""
        self._watch.visible, self._invite.visible = True, False
        self.runner.player.passes = config.get("passes")

    def took(self, live: Live, new: Sequence[Mapping[str, Any]]) -> None:
        """Draw the events of the run so far, and give its newest score maps to the other tabs."""
        state = self.state
        state.when_seen(TAB, lambda: self._draw(live))
        if "untrained" not in state.scores and (score := live.frame("score_untrained")) is not None:
            state.put("untrained", score, live.history.get("auc_untrained", ((), (None,)))[1][0])
        framed = [line for line in new if "score" in line.get("arrays", ()) and "pass" not in line["scalars"]]
        if framed:
            self._newest = framed[-1]
            if state.detector == "trained":  # all tabs show its flagged pixels
                self._put_newest(live)
            else:
                state.when_seen("Detectors", lambda: self._put_newest(live), "trained")

    def _put_newest(self, live: Live) -> None:
        assert self._newest is not None
        if (score := live.frame("score", self._newest["step"])) is not None:
            self.state.put("trained", score, self._newest["scalars"].get("auc"))

    def _draw(self, live: Live) -> None:
        history = live.history
        if "loss" in history:
            self.loss.set("loss", *history["loss"])
        for scalar, (plot, level) in SCALARS.items():
            if scalar in history:
                value = history[scalar][1][0]
                getattr(self, plot).refer(level, value)
                if level == "RX":
                    self.passes.refer(level, value)
        passes = [line for line in live.lines if "pass" in line["scalars"]]
        training = [line for line in live.lines if "pass" not in line["scalars"]]
        self._curve(self.auc, "BSDM", [(line["step"], line["scalars"].get("auc")) for line in training])
        self._curve(self.passes, "trained", [(line["scalars"]["pass"], line["scalars"].get("auc_pass")) for line in passes])
        framed = [line for line in training if "score" in line.get("arrays", ())]
        self.steps.set("training", [self._still(live, line) for line in framed])
        self.steps.set("passes", [self._still(live, line) for line in passes])
        if passes and self.steps.stepper.follow.value and self.steps.which.value == "training":
            self.steps.choose("passes")
        if not self._untrained and (curve := live.frame("auc_k_untrained")) is not None:
            self._untrained = True
            self.passes.set("untrained", range(curve.size), curve.values)

    @staticmethod
    def _curve(curves: Curves, name: str, points: list[tuple[float, float | None]]) -> None:
        known = [(x, y) for x, y in points if y is not None]
        curves.set(name, [x for x, _ in known], [y for _, y in known])

    def _still(self, live: Live, line: Mapping[str, Any]) -> Still:
        step, scalars = line["step"], line["scalars"]
        if step not in self._stills:
            if "pass" in scalars:
                k = int(scalars["pass"])
                label = (
                    "y₀: the cube before the first pass"
                    if k == 0
                    else f"y<sub>{k}</sub>: after {k} pass{'es' if k > 1 else ''}"
                )
                notes = [f"largest |y| {written(scalars['range'])}"] if "range" in scalars else []
                notes += [f"AUC {scalars['auc_pass']:.4f}"] if "auc_pass" in scalars else []
            else:
                label = f"training step {step:,}" if step else "before training (untrained network)"
                notes = [f"AUC {scalars['auc']:.4f}"] if "auc" in scalars else []
            shown = live.arrays(step)
            self._stills[step] = Still(
                step, label, " &middot; ".join(notes), lambda: shown.read("quiet", "background", "score")
            )
        return self._stills[step]

    def _moved(self, name: str, index: int) -> None:
        stills = self.steps.stills(name)
        step = stills[index].step if index < len(stills) else None
        for curves in (self.loss, self.auc):
            curves.cursor(step if name == "training" else None)
        self.passes.cursor(index if name == "passes" and stills else None)

    def ended(self, live: Live, result: xr.Dataset | None) -> None:
        """Draw the final maps and suppressed cubes when the run has ended."""
        if result is None:
            return
        state = self.state
        for name, variable in (("untrained", "score_untrained"), ("trained", "score")):
            auc = result.get(variable.replace("score", "auc"))
            state.put(name, result[variable], None if auc is None else float(auc))
        state.quieten(result)

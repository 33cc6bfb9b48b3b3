"""Third tab: start, watch, pause and stop BSDM; step through its training and through the K passes of the trained network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import panel as pn
import panel_material_ui as pmui

from workbench import execution, runs
from workbench.errors import InputError
from workbench.live import Live
from workbench.methods import load
from workbench.scene import fingerprint
from workbench.views.card import explain, heading
from workbench.views.curves import Curves
from workbench.views.form import Form
from workbench.views.player import Player
from workbench.views.plots import held
from workbench.views.steps import Steps, Still

if TYPE_CHECKING:
    from workbench.pages.anomaly import Explorer

FIRST = ("steps", "passes", "show_every", "seed")
PATIENCE = 240  # polls, one minute: how long a resumed run may take to say its first word
MEAN, CODE = "σ² (mean alone)", "σ²(1−code/C)"
LEVELS = {
    "untrained": ("#E69F00", "dashed"),
    "RX": ("#8A8A8A", "solid"),
    "ridge-RX": ("#3FA0E0", "dotted"),
    "PCA-RX": ("#00A878", "dotdash"),
}
# scalar of a run -> the reference line that it is
REFERENCES = {
    "sigma2": ("loss", MEAN),
    "sigma2_code": ("loss", CODE),
    "auc_untrained": ("auc", "untrained"),
    "auc_rx": ("auc", "RX"),
    "auc_ridge_rx": ("auc", "ridge-RX"),
    "auc_pca_rx": ("auc", "PCA-RX"),
}
INVITATION = (
    "Press <b>Start</b>. The network trains on this scene alone, in a process of its own that outlives this page; loss, AUC and "
    "score map move while it trains. Then the cube is sent through it K times, pass by pass.<br><br>RX, ridge-RX, PCA-RX and the "
    "<b>untrained</b> network are shown beside it: most of the gain over RX is there before any training."
)


class Train:
    """Controls on the left; loss, AUC and the film on the right."""

    def __init__(self, page: Explorer) -> None:
        self.page = page
        self.live: Live | None = None
        self._stills: dict[int, Still] = {}
        self._newest = self._waits = self._resumed = 0
        wide = {"sizing_mode": "stretch_width", "size": "small"}
        stretch = {"sizing_mode": "stretch_width", "margin": 0}
        self.player = Player()
        self.form = Form(load("bsdm").Config, first=FIRST)
        self.earlier = pmui.Select(
            label="Earlier runs on this scene", options={"none yet": ""}, value="", margin=(10, 0, 4, 0), **wide
        )
        references = {MEAN: ("#E69F00", "dashed"), CODE: ("#00A878", "dotted")}
        self.loss = Curves(
            "training step", "loss (mean squared error)", {"loss": "#3FA0E0"}, references, height=255, log=True
        )
        self.auc = Curves("training step", "AUC after K passes", {"BSDM": "#D9541E"}, LEVELS, height=255, dots=True)
        lines, levels = {"trained": "#D9541E", "untrained": "#E69F00"}, {"RX": LEVELS["RX"]}
        self.passes = Curves("passes k", "AUC after k passes", lines, levels, height=255, dots=True, dashed=("untrained",))
        self.steps = Steps(page.frame, {"training": "While training", "passes": "Pass by pass"}, width=226, height=226)
        self._no_truth = pn.pane.HTML(
            "<span style='opacity:.8'>No truth mask: there is no AUC to draw. Loss and maps move all the same.</span>",
            visible=False,
        )
        self._watch = pn.Column(
            pn.Row(self.loss.panel, self.auc.panel, self.passes.panel, **stretch),
            self._no_truth,
            self.steps.panel,
            visible=False,
            **stretch,
        )
        self._invite = explain("Watch BSDM suppress the background", INVITATION, height=420)
        self.panel = pn.Row(
            pn.Column(
                self.player.panel, self.earlier, heading("Settings"), self.form.panel, width=262, margin=(0, 14, 0, 0)
            ),
            pn.Column(self._watch, self._invite, **stretch),
            sizing_mode="stretch_width",
            margin=(8, 4),
        )
        self.player.on("start", self.start)
        self.player.on("pause", lambda: self.ask("pause"))
        self.player.on("resume", self.resume)
        self.player.on("stop", lambda: self.ask("stop"))
        self.earlier.param.watch(held(lambda e: e.new and e.new != page.run and self.follow(e.new)), "value")
        self.steps.on_move(self._moved)
        for view in (self.steps.quiet, self.steps.background, self.steps.score):
            view.on_tap(page.pick)

    # --- which run --------------------------------------------------------------------------------------------------

    def take(self, first: bool) -> None:
        """Begin anew with a newly opened scene; the first one keeps the run that the address asked for."""
        run = self.page.run if first else ""
        self._forget()
        self.player.show("idle")
        has_truth = self.page.mask_of_truth is not None
        self.auc.panel.visible = self.passes.panel.visible = has_truth
        self._no_truth.visible = not has_truth
        if run:
            self.follow(run)
        else:
            self.page.run = ""
            self._list()

    def start(self) -> None:
        """Launch BSDM with the settings of the form, in a process of its own, and follow it."""
        page = self.page
        if self.form.error or page.data is None:
            return
        try:
            folder = runs.new_folder(page.root, "bsdm", page.called)
            execution.launch("bsdm", page.reference(), self.form.overrides, folder, **page.help)
        except InputError as error:
            self.player.show("failed", error=str(error))
            return
        self.follow(folder.name)

    def follow(self, name: str) -> None:
        """Watch the run `name` of the runs folder, whoever started it."""
        page = self.page
        folder = page.root / Path(name).name
        self._forget()
        if not folder.is_dir():
            page.run = ""
            self._list()
            self.player.show(
                "failed", error=f"There is no run {name!r} in {page.root}: it was moved, or made on another machine."
            )
            return
        if (elsewhere := self._settings_of(folder)) is not None:
            page.run = ""
            self._list()
            self.player.show("failed", error=f"The run {folder.name} is of {elsewhere}; open that scene to see it.")
            return
        self.live, page.run = Live(folder), folder.name
        self._list()
        self._watch.visible, self._invite.visible = True, False
        page.poll()
        page.tick()

    def _settings_of(self, folder: Path) -> str | None:
        """Put the settings of a run into the form; the name of its scene, when it is not the one on the page."""
        try:
            about = runs.read(folder)
        except InputError:
            return None  # launched this moment
        if about["scene"]["fingerprint"] != fingerprint(self.page.data):
            return str(about["scene"].get("id") or "another scene")
        self.form.set({k: v for k, v in about.get("config", {}).items() if k in self.form.widgets})
        return None

    def _forget(self) -> None:
        self.live, self.page.result, self._stills = None, None, {}
        self._newest = self._waits = 0
        self.page.drop("untrained", "trained")
        self.page.explore.quieten(None)
        for curves in (self.loss, self.auc, self.passes):
            curves.clear()
        self.steps.clear()
        self._watch.visible, self._invite.visible = False, True

    def _list(self) -> None:
        """Offer the runs of bsdm on this scene, newest first."""
        page, found = self.page, {}
        mark = fingerprint(page.data)
        for folder, about in reversed(list(runs.iter_status(page.root))):
            if about.get("method") == "bsdm" and about.get("scene", {}).get("fingerprint") == mark:
                when = about["start"][:16].replace("T", " ")
                found[f"{when} UTC, {about['config'].get('steps')} steps, {about['status']}"] = folder.name
        if page.run and page.run not in found.values():
            found = {f"{page.run}, starting": page.run, **found}
        options = {"choose one": "", **found} if found else {"none yet": ""}
        if options != self.earlier.options:
            self.earlier.options = options
        self.earlier.value = page.run if page.run in options.values() else ""
        self.earlier.disabled = not found

    # --- requests ---------------------------------------------------------------------------------------------------

    def ask(self, what: str) -> None:
        """Ask the run to pause, resume or stop."""
        if self.live is None:
            return
        try:
            getattr(self.live, what)()
        except InputError as error:
            self.player.show("failed", error=str(error))
        self.page.poll()

    def resume(self) -> None:
        """Let a paused run go on, or continue one that was stopped or died from its last checkpoint."""
        if self.live is None:
            return
        if self.live.status == "paused":
            self.ask("resume")
            return
        try:
            self._resumed = len(runs.read(self.live.folder).get("resumed", []))
            execution.relaunch(self.live.folder)
        except InputError as error:
            self.player.show("failed", error=str(error))
            return
        self._waits = PATIENCE
        self.page.tick()
        self.page.poll()

    # --- watching ---------------------------------------------------------------------------------------------------

    def poll(self) -> bool:
        """Take in what the run has added; True while it goes on."""
        live = self.live
        if live is None:
            return False
        new = live.poll()
        status, error = live.status, live.error
        if self._waits:  # until the new process has spoken, what is on file is how the old one ended
            self._waits -= 1
            if len(runs.read(live.folder).get("resumed", [])) > self._resumed:
                self._waits = 0
            elif self._waits:
                status, error = "starting", None
        self.player.show(status, live.lines, error if status in ("failed", "killed") else None, live.folder.name)
        if new:
            self._draw(live)
        if status == "finished" and self.page.result is None:
            self._finish(live)
        if status in runs.FINAL:
            self._list()
            return False
        return True

    def _draw(self, live: Live) -> None:
        history = live.history
        if "loss" in history:
            self.loss.set("loss", *history["loss"])
        for scalar, (plot, level) in REFERENCES.items():
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
        if passes and self.steps.follow.value and self.steps.which.value == "training":
            self.steps.choose("passes")
        page = self.page
        if "untrained" not in page.scores and (score := live.frame("score_untrained")) is not None:
            page.put("untrained", score, history.get("auc_untrained", ((), (None,)))[1][0])
        if framed and framed[-1]["step"] > self._newest:
            self._newest = framed[-1]["step"]
            if (score := live.frame("score", self._newest)) is not None:
                page.put("trained", score, framed[-1]["scalars"].get("auc"))

    @staticmethod
    def _curve(curves: Curves, name: str, points: list[tuple[float, float | None]]) -> None:
        there = [(x, y) for x, y in points if y is not None]
        curves.set(name, [x for x, _ in there], [y for _, y in there])

    def _still(self, live: Live, line: Mapping[str, Any]) -> Still:
        step, said = line["step"], line["scalars"]
        if step not in self._stills:
            if "pass" in said:
                k = int(said["pass"])
                label = (
                    "y₀: the cube before the first pass"
                    if k == 0
                    else f"y<sub>{k}</sub>: after {k} pass{'es' if k > 1 else ''}"
                )
                notes = [f"largest |y| {said['range']:.3g}"] if "range" in said else []
                notes += [f"AUC {said['auc_pass']:.4f}"] if "auc_pass" in said else []
            else:
                label = f"training step {step:,}" if step else "before training (untrained network)"
                notes = [f"AUC {said['auc']:.4f}"] if "auc" in said else []
            self._stills[step] = Still(step, label, " &middot; ".join(notes), lambda: runs.Tail(live.folder).arrays(line))
        return self._stills[step]

    def _moved(self, name: str, index: int) -> None:
        stills = self.steps.stills(name)
        step = stills[index].step if index < len(stills) else None
        for curves in (self.loss, self.auc):
            curves.cursor(step if name == "training" else None)
        self.passes.cursor(index if name == "passes" and stills else None)

    def _finish(self, live: Live) -> None:
        """The run is over: exact maps, suppressed cubes, and what the untrained network does pass by pass."""
        page = self.page
        try:
            page.result = result = runs.result(live.folder)
        except (InputError, OSError) as error:
            self.player.show("failed", live.lines, f"The result cannot be read: {error}", live.folder.name)
            return
        for name, variable in (("untrained", "score_untrained"), ("trained", "score")):
            auc = result.get(variable.replace("score", "auc"))
            page.put(name, result[variable], None if auc is None else float(auc))
        if "auc_k_untrained" in result:
            self.passes.set("untrained", result["k"].values, result["auc_k_untrained"].values)
        page.explore.quieten(result)

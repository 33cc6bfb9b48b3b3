"""The coreset workbench: watch scores form while a network trains, choose a budget, see what is kept, train on it.

    coresets("digits")                          # in a notebook: the page in the cell
    Coresets().page().servable()                # in dashboards/coresets.py: the served page

The state of the page is a handful of parameters (data, run, share kept, selector, picked samples), which its address holds.
Nothing is trained in the page's own process: `tdds` is launched as a process of its own, and the page follows its folder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

import numpy as np
import panel as pn
import panel_material_ui as pmui
import param
import xarray as xr

from workbench import execution, runs
from workbench.config import override
from workbench.data.catalog import entries, open_scene
from workbench.errors import InputError
from workbench.live import Live
from workbench.methods import load
from workbench.pages.anomaly import IN_MEMORY, THEME, has_loop, pairs, stamp
from workbench.pages.choosing import Choose
from workbench.pages.measured import Measured
from workbench.pages.scoring import Score
from workbench.pages.shelf import Shelf, ready
from workbench.scene import fingerprint, require
from workbench.views.card import badge, explain, heading, html, problem, say
from workbench.views.form import Form
from workbench.views.gallery import tiles
from workbench.views.image import composite, presets
from workbench.views.player import Player
from workbench.views.plots import PICKS, held

ADDRESS = ("scene", "truth", "keys", "run", "tab", "keep", "length", "selector", "balanced", "picks")
FIRST = ("epochs", "keep", "budgets", "compare", "label_noise", "seed")
PATIENCE = 240  # polls, one minute: how long a resumed run may take to say its first word
INVITATION = (
    "Press <b>Start</b> at the left. One network is trained on everything, in a process of its own that outlives this page, and "
    "every sample's score moves while it learns. Then the same network is trained anew on what TDDS keeps, and on as many "
    "samples drawn at <b>random</b>: the rival that counts."
)


class Coresets(pn.viewable.Viewer):
    """One visitor's page. `panel()` is for a notebook cell, `page()` for `panel serve`.

    scene: a catalogue name, a path, or an opened scene; None for the one in the address, or the embedded digits.
    root: folder of the runs.
    """

    SCENES: ClassVar = Shelf(4)

    scene = param.String("", doc="catalogue name or path")
    truth = param.String("", doc="file with the truth mask, where the scene's file has none")
    keys = param.String("", doc="cube=NAME, truth=NAME, where a file does not speak for itself")
    run = param.String("", doc="name of the run folder that is followed")
    tab = param.Integer(0, bounds=(0, 2))
    keep = param.Number(0.3, bounds=(0.01, 1.0), doc="share of the training samples that is kept")
    length = param.Integer(0, bounds=(0, None), doc="T, epochs the score reads; 0 for the one of the run")
    selector = param.String("tdds", doc="whose choice is shown")
    balanced = param.Boolean(False, doc="every class keeps its share")
    picks = param.String("", doc="identifiers of the picked samples, with | between them")

    def __init__(
        self, scene: str | Path | xr.Dataset | None = None, *, root: str | Path = execution.RUNS, **params: Any
    ) -> None:
        super().__init__(**params)
        self.root = Path(root)
        self.data: xr.Dataset | None = None
        self.live: Live | None = None
        self.film = Film()
        self.result: xr.Dataset | None = None
        self.picked: list[str] = []
        self.asked = self._waits = self._resumed = 0
        self._given: xr.Dataset | None = None
        self.mark = ""  # fingerprint of the data
        self._closed = False
        self._doc = pn.state.curdoc
        self._location = pn.state.location
        self._read_address()
        self._lay_out()
        self.timer = pn.state.add_periodic_callback(self.poll, period=250, start=False)
        if self._location:
            self.param.watch(self._write_address, list(ADDRESS))
            pn.state.onload(self._write_address)
        if self._served:
            pn.state.on_session_destroyed(lambda _: self.close())
        if isinstance(scene, xr.Dataset):
            self._given = scene
            self._arrived(ready(scene), first=True)
        else:
            self.open(str(scene) if scene is not None else self.scene or "digits", self.truth, self.keys, first=True)

    # --- layout -----------------------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        wide = {"sizing_mode": "stretch_width", "size": "small"}
        fold = {"collapsed": True, "margin": (4, 0), "sizing_mode": "stretch_width"}
        offered = {f"{e.id}: {e.title}": e.id for e in entries() if _has_labels(e)}
        self.choice = pmui.Select(label="Data", options={"your own files": "", **offered}, value="", margin=(8, 0), **wide)
        self.path = pmui.TextInput(
            label="Path", placeholder="folder or .zip by class, a scene, a coreset's .yml", margin=(8, 0, 4, 0), **wide
        )
        self.truth_path = pmui.TextInput(label="Path of a scene's truth (optional)", margin=(8, 0, 4, 0), **wide)
        self.key_text = pmui.TextInput(
            label="Names inside the file (optional)", placeholder="cube=data, truth=map", margin=(8, 0, 4, 0), **wide
        )
        self.opener = pmui.Button(label="Open", icon="folder_open", variant="contained", size="small", margin=(6, 0))
        self.alert = pmui.Alert("", severity="error", visible=False, margin=(6, 0), sizing_mode="stretch_width")
        self.banner = html(
            margin=(0, 24), styles={"font-size": "16px", "color": "white"}, sizing_mode="fixed", width=760, height=24
        )
        self.card = html(margin=(6, 0))
        self.player = Player()
        self.form = Form(load("tdds").Config, first=FIRST)
        self.form.reset.label = "Defaults"
        self.earlier = pmui.Select(
            label="Earlier runs on these data", options={"none yet": ""}, value="", margin=(10, 0, 4, 0), **wide
        )
        self.link = pmui.Button(label="Copy link to this view", icon="link", variant="outlined", margin=(6, 0), **wide)
        self.link.js_on_click(code="navigator.clipboard && navigator.clipboard.writeText(window.location.href)")
        own = pmui.Details(self.path, self.truth_path, self.key_text, self.opener, title="Open your own", **fold)
        self._running = pn.Column(
            heading("Run"),
            self.player.panel,
            self.earlier,
            heading("Settings"),
            self.form.panel,
            self.link,
            sizing_mode="stretch_width",
            margin=0,
        )
        self.side = pn.Column(
            self.choice, own, self.alert, self.card, self._running, sizing_mode="stretch_width", margin=(0, 6)
        )
        self.score, self.choosing, self.measured = Score(self), Choose(self), Measured(self)
        self.tabs = pmui.Tabs(
            ("Scores", self.score.panel),
            ("Coreset", self.choosing.panel),
            ("Accuracy", self.measured.panel),
            active=self.tab,
            sizing_mode="stretch_width",
            margin=0,
        )
        self._empty = explain(
            "No data are open",
            "Choose a set of the list at the left, or open your own: a folder or .zip of images by class, or a scene with its truth.",
            height=420,
        )
        self._show(False)
        self.choice.param.watch(lambda e: e.new and e.new != self.scene and self.open(e.new), "value")
        self.opener.on_click(
            lambda _: self.open(self.path.value.strip(), self.truth_path.value.strip(), self.key_text.value)
        )
        self.player.on("start", self.start)
        self.player.on("pause", lambda: self.ask("pause"))
        self.player.on("resume", self.resume)
        self.player.on("stop", lambda: self.ask("stop"))
        self.earlier.param.watch(held(lambda e: e.new and e.new != self.run and self.follow(e.new)), "value")
        self.tabs.param.watch(lambda e: self.param.update(tab=e.new), "active")
        self.param.watch(held(lambda _: self._changed()), ["keep", "length", "selector", "balanced"])

    def _show(self, there: bool) -> None:
        self.tabs.visible = self._running.visible = there
        self._empty.visible = not there

    def panel(self) -> pn.viewable.Viewable:
        """Everything in one row, for a notebook cell."""
        return pn.Row(pn.Column(self.side, width=310), self._empty, self.tabs, sizing_mode="stretch_width")

    def page(self) -> pmui.Page:
        """The whole page, with title bar, side bar and light and dark mode, for `panel serve`."""
        return pmui.Page(
            title="Coreset workbench",
            header=[self.banner],
            sidebar=[self.side],
            main=[self._empty, self.tabs],
            sidebar_width=320,
            sidebar_variant="persistent",
            theme_config=THEME,
        )

    def __panel__(self) -> pn.viewable.Viewable:
        return self.panel()

    # --- address ----------------------------------------------------------------------------------------------------

    def _read_address(self) -> None:
        for name, text in (self._location.query_params if self._location else {}).items():
            if name in ADDRESS:
                kind = type(self.param[name].default)
                with contextlib.suppress(ValueError, TypeError):
                    self.param.update(**{name: str(text) == "True" if kind is bool else kind(text)})

    def _write_address(self, *_: Any) -> None:
        other = {n: v for n, v in self._location.query_params.items() if n not in ADDRESS}  # such as theme=dark
        now = other | {n: getattr(self, n) for n in ADDRESS if getattr(self, n) != self.param[n].default}
        self._location.search = "?" + urlencode(now, safe=",;|/") if now else ""

    # --- opening ----------------------------------------------------------------------------------------------------

    def open(self, ref: str, truth: str = "", keys: str = "", *, first: bool = False) -> None:
        """Open a catalogue name or a path. What cannot be opened is told on the page, and what was shown stays."""
        self._complain("")
        self.asked += 1
        try:
            if not ref:
                raise InputError(
                    "No data were named. Choose a set of the list, or give the path of a folder, .zip or scene."
                )
            named = pairs(keys)
        except InputError as error:
            self._complain(str(error))
            return
        self.tabs.loading = True
        asked = self.asked

        def arrived(future: Future) -> None:
            if asked == self.asked:
                self._given = None
                self._arrived(future, ref, truth, keys, first)

        key = (ref, truth, tuple(sorted(named.items())), stamp(ref, truth))
        self.when(self.SCENES.ask(key, lambda: opened(ref, truth, named)), arrived)

    def _arrived(self, future: Future, ref: str = "", truth: str = "", keys: str = "", first: bool = False) -> None:
        self.tabs.loading = False
        try:
            data = future.result()
            checked(data)
        except InputError as error:
            self._complain(str(error))
            self.choice.value = self.scene if self.scene in self.choice.options.values() else ""
            return
        with pn.io.hold():
            run, picks = (self.run, self.picks) if first else ("", "")
            self._forget()
            self.data, self.mark = data, fingerprint(data)
            self.pictures = Pictures(data)
            self.param.update(scene=ref, truth=truth, keys=keys, run="", picks="")
            if not first:
                self.param.update(selector="tdds", length=0)
            self.choice.value = ref if ref in self.choice.options.values() else ""
            self.card.object = data_card(data)
            self.banner.object = say(str(data.attrs.get("title") or self.called)) + (
                "&ensp;" + badge("SIMULATED", "#F2B233") if data.attrs.get("simulated") else ""
            )
            self._show(True)
            self.score.take()
            self.measured.take()
            self.player.show("idle")
            if run:
                self.follow(run, fresh=False)
                self.pick([i for i in picks.split("|") if i])
            else:
                self._list()

    def _complain(self, message: str) -> None:
        self.alert.object, self.alert.visible = problem(message), bool(message)

    @property
    def called(self) -> str:
        """A short name of the data."""
        attrs = self.data.attrs if self.data is not None else {}
        return str(attrs.get("id") or Path(self.scene).stem or "scene")

    def reference(self) -> str:
        """What a launched process can open: the name or path, or a NetCDF file of a scene that was given in memory."""
        if self._given is None:
            return self.scene
        if "sample" in self._given.dims:
            raise InputError("Chips held in memory cannot be given to a process of its own; open them by name or path.")
        path = self.root / "scenes" / f"{self.mark[:16]}.nc"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(self._given.to_netcdf(engine="h5netcdf")))
        return str(path)

    # --- which run --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Launch tdds with the settings of the form, in a process of its own, and follow it."""
        if self.form.error or self.data is None:
            return
        try:
            folder = runs.new_folder(self.root, "tdds", self.called)
            help_ = {"truth": self.truth or None, "keys": pairs(self.keys)}
            execution.launch("tdds", self.reference(), self.form.overrides, folder, **help_)
        except InputError as error:
            self.player.show("failed", error=str(error))
            return
        self.follow(folder.name)
        self.keep = override(load("tdds").Config(), self.form.overrides).keep

    def follow(self, name: str, *, fresh: bool = True) -> None:
        """Watch the run `name` of the runs folder, whoever started it. fresh: at its own share kept and T."""
        folder = self.root / Path(name).name
        self._forget()
        trouble = None
        if not folder.is_dir():
            trouble = f"There is no run {name!r} in {self.root}: it was moved, or made on another machine."
        else:
            with contextlib.suppress(InputError):  # launched this moment
                about = runs.read(folder)
                if about["method"] != "tdds" or about["scene"]["fingerprint"] != self.mark:
                    trouble = f"The run {folder.name} is of {about['method']} on {about['scene'].get('id')}; open those data to see it."
                else:
                    self.form.set({k: v for k, v in about["config"].items() if k in self.form.widgets})
                    if fresh:
                        self.param.update(keep=float(about["config"]["keep"]), length=0)
        if trouble is not None:
            self.run = ""
            self._list()
            self.player.show("failed", error=trouble)
            return
        self.live, self.run = Live(folder), folder.name
        self._list()
        self.score.invite(False)
        self.poll()
        self.tick()

    def _forget(self) -> None:
        self.live, self.result, self.film = None, None, Film()
        self._waits = 0
        self.picked, self.picks = [], ""
        self.score.clear()
        self.choosing.take()
        self.measured.take()

    def _list(self) -> None:
        """Offer the runs of tdds on these data, newest first."""
        found = {}
        for folder, about in reversed(list(runs.iter_status(self.root))):
            if about.get("method") == "tdds" and about.get("scene", {}).get("fingerprint") == self.mark:
                config, when = about["config"], about["start"][:16].replace("T", " ")
                noise = f", {100 * config['label_noise']:g} % wrong labels" if config.get("label_noise") else ""
                text = f"{when} UTC, {config.get('epochs')} epochs, seed {config.get('seed')}{noise}, {about['status']}"
                found[text if text not in found else f"{text} ({folder.name})"] = folder.name
        if self.run and self.run not in found.values():
            found = {f"{self.run}, starting": self.run, **found}
        options = {"choose one": "", **found} if found else {"none yet": ""}
        if options != self.earlier.options:
            self.earlier.param.update(options=options, value="")  # a value that stays would stay under its old name
        self.earlier.value = self.run if self.run in options.values() else ""
        self.earlier.disabled = not found

    def ask(self, what: str) -> None:
        """Ask the run to pause, resume or stop."""
        if self.live is None:
            return
        try:
            getattr(self.live, what)()
        except InputError as error:
            self.player.show("failed", error=str(error))
        self.poll()

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
        self.tick()
        self.poll()

    # --- watching ---------------------------------------------------------------------------------------------------

    def poll(self) -> None:
        """Take in what the run has added; a timer calls it four times a second while something goes on."""
        with pn.io.hold():
            going = self._take_in()
        if not going and self.timer.running:
            self.timer.stop()

    def _take_in(self) -> bool:
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
        grown = False
        for line in new:
            if "p_label" in line.get("arrays", ()):
                self.film.add(line["step"], runs.Tail(live.folder).arrays(line))
                grown = True
        if new:
            self.measured.curves(live.history)
        if status == "finished" and self.result is None:
            try:
                self.result = runs.result(live.folder)
            except (InputError, OSError) as trouble:
                self.player.show("failed", live.lines, f"The result cannot be read: {trouble}", live.folder.name)
                return False
            self.film.finish(self.result)
            self.choosing.take()
            grown = True
        if grown:
            self.score.grown()
        if status in runs.FINAL:
            self._list()
            self.measured.take()
            return False
        return True

    def tick(self) -> None:
        """Have `poll` called from now on, where there is somebody to call it."""
        if not self.timer.running and not self._closed and has_loop():
            self.timer.start()

    # --- what the tabs share ----------------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """Settings of the followed run; empty before it has spoken."""
        if self.live is None:
            return {}
        try:
            return dict(runs.read(self.live.folder)["config"])
        except InputError:
            return {}

    def called_classes(self, ids: Sequence[str]) -> list[str]:
        """` · class NAME` of each sample, as the data have it; nothing where the truth does not say."""
        data = self.data
        if data is None:
            return [""] * len(ids)
        if "label" in data:
            names, labels = data["label"].attrs.get("names", []), self.pictures.labels
            return [f" · class {say(str(names[labels[i]] if labels[i] < len(names) else labels[i]))}" for i in ids]
        truth, names = data["truth"].values, data["truth"].attrs.get("names", [])
        found = [int(truth[tuple(map(int, i.split(",")))]) for i in ids]
        return [f" · {say(str(names[c] if 0 <= c < len(names) else f'class {c}'))}" for c in found]

    def pick(self, ids: Sequence[str]) -> None:
        """Pick these samples instead of others; the first few get colours and trajectories."""
        known = set(self.film.ids.tolist()) if self.film.ids is not None else set()
        self.picked = [str(i) for i in ids if i in known]
        self.picks = "|".join(self.picked[: len(PICKS)])
        self.score.draw_picks()

    def focus(self, identifier: str) -> None:
        """Put one sample before all other picked ones."""
        self.pick([identifier, *(i for i in self.picked if i != identifier)])

    def _changed(self) -> None:
        self.choosing.draw()
        self.score.draw()

    def when(self, future: Future, then: Callable[[Future], None]) -> None:
        """Call `then(future)` when the future is done: at once where that can be, else under the document's lock.

        Not before the page has loaded: Panel loses some of what is changed while it does.
        """
        if future.done() or not self._served:
            then(future)
            return

        def later(_: Future) -> None:
            if not self._closed:
                self._doc.add_next_tick_callback(lambda: pn.state.onload(lambda: then(future)))

        future.add_done_callback(later)

    @property
    def _served(self) -> bool:
        return bool(self._doc and self._doc.session_context)

    def close(self) -> None:
        """Let go of everything; runs that were launched go on."""
        self._closed = True
        self.asked += 1
        if self.timer.running:
            self.timer.stop()


class Film:
    """What a run has told of every training sample, epoch by epoch: `p`, `d` and `S`, each epoch -> (sample,)."""

    def __init__(self) -> None:
        self.ids: np.ndarray | None = None
        self.place: np.ndarray | None = None  # (sample, 2) row and column, for pixels of a scene
        self.p: dict[int, np.ndarray] = {}
        self.d: dict[int, np.ndarray] = {}
        self.S: dict[int, np.ndarray] = {}
        self._at: dict[str, int] = {}

    def add(self, epoch: int, arrays: Mapping[str, xr.DataArray]) -> None:
        """Take in the arrays of one event of the scoring run."""
        self._know(arrays["p_label"])
        self.p[epoch] = arrays["p_label"].values
        if "contribution" in arrays:
            self.d[epoch] = arrays["contribution"].values[:, -1]
        if "score" in arrays:
            self.S[epoch] = arrays["score"].values

    def finish(self, result: xr.Dataset) -> None:
        """Fill in from the result what events did not show."""
        self._know(result["score"])
        for T in result["T"].values:
            self.S[int(T)] = result["score_by_T"].sel(T=T).values
        if "p_label" in result:
            self.p = {int(e): result["p_label"].sel(epoch=e).values for e in result["epoch"].values}
            self.d = {int(e): result["contribution"].sel(change=e).values for e in result["change"].values}

    def _know(self, array: xr.DataArray) -> None:
        if self.ids is None:
            self.ids = array["sample"].values.astype(str)
            self._at = {i: n for n, i in enumerate(self.ids.tolist())}
            if "sample_y" in array.coords:
                self.place = np.stack([array["sample_y"].values, array["sample_x"].values], 1)

    @property
    def epochs(self) -> list[int]:
        """Epochs of which something is known, in order."""
        return sorted(self.p)

    def at(self, ids: Sequence[str]) -> np.ndarray:
        """Positions of samples."""
        return np.array([self._at[i] for i in ids], int)

    def ease(self, epoch: int) -> np.ndarray:
        """Mean probability of the label up to an epoch."""
        return np.mean([self.p[e] for e in self.epochs if e <= epoch], axis=0)


class Pictures:
    """Little pictures of samples by identifier: the chip, the spectrum, or the surroundings of a pixel."""

    AROUND = 9  # pixels a side that are shown around a labelled pixel

    def __init__(self, data: xr.Dataset) -> None:
        name = next(n for n in ("image", "hsi", "sar") if n in data)
        self.values = data[name]
        self.chips = "sample" in self.values.dims
        self.ground: np.ndarray | None = None  # (row, column, 3), for a scene
        if self.chips:
            ids = (
                data["sample"].values.astype(str) if "sample" in data.coords else np.arange(data.sizes["sample"]).astype(str)
            )
            self._at = {i: n for n, i in enumerate(ids.tolist())}
            self.labels = dict(zip(ids.tolist(), data["label"].values.tolist(), strict=True))
            self.spectra = self.values.shape[-1] == self.values.shape[-2] == 1
        else:
            many = self.values.dims[0] == "band" and self.values.shape[0] > 2
            which = next(iter(presets(self.values).values())) if many else (0, 0, 0)
            self.ground = composite(self.values, which)
            self.spectra = False

    def of(self, ids: Sequence[str]) -> np.ndarray:
        """(n, y, x, 3) uint8."""
        if not len(ids):
            return np.zeros((0, 1, 1, 3), np.uint8)
        if self.chips:
            return tiles(self.values[[self._at[i] for i in ids]].values)
        half = self.AROUND // 2
        assert self.ground is not None
        padded = np.pad(self.ground, ((half, half), (half, half), (0, 0)))
        places = [tuple(map(int, i.split(","))) for i in ids]
        return np.stack([padded[y : y + self.AROUND, x : x + self.AROUND] for y, x in places])


def data_card(data: xr.Dataset) -> str:
    """HTML: what the samples are, how many of each class, hash, licence, citation and notes."""
    a, chips = data.attrs, "label" in data
    name = next(n for n in ("image", "hsi", "sar") if n in data)
    rows, columns = data[name].shape[-2:]
    bands = data[name].shape[-3]
    size = f"{bands} band{'s' if bands != 1 else ''}"
    if chips:
        labels, names = data["label"].values, list(data["label"].attrs.get("names", []))
        count = np.bincount(labels)
        facts = [("Samples", f"{len(labels):,} chips of {rows} × {columns} pixels, {size}")]
        facts[0] = facts[0] if rows * columns > 1 else ("Samples", f"{len(labels):,} spectra, {size}")
        facts.append(("Classes", f"{len(names) or len(count)}, {count.min():,} to {count.max():,} each"))
        facts.append(("Split", "of the data set" if "split" in data.coords else "drawn by the seed"))
    else:
        truth = data["truth"].values
        found = np.unique(truth[truth > 0])
        facts = [("Scene", f"{rows} × {columns} pixels, {size}")]
        facts.append(("Samples", f"{int((truth >= 0).sum() if len(found) == 1 else (truth > 0).sum()):,} labelled pixels"))
        facts.append(("Classes", str(max(len(found), 2))))
    if a.get("licence"):
        facts.append(("Licence", say(str(a["licence"]))))
    body = "".join(
        f'<tr><td style="opacity:.65;padding:1px 10px 1px 0;vertical-align:top">{k}</td><td>{v}</td></tr>' for k, v in facts
    )
    more = "".join(f"<li>{say(str(a[k]))}</li>" for k in ("citation", "source") if a.get(k))
    more += "".join(f"<li>{say(n)}</li>" for n in str(a.get("notes", "")).splitlines() if n)
    head = badge("SIMULATED", "#F2B233") + "<br>" if a.get("simulated") else ""
    return (
        f'<div style="font-size:13px;line-height:1.4">{head}<table style="border-collapse:collapse">{body}</table>'
        '<details style="margin-top:4px"><summary style="cursor:pointer;opacity:.8">Citation, source, notes</summary>'
        f'<ul style="margin:4px 0 0;padding-left:18px">{more}</ul></details></div>'
    )


def checked(data: xr.Dataset) -> None:
    """Raise InputError unless these are data that samples can be taken from."""
    require(data, *load("tdds").NEEDS, who="the coreset workbench")


def opened(ref: str, truth: str = "", keys: Mapping[str, str] | None = None) -> xr.Dataset:
    """The data of a name or path, in memory where they fit."""
    data = open_scene(ref, truth=truth or None, keys=dict(keys or {}) or None)
    checked(data)
    return data.load() if data.nbytes <= IN_MEMORY else data


def _has_labels(entry: Any) -> bool:
    return entry.kind in ("chips", "simulated") or bool(getattr(entry, "anomalous_pixels", None))


def coresets(scene: str | Path | xr.Dataset | None = None) -> Coresets:
    """The coreset page for a notebook cell: put it last in the cell. Call `panel.extension(inline=True)` once before."""
    return Coresets(scene)

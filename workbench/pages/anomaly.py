"""The anomaly workbench: look into a scene, compare detectors, watch BSDM train, keep what was found.

    workbench.explorer("sim-coast-town")       # in a notebook: the explorer in the cell
    Explorer().page().servable()               # in dashboards/anomaly.py: the served page

The state of the page is a handful of parameters (scene, bands, picks, threshold, detector, run); they are what its address
holds, so a link reopens it. Everything else is derived from them. Nothing is trained in the page's own process: BSDM
and the slow detectors are launched as processes of their own, and the page follows their folders.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

import numpy as np
import panel as pn
import panel_material_ui as pmui
import param
import xarray as xr

from workbench import execution
from workbench.data.catalog import entries, open_scene
from workbench.errors import InputError
from workbench.pages.detectors import DETECTORS, FAST, Compare
from workbench.pages.explore import Explore
from workbench.pages.shelf import Shelf, ready
from workbench.pages.training import Train
from workbench.scene import fingerprint, require
from workbench.views.card import badge, card, explain, heading, html, problem, say
from workbench.views.image import PALETTES
from workbench.views.plots import PICKS, Frame
from workbench.views.spectra import Axis

# what the address of the page holds
ADDRESS = ("scene", "truth", "keys", "look", "preset", "band", "picks", "flag", "detector", "run", "tab")
PAINT = 60  # ms that a browser is given to paint spectra before the rest of a pick is sent
IN_MEMORY = 1 << 30  # bytes up to which a scene is held in memory; larger ones are read as they are looked at
TEXT = {"fontSize": 12.5, "button": {"textTransform": "none"}}
BAR = {"MuiAppBar": {"styleOverrides": {"root": {"backgroundColor": "#24527F", "backgroundImage": "none", "color": "#fff"}}}}
THEME = {
    mode: {"chart_style": "standard", "typography": TEXT, "components": BAR, "palette": {"primary": {"main": colour}}}
    for mode, colour in {"light": "#2F6FB0", "dark": "#6CAEEE"}.items()
}


class Explorer(pn.viewable.Viewer):
    """One visitor's page. `panel()` is for a notebook cell, `page()` for `panel serve`.

    scene: a catalogue name, a path, or an opened scene; None for the one in the address, or the first of the catalogue.
    root: folder of the runs.
    """

    SCENES: ClassVar = Shelf(4)
    SCORES: ClassVar = Shelf(24)

    scene = param.String("", doc="catalogue name or path")
    truth = param.String("", doc="file with the truth mask, where the scene's file has none")
    keys = param.String("", doc="cube=NAME, truth=NAME, where a file does not speak for itself")
    look = param.Selector(default="Composite", objects=["Composite", "Band"])
    preset = param.String("", doc="name of the composite; empty for the first that the scene can show")
    band = param.Integer(0, bounds=(0, None), doc="position of the single band")
    palette = param.Selector(default="Grey", objects=list(PALETTES))
    outline = param.Boolean(True, doc="outline the truth")
    masked = param.Boolean(False, doc="show the flagged pixels on the image")
    detector = param.Selector(default="rx", objects=list(DETECTORS), doc="whose mask, score and rank are shown")
    flag = param.Number(1.0, bounds=(0, 100), doc="percentage of pixels that are flagged")
    picks = param.String("", doc="row,column;row,column")
    run = param.String("", doc="name of the run folder that is followed")
    tab = param.Integer(0, bounds=(0, 2))

    def __init__(
        self, scene: str | Path | xr.Dataset | None = None, *, root: str | Path = execution.RUNS, **params: Any
    ) -> None:
        super().__init__(**params)
        self.root = Path(root)
        self.data: xr.Dataset | None = None
        self.axis: Axis | None = None
        self.mask_of_truth: Any = None  # (y, x) int16, or None where nothing is marked
        self.scores: dict[str, xr.DataArray] = {}
        self.aucs: dict[str, float] = {}
        self.refused: dict[str, str] = {}  # detectors that cannot score this scene, and why
        self.result: xr.Dataset | None = None  # of the BSDM run, when it has finished
        self.picked: dict[int, tuple[int, int]] = {}
        self.key: Any = None  # what the shared scores of this scene are filed under
        self.asked = 0  # how often something was opened: what was asked for before the last time comes too late
        self._doc = pn.state.curdoc
        self._location = pn.state.location
        self._closed = False
        self._given: xr.Dataset | None = None
        self._read_address()

        self.frame = Frame()
        self.explore = Explore(self)
        self.compare: Compare | None = None
        self.train: Train | None = None
        self._lay_out()
        self.timer = pn.state.add_periodic_callback(self.poll, period=250, start=False)
        if self._location:
            self.param.watch(self._write_address, list(ADDRESS))
            pn.state.onload(self._write_address)  # what is written before the page has loaded is lost
        if self._served:
            pn.state.on_session_destroyed(lambda _: self.close())
        if isinstance(scene, xr.Dataset):
            self._given = scene
            self._arrived(ready(scene), first=True)
        else:
            wanted = str(scene) if scene is not None else self.scene or next((e.id for e in entries()), "")
            self.open(wanted, self.truth, self.keys, first=True)

    # --- layout -----------------------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        wide = {"sizing_mode": "stretch_width", "size": "small"}
        fold = {"collapsed": True, "margin": (4, 0), "sizing_mode": "stretch_width"}
        offered = {f"{e.id}: {e.title}": e.id for e in entries() if e.kind in ("simulated", "hyperspectral")}
        self.choice = pmui.Select(label="Scene", options={"your own file": "", **offered}, value="", margin=(8, 0), **wide)
        self.path = pmui.TextInput(
            label="Path of your file", placeholder=".mat, ENVI, GeoTIFF or NetCDF", margin=(8, 0, 4, 0), **wide
        )
        self.truth_path = pmui.TextInput(label="Path of the truth mask (optional)", margin=(8, 0, 4, 0), **wide)
        self.key_text = pmui.TextInput(
            label="Names inside the file (optional)", placeholder="cube=data, truth=map", margin=(8, 0, 4, 0), **wide
        )
        self.opener = pmui.Button(label="Open", icon="folder_open", variant="contained", size="small", margin=(6, 0))
        self.upload = pmui.FileInput(
            label="or upload it (ENVI: both files)", multiple=True, variant="outlined", margin=(4, 0), **wide
        )
        self.alert = pmui.Alert("", severity="error", visible=False, margin=(6, 0), sizing_mode="stretch_width")
        self.banner = html(
            margin=(0, 24), styles={"font-size": "16px", "color": "white"}, sizing_mode="fixed", width=700, height=24
        )
        self.card = html(margin=(6, 0))
        self.link = pmui.Button(label="Copy link to this view", icon="link", variant="outlined", margin=(6, 0), **wide)
        self.link.js_on_click(code="navigator.clipboard && navigator.clipboard.writeText(window.location.href)")
        self.code = html(margin=(4, 0))
        self._folded = pn.Column(
            heading("Display"),
            self.explore.controls,
            heading("Share"),
            self.link,
            pmui.Details(self.code, title="The same as code", **fold),
            sizing_mode="stretch_width",
            margin=0,
        )
        own = pmui.Details(
            self.path, self.truth_path, self.key_text, self.opener, self.upload, title="Open your own file", **fold
        )
        self.side = pn.Column(
            self.choice, own, self.alert, self.card, self._folded, sizing_mode="stretch_width", margin=(0, 6)
        )
        self._rooms = [self.explore.panel, *(pn.Column(sizing_mode="stretch_width", margin=0) for _ in range(2))]
        self.tabs = pmui.Tabs(
            ("Explore", self._rooms[0]),
            ("Detectors", self._rooms[1]),
            ("BSDM live", self._rooms[2]),
            active=self.tab,
            sizing_mode="stretch_width",
            margin=0,
        )
        self._empty = explain(
            "No scene is open",
            "Choose one of the list at the left, or open a file of your own: MATLAB, ENVI, GeoTIFF or NetCDF, with its truth mask if "
            "there is one.",
            height=420,
        )
        self._show(False)
        self.choice.param.watch(lambda e: e.new and e.new != self.scene and self.open(e.new), "value")
        self.opener.on_click(
            lambda _: self.open(self.path.value.strip(), self.truth_path.value.strip(), self.key_text.value)
        )
        self.upload.param.watch(self._uploaded, "value")
        self.tabs.param.watch(lambda e: self.param.update(tab=e.new), "active")
        self.param.watch(lambda e: self.furnish(e.new), "tab")
        self.param.watch(self._cut, ["flag", "masked"])
        self.param.watch(self._choose, "detector")

    def _show(self, there: bool) -> None:
        """Show the tabs, or, while no scene is open, what to do about it."""
        self.tabs.visible = self._folded.visible = there
        self._empty.visible = not there

    def furnish(self, tab: int) -> None:
        """Build a tab when it is first needed: a page of one tab is there several times sooner than one of three."""
        if self.data is None or self._rooms[tab].objects:
            return
        with pn.io.hold():
            if tab == 1:
                self.compare = Compare(self)
                self._rooms[1].objects = [self.compare.panel]
                self.compare.take(first=True)
            else:
                self.train = Train(self)
                self._rooms[2].objects = [self.train.panel]
                self.train.take(first=True)

    def panel(self) -> pn.viewable.Viewable:
        """Everything in one row, for a notebook cell."""
        return pn.Row(pn.Column(self.side, width=310), self._empty, self.tabs, sizing_mode="stretch_width")

    def page(self) -> pmui.Page:
        """The whole page, with title bar, side bar and light and dark mode, for `panel serve`."""
        return pmui.Page(
            title="Anomaly workbench",
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
        """Take over the state in the page's address; what makes no sense there is left out."""
        for name, text in (self._location.query_params if self._location else {}).items():
            if name in ADDRESS:
                with contextlib.suppress(ValueError, TypeError):
                    self.param.update(**{name: type(self.param[name].default)(text)})

    def _write_address(self, *_: Any) -> None:
        """Put what differs from the defaults into the page's address."""
        other = {n: v for n, v in self._location.query_params.items() if n not in ADDRESS}  # such as theme=dark
        now = other | {n: getattr(self, n) for n in ADDRESS if getattr(self, n) != self.param[n].default}
        self._location.search = "?" + urlencode(now, safe=",;") if now else ""

    # --- opening ----------------------------------------------------------------------------------------------------

    def open(self, ref: str, truth: str = "", keys: str = "", *, first: bool = False) -> None:
        """Open a catalogue name or a path. What cannot be opened is told on the page, and what was shown stays."""
        self._complain("")
        self.asked += 1
        try:
            if not ref:
                raise InputError(
                    "No scene was named. Choose one of the list, or give the path of a .mat, ENVI, GeoTIFF or NetCDF file."
                )
            named = pairs(keys)
        except InputError as error:
            self._complain(str(error))
            return
        key = (ref, truth, tuple(sorted(named.items())), stamp(ref, truth))
        self.tabs.loading = True
        asked = self.asked

        def arrived(future: Future) -> None:
            if asked == self.asked:
                self._given = None
                self._arrived(future, ref, truth, keys, key, first)

        self.when(self.SCENES.ask(key, lambda: opened(ref, truth, named)), arrived)

    def _arrived(
        self, future: Future, ref: str = "", truth: str = "", keys: str = "", key: Any = None, first: bool = False
    ) -> None:
        self.tabs.loading = False
        try:
            data = future.result()
            checked(data)
        except InputError as error:
            self._complain(str(error))
            self.choice.value = self.scene if self.scene in self.choice.options.values() else ""
            return
        with pn.io.hold():
            self.data, self.key = data, key if key is not None else ("given", fingerprint(data))
            self.picked, picks = {}, self.picks if first else ""
            self.param.update(scene=ref, truth=truth, keys=keys, detector=self.detector if first else "rx")
            hsi = data["hsi"]
            self.axis = Axis(hsi)
            marked = data["truth"].values if "truth" in data else None
            self.mask_of_truth = marked if marked is not None and (marked > 0).any() and (marked == 0).any() else None
            self._show(True)
            self.frame.fit(hsi.sizes["y"], hsi.sizes["x"])
            self.choice.value = ref if ref in self.choice.options.values() else ""
            self.card.object = card(data)
            self.banner.object = say(str(data.attrs.get("title") or self.called)) + (
                "&ensp;" + badge("SIMULATED", "#F2B233") if data.attrs.get("simulated") else ""
            )
            self._say_code()
            self.scores, self.aucs, self.refused, self.result = {}, {}, {}, None
            self.explore.take(first)
            self.run = self.run if first else ""
            for tab in (self.compare, self.train):
                if tab is not None:
                    tab.take(first)
            for n, text in enumerate(t for t in picks.split(";") if t):
                if n < len(PICKS) and (pixel := _pixel(text, *self.frame.shape)):
                    self.picked[n + 1] = pixel
            self._picks_changed()
            self.furnish(self.tab)
            if self.run:
                self.furnish(2)  # its maps and spectra are wanted in all tabs
        for name in FAST:
            self._ask(name)

    def _uploaded(self, _: Any) -> None:
        """Keep uploaded files beside the runs, because a run that is launched has to find them."""
        blobs, called = self.upload.value, self.upload.filename
        if not blobs or not called:
            return
        blobs, called = ([blobs], [called]) if isinstance(blobs, bytes) else (blobs, called)
        folder = self.root / "uploads" / hashlib.sha256(b"".join(blobs)).hexdigest()[:12]
        paths = [folder / Path(n).name for n in called]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path, blob in zip(paths, blobs, strict=True):
                path.write_bytes(blob)
        except OSError as error:
            self._complain(f"The upload cannot be kept in {folder}: {error.strerror}. Give the path of the file instead.")
            return
        self.path.value = str(next((p for p in paths if p.suffix.lower() == ".hdr"), paths[0]))
        self.open(self.path.value, self.truth_path.value.strip(), self.key_text.value)

    def _complain(self, message: str) -> None:
        self.alert.object, self.alert.visible = problem(message), bool(message)

    # --- what the tabs share ----------------------------------------------------------------------------------------

    def pick(self, row: int, column: int) -> None:
        """Pick the pixel, or let go of it when it is picked already; the oldest gives way when all places are taken."""
        if self.data is None:
            return
        held = [n for n, p in self.picked.items() if p == (row, column)]
        if held:
            del self.picked[held[0]]
        else:
            if len(self.picked) == len(PICKS):
                del self.picked[next(iter(self.picked))]
            self.picked[next(n for n in range(1, len(PICKS) + 1) if n not in self.picked)] = (row, column)
        self._picks_changed()

    def unpick(self, number: int | None = None) -> None:
        """Let go of one pick, or of all."""
        self.picked = {} if number is None else {n: p for n, p in self.picked.items() if n != number}
        self._picks_changed()

    def _picks_changed(self) -> None:
        with pn.io.hold():
            self.explore.draw_picks()
        self.soon(self._list_picks)

    def _list_picks(self) -> None:
        """Table and address, after the spectra are drawn: rows that come and go make the browser lay out the whole page."""
        with pn.io.hold():
            self.explore.draw_rows()
            self.picks = ";".join(f"{r},{c}" for r, c in self.picked.values())

    def _ask(self, name: str) -> None:
        """Have a fast detector score the scene; the worker thread does it once for all visitors."""
        data, asked = self.data, self.asked

        def arrived(future: Future) -> None:
            if asked != self.asked:
                return
            try:
                result = future.result()
            except InputError as error:
                self.refused[name] = str(error)
                if self.compare is not None:
                    self.compare.refuse(name)
                return
            self.put(name, result["score"], float(result["auc"]) if "auc" in result else None)

        self.when(self.SCORES.ask((self.key, name), lambda: execution.execute(name, data).result), arrived)

    def put(self, name: str, score: xr.DataArray, auc: float | None) -> None:
        """A score map has arrived for detector `name`."""
        with pn.io.hold():
            self.scores[name] = score
            self.aucs.pop(name, None)
            if auc is not None:
                self.aucs[name] = auc
            if self.compare is not None:
                self.compare.put(name)
            if name == self.detector:
                self.explore.draw_rows()
                self.explore.draw_mask()

    def drop(self, *names: str) -> None:
        """Forget the scores of these detectors."""
        for name in names:
            self.scores.pop(name, None)
            self.aucs.pop(name, None)
        if self.compare is not None:
            self.compare.drop(*names)

    def threshold(self, name: str) -> float:
        """The lowest score that is still flagged when the highest `flag` percent of the scored pixels are."""
        score = self.scores[name].values
        finite = np.sort(score[np.isfinite(score)])
        return float(finite[-max(1, round(self.flag / 100 * finite.size))])

    def flagged(self, name: str | None = None) -> np.ndarray | None:
        """Boolean (row, column) mask of the pixels at or above the threshold; None while there is no score."""
        name = name or self.detector
        return None if name not in self.scores else self.scores[name].values >= self.threshold(name)

    def _cut(self, *_: Any) -> None:
        with pn.io.hold():
            self.explore.draw_mask()
            if self.compare is not None:
                self.compare.cut()

    def _choose(self, *_: Any) -> None:
        with pn.io.hold():
            self.explore.draw_rows()
            self.explore.draw_mask()
            if self.compare is not None:
                self.compare.choose()

    def title(self, name: str) -> str:
        return DETECTORS[name][0]

    @property
    def called(self) -> str:
        """A short name of the scene."""
        attrs = self.data.attrs if self.data is not None else {}
        return str(attrs.get("id") or Path(self.scene).stem or "scene")

    @property
    def help(self) -> dict[str, Any]:
        """What a launched process has to be told beside the scene."""
        return {"truth": self.truth or None, "keys": pairs(self.keys)}

    def reference(self) -> str:
        """What a launched process can open: the name or path, or a NetCDF file made of a scene that was given in memory."""
        if self._given is None:
            return self.scene
        path = self.root / "scenes" / f"{fingerprint(self.data)[:16]}.nc"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(self.data.to_netcdf(engine="h5netcdf")))
        return str(path)

    def _say_code(self) -> None:
        given = [repr(self.scene or self.called)]
        given += [f"truth={self.truth!r}"] if self.truth else []
        given += [f"keys={pairs(self.keys)!r}"] if self.keys else []
        told = [self.scene or self.called, *([f"--truth {self.truth}"] if self.truth else [])]
        told += [f"--key {k}={v}" for k, v in pairs(self.keys).items()]
        text = (
            f"import workbench as wb\nscene = wb.open_scene({', '.join(given)})\nwb.execute('rx', scene).result['score']\n\n"
            f"# or in a terminal\nworkbench run bsdm {' '.join(told)}"
        )
        self.code.object = (
            f'<pre style="font-size:12px;white-space:pre-wrap;overflow-wrap:anywhere;margin:4px 0">{say(text)}</pre>'
        )

    # --- time -------------------------------------------------------------------------------------------------------

    def poll(self) -> None:
        """Take in what the runs have added; a timer calls it four times a second while something goes on."""
        with pn.io.hold():
            going = [tab.poll() for tab in (self.train, self.compare) if tab is not None]
        if not any(going) and self.timer.running:
            self.timer.stop()

    def tick(self) -> None:
        """Have `poll` called from now on, where there is somebody to call it."""
        if not self.timer.running and not self._closed and has_loop():
            self.timer.start()

    def when(self, future: Future, then: Callable[[Future], None]) -> None:
        """Call `then(future)` when the future is done: at once where that can be, else under the document's lock."""
        if future.done() or not self._served:
            then(future)
            return

        def later(_: Future) -> None:
            if not self._closed:
                self._doc.add_next_tick_callback(lambda: then(future))

        future.add_done_callback(later)

    def soon(self, then: Callable[[], None]) -> None:
        """Call `then` once the browser has had time to paint what was sent before; at once where no page is served."""
        if not self._served:
            then()
        elif not self._closed:
            self._doc.add_timeout_callback(lambda: None if self._closed else then(), PAINT)

    @property
    def _served(self) -> bool:
        return bool(self._doc and self._doc.session_context)

    def close(self) -> None:
        """Let go of everything; runs that were launched go on."""
        self._closed = True
        self.asked += 1
        if self.timer.running:
            self.timer.stop()


def checked(scene: xr.Dataset) -> None:
    """Raise InputError unless the page can show the scene."""
    require(scene, "hsi", who="the anomaly workbench")
    if scene["hsi"].dims != ("band", "y", "x"):
        raise InputError(
            f"The page shows one image, hsi (band, y, x); this scene has {scene['hsi'].dims}. Choose one image of it."
        )


def opened(ref: str, truth: str = "", keys: dict[str, str] | None = None) -> xr.Dataset:
    """The scene of a name or path, in memory where it fits."""
    scene = open_scene(ref, truth=truth or None, keys=keys or None)
    checked(scene)
    return scene.load() if scene.nbytes <= IN_MEMORY else scene


def pairs(text: str) -> dict[str, str]:
    """`"cube=data, truth=map"` -> `{"cube": "data", "truth": "map"}`."""
    found = {}
    for part in (p.strip() for p in text.split(",") if p.strip()):
        name, _, value = (p.strip() for p in part.partition("="))
        if not (name and value):
            raise InputError(f"Names inside the file are given as cube=NAME, truth=NAME; got {part!r}.")
        found[name] = value
    return found


def _pixel(text: str, rows: int, columns: int) -> tuple[int, int] | None:
    try:
        row, column = (int(part) for part in text.split(","))
    except ValueError:
        return None
    return (row, column) if 0 <= row < rows and 0 <= column < columns else None


def stamp(*paths: str) -> tuple[float, ...]:
    """When the files were changed last, so that an edited file is read anew."""
    return tuple(Path(p).stat().st_mtime if p and Path(p).exists() else 0.0 for p in paths)


def has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def explorer(scene: str | Path | xr.Dataset | None = None) -> Explorer:
    """The explorer of a scene for a notebook cell: put it last in the cell, or call its `panel()`.

    scene: a catalogue name, a path, or an opened scene; None for the first of the catalogue. Call
    `panel.extension(inline=True)` once before, in the notebook's first cell.
    """
    return Explorer(scene)

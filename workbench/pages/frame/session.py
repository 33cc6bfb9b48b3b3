"""What every page has: a scene that is opened, an address that reopens it, a frame around its tabs, and an end.

A page is one visitor's. Its state is a handful of parameters, which its address holds; everything else is derived from
them. What is slow is done by one worker thread (`cache.py`) or by a process of its own (`runner.py`); results arrive under the
lock of the page's document.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

import panel as pn
import panel_material_ui as pmui
import param
import xarray as xr

from workbench import execution
from workbench.data.catalog import entries
from workbench.data.source import Source
from workbench.errors import InputError
from workbench.pages.frame.address import Addressed
from workbench.pages.frame.cache import SharedResults
from workbench.scene import Needs, fingerprint, fits
from workbench.views.card import badge, explain, html, problem, say

PAINT = 60  # ms that a browser is given to paint what was sent before the rest follows
IN_MEMORY = 1 << 30  # bytes up to which a scene is held in memory; larger ones are read as they are looked at
WIDE = {"sizing_mode": "stretch_width", "size": "small"}
FOLD = {"collapsed": True, "margin": (4, 0), "sizing_mode": "stretch_width"}
TEXT = {"fontSize": 12.5, "button": {"textTransform": "none"}}
BAR = {"MuiAppBar": {"styleOverrides": {"root": {"backgroundColor": "#24527F", "backgroundImage": "none", "color": "#fff"}}}}
THEME = {
    mode: {"chart_style": "standard", "typography": TEXT, "components": BAR, "palette": {"primary": {"main": colour}}}
    for mode, colour in {"light": "#2F6FB0", "dark": "#6CAEEE"}.items()
}


class Session(Addressed):
    """One visitor's page. `panel()` is for a notebook cell, `page()` for `panel serve`.

    A page of its own says what stands in the texts below, what its tabs hold (`build`), what scenes it can show (`needs`,
    `checked`), what happens when one has arrived (`arrived`), and what a tick of its timer takes in (`take_in`).

    scene: a catalogue name, a path, a `Source`, or an opened scene; None for the one in the address, or the page's first choice.
    root: folder of the runs.
    """

    TITLE: ClassVar[str]
    WHAT: ClassVar[str] = "Scene"  # label of the list
    OWN: ClassVar[str] = "your own file"
    FILES: ClassVar[str] = ".mat, ENVI, GeoTIFF or NetCDF"
    UNNAMED: ClassVar[str]  # error, where nothing was named
    EMPTY: ClassVar[tuple[str, str]]  # title and text, while nothing is open
    ADDRESS: ClassVar[tuple[str, ...]] = ("scene", "truth", "keys", "run", "tab")
    SCENES: ClassVar[SharedResults]
    LOOKS: ClassVar[bool] = False  # whether a large scene is opened without Dask, to be looked at and not computed with
    MORE: ClassVar[tuple[str, ...]] = ()  # further parameters that name the scene, by the names of `Source.from_parameters`

    scene = param.String("", doc="catalogue name or path")
    truth = param.String("", doc="file with the truth mask, where the scene's file has none")
    keys = param.String("", doc="cube=NAME, truth=NAME, where a file does not speak for itself")
    run = param.String("", doc="name of the run folder that is followed")
    tab = param.Integer(0, bounds=(0, 2))

    def __init__(
        self, scene: str | Path | Source | xr.Dataset | None = None, *, root: str | Path = execution.RUNS, **params: Any
    ) -> None:
        super().__init__(**params)
        if isinstance(scene, Source):
            self._check_beside(scene)
        self.root = Path(root)
        self.data: xr.Dataset | None = None
        self.result: xr.Dataset | None = None  # of the run that is followed, when it has finished
        self.key: Any = None  # what things made of this scene are filed under
        self.asked = 0  # request counter: answers to older requests are dropped
        self._mark = ""
        self._given: xr.Dataset | None = None
        self._doc = pn.state.curdoc
        self._closed = False
        self._page: pmui.Page | None = None
        self.read_address()
        self._lay_out()
        self.timer = pn.state.add_periodic_callback(self.poll, period=250, start=False)
        self.keep_address()
        if self._served:
            pn.state.on_session_destroyed(lambda _: self.close())
        if isinstance(scene, xr.Dataset):
            self._given = scene
            self._arrived(self._accepted(scene), first=True)
        else:
            if isinstance(scene, Source):
                named = scene.parameters()
                self.param.update(
                    truth=named["truth"],
                    keys=", ".join(f"{k}={v}" for k, v in scene.keys.items()),
                    **{n: named[n] for n in self.MORE if n in named},
                )
                scene = scene.scene
            wanted = str(scene) if scene is not None else self.scene or self.first_choice()
            self.open(wanted, self.truth, self.keys, first=True, **{n: getattr(self, n) for n in self.MORE})

    def _check_beside(self, source: Source) -> None:
        """Raise InputError for a further file that this page cannot open: it would be left out of what is shown."""
        refused = [role for role in source.beside if role not in self.MORE]
        if refused:
            raise InputError(
                f"This page cannot open {' and '.join(refused)} beside {source.scene}. Run the method on the scene from the "
                "command line (--beside) or in Python, and look at the run on the runs page."
            )

    # --- what a page of its own says --------------------------------------------------------------------------------

    @classmethod
    def needs(cls) -> Needs:
        """Names of variables that a scene must have to be shown."""
        raise NotImplementedError

    @classmethod
    def offers(cls, entry: Any) -> bool:
        """Whether an entry of the catalogue stands in the list: where it provides what the page needs."""
        return fits(cls.needs(), entry.provides)

    @classmethod
    def first_choice(cls) -> str:
        """The scene of a page that was asked for none."""
        return next((e.id for e in entries() if cls.offers(e)), "")

    @classmethod
    def checked(cls, data: xr.Dataset) -> None:
        """Raise InputError unless the page can show the scene. May read its pixels: never called on a server's event loop."""
        raise NotImplementedError

    def build(self) -> tuple[list[tuple[str, Any]], list[Any]]:
        """Tabs, each a name and what is in it, and what stands in the side bar below the card of the scene."""
        raise NotImplementedError

    def describe(self, data: xr.Dataset) -> str:
        """HTML card of a scene."""
        raise NotImplementedError

    def arrived(self, first: bool) -> None:
        """A scene has been opened: `self.data` and what depends on it. first: the state in the address is of this one."""
        raise NotImplementedError

    def take_in(self) -> bool:
        """Take in what the runs have added; True while something goes on."""
        raise NotImplementedError

    # --- layout -----------------------------------------------------------------------------------------------------

    def _lay_out(self) -> None:
        offered = {f"{e.id}: {e.title}": e.id for e in entries() if self.offers(e)}
        self.choice = pmui.Select(label=self.WHAT, options={self.OWN: "", **offered}, value="", margin=(8, 0), **WIDE)
        self.path = pmui.TextInput(label="Path", placeholder=self.FILES, margin=(8, 0, 4, 0), **WIDE)
        self.truth_path = pmui.TextInput(label="Path of the truth mask (optional)", margin=(8, 0, 4, 0), **WIDE)
        self.key_text = pmui.TextInput(
            label="Names inside the file (optional)", placeholder="cube=data, truth=map", margin=(8, 0, 4, 0), **WIDE
        )
        self.opener = pmui.Button(label="Open", icon="folder_open", variant="contained", size="small", margin=(6, 0))
        self.own = pmui.Details(*self.fields(), self.opener, title=f"Open {self.OWN}", **FOLD)
        self.alert = pmui.Alert(
            "", severity="error", visible=False, margin=(6, 0), sizing_mode="stretch_width", sx={"overflowWrap": "anywhere"}
        )
        self.banner = html(
            margin=(0, 24), styles={"font-size": "16px", "color": "white"}, sizing_mode="fixed", width=760, height=24
        )
        self.card = html(margin=(6, 0))
        self.link = pmui.Button(label="Copy link to this view", icon="link", variant="outlined", margin=(6, 0), **WIDE)
        self.link.js_on_click(code="navigator.clipboard && navigator.clipboard.writeText(window.location.href)")
        tabs, below = self.build()
        self._below = pn.Column(*below, sizing_mode="stretch_width", margin=0)
        self.side = pn.Column(
            self.choice, self.own, self.alert, self.card, self._below, sizing_mode="stretch_width", margin=(0, 6)
        )
        self.tabs = pmui.Tabs(*tabs, active=self.tab, sizing_mode="stretch_width", margin=0)
        self._empty = explain(*self.EMPTY, height=420)
        self._show(False)
        self.choice.param.watch(lambda e: e.new and e.new != self.scene and self.open(e.new), "value")
        self.opener.on_click(lambda _: self.open_named())
        self.tabs.param.watch(lambda e: self.param.update(tab=e.new), "active")

    def fields(self) -> list[Any]:
        """The fields in which a visitor names files of his own."""
        return [self.path, self.truth_path, self.key_text]

    def _show(self, there: bool) -> None:
        """Show the tabs, or, while no scene is open, what to do about it."""
        self.tabs.visible = self._below.visible = there
        self._empty.visible = not there

    def panel(self) -> pn.viewable.Viewable:
        """Everything in one row, for a notebook cell."""
        return pn.Row(pn.Column(self.side, width=310), self._empty, self.tabs, sizing_mode="stretch_width")

    def page(self) -> pmui.Page:
        """The whole page, with title bar, side bar and light and dark mode, for `panel serve`."""
        self._page = pmui.Page(
            title=self.TITLE,
            header=[self.banner],
            sidebar=[self.side],
            main=[self._empty, self.tabs],
            sidebar_width=320,
            sidebar_variant="persistent",
            theme_config=THEME,
        )
        return self._page

    def __panel__(self) -> pn.viewable.Viewable:
        return self.panel()

    # --- opening ----------------------------------------------------------------------------------------------------

    def open_named(self) -> None:
        """Open what the fields of the side bar name."""
        self.open(self.path.value.strip(), self.truth_path.value.strip(), self.key_text.value)

    def open(self, ref: str, truth: str = "", keys: str = "", *, first: bool = False, **more: Any) -> None:
        """Open a catalogue name or a path. An error is shown on the page, and what was shown before stays.

        more: those of MORE that do not have their defaults.
        """
        self.complain("")
        self.asked += 1
        try:
            if not ref:
                raise InputError(self.UNNAMED)
            named = pairs(keys)
        except InputError as error:
            self.complain(str(error))
            return
        more = {n: more.get(n, self.param[n].default) for n in self.MORE}
        source = Source.from_parameters({"scene": ref, "truth": truth, "keys": named, **more})
        key = (source, stamp(*source.files()))
        self.tabs.loading = True
        asked = self.asked

        def here(future: Future) -> None:
            if asked == self.asked:
                self._given = None
                self._arrived(future, ref, truth, keys, key, first, more)

        self.when(self.SCENES.ask(key, lambda: self._opened(source)), here)

    def keep_uploads(self, upload: pmui.FileInput) -> list[Path]:
        """Files that were handed over, kept beside the runs, because a run that is launched has to find them; none if that fails."""
        blobs, called = upload.value, upload.filename
        if not blobs or not called:
            return []
        blobs, called = ([blobs], [called]) if isinstance(blobs, bytes) else (blobs, called)
        folder = self.root / "uploads" / hashlib.sha256(b"".join(blobs)).hexdigest()[:12]
        paths = [folder / Path(n).name for n in called]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path, blob in zip(paths, blobs, strict=True):
                path.write_bytes(blob)
        except OSError as error:
            self.complain(f"The upload cannot be kept in {folder}: {error.strerror}. Give the path of the file instead.")
            return []
        return paths

    @classmethod
    def _accepted(cls, data: xr.Dataset) -> Future:
        """A done future of a scene that was given in memory, or of why the page cannot show it."""
        future: Future = Future()
        try:
            cls.checked(data)
            future.set_result(data)
        except InputError as error:
            future.set_exception(error)
        return future

    @classmethod
    def _opened(cls, source: Source) -> xr.Dataset:
        """The scene of a source, in memory where it fits."""
        data = source.open()
        cls.checked(data)
        if data.nbytes <= IN_MEMORY:
            return data.load()
        return source.open(chunks=None) if cls.LOOKS else data

    def _arrived(
        self,
        future: Future,
        ref: str = "",
        truth: str = "",
        keys: str = "",
        key: Any = None,
        first: bool = False,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self.tabs.loading = False
        try:
            data = future.result()
        except InputError as error:
            self.complain(str(error))
            self.choice.value = self.scene if self.scene in self.choice.options.values() else ""
            return
        with pn.io.hold():
            self.data, self._mark = data, ""
            self.key = key or ("given", self.mark if data.nbytes <= IN_MEMORY else id(data))
            self.param.update(scene=ref, truth=truth, keys=keys, **(more or {}))
            self._show(True)
            self.choice.value = ref if ref in self.choice.options.values() else ""
            self.card.object = self.describe(data)
            self.banner.object = say(str(data.attrs.get("title") or self.called)) + (
                "&ensp;" + badge("SIMULATED", "#F2B233") if data.attrs.get("simulated") else ""
            )
            self.arrived(first)

    def complain(self, message: str) -> None:
        """Say what is wrong, below the fields that open scenes; an empty message takes the last one away."""
        self.alert.object, self.alert.visible = problem(message), bool(message)

    @property
    def called(self) -> str:
        """A short name of the scene."""
        attrs = self.data.attrs if self.data is not None else {}
        return str(attrs.get("id") or Path(self.scene).stem or "scene")

    @property
    def mark(self) -> str:
        """Fingerprint of the scene, made when it is first wanted."""
        if not self._mark and self.data is not None:
            self._mark = fingerprint(self.data)
        return self._mark

    @property
    def named(self) -> Source:
        """The scene as the address names it; one that was given in memory by its short name."""
        given = {"truth": self.truth, "keys": pairs(self.keys), **{n: getattr(self, n) for n in self.MORE}}
        return Source.from_parameters({**given, "scene": self.scene or self.called})

    @property
    def source(self) -> Source:
        """How a launched process opens the scene: as the page did, or from a NetCDF file made of a scene given in memory.

        Raises InputError for chips held in memory, which no file holds.
        """
        if self._given is None:
            return self.named
        if self._given.attrs.get("file"):
            return Source(str(self._given.attrs["file"]))
        if "sample" in self._given.dims:
            raise InputError("Chips held in memory cannot be given to a process of its own; open them by name or path.")
        path = self.root / "scenes" / f"{self.mark[:16]}.nc"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(self._given.to_netcdf(engine="h5netcdf")))
        return Source(str(path))

    # --- time -------------------------------------------------------------------------------------------------------

    def poll(self) -> None:
        """Take in what the runs have added; a timer calls it four times a second while something goes on."""
        with pn.io.hold():
            going = self.take_in()
        if not going and self.timer.running:
            self.timer.stop()

    def tick(self) -> None:
        """Have `poll` called from now on, where there is somebody to call it."""
        if not self.timer.running and not self._closed and has_loop():
            self.timer.start()

    def when(self, future: Future, then: Callable[[Future], None]) -> None:
        """Call `then(future)` when the future is done: at once where that can be, else under the document's lock.

        Not before the page has loaded: Panel loses some of what is changed while it does.
        """
        if future.done() or not self._served:
            then(future)
            return

        waiting = [(self, then)]  # emptied when called: a cached future would keep this session alive

        def later(done: Future) -> None:
            session, call = waiting.pop()
            if not session._closed:
                session._doc.add_next_tick_callback(lambda: pn.state.onload(lambda: call(done)))

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
        if self._page is not None:
            forget(self._page)


def forget(page: pmui.Page) -> None:
    """Have Panel's global state forget the page: it is linked to `state.busy`, and would be held for as long as the server."""
    for watcher in list(pn.state.param.watchers.get("busy", {}).get("value", [])):
        if getattr(getattr(watcher.fn, "__self__", None), "self", None) is page:
            pn.state.param.unwatch(watcher)


def pairs(text: str) -> dict[str, str]:
    """`"cube=data, truth=map"` -> `{"cube": "data", "truth": "map"}`."""
    found = {}
    for part in (p.strip() for p in text.split(",") if p.strip()):
        name, _, value = (p.strip() for p in part.partition("="))
        if not (name and value):
            raise InputError(f"Names inside the file are given as cube=NAME, truth=NAME; got {part!r}.")
        found[name] = value
    return found


def stamp(*paths: str) -> tuple[float, ...]:
    """When the files were changed last, so that an edited file is read anew."""
    return tuple(Path(p).stat().st_mtime if p and Path(p).exists() else 0.0 for p in paths)


def has_loop() -> bool:
    """Whether there is an event loop here that could run a timer."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

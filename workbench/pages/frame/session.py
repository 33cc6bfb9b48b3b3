"""Base of every page: opens a scene, stores its state in the address, lays out side bar and tabs, and closes the session.

Every visitor has a separate page object. Its state is a few parameters, stored in its address; everything else is derived from
them. Slow work is done by one worker thread (`cache.py`) or by a separate process (`runner.py`); callbacks run under the lock
of the page's document.
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
from workbench.data.catalog import entries, names
from workbench.data.roots import admit
from workbench.data.source import Source
from workbench.engines.trial import try_opening
from workbench.errors import InputError
from workbench.pages.frame.address import WIDE, Addressed
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.followed import CLOCK, Follower
from workbench.pages.frame.links import report_of, run_folder, ways
from workbench.pages.frame.notebook import in_cell
from workbench.pages.frame.policy import check_uploads, files_hidden, policy
from workbench.pages.frame.window import THEME, framed, tag_itself
from workbench.scene import Needs, fingerprint, fits, require
from workbench.views.card import badge, escape, explain, explanation, html, problem
from workbench.views.scene_card import scene_card
from workbench.views.screen import STRETCH, beside

OPENING = "The scene is read and checked. A run on this machine, or a large file, makes it take longer."
PAINT = 60  # ms for the browser to paint the first update before the next is sent
IN_MEMORY = 1 << 30  # bytes of the largest scene that is loaded into memory; larger ones are read lazily
FOLD = {"collapsed": True, "margin": (4, 0), "sizing_mode": "stretch_width"}
CUT_OFF = """
:host { overflow: hidden; white-space: nowrap; max-width: calc(100vw - 400px); }
div { overflow: hidden; text-overflow: ellipsis; }
"""


class Session(Addressed):
    """One visitor's page. `panel()` is for a notebook cell, `page()` for `panel serve`.

    A subclass defines the texts below, its tabs (`build`), the scenes that it can show (`needs`, `checked`), what it does with
    an opened scene (`arrived`), and the parts of it that follow runs (`followed`).

    scene: a catalogue name, a path, a `Source`, or an opened scene; None for the scene of the address, or the page's first choice.
    root: folder of the runs.
    """

    TITLE: ClassVar[str]
    WHAT: ClassVar[str] = "Scene"  # label of the list
    OWN: ClassVar[str] = "your own file"
    FILES: ClassVar[str] = ".mat, ENVI, GeoTIFF or NetCDF"
    UNNAMED: ClassVar[str]  # error, if no scene was given
    EMPTY: ClassVar[tuple[str, str]]  # title and text while no scene is open
    FIRST_SCENE: ClassVar[str] = ""  # opened if none is given; empty for the first of the list
    ADDRESS: ClassVar[tuple[str, ...]] = ("scene", "truth", "keys", "run", "tab")
    SCENES: ClassVar[SharedResults]
    LOOKS: ClassVar[bool] = False  # whether a large scene is opened without Dask, only for display
    MORE: ClassVar[tuple[str, ...]] = ()  # further parameters of the scene, with the names of `Source.from_parameters`

    scene = param.String("", doc="catalogue name or path")
    truth = param.String("", doc="file with the truth mask, if the scene's file has none")
    keys = param.String("", doc="cube=NAME, truth=NAME, if the file has several variables")
    run = param.String("", doc="folder name of the followed run")
    tab = param.Integer(0, bounds=(0, 2))

    def __init__(
        self, scene: str | Path | Source | xr.Dataset | None = None, *, root: str | Path = execution.RUNS, **params: Any
    ) -> None:
        super().__init__(**params)
        if isinstance(scene, Source):
            self._check_beside(scene)
        self.root = Path(root)
        self.data: xr.Dataset | None = None
        self.result: xr.Dataset | None = None  # of the followed run, when it has finished
        self.key: Any = None  # cache key of results of this scene
        self.asked = 0  # request counter: answers to older requests are dropped
        self._mark = ""
        self._given: xr.Dataset | None = None
        self._doc = pn.state.curdoc
        self._closed = False
        self._unseen: dict[tuple[str, str], Callable[[], None]] = {}  # drawings that wait until their tab is shown
        self.read_address()
        self._lay_out()
        self.param.watch(lambda _: self._draw_seen(), "tab")  # after a tab has been built
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
        """Raise InputError if the source has further files that this page cannot open, because it would ignore them."""
        refused = [role for role in source.beside if role not in self.MORE]
        if refused:
            raise InputError(
                f"This page cannot open {' and '.join(refused)} beside {source.scene}. Run the method on the scene from the "
                "command line (--beside) or in Python, and look at the run on the runs page."
            )

    # --- to be defined by subclasses --------------------------------------------------------------------------------

    @classmethod
    def needs(cls) -> Needs:
        """Names of variables that a scene must have to be shown."""
        raise NotImplementedError

    @classmethod
    def offers(cls, entry: Any) -> bool:
        """Whether an entry of the catalogue is listed: it must provide what the page needs."""
        return fits(cls.needs(), entry.provides)

    @classmethod
    def first_choice(cls) -> str:
        """The scene to open if none is given."""
        return cls.FIRST_SCENE or next((e.id for e in entries() if cls.offers(e)), "")

    @classmethod
    def checked(cls, data: xr.Dataset) -> None:
        """Raise InputError unless the page can show the scene. May read its pixels, so a server calls it in the worker thread."""
        require(data, *cls.needs(), who=f"the {cls.TITLE[0].lower()}{cls.TITLE[1:]}")

    def build(self) -> tuple[list[tuple[str, Any]], list[Any]]:
        """Tabs (name, content), and the widgets of the side bar below the card of the scene."""
        raise NotImplementedError

    def describe(self, data: xr.Dataset) -> str:
        """HTML card of a scene."""
        return scene_card(data)

    def arrived(self, first: bool) -> None:
        """Called when a scene has been opened as `self.data`. first: the state of the address belongs to this scene."""
        raise NotImplementedError

    def followed(self) -> list[Follower]:
        """The parts of the page that follow runs."""
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
        self.opening = html(margin=(6, 0), visible=False)
        self.banner = html(margin=(0, 24), styles={"font-size": "1rem", "color": "white"}, stylesheets=[CUT_OFF])
        self.ways = html(ways(), margin=(0, 0, 0, 24), sizing_mode=None)
        self.param.watch(self._link_report, "run")
        self.card = html(margin=(6, 0))
        self.link = self.copy_link()
        tabs, below = self.build()
        self.titles = [title for title, _ in tabs]
        self._below = pn.Column(*below, sizing_mode="stretch_width", margin=0)
        self.side = pn.Column(
            self.choice,
            self.own,
            self.opening,
            self.alert,
            self.card,
            self._below,
            sizing_mode="stretch_width",
            margin=(0, 6),
        )
        self.own.visible = not files_hidden()
        self.tabs = pmui.Tabs(*tabs, active=self.tab, sizing_mode="stretch_width", margin=0)
        tag_itself(self.tabs)
        self._empty = explain(*self.EMPTY, height=420)
        self._show(False)
        self.choice.param.watch(lambda e: e.new and e.new != self.scene and self.open(e.new), "value")
        self.opener.on_click(lambda _: self.open_named())
        self.tabs.param.watch(lambda e: self.param.update(tab=e.new), "active")

    def fields(self) -> list[Any]:
        """The input fields for the visitor's own files."""
        return [self.path, self.truth_path, self.key_text]

    def _show(self, opened: bool) -> None:
        """Show the tabs, or while no scene is open the text EMPTY."""
        self.tabs.visible = self._below.visible = opened
        self._empty.visible = not opened

    def announce(self, ref: str) -> None:
        """Say which scene is being opened, by its title in the list or its file name; an empty name ends that."""
        titles = {name: title for title, name in self.choice.options.items() if name}
        name = titles.get(ref, Path(ref).name)
        self.tabs.loading = self.opening.visible = bool(ref)
        self.opening.object = f"Opening <b>{escape(name)}</b> …" if ref else ""
        self._empty.object = explanation(f"Opening {name} …", OPENING) if ref else explanation(*self.EMPTY)

    def panel(self) -> pn.viewable.Viewable:
        """Side bar and tabs in one row, for a notebook cell."""
        main = pn.Column(self._empty, self.tabs, **STRETCH)
        return in_cell(beside(pn.Column(self.side, margin=0), main, least=(310, 560)), theme=THEME)

    def page(self) -> pmui.Page:
        """The whole page, with title bar, side bar and light and dark mode, for `panel serve`."""
        return framed(self.TITLE, self.side, self._empty, self.tabs, header=[self.ways, self.banner])

    def __panel__(self) -> pn.viewable.Viewable:
        return self.panel()

    # --- opening ----------------------------------------------------------------------------------------------------

    def open_named(self) -> None:
        """Open the files named in the fields of the side bar."""
        self.open(self.path.value.strip(), self.truth_path.value.strip(), self.key_text.value)

    def open(self, ref: str, truth: str = "", keys: str = "", *, first: bool = False, **more: Any) -> None:
        """Open a catalogue name or a path. After an error, the page shows its message and keeps the previous scene.

        more: parameters of MORE that differ from their defaults.
        """
        self.complain("")
        self.asked += 1
        try:
            if not ref:
                raise InputError(self.UNNAMED)
            more = {n: more.get(n, self.param[n].default) for n in self.MORE}
            source = Source.from_parameters({"scene": ref, "truth": truth, "keys": pairs(keys), **more})
            for path in source.files() if ref not in names() else source.files()[1:]:
                admit(path)
        except InputError as error:
            self.complain(str(error))
            return
        key = (source, stamp(*source.files()))
        self.announce(ref)
        asked = self.asked

        def here(future: Future) -> None:
            if asked == self.asked:
                self._given = None
                self._arrived(future, ref, truth, keys, key, first, more)

        trial = None
        if policy() is not None and (ref not in names() or source.files()[1:]):  # a visitor's file
            trial = lambda: try_opening(source)  # noqa: E731
        self.when(self.SCENES.ask(key, lambda: self._opened(source), trial), here)

    def keep_uploads(self, upload: pmui.FileInput) -> list[Path]:
        """Write uploaded files beside the runs, where a launched run can read them; returns their paths, empty after an error."""
        blobs, called = upload.value, upload.filename
        if not blobs or not called:
            return []
        blobs, called = ([blobs], [called]) if isinstance(blobs, bytes) else (blobs, called)
        try:
            if len(called) != len(blobs):  # as no browser sends it
                raise InputError("The upload has not one name for each file; upload the files again.")
            check_uploads(self.root / "uploads", {Path(n).name: len(b) for n, b in zip(called, blobs, strict=True)})
        except InputError as error:
            self.complain(str(error))
            return []
        folder = self.root / "uploads" / hashlib.sha256(b"".join(blobs)).hexdigest()[:12]
        paths = [folder / Path(n).name for n in called]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path, blob in zip(paths, blobs, strict=True):
                path.write_bytes(blob)
        except OSError as error:
            self.complain(f"The upload cannot be written to {folder}: {error.strerror}. Give the path of the file instead.")
            return []
        return paths

    @classmethod
    def _accepted(cls, data: xr.Dataset) -> Future:
        """A done future with a scene given in memory, or with the InputError if the page cannot show it."""
        future: Future = Future()
        try:
            cls.checked(data)
            future.set_result(data)
        except InputError as error:
            future.set_exception(error)
        return future

    @classmethod
    def _opened(cls, source: Source) -> xr.Dataset:
        """The scene of a source, loaded into memory if it fits."""
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
        try:
            data = future.result()
        except InputError as error:
            self.announce("")
            self.complain(str(error))
            self.choice.value = self.scene if self.scene in self.choice.options.values() else ""
            return
        with pn.io.hold():
            self.data, self._mark = data, ""
            self.key = key or ("given", self.mark if data.nbytes <= IN_MEMORY else id(data))
            self.param.update(scene=ref, truth=truth, keys=keys, **(more or {}))
            self.tell_address()
            self._show(True)
            self.choice.value = ref if ref in self.choice.options.values() else ""
            self.card.object = self.describe(data)
            mark = badge("SIMULATED", "#F2B233") + "&ensp;" if data.attrs.get("simulated") else ""
            self.banner.object = mark + escape(str(data.attrs.get("title") or self.called))  # a narrow window cuts the end
            self.arrived(first)
            self.announce("")  # last: a browser that is slow to draw the tabs would read that nothing is open

    def _link_report(self, _: Any) -> None:
        """Link the report to which the followed run belongs, in the title bar."""
        self.ways.object = ways(report_of(run_folder(self.root, self.run), self.root) if self.run else "")

    def complain(self, message: str) -> None:
        """Show an error below the fields that open scenes; an empty message hides it."""
        self.alert.object, self.alert.visible = problem(message), bool(message)

    @property
    def called(self) -> str:
        """A short name of the scene."""
        attrs = self.data.attrs if self.data is not None else {}
        return str(attrs.get("id") or Path(self.scene).stem or "scene")

    @property
    def mark(self) -> str:
        """Fingerprint of the scene, computed at first use."""
        if not self._mark and self.data is not None:
            self._mark = fingerprint(self.data)
        return self._mark

    @property
    def named(self) -> Source:
        """The scene as named in the address; a scene given in memory has its short name."""
        given = {"truth": self.truth, "keys": pairs(self.keys), **{n: getattr(self, n) for n in self.MORE}}
        return Source.from_parameters({**given, "scene": self.scene or self.called})

    @property
    def source(self) -> Source:
        """The source from which a launched process opens the scene; a scene given in memory is first written to a NetCDF file.

        Raises InputError for chips in memory, which cannot be written to a file.
        """
        if self._given is None:
            return self.named
        if self._given.attrs.get("file"):
            return Source(str(self._given.attrs["file"]))
        if "sample" in self._given.dims:
            raise InputError("Chips in memory cannot be given to a separate process; open them by name or path.")
        path = self.root / "scenes" / f"{self.mark[:16]}.nc"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(self._given.to_netcdf(engine="h5netcdf")))
        return Source(str(path))

    def _no_address(self) -> str:
        return "" if self._given is None else "The scene is in memory. Save it as a file and open that: no address has it."

    # --- runs -------------------------------------------------------------------------------------------------------

    def when_seen(self, tab: str, draw: Callable[[], None], what: str = "") -> None:
        """Call `draw` at once if the tab of this title is shown; else when it is, or when the followed run has ended.

        So a run that goes on costs neither server nor browser anything for tabs that nobody sees. A later call with the same tab and
        `what` replaces one that waits: `draw` has to draw all that is new.
        """
        if tab not in self.titles or self.titles.index(tab) == self.tab:
            self._unseen.pop((tab, what), None)
            draw()
        else:
            self._unseen[tab, what] = draw

    def draw_unseen(self) -> None:
        """Draw what waits, in all tabs."""
        while self._unseen:
            self._unseen.pop(next(iter(self._unseen)))()

    def forget_unseen(self) -> None:
        """Draw nothing that waits: another run is followed, or none."""
        self._unseen = {}

    def _draw_seen(self) -> None:
        shown = self.titles[self.tab]
        with pn.io.hold():
            for key in [key for key in self._unseen if key[0] == shown]:
                self._unseen.pop(key)()

    def take_in(self) -> bool:
        """Draw what is new of the runs; True while one is running."""
        active = [run.poll() for run in self.followed()]  # a list, because every run must be polled
        return any(active)

    def news(self) -> bool:
        """Whether `take_in` would draw something; asks no more than the readers that all pages share."""
        return any(run.news() for run in self.followed())

    def poll(self) -> bool:
        """Draw what is new of the runs; True while one is running. `CLOCK` calls it when there are news."""
        with pn.io.hold():
            return self.take_in()

    def tick(self) -> None:
        """Let the clock of the process call `poll`, if there is an event loop; on a served page once it has loaded (see `when`)."""
        if self._served:
            pn.state.onload(self._follow)
        else:
            self._follow()

    def _follow(self) -> None:
        if not self._closed and has_loop():
            CLOCK.add(self, self._doc if self._served else None)

    def when(self, future: Future, then: Callable[[Future], None]) -> None:
        """Call `then(future)` when the future is done: immediately if possible, else under the document's lock.

        Waits until the page has loaded: Panel drops what is changed in a `hold` after the browser has fetched the document and
        before it has drawn it, which takes seconds on a busy machine.
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
        """Call `then` after PAINT ms, when the browser has painted earlier updates; immediately without a server."""
        if not self._served:
            then()
        elif not self._closed:
            self._doc.add_timeout_callback(lambda: None if self._closed else pn.state.onload(then), PAINT)

    @property
    def _served(self) -> bool:
        return bool(self._doc and self._doc.session_context)

    def close(self) -> None:
        """Follow no run any more; launched runs continue."""
        self._closed = True
        self.asked += 1
        CLOCK.remove(self)


class PairSession(Session):
    """A page whose scene may be given as two files, one for each date."""

    MORE = ("after", "resample")

    after = param.String("", doc="path of the second date's image, if `scene` is the first date's")
    resample = param.Boolean(False, doc="resample the second date to the grid of the first")

    def fields(self) -> list[Any]:
        """The fields of every page, the path of the second date, and whether it is resampled."""
        self.after_path = pmui.TextInput(label="Path of the second date (pairs only)", margin=(8, 0, 4, 0), **WIDE)
        self.resampling = pmui.Switch(label="Resample the second onto the first", value=False, size="small", margin=(4, 0))
        return [*super().fields(), self.after_path, self.resampling]

    def open_named(self) -> None:
        """Open the files named in the fields of the side bar."""
        named = self.path.value.strip(), self.truth_path.value.strip(), self.key_text.value
        self.open(*named, after=self.after_path.value.strip(), resample=self.resampling.value)


def pairs(text: str) -> dict[str, str]:
    """`"cube=data, truth=map"` -> `{"cube": "data", "truth": "map"}`."""
    named = {}
    for part in (p.strip() for p in text.split(",") if p.strip()):
        name, _, value = (p.strip() for p in part.partition("="))
        if not (name and value):
            raise InputError(f"Names inside the file are given as cube=NAME, truth=NAME; got {part!r}.")
        named[name] = value
    return named


def stamp(*paths: str) -> tuple[float, ...]:
    """Modification times in seconds, 0 for a missing file; part of the cache key, so that an edited file is read again."""
    times = []
    for path in paths:
        try:
            times.append(Path(path).stat().st_mtime)
        except (OSError, ValueError):  # also a name that is too long, or that has a null character
            times.append(0.0)
    return tuple(times)


def has_loop() -> bool:
    """Whether this thread has a running event loop for a timer."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

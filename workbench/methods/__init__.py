"""The table of methods. A room is imported only when it is asked for.

A room declares: `Config`, a model of its settings; `NEEDS`, the scene variables it uses; `run(scene, config)`, a trace;
`SMOKE`, settings that make it quick; `HEADLINE`, the metrics that lists show first; and `SHOWS`, how a run is drawn (see
`workbench.event`). With that it is listed, run, resumed, swept, drawn while it runs, replayed and reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from workbench.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import xarray as xr

    from workbench.config import Settings
    from workbench.event import Shows, Trace

# name -> module, or module:attribute where several rooms share a module
METHODS: dict[str, str] = {
    "rx": "workbench.methods.rx:rx",
    "ridge-rx": "workbench.methods.rx:ridge_rx",
    "pca-rx": "workbench.methods.rx:pca_rx",
    "rp-rx": "workbench.methods.rx:rp_rx",
    "local-rx": "workbench.methods.rx:local_rx",
    "bsdm": "workbench.methods.bsdm",
    "tdds": "workbench.methods.tdds",
    "rsdgc": "workbench.methods.rsdgc",
    "arcdnet": "workbench.methods.arcdnet",
}


class Room(Protocol):
    """What a method declares; a module is one as well as an object.

    run: `(scene, config) -> trace`; a room that can be resumed also takes `state=`, what an event's `state()` gave.
    SMOKE: settings with which every event and every variable of the result comes within seconds; used by the contract test,
    by smoke reports, and to see whether a scene can be used at all. HEADLINE: metrics, the most important first.

    A room with a notebook of its own also has `NOTEBOOK`, its stem in notebooks/; others are reported by `method.ipynb`.
    """

    @property
    def Config(self) -> type[Settings]: ...
    @property
    def NEEDS(self) -> tuple[str | tuple[str, ...], ...]: ...
    @property
    def SMOKE(self) -> Mapping[str, Any]: ...
    @property
    def HEADLINE(self) -> tuple[str, ...]: ...
    @property
    def SHOWS(self) -> tuple[Shows, ...]: ...
    @property
    def run(self) -> _Run: ...


class _Run(Protocol):
    def __call__(self, scene: xr.Dataset, config: Any, /) -> Trace: ...


def load(name: str) -> Any:
    """The room called `name` (see `Room`). Raises InputError, with a did-you-mean, for a name that is not in the table."""
    if name not in METHODS:
        raise InputError(
            f"There is no method {name!r}; the methods are {', '.join(METHODS)}.{did_you_mean(str(name), METHODS)}"
        )
    module, _, attribute = METHODS[name].partition(":")
    found = import_module(module)
    return getattr(found, attribute) if attribute else found


def summary(name: str) -> str:
    """What the method does, in one line: the first of its room's docstring."""
    return (load(name).__doc__ or "").strip().partition("\n")[0]


def notebook(name: str) -> str:
    """Stem of the notebook that reports the method: its own, or the one that reports any."""
    return getattr(load(name), "NOTEBOOK", "method")


def undeclared(room: Any) -> list[str]:
    """What a room lacks or declares wrongly, one sentence each; empty when it is complete.

    What `SHOWS` names is compared with a run by `workbench.event.never_yielded`.
    """
    from workbench.config import Settings, override
    from workbench.event import Bars, Boxes, Curves, Film, Map, Matrix
    from workbench.scene import VOCABULARY

    missing = [n for n in ("Config", "NEEDS", "run", "SMOKE", "HEADLINE", "SHOWS") if not hasattr(room, n)]
    if missing:
        return [f"it has no {name}; see docs/add_a_method.md" for name in missing]
    wrong = []
    if not (isinstance(room.Config, type) and issubclass(room.Config, Settings)):
        return [f"Config is {room.Config!r}; it must be a subclass of workbench.config.Settings"]
    for name, field in room.Config.model_fields.items():
        if field.is_required() or not field.description:
            wrong.append(f"the setting {name!r} needs a default and a description")
    unknown = [n for need in room.NEEDS for n in ((need,) if isinstance(need, str) else need) if n not in VOCABULARY]
    if unknown or not room.NEEDS:
        wrong.append(f"NEEDS names {unknown or 'nothing'}; a scene has {', '.join(VOCABULARY)}")
    try:
        override(room.Config(), room.SMOKE)
    except InputError as error:
        wrong.append(f"SMOKE: {error}")
    if not isinstance(room.HEADLINE, tuple) or not room.HEADLINE:
        wrong.append(f"HEADLINE is {room.HEADLINE!r}; it must be a tuple of names of metrics")
    kinds = (Curves, Film, Map, Boxes, Bars, Matrix)
    wrong += [
        f"SHOWS holds {show!r}; it must be one of {', '.join(k.__name__ for k in kinds)} of workbench.event"
        for show in room.SHOWS
        if not isinstance(show, kinds)
    ]
    return wrong

"""The table of methods. A room is imported only when it is asked for.

A room shows three things: `Config`, a model of its settings; `NEEDS`, the scene variables it uses; and
`run(scene, config)`, a trace. Everything else in it is its own affair.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from workbench.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import xarray as xr

    from workbench.config import Settings
    from workbench.event import Trace

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
    """What a method shows; a module is one as well as an object.

    run: `(scene, config) -> trace`; a room that can be resumed also takes `state=`, what an event's `state()` gave.
    """

    @property
    def Config(self) -> type[Settings]: ...
    @property
    def NEEDS(self) -> tuple[str | tuple[str, ...], ...]: ...
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

"""The table of methods. A room is imported only when it is asked for.

A room shows three things: `Config`, a model of its settings; `NEEDS`, the scene variables it uses; and
`run(scene, config)`, a trace. Everything else in it is its own affair.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from workbench.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import xarray as xr

    from workbench.config import Settings
    from workbench.event import Trace

# name -> (module, or module:attribute where several rooms share a module; what the method does, in one line)
METHODS: dict[str, tuple[str, str]] = {
    "rx": ("workbench.methods.rx:rx", "Global RX: squared Mahalanobis distance from the mean of the scene."),
    "ridge-rx": (
        "workbench.methods.rx:ridge_rx",
        "RX with regularised covariance: every principal variance raised by a fraction of the largest.",
    ),
    "pca-rx": ("workbench.methods.rx:pca_rx", "RX on the leading principal components."),
    "rp-rx": ("workbench.methods.rx:rp_rx", "RX on a few random linear combinations of the bands."),
    "local-rx": (
        "workbench.methods.rx:local_rx",
        "Dual-window local RX: mean and covariance of a ring around each pixel.",
    ),
    "bsdm": ("workbench.methods.bsdm", "BSDM: suppress the background of a hyperspectral cube with a diffusion model."),
    "tdds": (
        "workbench.methods.tdds",
        "TDDS: train once, see how much every sample moves the training, keep those that matter.",
    ),
    "rsdgc": (
        "workbench.methods.rsdgc",
        "RS-DGC: train on several workers while each sends only the gradient entries that matter, and see which they are.",
    ),
    "arcdnet": (
        "workbench.methods.arcdnet",
        "AR-CDNet: a map of what changed between two dates, and of how far each of its pixels may be wrong.",
    ),
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


def check_name(name: str) -> None:
    """Raise InputError, with a did-you-mean, for a name that is not in the table."""
    if name not in METHODS:
        raise InputError(
            f"There is no method {name!r}; the methods are {', '.join(METHODS)}.{did_you_mean(str(name), METHODS)}"
        )


def load(name: str) -> Any:
    """The room called `name` (see `Room`). Raises InputError, with a did-you-mean, for a name that is not in the table."""
    check_name(name)
    module, _, attribute = METHODS[name][0].partition(":")
    found = import_module(module)
    return getattr(found, attribute) if attribute else found


def lazily(package: str, *modules: str) -> Callable[[str], Any]:
    """`__getattr__` of a room that is a folder: a name of its `__all__` comes from the first of `modules` that has it.

    So the settings of a room are known without what it computes with, such as torch.
    """

    def find(name: str) -> Any:
        room = sys.modules[package]
        for module in modules if name in room.__all__ else ():
            part = import_module(f"{package}.{module}")
            if hasattr(part, name):
                setattr(room, name, getattr(part, name))
                return getattr(part, name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find


def summary(name: str) -> str:
    """What the method does, in one line. Imports no room."""
    check_name(name)
    return METHODS[name][1]

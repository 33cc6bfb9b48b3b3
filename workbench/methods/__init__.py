"""The table of methods. A room (the module of a method) is imported only when it is loaded.

A room declares: `Config`, a model of its settings; `NEEDS`, the scene variables it uses; `run(scene, config)`, a trace;
`SMOKE`, settings that make it quick; `HEADLINE`, the metrics that lists show first; and `SHOWS`, how a run is drawn (see
`workbench.event`). With these it can be listed, run, resumed, swept, drawn while it runs, replayed and reported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, get_args

from workbench.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import xarray as xr

    from workbench.config import Settings
    from workbench.event import Shows, Trace

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
    "crd": (
        "workbench.methods.rx:crd_room",
        "CRD: how badly the ring around each pixel predicts it, by collaborative representation.",
    ),
    "kifd": (
        "workbench.methods.rx:kernel_forest_room",
        "Kernel isolation forest: how soon random cuts in a kernel space isolate each pixel.",
    ),
    "auto-ad": (
        "workbench.methods.autoad",
        "Autoencoder of the Auto-AD kind: what a network trained on the scene alone reproduces badly.",
    ),
    "bsdm": ("workbench.methods.bsdm", "BSDM: suppress the background of a hyperspectral cube with a diffusion model."),
    "tdds": (
        "workbench.methods.tdds",
        "TDDS: train once, score how much every sample changes the training, keep the important ones.",
    ),
    "rsdgc": (
        "workbench.methods.rsdgc",
        "RS-DGC: train on several workers that send only the important gradient entries, and show which these are.",
    ),
    "arcdnet": (
        "workbench.methods.arcdnet",
        "AR-CDNet: a change map of two dates, and the uncertainty of each pixel.",
    ),
    "sarnet": (
        "workbench.methods.sarnet",
        "SAR-Net: ships and aircraft in SAR images, found with global context of all scales and attention in two directions.",
    ),
    "ghost": (
        "workbench.methods.ghost",
        "GHOST: a detector that teaches its own quantised copy; each layer's bits follow from its weights.",
    ),
    "mdfl": (
        "workbench.methods.mdfl",
        "MDFL: land cover of several sensors, from raw values and from what a diffusion model sees in them at several noise levels.",
    ),
    "feddiff": (
        "workbench.methods.feddiff",
        "FedDiff: two owners with a sensor each get land cover from both, by exchanging diffusion features instead of pixels.",
    ),
    "fedfusion": (
        "workbench.methods.fedfusion",
        "FedFusion: sensors of several owners, fused by features in low rank; shared layers are averaged, the pixels stay at home.",
    ),
    "picpq": (
        "workbench.methods.picpq",
        "PIC-PQ: prune the filters of a classifier and give each layer its bits, by one ranking of all filters.",
    ),
}


class Room(Protocol):
    """What a method declares; a room is a module or an object.

    run: `(scene, config) -> trace`; a room that can be resumed also takes `state=`, the result of an event's
    `state()`. SMOKE: settings with which a run gives every event and every variable of the result within seconds; used by
    the contract test, by smoke reports, and to check whether a scene can be used. HEADLINE: metrics, the most important first.

    A room with its own notebook also has `NOTEBOOK`, its stem in notebooks/; `method.ipynb` reports the others. A room with its own
    page also has `PAGE`, its stem in dashboards/ with what else the address needs to show a run (`anomaly?tab=2`); the page
    `watch` shows the others. A room whose trained network can run elsewhere also has `exportable(folder)`, which gives a
    `workbench.parts.export.Exportable` of a finished run.
    """

    @property
    def Config(self) -> type[Settings]:
        """The class of the settings."""

    @property
    def NEEDS(self) -> tuple[str | tuple[str, ...], ...]:
        """The scene variables the method uses; a tuple inside it names alternatives."""

    @property
    def SMOKE(self) -> Mapping[str, Any]:
        """Settings of a quick run, by name."""

    @property
    def HEADLINE(self) -> tuple[str, ...]:
        """Names of metrics, the most important first."""

    @property
    def SHOWS(self) -> tuple[Shows, ...]:
        """How a run is drawn."""

    @property
    def run(self) -> _Run:
        """The function `(scene, config) -> trace`."""


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
    room = import_module(module)
    return getattr(room, attribute) if attribute else room


def lazily(package: str, *modules: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a room that is a folder: a name of its `__all__` is imported when it is first used, from the
    first of `modules` that has it.

    So the settings of a room can be imported without torch and the other libraries that it computes with. The room imports
    the same names `if TYPE_CHECKING`, and calls this in the `else`: with a `__getattr__`, mypy would accept any name.
    """

    def find(name: str) -> Any:
        room = sys.modules[package]
        for module in modules if name in room.__all__ else ():
            part = import_module(f"{package}.{module}")
            if hasattr(part, name):
                setattr(room, name, getattr(part, name))
                return getattr(part, name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        room = sys.modules[package]
        return sorted({*vars(room), *room.__all__})

    return find, names


def summary(name: str) -> str:
    """One-line description of the method. Imports no room."""
    check_name(name)
    return METHODS[name][1]


def notebook(name: str) -> str:
    """Stem of the notebook that reports the method: its own, or the general one."""
    return getattr(load(name), "NOTEBOOK", "method")


def page(name: str) -> str:
    """Address of the page that shows a run of the method, without scene and run: its own page, or `watch?method=NAME`."""
    return getattr(load(name), "PAGE", f"watch?method={name}")


def undeclared(room: Any) -> list[str]:
    """Missing and wrong declarations of a room, one sentence each; empty when it is complete.

    `workbench.event.never_yielded` compares the names in `SHOWS` with a run.
    """
    from workbench.config import Settings, override
    from workbench.event import Shows
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
    wrong += [
        f"SHOWS holds {show!r}; it must be one of {', '.join(k.__name__ for k in get_args(Shows))} of workbench.event"
        for show in room.SHOWS
        if not isinstance(show, Shows)
    ]
    return wrong

"""A finished run, looked at from inside: an image at any noise level, what the network makes of it, and the spectrum of one pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.config import override
from workbench.data.sensor_patches import CENTRE, SIDE, Patches, patches_of
from workbench.errors import InputError
from workbench.methods.mdfl.arms import OWN, denoiser_of
from workbench.methods.mdfl.blocks import by_network
from workbench.methods.mdfl.settings import Config
from workbench.parts.bank_training import Classifier, Denoiser
from workbench.parts.denoised import cleaned, tiled
from workbench.parts.frequency import log_spectrum, without_annulus
from workbench.runs import read, weights

LOOKED = 48  # rows and columns that are classified at once
MOST = 128  # rows and columns that are denoised at once


@dataclass(frozen=True)
class Trained:
    """The diffusion networks of a run, the patches of its scene, and the weights of its classifier."""

    patches: Patches
    denoiser: Denoiser
    head: Mapping[str, Tensor]

    @cached_property
    def classifier(self) -> Classifier:
        """MDFL's classifier with its trained weights."""
        made = Classifier(self.patches, self.denoiser.config, self.denoiser.bank(self.patches.place[self.patches.train]))
        made.network.load_state_dict(self.head)
        made.network.eval()
        return made

    @property
    def group(self) -> str:
        """Name of the network that sees the first sensor."""
        return next(iter(self.denoiser.groups))


def load_networks(folder: str | Path, scene: xr.Dataset) -> Trained:
    """The diffusion networks of a finished run on its scene.

    Raises InputError for a run of another method, for a folder without weights, and for the weights of other settings.
    """
    about = read(folder)
    if about["method"] != "mdfl":
        raise InputError(f"{folder} is a run of {about['method']}, not of mdfl.")
    config = override(Config(), about["config"])
    patches = patches_of(scene, config, who="mdfl")
    denoiser = denoiser_of(OWN, patches, config)
    saved = weights(folder)
    for name, network in denoiser.networks.items():
        try:
            network.load_state_dict(saved[f"{OWN}-{name}"])
        except (KeyError, RuntimeError):
            raise InputError(
                f"{folder} does not hold the networks that its settings describe; has the run finished?"
            ) from None
        network.eval()
    return Trained(patches, denoiser, saved.get("reuse", {}))


def noise_view(trained: Trained, image: int, t: int, middle: tuple[int, int] | None = None) -> xr.Dataset:
    """`clean`, `noisy`, `denoised (channel, y, x)` of one image at time t, tile by tile of 8 x 8 pixels.

    image: its number. middle: row and column round which at most 128 x 128 pixels are taken; None: the middle of the image. Channels are
    those of the first network, scaled to about [-1, 1]: principal components of a cube. `denoised` is the estimate of the clean image
    from one look at the noisy one, (x_t - sqrt(1 - abar) eps) / sqrt(abar). The noise is that of the bank, of the pixel in the middle of
    each tile. Attributes: `row` and `column` of the first pixel, `signal`, sqrt(abar), and `sensor`, whose channels come first.

    Raises InputError for a time or an image that does not exist, and for an image smaller than a tile.
    """
    patches, (images, high, wide) = trained.patches, trained.patches.usable.shape
    _check_time(trained, t)
    if not 0 <= image < images:
        raise InputError(f"There is no image {image}; the scene has {images}, from 0.")
    if min(high, wide) < SIDE:
        raise InputError(f"The networks look at {SIDE} x {SIDE} pixels; this image has {high} x {wide}.")
    row, column = middle if middle is not None else (high // 2, wide // 2)
    rows, columns = (min(n, MOST) // SIDE for n in (high, wide))
    top, left = (
        int(np.clip(at - count * SIDE // 2, 0, n - count * SIDE))
        for at, count, n in ((row, rows, high), (column, columns, wide))
    )
    down, across = (a.ravel() * SIDE + CENTRE for a in np.indices((rows, columns)))
    place = np.column_stack([np.full(len(down), image), top + down, left + across])
    parts = _denoised(trained, place, [t])
    variables = {
        name: (("channel", "y", "x"), tiled(values[0], rows, columns).numpy())
        for name, values in zip(parts, parts.values(), strict=True)
    }
    signal = float(trained.denoiser.products[t]) ** 0.5
    return xr.Dataset(variables, attrs={"row": top, "column": left, "signal": signal, "sensor": patches.sensors[0]})


def spectra(trained: Trained, image: int, row: int, column: int, times: Sequence[int]) -> xr.Dataset:
    """`clean (band)`, `noisy`, `denoised (time, band)`: values of the first sensor of one pixel, from the channels of the network.

    `clean` holds what the channels keep of the spectrum. Attribute `sensor`: which one.

    Raises InputError for a time or a pixel that does not exist.
    """
    for t in times:
        _check_time(trained, t)
    shape = trained.patches.usable.shape
    if not all(0 <= at < n for at, n in zip((image, row, column), shape, strict=True)):
        raise InputError(f"There is no pixel {row}, {column} in image {image}; the scene has {' x '.join(map(str, shape))}.")
    sensor = trained.patches.sensors[0]
    scaler, channels = trained.patches.scalers[sensor], trained.patches.cubes[sensor].shape[1]
    parts = _denoised(trained, np.array([[image, row, column]]), times)
    own = {name: values[:, 0, :channels, CENTRE, CENTRE].numpy().T for name, values in parts.items()}
    made = {}
    for name, values in own.items():
        bands = np.full((len(times), len(scaler.good)), np.nan)
        bands[:, scaler.good] = scaler.back(values).T
        made[name] = (("time", "band"), bands)
    return xr.Dataset(
        {**made, "clean": ("band", made["clean"][1][0])}, coords={"time": list(times)}, attrs={"sensor": sensor}
    )


@torch.no_grad()
def frequency_view(
    trained: Trained, image: int, t: int, low: float, high: float, middle: tuple[int, int] | None = None
) -> xr.Dataset:
    """What the classes owe to a band of spatial frequencies, and what the first frequency parser does to the maps.

    image: its number. t: noise level of the spectra. low, high: radii of the annulus of frequencies that is removed from all channels,
    cycles per pixel. middle: row and column round which at most 48 x 48 pixels are taken; None: the middle of the image.

    Returns `labels`, `without (y, x)`: classes with all frequencies, and without the annulus, with the same noise; `before`, `after
    (fy, fx)`: log(1 + |FFT|) of the maps before and after the first parser, mean over channels and tiles, zero frequency in the middle.
    Attributes: `row`, `column` of the first pixel, and `changed`, the share of pixels with another class.

    Raises InputError for a time or an image that does not exist, and for an annulus without width.
    """
    patches, (images, tall, wide) = trained.patches, trained.patches.usable.shape
    _check_time(trained, t)
    if not 0 <= image < images:
        raise InputError(f"There is no image {image}; the scene has {images}, from 0.")
    if not 0 <= low < high:
        raise InputError(f"An annulus has an inner radius of at least 0 and a larger outer one; got {low:g} and {high:g}.")
    row, column = middle if middle is not None else (tall // 2, wide // 2)
    rows, columns = min(tall, LOOKED), min(wide, LOOKED)
    top, left = int(np.clip(row - rows // 2, 0, tall - rows)), int(np.clip(column - columns // 2, 0, wide - columns))
    cut = (slice(None), slice(top, top + rows + SIDE - 1), slice(left, left + columns + SIDE - 1))
    cubes = {name: np.ascontiguousarray(cube[image][cut]) for name, cube in patches.cubes.items()}
    bare = {name: without_annulus(torch.from_numpy(cube), low, high).numpy() for name, cube in cubes.items()}
    predict = by_network(patches, trained.denoiser, trained.classifier)
    labels, without = (predict(c, (top, left), (tall, wide)) for c in (cubes, bare))
    seen: list[Tensor] = []
    network = trained.denoiser.networks[trained.group]
    hook = network.parsers[0].register_forward_hook(lambda module, given, out: seen.extend((given[0], out)))
    down, across = (a.ravel() * SIDE + CENTRE for a in np.indices((max(rows // SIDE, 1), max(columns // SIDE, 1))))
    place = np.column_stack(
        [np.full(len(down), image), np.minimum(top + down, tall - 1), np.minimum(left + across, wide - 1)]
    )
    try:
        _denoised(trained, place, [t])
    finally:
        hook.remove()
    spectra_ = [log_spectrum(x).mean((0, 1)).cpu().numpy() for x in seen]
    return xr.Dataset(
        {
            "labels": (("y", "x"), labels),
            "without": (("y", "x"), without),
            "before": (("fy", "fx"), spectra_[0]),
            "after": (("fy", "fx"), spectra_[1]),
        },
        attrs={"row": top, "column": left, "changed": float((labels != without).mean())},
    )


def _denoised(trained: Trained, place: np.ndarray, times: Sequence[int]) -> dict[str, Tensor]:
    """`clean`, `noisy`, `denoised`: (times, n, channels, 8, 8) of the patches round these pixels."""
    learner, group = trained.denoiser, trained.group
    seen = [cleaned(learner, group, place, t, learner.seed_of(group)) for t in times]
    return {name: torch.stack([getattr(one, name) for one in seen]) for name in ("clean", "noisy", "denoised")}


def _check_time(trained: Trained, t: int) -> None:
    last = len(trained.denoiser.products) - 1
    if not 0 <= t <= last:
        raise InputError(f"There is no noise level t = {t}; they go from 0 to {last}.")

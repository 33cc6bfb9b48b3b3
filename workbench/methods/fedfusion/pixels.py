"""A scene as windows of 7 x 7 pixels of each sensor, split into training and test, and the clients' shares of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.data.patch_settings import SENSORS
from workbench.data.samples import Sampling, standardisation, take_samples
from workbench.data.sensor_patches import Patches, patches_of
from workbench.errors import InputError
from workbench.methods.fedfusion.settings import Config
from workbench.parts.cross_fusion import WINDOW
from workbench.parts.feature_exchange import Seen, on_one_map
from workbench.parts.federation import by_site, by_strips, dirichlet


@dataclass(frozen=True)
class Pixels(Seen):
    """Labelled pixels under a split.

    place: of chips the place in their file. test: positions of the test pixels. site (N,): name of the site of each pixel. spectra
    (N, values): for the leak meter. patches: of a scene with a map; None for chips.
    """

    test: np.ndarray
    site: np.ndarray
    spectra: np.ndarray
    split: str
    warning: str
    fingerprint: str
    patches: Patches | None

    @property
    def sensors(self) -> list[str]:
        """Names of the sensors; each has an owner."""
        return list(self.bands)

    def stacked(self, rows: np.ndarray, centre: bool) -> Tensor:
        """(n, channels of all sensors, 7, 7); centre: the pixel alone, (n, channels, 1, 1)."""
        x = torch.cat([self.take(rows, s) for s in self.sensors], 1)
        return x[:, :, WINDOW // 2 : WINDOW // 2 + 1, WINDOW // 2 : WINDOW // 2 + 1] if centre else x


def window_of(patches: Patches, place: np.ndarray, sensor: str) -> Tensor:
    """(n, channels, 7, 7): the windows around the pixels `place` (n, 3). A patch of 8 x 8 has one row and column more before them."""
    return patches.take(place, sensor)[:, :, 1:, 1:]


def pixels_of(scene: xr.Dataset, config: Config) -> Pixels:
    """The pixels of a scene with a map, or of chips of several sensors, under the split of the settings.

    Raises InputError for a scene of one sensor, for a label owner that is no sensor, and as `patches_of` and `take_samples` do.
    """
    present: list[str] = [*config.sensors] or [s for s in SENSORS if s in scene]
    if len(present) < 2:
        raise InputError(
            f"fedfusion joins sensors of several owners and needs two; this scene has {', '.join(present) or 'none'}. Give the other one "
            "with --beside, such as --beside lidar=height.tif."
        )
    if config.label_owner and config.label_owner not in present:
        raise InputError(
            f"label_owner is {config.label_owner!r}; it must be one of the sensors {', '.join(present)}, or empty."
        )
    if config.fusion == "concatenated" and len(present) != 2:
        raise InputError(f"fusion='concatenated' joins two sensors; these are {', '.join(present)}. Take 'additive'.")
    return _of_chips(scene, config, present) if "label" in scene else _of_map(scene, config)


def _of_map(scene: xr.Dataset, config: Config) -> Pixels:
    patches = patches_of(scene, config, "fedfusion")
    site = np.array(["scene"] * len(patches.label))
    if "sample" in scene["truth"].dims and "sample" in scene.coords:
        names = scene["site" if "site" in scene.coords else "sample"].values.astype(str)
        short = (
            names if "site" in scene.coords else np.array([n.rpartition("-")[0] or n for n in names])
        )  # "mlbs-12" is of mlbs
        site = short[patches.place[:, 0]]
    return Pixels(
        lambda rows, sensor: window_of(patches, patches.place[rows], sensor),
        {s: cube.shape[1] for s, cube in patches.cubes.items()},
        patches.label,
        patches.names,
        patches.train,
        patches.place,
        patches.test,
        site,
        patches.spectra,
        patches.split,
        patches.warning,
        patches.fingerprint,
        patches,
    )


def _of_chips(scene: xr.Dataset, config: Config, sensors: list[str]) -> Pixels:
    """Chips without a map. Spectra of one pixel are repeated over the window."""
    if config.split not in ("own", "class", "halves"):
        raise InputError(
            f"split={config.split!r} needs a map; split chips by 'halves' of the order in their file, or by 'class'."
        )
    own = config.split == "own" and "split" in scene.coords
    how = Sampling(
        tuple(sensors),
        split="own" if own else "class",
        test=config.test or None,
        share=config.test_share,
        seed=config.seed,
        classes="present",
        scaling="none",
    )
    samples = take_samples(scene, how, who="fedfusion")
    label, train, test = samples.label.numpy(), samples.train, samples.test
    warning = ""
    if config.test:
        split = "a list of test samples"
    elif config.split == "halves":
        train, test = by_order(label, bool(config.seed % 2))
        split = "halves of each class in the order of the file, which is that of the rows of the image"
    elif own:
        split = "the split of the scene"
    else:
        split = "random samples"
        warning = "RANDOM SAMPLES: neighbours of test pixels may be trained on, so accuracies may be too high."
    draw = np.random.default_rng(config.seed)
    mine = [train[label[train] == c] for c in range(samples.classes)]
    train = np.sort(np.concatenate([draw.permutation(m)[: config.per_class] for m in mine]))
    values = {}
    for sensor, x in samples.values.items():
        if x.shape[-2:] not in ((1, 1), (WINDOW, WINDOW)):
            raise InputError(
                f"fedfusion takes chips of 1 x 1 or {WINDOW} x {WINDOW} pixels; {sensor} has {x.shape[-2]} x {x.shape[-1]}."
            )
        values[sensor] = standardisation(x, train, "fedfusion")(x)

    def take(rows: np.ndarray, sensor: str) -> Tensor:
        return values[sensor][torch.from_numpy(np.asarray(rows))].expand(-1, -1, WINDOW, WINDOW)

    middle = [v[:, :, v.shape[2] // 2, v.shape[3] // 2] for v in values.values()]
    order = np.arange(len(label))
    return Pixels(
        take,
        {s: v.shape[1] for s, v in values.items()},
        label,
        samples.names,
        train,
        np.stack([np.zeros_like(order), order, np.zeros_like(order)], 1),
        test,
        np.array(["file"] * len(label)),
        torch.cat(middle, 1).numpy(),
        split,
        warning,
        samples.fingerprint,
        None,
    )


def by_order(label: np.ndarray, second: bool) -> tuple[np.ndarray, np.ndarray]:
    """(train, test) positions: of every class its first half is for training and its second half for testing; `second`: exchanged."""
    one, other = [], []
    for c in np.unique(label):
        mine = np.flatnonzero(label == c)
        one.append(mine[: len(mine) // 2])
        other.append(mine[len(mine) // 2 :])
    first, last = np.sort(np.concatenate(one)), np.sort(np.concatenate(other))
    return (last, first) if second else (first, last)


def shares(pixels: Pixels, config: Config) -> dict[str, np.ndarray]:
    """Client -> positions in `pixels.train`, under the partition of the settings; clients without pixels are in it.

    Raises InputError for a partition by site of a scene that has one.
    """
    rows = pixels.train
    if config.partition == "site":
        names = np.unique(pixels.site[rows])
        if len(names) < 2:
            raise InputError(
                "A partition by site needs samples of two sites or more; this scene has one. Take 'strips' or 'dirichlet'."
            )
        return {str(n): part for n, part in zip(names, by_site(pixels.site[rows]), strict=True)}
    if config.partition == "dirichlet":
        parts = dirichlet(pixels.label[rows], config.clients, config.alpha, config.seed)
    else:
        parts = by_strips(on_one_map(pixels.place)[rows], config.clients)
    return {f"client {i}": part for i, part in enumerate(parts)}

"""Class maps of scenes larger than memory: a classifier of channels, applied block by block.

    labels = classify_blocks(scene, patches.scalers, predict)     # (y, x)

`predict` gets the channels of a block with the margin that a patch needs, and returns a class for each pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import xarray as xr

from workbench.data.sensor_patches import CENTRE, SIDE, Patches, Scaler
from workbench.data.tiles import windows
from workbench.errors import InputError
from workbench.parts.bank_training import Classifier, Denoiser

BLOCK = 128  # rows and columns of a block
Predict = Callable[[Mapping[str, np.ndarray], tuple[int, int], tuple[int, int]], np.ndarray]


def classify_blocks(scene: xr.Dataset, scalers: Mapping[str, Scaler], predict: Predict, block: int = BLOCK) -> xr.DataArray:
    """(y, x) int16 classes of one image, read block by block; -1 where a sensor has no value.

    scalers: sensor -> how its values become channels. predict: gets sensor -> (channels, rows + 7, columns + 7), reflected at the
    border of the image, the first row and column of the block, and the size of the image; returns (rows, columns) whole numbers.

    Raises InputError for a scene of many samples and for a sensor that is missing.
    """
    missing = [s for s in scalers if s not in scene]
    if missing or "sample" in scene.dims:
        raise InputError(
            f"A class map needs one image with {', '.join(scalers)}; this scene has {', '.join(map(str, scene.data_vars)) or 'nothing'}"
            f"{' of many samples' if 'sample' in scene.dims else ''}."
        )
    high, wide = scene.sizes["y"], scene.sizes["x"]
    labels = np.full((high, wide), -1, np.int16)
    for window in windows({"y": high, "x": wide}, {"y": min(block, high), "x": min(block, wide)}):
        rows, columns = window["y"], window["x"]
        reads = [slice(max(s.start - CENTRE, 0), min(s.stop + CENTRE - 1, n)) for s, n in ((rows, high), (columns, wide))]
        outer = [
            (CENTRE - (s.start - r.start), CENTRE - 1 - (r.stop - s.stop))
            for s, r in zip((rows, columns), reads, strict=True)
        ]
        known = np.ones((rows.stop - rows.start, columns.stop - columns.start), bool)
        cubes = {}
        for name, scaler in scalers.items():
            values = np.asarray(scene[name].isel(y=reads[0], x=reads[1]).values, np.float32)
            inner = values[:, rows.start - reads[0].start :, columns.start - reads[1].start :][
                :, : known.shape[0], : known.shape[1]
            ]
            known &= np.isfinite(inner).any(0)
            mode: Literal["reflect", "edge"] = "reflect" if min(values.shape[1:]) > CENTRE else "edge"
            cubes[name] = np.pad(scaler(values), ((0, 0), *outer), mode=mode)
        found = predict(cubes, (rows.start, columns.start), (high, wide))
        labels[rows, columns] = np.where(known, found, -1)
    coords = {c: scene[c] for c in ("y", "x", "spatial_ref") if c in scene.coords}
    return xr.DataArray(labels, coords, ("y", "x"), attrs={"long_name": "class of each pixel"})


def by_rows(model: Callable[[np.ndarray], np.ndarray]) -> Predict:
    """Of a classifier of `workbench.baselines.fusion` that was trained on the channels of single pixels."""

    def predict(cubes: Mapping[str, np.ndarray], first: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        inner = [c[:, CENTRE : -(CENTRE - 1), CENTRE : -(CENTRE - 1)] for c in cubes.values()]
        x = np.concatenate(inner)
        return model(x.reshape(len(x), -1).T).argmax(1).reshape(x.shape[1:])

    return predict


def by_network(patches: Patches, denoiser: Denoiser, classifier: Classifier) -> Predict:
    """Of a trained MDFL: patches, bank and classifier of each pixel. The noise of the bank is that of the pixel in the whole image."""

    def predict(cubes: Mapping[str, np.ndarray], first: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        rows, columns = (n - SIDE + 1 for n in next(iter(cubes.values())).shape[1:])
        place = np.column_stack([np.zeros(rows * columns, int), *(a.ravel() for a in np.indices((rows, columns)))])
        here = patches.moved({name: cube[None] for name, cube in cubes.items()}, first, size)
        found = np.empty(len(place), np.int16)
        for begin in range(0, len(place), 2048):
            part = place[begin : begin + 2048]
            bank = denoiser.on(here).bank(part)
            found[begin : begin + 2048] = classifier.probability(here, part, bank).argmax(1)
        return found.reshape(rows, columns)

    return predict

"""Detection in one image of any size: blocks of tiles are read lazily and computed by threads of this process or on a cluster.

    found = detect(trained, image)                          # image (band, y, x) in [0, 1], lazy
    found = detect(trained, as_amplitude(scene["sar"]))     # intensity, such as Sentinel-1

Only a few blocks are in memory. Boxes that overlap across tiles or blocks are merged once, over the whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.data.boxed_images import entered, grey
from workbench.data.readers.sentinel1 import shown_best
from workbench.engines import cluster
from workbench.errors import InputError
from workbench.methods.sarnet.settings import Config
from workbench.methods.sarnet.tiles import Trained, as_variables, found_in_tiles, joined, load_network, merged, starts
from workbench.parts.detect import Found

BLOCK = 8  # tiles a side of a block: one task

Place = tuple[int, int]


def detect(
    trained: Trained,
    image: xr.DataArray,
    threshold: float | None = None,
    most: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> xr.Dataset:
    """`box (object, edge)`, `box_score`, `box_label` of one image (band, y, x) of any size, in pixels of the image, by falling score.

    The image holds amplitudes in [0, 1], NaN where they are missing, and may be lazy: blocks of `BLOCK` x `BLOCK` tiles are read and
    computed, by threads of this process or on the active Dask cluster. A detection whose centre is missing is dropped. threshold: lowest
    score; None: the one with the best F1 on the validation images of the training. most: detections that are kept; None: all.
    progress: called with the number of finished blocks and of all.

    Raises InputError for another array, and for values outside [0, 1].
    """
    if set(image.dims) != {"band", "y", "x"}:
        raise InputError(f"detect needs one image (band, y, x); this array has the dims {tuple(image.dims)}.")
    image = image.transpose("band", "y", "x")
    lowest = trained.operating if threshold is None else threshold
    config = trained.config.model_copy(update={"threshold": lowest, "most": most})
    size = (image.sizes["y"], image.sizes["x"])
    rows, columns = (starts(n, config.side, config.margin) for n in size)
    places = [
        (rows[i : i + BLOCK], columns[j : j + BLOCK])
        for i in range(0, len(rows), BLOCK)
        for j in range(0, len(columns), BLOCK)
    ]
    parts = []
    for n, part in enumerate(_computed(trained, image, config, places, size)):
        parts.append(Found(*map(torch.from_numpy, part)))
        progress(n + 1, len(places))
    return xr.Dataset(as_variables(merged(parts, config), trained.names), {"edge": ["x0", "y0", "x1", "y1"]})


def _computed(
    trained: Trained, image: xr.DataArray, config: Config, places: list[tuple[list[int], list[int]]], size: Place
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(box, score, label) of each block."""
    network = _lazily(trained.network.eval())
    name, tasks = str(image.name), []
    for tops, lefts in places:
        part = image.isel(y=slice(tops[0], tops[-1] + config.side), x=slice(lefts[0], lefts[-1] + config.side))
        values = part.data if part.chunks is not None else _lazily(partial(_values, part))()
        # bound beforehand: Dask looks through every list that is an argument
        tasks.append(_lazily(partial(_block, config=config, tops=tops, lefts=lefts, size=size, name=name))(network, values))
    yield from cluster.results(tasks)


def _lazily(work: Callable[..., Any]) -> Any:
    from dask import delayed

    return delayed(work, pure=False, traverse=False)


def _values(part: xr.DataArray) -> np.ndarray:
    return part.values


def _block(
    network: torch.nn.Module, values: np.ndarray, config: Config, tops: list[int], lefts: list[int], size: Place, name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(box, score, label) of the tiles of one block; a tile without any value is left out."""
    values = np.ascontiguousarray(values, np.float32)
    known = np.isfinite(values).all(0)
    complete = bool(known.all())
    whole = entered(grey(torch.from_numpy(values), name, "sarnet"), config)
    side = config.side

    def tiles() -> Iterator[tuple[int, Place, Tensor]]:
        for top in tops:
            for left in lefts:
                here = (slice(top - tops[0], top - tops[0] + side), slice(left - lefts[0], left - lefts[0] + side))
                if complete or known[here].any():
                    yield 0, (top, left), whole[:, *here]

    (parts,) = found_in_tiles(network, tiles(), [size], config)  # type: ignore[arg-type]
    found = joined(parts)
    if not complete:
        middle = ((found.box[:, :2] + found.box[:, 2:]) / 2).long().numpy() - np.array([lefts[0], tops[0]])
        x, y = (np.clip(middle[:, a], 0, known.shape[1 - a] - 1) for a in (0, 1))
        kept = torch.from_numpy(known[y, x])
        found = Found(found.box[kept], found.score[kept], found.label[kept])
    return found.box.numpy(), found.score.numpy(), found.label.numpy()


def as_amplitude(sar: xr.DataArray, low: float = -25.0, high: float = 5.0) -> xr.DataArray:
    """`image (band, y, x)` in [0, 1] of linear intensity `sar (sar_band, y, x)`, for `detect`; stays lazy.

    Intensity in dB is clipped to `low` and `high`, fixed for all scenes, and scaled so that the network's logarithmic input is linear
    in dB. Choose them so that the sea and the ships have the brightness of the training chips. Raises InputError for another array.
    """
    if "sar_band" not in sar.dims or np.iscomplexobj(sar) or not low < high:
        raise InputError(
            f"as_amplitude needs intensity with the dim sar_band, and low below high; got dims {tuple(sar.dims)}, {sar.dtype}, "
            f"low={low:g}, high={high:g}."
        )
    decibels = 10 * np.log10(sar.data.astype(np.float32).clip(1e-12))
    share = (decibels.clip(low, high) - low) / (high - low)
    image = sar.copy(data=((np.exp2(8 * share) - 1) / 255).astype(np.float32))
    return image.rename({"sar_band": "band"}).rename("image")


def detect_scene(
    folder: str | PathLike[str],
    scene: xr.Dataset,
    *,
    decibels: tuple[float, float] = (-25.0, 5.0),
    threshold: float | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[xr.Dataset, xr.DataArray]:
    """(boxes, the array in whose pixels they are) of one scene, by the network of a run; for `workbench detect`.

    scene: `sar (sar_band, y, x)`, whose intensities between `decibels` become amplitudes, or `image (band, y, x)` in [0, 1].

    Raises InputError for a scene with neither, or with many images.
    """
    trained = load_network(folder)
    name = next((n for n in ("sar", "image") if n in scene), None)
    if name is None or "sample" in scene[name].dims:
        has = ", ".join(map(str, scene.data_vars)) or "nothing"
        raise InputError(
            f"Detection in one scene needs `sar` (sar_band, y, x) or `image` (band, y, x); this one has {has}"
            f"{', as many images: use `workbench run sarnet SCENE --set weights=RUN`' if name else ''}. For a GeoTIFF without any "
            "sign of SAR give --key scale=linear, amplitude or db."
        )
    if name == "image":
        return detect(trained, scene["image"], threshold, progress=progress), scene["image"]
    found = detect(trained, as_amplitude(scene["sar"], *decibels), threshold, progress=progress)
    if "burst" in scene.coords:  # what two bursts show is counted once
        lines = found["box"].values[:, [1, 3]].mean(1) - 0.5 + float(scene["y"].values[0])
        found = found.isel(object=shown_best(scene, lines))
    return found, scene["sar"]

"""Plots of a forest inventory as one scene: layers of a point cloud, and species of the crowns drawn on the pixels.

Needs laspy (point clouds) and pyogrio (crowns): `pip install 'workbench[lidar,vector]'`.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench.data.readers.text import lines
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

GROUND, NOISE = 2, (7, 18)  # classes of returns in LAS
TALL = 2.0  # m; returns above it are of trees
LAYERS = ("canopy height", "highest return", "mean height", "spread of height", "share above 2 m", "returns", "intensity")


def point_layers(path: str | Path, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(6, rows, columns) float32 of a LAS file on the pixels with these centres, in the order of `LAYERS[1:]`.

    Highest, mean and spread of the height above a plane through the ground returns (m), the share of returns above 2 m, the number
    of returns, and their mean intensity divided by the median of the file: the scale of intensity differs between flights. Returns that the
    file calls noise are left out; a pixel without returns is 0.

    Raises InputError without laspy, for a file that is not LAS, and for one without returns on these pixels.
    """
    try:
        import laspy
    except ImportError:
        raise InputError(
            f"{Path(path).name} is a point cloud; reading it needs laspy: pip install 'workbench[lidar]'."
        ) from None
    try:
        cloud = laspy.read(str(path))
        at = np.stack([np.asarray(cloud.x), np.asarray(cloud.y), np.asarray(cloud.z)])
        kind, strength = np.asarray(cloud.classification), np.asarray(cloud.intensity, float)
    except Exception as error:  # laspy raises many types on a damaged file
        raise InputError(f"{path} cannot be read as a point cloud ({error}).") from None
    step = abs(float(x[1] - x[0])), abs(float(y[1] - y[0]))
    column = np.floor((at[0] - x[0]) / step[0] + 0.5).astype(int)
    row = np.floor((y[0] - at[1]) / step[1] + 0.5).astype(int)
    inside = (column >= 0) & (column < len(x)) & (row >= 0) & (row < len(y))
    if not inside.any():
        raise InputError(f"{path} has no return on the pixels of its plot; is it of another place?")
    inside &= ~np.isin(kind, NOISE)
    height = above_ground(at, kind)[inside]
    cell = row[inside] * len(x) + column[inside]
    cells = len(x) * len(y)
    count = np.bincount(cell, minlength=cells)
    some = np.maximum(count, 1)
    mean = np.bincount(cell, height, cells) / some
    spread = np.sqrt(np.maximum(np.bincount(cell, height**2, cells) / some - mean**2, 0))
    highest = np.zeros(cells)
    np.maximum.at(highest, cell, height)
    tall = np.bincount(cell, height > TALL, cells) / some
    bright = np.bincount(cell, strength[inside] / max(float(np.median(strength)), 1.0), cells) / some
    return np.stack([highest, mean, spread, tall, count, bright]).reshape(6, len(y), len(x)).astype(np.float32)


def above_ground(at: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Heights (N,) of points (3, N) above a plane through the ground returns; above the lowest point where there are fewer than ten."""
    ground = at[:, kind == GROUND]
    if ground.shape[1] < 10:
        return at[2] - at[2].min()
    centre = ground.mean(1, keepdims=True)
    near, every = ground - centre, at - centre
    plane, *_ = np.linalg.lstsq(np.stack([near[0], near[1], np.ones(near.shape[1])], 1), near[2], rcond=None)
    return every[2] - (plane[0] * every[0] + plane[1] * every[1] + plane[2])


def crowns_of(files: Sequence[Path], table: Path) -> list[tuple[str, np.ndarray]]:
    """(species code, (x0, y0, x1, y1)) of every crown; the code is "" where the field table does not have the tree.

    files: rectangles as polygons with a field `indvdID`. table: CSV with `indvdID` and `taxonID`.

    Raises InputError without pyogrio, and for files without these fields.
    """
    try:
        import pyogrio
    except ImportError:
        raise InputError(
            f"{files[0].name} holds polygons; reading them needs pyogrio: pip install 'workbench[vector]'."
        ) from None
    rows = list(csv.DictReader(lines(table)))
    if not rows or not {"indvdID", "taxonID"} <= set(rows[0]):
        raise InputError(f"{table} has no columns indvdID and taxonID; it has {', '.join(rows[0]) if rows else 'no rows'}.")
    species = {r["indvdID"]: r["taxonID"] for r in rows}
    crowns = []
    for path in files:
        meta, _, _, columns = pyogrio.raw.read(path, read_geometry=False)
        if "indvdID" not in meta["fields"]:
            raise InputError(f"{path} has no field indvdID; it has {', '.join(meta['fields'])}.")
        _, bounds = pyogrio.read_bounds(path)
        tree = columns[list(meta["fields"]).index("indvdID")]
        crowns += [(species.get(str(t), ""), b) for t, b in zip(tree, bounds.T, strict=True)]
    return crowns


def drawn(
    crowns: Sequence[tuple[str, np.ndarray]], numbers: Mapping[str, int], y: np.ndarray, x: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(truth, crown), both (rows, columns): the class of the species, -1 where no crown or more than one is, or another species; and
    the number of the crown from 1, 0 where truth is -1.
    """
    truth, crown = np.full((len(y), len(x)), -1, np.int16), np.zeros((len(y), len(x)), np.int32)
    covered = np.zeros(truth.shape, int)
    for n, (code, (x0, y0, x1, y1)) in enumerate(crowns, 1):
        here = ((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1))[None]
        covered += here
        truth[here], crown[here] = numbers.get(code, -1), n
    truth[covered != 1] = -1
    crown[truth < 0] = 0
    return truth, crown


def stacked(
    scenes: Mapping[str, xr.Dataset],
    clouds: Mapping[str, Path],
    crowns: Sequence[tuple[str, np.ndarray]],
    classes: Mapping[str, str],
) -> xr.Dataset:
    """Plots of one size as one scene: `hsi (sample, band, y, x)`, `lidar (sample, lidar_band, y, x)` with the seven `LAYERS`, `truth
    (sample, y, x)`; coordinates `sample`, and `crown (sample, y, x)`, the number of the crown.

    scenes: name -> scene with `hsi` and `lidar`. clouds: name -> its LAS file. classes: species code -> name, in the order of the
    numbers from 1.
    """
    import xarray as xr

    numbers = {code: n for n, code in enumerate(classes, 1)}
    plots = []
    for name, scene in scenes.items():
        y, x = scene["y"].values, scene["x"].values
        layers = np.concatenate([scene["lidar"].values, point_layers(clouds[name], y, x)])
        truth, crown = drawn(crowns, numbers, y, x)
        plots.append(
            xr.Dataset(
                {
                    "hsi": (("band", "y", "x"), scene["hsi"].data, scene["hsi"].attrs),
                    "lidar": (("lidar_band", "y", "x"), layers, {"long_name": "heights, returns and intensity"}),
                    "truth": (("y", "x"), truth),
                },
                {"crown": (("y", "x"), crown), "lidar_band": list(LAYERS)},
            )
        )
    whole = xr.concat(plots, xr.DataArray(list(scenes), dims="sample", name="sample"))
    whole["truth"].attrs["names"] = ["unlabelled", *classes.values()]
    return whole

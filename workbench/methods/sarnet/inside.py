"""What happens inside a trained network for one tile: its maps, the gates of both directions, and its boxes with parts switched off."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional as F

from workbench.data.boxed_images import entered, padded
from workbench.errors import InputError
from workbench.methods.sarnet.tiles import Trained, as_variables
from workbench.parts.detect import detections
from workbench.parts.device import device
from workbench.parts.sarnet_network import STRIDES

SCALES = ("C2", "C3", "C4", "C5")  # maps of the backbone, at strides 4, 8, 16, 32
GIVEN = ("P3", "N4", "N5")  # maps that the head gets
WIDE = ("g3", "g4", "h4", "h5")  # global maps of UCM


def inspect(
    trained: Trained,
    amplitude: np.ndarray,
    *,
    gates: bool = True,
    without: Sequence[str] = (),
    threshold: float | None = None,
) -> xr.Dataset:
    """Boxes, maps and gates for one tile.

    amplitude: (y, x) in [0, 1], no side longer than the tiles of the network; a shorter one is reflected, as in `detect`. gates: with
    False, the gates of a row or column are the mean of all rows or columns, so no direction is told from another. without: scales of
    `SCALES` that the first fusion of UCM does not see. threshold: lowest score; None: that of the network.

    Returns `box (object, edge)` with scores and labels; `flow (map, y, x)`, the root mean square over the channels of each map of `SCALES`,
    `WIDE` and `GIVEN`, at the pixels of the tile; `row_gate (level, channel, y)` and `column_gate (level, channel, x)`, the gates of
    the three levels, repeated for each pixel.

    Raises InputError for a larger image, and for a scale that does not exist.
    """
    high, wide = amplitude.shape
    side = trained.config.side
    if max(high, wide) > side:
        raise InputError(f"The network looks at tiles of {side} x {side} pixels; this image has {high} x {wide}. Cut it.")
    unknown = [name for name in without if name not in SCALES]
    if unknown:
        raise InputError(f"There is no scale {unknown[0]!r}; the scales are {', '.join(SCALES)}.")
    x = padded(torch.from_numpy(np.nan_to_num(np.asarray(amplitude, np.float32)))[None], side)[None]
    with torch.inference_mode():
        places = [SCALES.index(name) for name in without]
        out = trained.network.eval()(entered(x, trained.config).to(device()), flat=not gates, without=places)
        lowest = trained.operating if threshold is None else threshold
        held = detections(out.levels, STRIDES, [(high, wide)], threshold=lowest, overlap=trained.config.overlap)
        (found,) = held.apart(1, trained.config.most)
        maps = dict(zip((*SCALES, *GIVEN), out.maps, strict=True)) | dict(zip(WIDE, out.wide, strict=True))
        order = (*SCALES, *WIDE, *GIVEN)
        flow = np.stack([_strength(maps[name], side)[:high, :wide] for name in order])
        variables = as_variables(type(found)(*(v.cpu() for v in found)), trained.names)
        variables["flow"] = xr.DataArray(
            flow, dims=("map", "y", "x"), coords={"map": list(order)}, attrs={"long_name": "root mean square over channels"}
        )
        if out.gates:
            rows = np.stack([_spread(g.row[0, :, :, 0], side)[:, :high] for g in out.gates])
            columns = np.stack([_spread(g.column[0, :, 0], side)[:, :wide] for g in out.gates])
            variables["row_gate"] = xr.DataArray(rows, dims=("level", "channel", "y"), coords={"level": list(STRIDES)})
            variables["column_gate"] = xr.DataArray(columns, dims=("level", "channel", "x"), coords={"level": list(STRIDES)})
    return xr.Dataset(variables)


def _strength(x: Tensor, side: int) -> np.ndarray:
    """(1, c, h, w) -> (side, side): root mean square over the channels, each cell repeated."""
    return F.interpolate(x.square().mean(1, keepdim=True).sqrt(), size=(side, side), mode="nearest")[0, 0].cpu().numpy()


def _spread(gate: Tensor, side: int) -> np.ndarray:
    """(c, n) -> (c, side), each value repeated."""
    return F.interpolate(gate[None], size=side, mode="nearest")[0].cpu().numpy()

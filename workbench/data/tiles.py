"""Cube <-> tiles: windows, float32 tensors, and results on the same coordinates.

    w = windows({"y": 100, "x": 100}, size=48, overlap=8)
    quiet = stitch((network(t[None])[0] for t in samples(scene, w)), w, like=scene.hsi)

    for t in samples(scene, shuffled(w, seed=epoch), prefetch=4):     # training: another order in every epoch
        ...

`line` and `blended` are for inference with networks that have a stride and a receptive field: tiles of one size lose
a margin, are blended with their neighbours, and give the result strip by strip.

Tiles are read one at a time (with `prefetch`, that many ahead), so the cube may be larger than memory; the stitched result
is in memory. The last windows of a line may be smaller. Samples to train on become tensors in `samples.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from workbench.errors import InputError

if TYPE_CHECKING:
    import torch

Window = dict[str, slice]


def windows(sizes: Mapping[str, int], size: int | Mapping[str, int], overlap: int = 0) -> list[Window]:
    """The windows that cover an image, row by row; each is `dim -> slice`, for `isel`.

    sizes: length of each dim to cut, as `{"y": 100, "x": 100}`.
    size: length of a window, one number or one for each dim; at most the length of the image.
    overlap: pixels that neighbours share, from 0 to below the smallest size; the last window of a line may be smaller.

    >>> [w["x"] for w in windows({"x": 11}, size=4, overlap=1)]
    [slice(0, 4, None), slice(3, 7, None), slice(6, 10, None), slice(9, 11, None)]

    Raises InputError for a size or an overlap for which windows do not advance.
    """
    length = dict(size) if isinstance(size, Mapping) else dict.fromkeys(sizes, size)
    if set(length) != set(sizes):
        raise InputError(f"Window sizes were given for {sorted(length)}, but the image has dims {sorted(sizes)}.")
    if min(sizes.values(), default=0) < 1:
        raise InputError(f"An image of size {dict(sizes)} has no pixels to cut into windows.")
    if not 0 <= overlap < min(length.values()):
        raise InputError(
            f"Windows of size {length} with overlap {overlap} do not fit; give a size of at least 1 and an overlap "
            "from 0 to below the size."
        )
    lines = [_line(sizes[dim], length[dim], overlap) for dim in sizes]
    return [dict(zip(sizes, at, strict=True)) for at in product(*lines)]


def _line(n: int, size: int, overlap: int) -> list[slice]:
    starts = range(0, max(n - overlap, 1), size - overlap)  # a window that only repeats the last overlap is left out
    return [slice(start, min(start + size, n)) for start in starts]


def shuffled(at: Sequence[Window], seed: int) -> list[Window]:
    """The windows in an order that depends on their number and the seed alone."""
    return [at[i] for i in np.random.default_rng(seed).permutation(len(at))]


def samples(cube: xr.Dataset | xr.DataArray, at: Iterable[Window], *, prefetch: int = 0) -> Iterator[torch.Tensor]:
    """One float32 tensor (C, H, W) for each window, in their order; from `hsi` of a scene.

    prefetch: number of windows that a thread reads ahead; with 0 each is read when the iterator reaches it. The tensors
        are the same. The thread ends with the iterator, also after an early close or a read error.

    The tensors are copies: writing into one does not touch the scene. Missing pixels stay NaN.
    Raises InputError for a scene without `hsi`, or an array that is not (band, y, x) in some order.
    """
    if isinstance(cube, xr.Dataset):
        if "hsi" not in cube:
            raise InputError(f"Tiles are cut from 'hsi'; this scene has {', '.join(map(str, cube.data_vars)) or 'nothing'}.")
        cube = cube["hsi"]
    if cube.ndim != 3 or not {"y", "x"} <= set(cube.dims):
        raise InputError(f"Tiles are cut from an array with dims (band, y, x); this one has {tuple(cube.dims)}.")
    if prefetch < 0:
        raise InputError(f"samples cannot read {prefetch} windows ahead; give prefetch=0 or more.")
    cube = cube.transpose(..., "y", "x")
    return _ahead(cube, at, prefetch) if prefetch else (_cut(cube, window) for window in at)


def _cut(cube: xr.DataArray, window: Window) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.array(cube.isel(window).values, dtype=np.float32, order="C"))


def _ahead(cube: xr.DataArray, at: Iterable[Window], prefetch: int) -> Iterator[torch.Tensor]:
    """Submit one window for each that is yielded, so that `prefetch` windows are read or being read at any time."""
    left, waiting = iter(at), deque[Future]()
    with ThreadPoolExecutor(1, "workbench-tiles") as reader:
        try:
            while True:
                more = islice(left, prefetch + 1 - len(waiting))
                waiting.extend(reader.submit(_cut, cube, window) for window in more)
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def stitch(tiles: Iterable[Any], at: Sequence[Window], like: xr.DataArray) -> xr.DataArray:
    """The tiles at their windows `at`, on the dims and coordinates of `like`.

    tiles: tensors or arrays with the dims of `like` in its order, one for each window; consumed one at a time.
    like: template of the result, `scene.hsi` for tiles (C, H, W), `scene.truth` for tiles (H, W).

    Where windows overlap, each has a weight that decreases linearly to its edges, so that no seam is visible. The weights
    are small integers and the sums float64: overlapping float32 tiles with equal values are restored bit for bit.
    Raises InputError when tiles and windows differ in number or shape, or windows leave a pixel uncovered.
    """
    cut = at[0] if at else like.dims
    weight = np.zeros([like.sizes[d] if d in cut else 1 for d in like.dims])
    total = np.zeros(like.shape)
    dtype: np.dtype | None = None
    count = 0
    for count, tile in enumerate(tiles, start=1):
        if count > len(at):
            raise InputError(f"There are more tiles than the {len(at)} windows.")
        values = np.asarray(tile.detach().cpu()) if hasattr(tile, "detach") else np.asarray(tile)
        place = tuple(at[count - 1].get(str(d), slice(None)) for d in like.dims)
        if values.shape != total[place].shape:
            raise InputError(f"Tile {count} has shape {values.shape}; its window in {like.dims} is {total[place].shape}.")
        dtype = values.dtype if dtype is None else np.result_type(dtype, values.dtype)
        ramp = _ramp(weight[place].shape)
        total[place] += ramp * values
        weight[place] += ramp
    if count < len(at):
        raise InputError(f"There are {count} tiles for {len(at)} windows; stitch needs one tile for each window.")
    if not weight.all():
        raise InputError(f"The windows leave {int((weight == 0).sum())} pixels of {dict(like.sizes)} uncovered.")
    total /= weight
    kept = dtype if dtype is not None and np.issubdtype(dtype, np.floating) else np.dtype(float)
    return xr.DataArray(total.astype(kept), dims=like.dims, coords=like.coords, name=like.name)


def _ramp(shape: tuple[int, ...]) -> np.ndarray:
    """1, 2, 3, ... from every edge inwards, multiplied over the axes."""
    ramp = np.ones(shape)
    for axis, n in enumerate(shape):
        inwards = np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1))
        ramp *= inwards.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return ramp


# --- blended tiles, for networks with a stride ------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """Tiles along one side of `length` pixels: `starts`, all of length `size`, and the weight of each at its pixels."""

    length: int
    starts: list[int]
    size: int
    share: list[np.ndarray]  # for each tile, (size,), summing to 1 over tiles

    def done(self, i: int) -> int:
        """How many pixels are final after tile i."""
        if i + 1 == len(self.starts):
            return self.length
        first = np.flatnonzero(self.share[i + 1])[0]
        return min(self.starts[i + 1] + int(first), self.length)


def line(length: int, tile: int, margin: int, fade: int, stride: int) -> Line:
    """Tiles over `length` pixels, all starting at multiples of the stride; a single tile where it covers them all.

    The last tile is moved back so that all have one size: the normalisation of a global context depends on it.
    """
    whole = -(-length // stride) * stride
    tile, margin, fade = (-(-n // stride) * stride for n in (tile, margin, max(fade, 1)))
    tile = min(tile, whole)
    if tile == whole:
        return Line(length, [0], whole, [np.ones(whole, np.float32)])
    step = tile - 2 * margin - fade
    if step < stride:
        raise InputError(
            f"Tiles of {tile} pixels have no centre left: margins of {margin} on both sides and {fade} pixels of blending. Use tiles of "
            f"at least {2 * margin + fade + stride} pixels."
        )
    starts = [*range(0, whole - tile, step), whole - tile]
    raw = np.zeros((len(starts), whole))
    for i, start in enumerate(starts):
        within = np.arange(tile) + 0.5
        rise = np.clip((within - margin) / fade, 0, 1) if i > 0 else np.ones(tile)
        fall = np.clip((tile - margin - within) / fade, 0, 1) if i + 1 < len(starts) else np.ones(tile)
        raw[i, start : start + tile] = np.minimum(rise, fall)
    raw /= raw.sum(0)
    return Line(length, starts, tile, [raw[i, s : s + tile].astype(np.float32) for i, s in enumerate(starts)])


def blended(compute: Callable[[slice, slice], np.ndarray], down: Line, across: Line) -> Iterator[np.ndarray]:
    """Rows of the finished maps from the top: (K, rows, x) float32.

    compute: (rows, columns) -> (K, h, w) of one tile, called in order; its slices may extend beyond the image, by less
        than a stride. At most one row of tiles is in memory.
    """
    pending, top = None, 0
    for i, y in enumerate(down.starts):
        row = None
        for j, x in enumerate(across.starts):
            tile = compute(slice(y, y + down.size), slice(x, x + across.size))
            if row is None:
                row = np.zeros((len(tile), down.size, across.starts[-1] + across.size), np.float32)
            row[:, :, x : x + across.size] += tile * across.share[j]
        assert row is not None
        row *= down.share[i][:, None]
        if pending is not None:  # contribution of earlier tiles to the rows from `top`
            row[:, top - y : top - y + pending.shape[1]] += pending
        end = down.done(i)
        yield row[:, top - y : end - y, : across.length].copy()
        pending, top = row[:, end - y :], end

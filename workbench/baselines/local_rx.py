"""Dual-window local RX, fast: mean and covariance of a ring of neighbours around every pixel.

The cost is the covariance of a few hundred neighbours and its inverse, for every pixel. Four facts reduce it; none of
them is an approximation:

1. RX does not change under an invertible affine map of the spectra, so the cube is whitened by its global covariance
   first. The local problems are then well conditioned, and constant or duplicate bands are removed.
2. With a leading 1 on every spectrum (`[1, x]`), one Gram matrix M holds count, mean and covariance of a ring, and
   `[1, x]^T M^-1 [1, x] = 1/n + (x - mean)^T covariance^-1 (x - mean) / (n - 1)`. A missing pixel is a row of zeros.
3. The rings of a 3 x 2 group of pixels share most of their pixels. The Gram matrix of that common *core* is factored
   once, and the few *extra* pixels of each ring are added by the identity of Sherman, Morrison and Woodbury. They are never
   subtracted, so there is no cancellation.
4. From one group to the next the core gains and loses two columns of pixels: its Gram matrix is updated, not summed
   again. It is summed again at every segment, so rounding errors do not accumulate.

Groups whose core is singular or nearly so are scored pixel by pixel with a Moore-Penrose inverse, and counted.
On a GPU (`workbench.parts.device.device()`) the rings of many pixels are gathered and factored in one batch instead.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from workbench.baselines import moments as m
from workbench.engines import blas, cluster
from workbench.errors import InputError
from workbench.parts import device

if TYPE_CHECKING:
    import xarray as xr

GROUP = (3, 2)  # pixels that share one factorisation; with larger groups the core has fewer pixels than bands too early
SLAB = 2**23  # whitened values in memory at once: 64 MiB
STRIP = 18  # rows scored between two reports of progress, at least; a multiple of GROUP[0]
SEGMENT = 50  # columns between two restarts of the running Gram matrix, a multiple of GROUP[1]
SINGULAR = 1e-10  # on a GPU; ring_kernel uses the same value
BATCH = 512  # pixels per batch on a GPU


class Window(NamedTuple):
    """The dual window on an image of `rows x cols`: where the inner and the outer square of each pixel begin.

    Both squares keep their size and are shifted inwards at the image's edge, as `spectral.rx(window=...)` does.
    """

    inner: int
    outer: int
    rows: int
    cols: int

    def squares(self, pixels: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For rows (or columns) of an image of that `length`: the pixels, and where their outer and inner squares begin."""
        outer, inner = (np.clip(pixels - size // 2, 0, length - size) for size in (self.outer, self.inner))
        return pixels, outer, inner


class Shared(NamedTuple):
    """Values common to all blocks of a cube: used bands, global mean, whitening matrix `(band, r)`, window."""

    bands: np.ndarray
    mean: np.ndarray
    matrix: np.ndarray
    window: Window


def local_rx(cube: xr.DataArray, inner: int = 5, outer: int = 19) -> xr.DataArray:
    """Squared Mahalanobis distance of every pixel from the ring around it, `(y, x)` float64.

    The ring is the `outer x outer` square without the `inner x inner` one, both centred on the pixel and shifted inwards
    at the image's edge; covariance with n - 1. Equal to `spectral.rx(cube, window=(inner, outer))`.
    NaN where the pixel is missing; missing pixels in a ring are left out of it. Where a ring does not span all bands, the
    Moore-Penrose inverse is used and `attrs["singular_rings"]` counts it (NumPy input only).

    With a Dask cube the score is lazy and is computed block by block, each with a margin of `outer` pixels.

    Raises InputError when a window is even, the outer window is not larger than the inner one, it does not fit the image, or
    the ring does not have more pixels than the cube has independent bands.

    Dual window: H. Kwon, S. Z. Der and N. M. Nasrabadi, "Adaptive anomaly detection using subspace separation for
    hyperspectral imagery", Opt. Eng. 42(11), 2003, doi 10.1117/1.1614265.
    """
    m.check_cube(cube, "local_rx")
    if cube.chunks is not None:
        return lazy_against(cube, _shared(cube, inner, outer))
    rows = by_rows(cube, inner, outer)
    while True:
        try:
            next(rows)
        except StopIteration as end:
            return end.value


def by_rows(cube: xr.DataArray, inner: int = 5, outer: int = 19) -> Generator[int, None, xr.DataArray]:
    """`local_rx`, computed immediately in strips of rows: yields the number of rows done, beginning with 0; returns the map.

    Of a Dask cube, only the current tile and its margin are in memory; on a cluster, the tiles that its workers compute.
    """
    shared = _shared(cube, inner, outer)
    yield 0
    return (yield from rows_against(cube, shared))


def rows_against(cube: xr.DataArray, shared: Shared) -> Generator[int, None, xr.DataArray]:
    """`by_rows` with a background that is already computed; does not yield the first 0."""
    window = shared.window
    out = np.empty((window.rows, window.cols))
    singular = 0
    tiles = _tiles(shared)
    work = _on_cluster if cube.chunks is not None and cluster.active() is not None else _here
    with contextlib.closing(work(cube, shared, tiles)) as parts:
        for (rows, cols), (part, bad) in zip(tiles, parts, strict=True):
            out[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] = part
            singular += bad
            if cols[-1] == window.cols - 1:
                yield int(rows[-1]) + 1
    return _labelled(cube, out, shared, singular)


Tile = tuple[np.ndarray, np.ndarray]  # consecutive rows and columns


def _tiles(shared: Shared) -> list[Tile]:
    """Tiles that cover the image, row by row. A tile with its margin has about SLAB values, or twice the margin as its side."""
    window, depth = shared.window, shared.matrix.shape[1] + 1
    room = SLAB // (window.cols * depth) - window.outer  # rows that fit beside their margin
    high = max(STRIP, room // GROUP[0] * GROUP[0])
    across = max(SLAB // (depth * (min(high, window.rows) + window.outer)) - window.outer, window.outer, SEGMENT)
    across -= across % SEGMENT
    return [
        (np.arange(y, min(y + high, window.rows)), np.arange(x, min(x + across, window.cols)))
        for y in range(0, window.rows, high)
        for x in range(0, window.cols, across)
    ]


def covered(window: Window, rows: np.ndarray, cols: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns that the windows of a tile cover."""
    return slice(*_reach(rows, window.outer, window.rows)), slice(*_reach(cols, window.outer, window.cols))


def _here(cube: xr.DataArray, shared: Shared, tiles: list[Tile]) -> Generator[tuple[np.ndarray, int], None, None]:
    """Scores and singular rings of the tiles, each on all cores of this machine."""
    threads = blas.threads()
    with ThreadPoolExecutor(threads) as pool:
        run = map if threads == 1 else pool.map
        for rows, cols in tiles:
            y, x = covered(shared.window, rows, cols)
            yield _block(np.asarray(cube.data[:, y, x]), shared, rows, cols, (y.start, x.start), run)


def _on_cluster(cube: xr.DataArray, shared: Shared, tiles: list[Tile]) -> Generator[tuple[np.ndarray, int], None, None]:
    """As `_here`, tile by tile on the workers of a cluster."""
    import dask

    constant = dask.delayed(shared, pure=True)
    tasks = []
    for rows, cols in tiles:
        y, x = covered(shared.window, rows, cols)
        part = cube.data[:, y, x]
        slab = part.rechunk(part.shape).to_delayed().item()
        tasks.append(dask.delayed(_block, pure=False)(slab, constant, rows, cols, (y.start, x.start), map))
    yield from cluster.results(tasks)


def lazy_against(cube: xr.DataArray, shared: Shared) -> xr.DataArray:
    """`local_rx` of a Dask cube, still lazy, given its background."""
    import dask
    import dask.array as da

    window = shared.window
    data = cube.data
    constant = dask.delayed(shared, pure=True)
    high, wide = map(len, _tiles(shared)[0])
    grid = []
    for rows in _lines(data.chunks[1], high):
        line = []
        for cols in _lines(data.chunks[2], wide):
            y, x = covered(window, rows, cols)
            part = data[:, y, x]
            slab = part.rechunk(part.shape).to_delayed().item()
            block = dask.delayed(_scores)(slab, constant, rows, cols, (y.start, x.start))
            line.append(da.from_delayed(block, (len(rows), len(cols)), dtype=np.float64))
        grid.append(line)
    return _labelled(cube, da.block(grid), shared, None)


def _lines(chunks: tuple[int, ...], longest: int) -> list[np.ndarray]:
    """The pixel positions of each chunk along one axis, split into parts of at most `longest`."""
    edges = np.cumsum((0, *chunks))
    return [
        np.arange(start, min(start + longest, b)) for a, b in itertools.pairwise(edges) for start in range(a, b, longest)
    ]


def _scores(slab: np.ndarray, shared: Shared, rows: np.ndarray, cols: np.ndarray, at: tuple[int, int]) -> np.ndarray:
    return _block(slab, shared, rows, cols, at, map)[0]


def _labelled(cube: xr.DataArray, data: Any, shared: Shared, singular: int | None) -> xr.DataArray:
    w = shared.window
    attrs = {"bands_used": len(shared.bands), "rank": shared.matrix.shape[1], "inner": w.inner, "outer": w.outer}
    notes = []
    if shared.matrix.shape[1] < len(shared.bands):
        notes.append(f"The cube has {shared.matrix.shape[1]} independent bands of {len(shared.bands)}.")
    if singular is not None:
        attrs["singular_rings"] = singular
        if singular:
            notes.append(f"{singular} rings do not span all bands; they were inverted by Moore-Penrose.")
    return m.score_map(cube, data, f"local RX score (windows {w.inner} and {w.outer})", notes, **attrs)


def _shared(cube: xr.DataArray, inner: int, outer: int) -> Shared:
    check(cube, inner, outer)
    return shared_of(cube, m.background(cube, "local_rx"), inner, outer)


def check(cube: xr.DataArray, inner: int, outer: int, who: str = "local_rx") -> None:
    """Raise InputError unless both windows are odd, the outer one is larger, and it fits the image."""
    m.check_cube(cube, who)
    _, rows, cols = cube.shape
    requested = f"{who} got windows inner={inner}, outer={outer}"
    if inner < 1 or inner % 2 == 0 or outer % 2 == 0 or outer <= inner:
        raise InputError(f"{requested}; both must be odd and the outer larger than the inner, as in inner=5, outer=19.")
    if outer > min(rows, cols):
        fits = (min(rows, cols) - 1) // 2 * 2 + 1
        raise InputError(f"{requested}; the image has {rows} x {cols} pixels. Set outer to an odd number up to {fits}.")


def shared_of(cube: xr.DataArray, stats: m.Background, inner: int, outer: int) -> Shared:
    """The values common to all blocks. Raises InputError unless the ring has more pixels than the background has independent
    bands."""
    ring = outer**2 - inner**2
    if ring <= stats.rank:
        needed = int(np.sqrt(inner**2 + stats.rank)) + 1
        needed += 1 - needed % 2
        raise InputError(
            f"local_rx got windows inner={inner}, outer={outer}, a ring of {ring} pixels; a covariance of "
            f"{stats.rank} independent bands needs more pixels than that. Set outer to {needed} or more, or reduce the bands first."
        )
    matrix = stats.axes[:, -stats.rank :] / np.sqrt(stats.variances[-stats.rank :])
    return Shared(stats.bands, stats.mean, matrix, Window(inner, outer, *cube.shape[1:]))


def _reach(pixels: np.ndarray, size: int, length: int) -> tuple[int, int]:
    """First row (or column) that the windows of consecutive `pixels` cover, and one past the last."""
    first, last = np.clip(pixels[[0, -1]] - size // 2, 0, length - size)
    return int(first), int(last) + size


# --- one block --------------------------------------------------------------------------------------------------------


def _block(
    slab: np.ndarray,
    shared: Shared,
    rows: np.ndarray,
    cols: np.ndarray,
    at: tuple[int, int],
    run: Callable[..., Iterator[Any]],
) -> tuple[np.ndarray, int]:
    """Scores `(len(rows), len(cols))` of consecutive rows and columns, and how many rings were singular.

    slab: `(band, y, x)`, all pixels that the windows cover; `at` is the image position of its first pixel. `run` is `map`
    or the `map` of a thread pool.
    """
    values, valid, _ = m.spectra(slab, shared.bands)
    white = np.zeros((len(valid), shared.matrix.shape[1] + 1))
    white[valid, 0] = 1
    white[valid, 1:] = (values - shared.mean[:, None]).T @ shared.matrix
    gpu = device.gpu()
    width = slab.shape[2]
    if gpu is not None:
        out = _batched(white, shared.window, rows, cols, at, width, gpu)
    else:
        tasks = [
            (rows[i : i + GROUP[0]], cols[j : j + SEGMENT])
            for i in range(0, len(rows), GROUP[0])
            for j in range(0, len(cols), SEGMENT)
        ]
        out = np.empty((len(rows), len(cols)))
        with blas.one_thread():
            scored = run(lambda task: _segment(white, shared.window, task[0], task[1], at, width), tasks)
            for (r, c), part in zip(tasks, scored, strict=True):
                out[r[0] - rows[0] : r[-1] + 1 - rows[0], c[0] - cols[0] : c[-1] + 1 - cols[0]] = part
    present = valid.reshape(slab.shape[1:])[np.ix_(rows - at[0], cols - at[1])]
    singular = 0
    for i, j in np.argwhere(np.isnan(out) & present):
        out[i, j], full = _exact(slab, shared, int(rows[i]), int(cols[j]), at)
        singular += not full
    out[~present] = np.nan
    return out, singular


def _exact(slab: np.ndarray, shared: Shared, row: int, col: int, at: tuple[int, int]) -> tuple[float, bool]:
    """The score of one pixel from its ring, by eigenvalues and Moore-Penrose, and whether the ring spans all dimensions.

    NaN with fewer than two valid neighbours, or when they are all equal.
    """
    w = shared.window
    (y, top, up), (x, left, over) = w.squares(np.array(row), w.rows), w.squares(np.array(col), w.cols)
    ring = np.ones((w.outer, w.outer), bool)
    ring[up - top : up - top + w.inner, over - left : over - left + w.inner] = False
    top, left = top - at[0], left - at[1]
    square = slab[shared.bands, top : top + w.outer, left : left + w.outer].astype(np.float64)
    near = square[:, ring]
    near = near[:, np.isfinite(near).all(axis=0)]
    if near.shape[1] < 2:
        return np.nan, False
    mean = near.mean(axis=1)
    variances, axes = np.linalg.eigh(np.atleast_2d(np.cov(near)))
    kept = variances > max(variances[-1], 0) * len(variances) * np.finfo(float).eps
    if not kept.any():
        return np.nan, False
    off = axes[:, kept].T @ (slab[shared.bands, y - at[0], x - at[1]] - mean)
    return float((off**2 / variances[kept]).sum()), bool(kept.sum() >= shared.matrix.shape[1])


# --- CPU: groups of pixels with a common core -------------------------------------------------------------------------


class Plan(NamedTuple):
    """Which pixels a segment uses, group by group, in the form that `ring_kernel.score` takes."""

    changes: tuple[np.ndarray, np.ndarray]
    vectors: tuple[np.ndarray, np.ndarray]
    members: np.ndarray
    uses: tuple[np.ndarray, np.ndarray]
    places: tuple[np.ndarray, np.ndarray]  # row and column, within the segment, of the pixels in the order of the groups


Offsets = tuple[int, ...]  # of pixels, or of the squares around them, from the segment's first pixel, along one axis


def _concatenated(lists: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """All lists in one array, and the position where each begins."""
    return np.concatenate(lists), np.cumsum([0, *map(len, lists)])


@functools.lru_cache(maxsize=64)
def _plan(
    up: Offsets, outer_up: Offsets, inner_up: Offsets, over: Offsets, outer_over: Offsets, inner_over: Offsets,
    inner: int, outer: int, width: int,
) -> Plan:  # fmt: skip
    """The plan of a segment: rows `up` and columns `over` of its pixels, and where their outer and inner squares begin.

    width: columns of the slab. Away from the image's edges all segments have equal plans, so the cache is almost always hit.
    """
    top, left = min(outer_up), min(outer_over)
    box = (max(outer_up) - top + outer, max(outer_over) - left + outer)

    def indices(mask: np.ndarray) -> np.ndarray:
        y, x = np.nonzero(mask)
        return (y + top) * width + x + left

    changes, vectors, members, uses, places = [], [], [], [], []
    previous = np.zeros(box, bool)
    for j in range(0, len(over), GROUP[1]):
        group = slice(j, min(j + GROUP[1], len(over)))
        rings = []
        for a, c in zip(outer_up, inner_up, strict=True):
            for b, d in zip(outer_over[group], inner_over[group], strict=True):
                ring = np.zeros(box, bool)
                ring[a - top :, b - left :][:outer, :outer] = True
                ring[c - top :, d - left :][:inner, :inner] = False
                rings.append(ring)
        core = np.logical_and.reduce(rings)
        extra = np.logical_or.reduce(rings) & ~core
        number = np.full(box, -1)
        number[extra] = np.arange(extra.sum())
        own = (np.array(up)[:, None] * width + np.array(over[group])).ravel()
        changes += [indices(core & ~previous), indices(previous & ~core)]
        vectors.append(np.concatenate([indices(extra), own]))
        uses += [number[ring & ~core] for ring in rings]
        members.append(len(own))
        places.append(np.indices((len(up), len(over)))[:, :, group].reshape(2, -1))
        previous = core
    y, x = np.concatenate(places, axis=1)
    return Plan(_concatenated(changes), _concatenated(vectors), np.array(members), _concatenated(uses), (y, x))


def _segment(
    white: np.ndarray, window: Window, rows: np.ndarray, cols: np.ndarray, at: tuple[int, int], width: int
) -> np.ndarray:
    """Scores `(len(rows), len(cols))` of one row of groups; NaN for a group that is singular or nearly so.

    white: `(pixel, 1 + r)`, whitened spectra of the slab with a leading 1, zeros for missing pixels.
    """
    from workbench.baselines import ring_kernel

    plan = _plan(
        *(tuple((a - rows[0]).tolist()) for a in window.squares(rows, window.rows)),
        *(tuple((a - cols[0]).tolist()) for a in window.squares(cols, window.cols)),
        window.inner,
        window.outer,
        width,
    )
    first = int((rows[0] - at[0]) * width + cols[0] - at[1])
    out = np.empty((len(rows), len(cols)))
    out[plan.places] = ring_kernel.score(white, first, plan.changes, plan.vectors, plan.members, plan.uses)
    return out


# --- GPU: many rings at once ------------------------------------------------------------------------------------------


def _batched(
    white: np.ndarray, window: Window, rows: np.ndarray, cols: np.ndarray, at: tuple[int, int], width: int, where: Any
) -> np.ndarray:
    """The scores of a block as `_segment` gives them, with torch on the device `where`: each ring is summed and factored."""
    import torch

    grid = np.meshgrid(rows, cols, indexing="ij")
    y, top, up = window.squares(grid[0].ravel(), window.rows)
    x, left, over = window.squares(grid[1].ravel(), window.cols)
    first = torch.from_numpy((top - at[0]) * width + left - at[1])
    own = torch.from_numpy((y - at[0]) * width + x - at[1])
    side = np.arange(window.outer)
    square = torch.from_numpy((side[:, None] * width + side).ravel()).to(where)
    tall = (side >= (up - top)[:, None]) & (side < (up - top)[:, None] + window.inner)
    wide = (side >= (over - left)[:, None]) & (side < (over - left)[:, None] + window.inner)
    ring = torch.from_numpy(~(tall[:, :, None] & wide[:, None, :]).reshape(len(y), -1))
    spectra = torch.from_numpy(white).to(where)
    out = np.empty(len(y))
    for start in range(0, len(y), BATCH):
        part = slice(start, start + BATCH)
        near = spectra[first[part].to(where)[:, None] + square] * ring[part].to(where)[:, :, None]
        gram = near.mT @ near
        factor, failed = torch.linalg.cholesky_ex(gram)
        pixel = spectra[own[part].to(where)]
        form = torch.linalg.solve_triangular(factor, pixel[:, :, None], upper=False).square().sum((1, 2))
        n = gram[:, 0, 0]
        score = (n - 1) * (form - 1 / n)
        pivots = factor.diagonal(dim1=1, dim2=2).square() > SINGULAR * gram.diagonal(dim1=1, dim2=2)
        score[(failed != 0) | ~pivots.all(1)] = torch.nan
        out[part] = score.cpu().numpy()
    return out.reshape(len(rows), len(cols))

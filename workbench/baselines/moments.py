"""Mean and covariance of a cube's spectra in one pass, and any per-pixel score computed block by block.

A cube is a DataArray `(band, y, x)`, backed by NumPy or by Dask. A pixel is missing when any of its used bands is not
finite; a band is used unless its coordinate `good` is false or it has no finite value.

Blocks of a Dask cube (all bands of a block together) are computed by `workbench.engines.cluster`, a few at a time; within a
block, and within a NumPy cube, pixels are processed in pieces that fit the processor's cache, so that at most one piece
per thread is in float64. Means and scatters of pieces are merged, in the order of the pixels, by the pairwise update
of Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", COMPSTAT 1982.
If `workbench.parts.device.device()` is a GPU, the products are computed on it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from workbench.engines import cluster
from workbench.errors import InputError
from workbench.parts import device

if TYPE_CHECKING:
    import xarray as xr

PIECE = 2**19  # values processed at a time: 4 MiB in float64, which fit a core's cache together with their temporaries
STRIP = 2**24  # values of a NumPy cube between two progress reports
PANELS = 5  # of a triangular matrix: the product then costs three fifths of a full one


class Moments(NamedTuple):
    """`n` pixels, `mean (band)`, `scatter (band, band)` = sum of outer products about the mean; `seen (band)`: has data;
    `infinite (band)`: has infinite values.
    """

    n: int
    mean: np.ndarray
    scatter: np.ndarray
    seen: np.ndarray
    infinite: np.ndarray


def check_cube(cube: xr.DataArray, who: str) -> None:
    """Raise InputError unless `cube` is a real-valued DataArray `(band, y, x)` that is not empty."""
    dims = getattr(cube, "dims", None)
    if dims != ("band", "y", "x"):
        actual = f"dims {dims}" if dims is not None else f"a {type(cube).__name__}"
        raise InputError(f"{who} needs a DataArray with dims ('band', 'y', 'x'); found {actual}. Transpose or rename.")
    if cube.dtype.kind not in "fiu":
        raise InputError(
            f"{who} needs a cube of real numbers; found {cube.dtype}. Take the magnitude or the real part first."
        )
    if not cube.size:
        raise InputError(f"{who} needs at least one band and one pixel; the cube has shape {cube.shape}.")


class Background(NamedTuple):
    """Second-order statistics of a cube: `n` pixels, used `bands`, `mean`, and the covariance (n - 1) as
    `variances` (ascending eigenvalues) and `axes` (eigenvectors in columns); `rank` of them are not numerically zero.
    `empty`, `infinite`: bands not marked bad that have no finite value, and those that have infinite values.
    """

    n: int
    bands: np.ndarray
    mean: np.ndarray
    variances: np.ndarray
    axes: np.ndarray
    rank: int
    empty: np.ndarray
    infinite: np.ndarray


def background(cube: xr.DataArray, who: str) -> Background:
    """Mean and covariance of all valid pixels, the covariance diagonalised.

    Reads the cube. Raises InputError when there are fewer than two valid pixels or all of them are equal.
    """
    return drain(background_by_rows(cube, who))


def background_by_rows(cube: xr.DataArray, who: str) -> Generator[int, None, Background]:
    """`background`, yielding the number of rows read so far."""
    check_cube(cube, who)
    bands, stats, empty, infinite = yield from _moments_by_rows(cube)
    if stats.n < 2:
        raise InputError(
            f"{who} needs at least two pixels without missing values; found {stats.n} in {len(bands)} bands. "
            "Mark the bands that have gaps as bad (coordinate 'good')."
        )
    variances, axes = np.linalg.eigh(stats.scatter / (stats.n - 1))
    # The same threshold as numpy.linalg.matrix_rank: below it an eigenvalue is rounding error.
    rank = int((variances > variances[-1] * len(bands) * np.finfo(float).eps).sum()) if variances[-1] > 0 else 0
    if rank == 0:
        raise InputError(
            f"{who} needs spectra that differ; this cube is constant: all its {stats.n} valid pixels are equal. "
            "Check that the right variable of the file was read."
        )
    return Background(stats.n, bands, stats.mean, variances, axes, rank, empty, infinite)


def drain(steps: Generator[Any, None, Any]) -> Any:
    """Run a generator to its end and return its return value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def moments(cube: xr.DataArray) -> tuple[np.ndarray, Moments]:
    """The indices of the used bands, and the moments of all valid pixels over them.

    Reads the cube once, or twice if a band has no data.
    """
    return drain(_moments_by_rows(cube))[:2]


def _moments_by_rows(
    cube: xr.DataArray,
) -> Generator[int, None, tuple[np.ndarray, Moments, np.ndarray, np.ndarray]]:
    """Returns the used bands, the moments over them, and which bands are empty and which have infinite values."""
    bands = np.arange(cube.sizes["band"])
    if "good" in cube.coords:
        bands = np.flatnonzero(cube["good"].values)
    stats = yield from _moments(cube, bands)
    empty, infinite = bands[~stats.seen], bands[stats.infinite]
    if len(empty):
        bands = bands[stats.seen]
        stats = yield from _moments(cube, bands, count=False)
    return bands, stats, empty, infinite


def _moments(cube: xr.DataArray, bands: np.ndarray, count: bool = True) -> Generator[int, None, Moments]:
    """The moments over `bands`; yields the rows read so far if `count`."""
    if not len(bands):
        raise InputError("No usable band: every band is marked bad or has no finite value. Check the bad-band list.")
    total = nothing(len(bands))
    for rows, part in _by_block(cube, block_moments, bands):
        total = merge(total, part)
        if count and rows:
            yield rows
    return total


def _by_block(cube: xr.DataArray, work: Callable[..., Any], *args: Any) -> Iterator[tuple[int, Any]]:
    """The number of finished rows (0 within a row of blocks) and `work(block, *args)`, for every block from top to bottom."""
    if cube.chunks is None:
        end = 0
        for rows in _strips(cube.shape):
            end = rows.stop
            yield end, work(cube.data[:, rows], *args)
        return
    import dask

    data = cube.data.rechunk({0: -1})
    tasks = [dask.delayed(work, pure=False)(block, *args) for block in data.to_delayed().ravel()]
    ends = np.cumsum(data.chunks[1]).tolist()
    last = itertools.cycle([False] * (data.numblocks[2] - 1) + [True])
    row = 0
    for part, whole in zip(cluster.results(tasks), last, strict=False):
        yield (ends[row] if whole else 0), part
        row += whole


def nothing(bands: int) -> Moments:
    """The moments of zero pixels, the start value of `merge`."""
    none = np.zeros(bands, bool)
    return Moments(0, np.zeros(bands), np.zeros((bands, bands)), none, none)


def block_moments(block: np.ndarray, bands: np.ndarray) -> Moments:
    """Moments of the valid pixels of one block `(band, y, x)`."""
    total = nothing(len(bands))
    gpu = device.gpu()
    for piece in pieces(block.shape, gpu):
        values = in_float64(block, piece, bands)
        seen, infinite = np.ones(len(bands), bool), np.zeros(len(bands), bool)
        with np.errstate(invalid="ignore", over="ignore"):
            mean = values.mean(axis=1)
        if not np.isfinite(mean).all():
            finite = np.isfinite(values)
            seen, infinite = finite.any(axis=1), np.isinf(values).any(axis=1)
            values = values[:, finite.all(axis=0)]
            mean = values.mean(axis=1) if values.shape[1] else np.zeros(len(bands))
        values -= mean[:, None]
        if gpu is None:
            scatter = values @ values.T
        else:
            on_gpu = _to(values, gpu)
            scatter = (on_gpu @ on_gpu.T).cpu().numpy()
        total = merge(total, Moments(values.shape[1], mean, scatter, seen, infinite))
    return total


def merge(total: Moments, part: Moments) -> Moments:
    """Moments of the union of disjoint parts. Overwrites the scatter of `total` with the sum."""
    seen, infinite = total.seen | part.seen, total.infinite | part.infinite
    if part.n == 0:
        return total._replace(seen=seen, infinite=infinite)
    if total.n == 0:
        return part._replace(seen=seen, infinite=infinite, scatter=part.scatter.copy())
    n = total.n + part.n
    gap = part.mean - total.mean
    scatter = total.scatter
    scatter += part.scatter
    scatter += np.outer(gap * (total.n * part.n / n), gap)
    return Moments(n, total.mean + gap * (part.n / n), scatter, seen, infinite)


def pieces(shape: tuple[int, ...], gpu: Any = None) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the pieces of a block `(band, y, x)`, row by row."""
    bands, rows, cols = shape
    pixels = max(1, (PIECE if gpu is None else 16 * PIECE) // bands)
    high, wide = max(1, pixels // cols), min(cols, pixels)
    for y in range(0, rows, high):
        for x in range(0, cols, wide):
            yield slice(y, min(y + high, rows)), slice(x, min(x + wide, cols))


def in_float64(block: np.ndarray, piece: tuple[slice, slice], bands: np.ndarray) -> np.ndarray:
    """The spectra `(used band, n)` of a piece in float64, a copy."""
    part = block[:, piece[0], piece[1]]
    if len(bands) < len(part):
        part = part[bands]
    return np.array(part, dtype=np.float64, order="C").reshape(len(bands), -1)


def spectra(block: np.ndarray, bands: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The valid spectra `(used band, n)` in float64 (a copy), which pixels `(y * x)` they are, which bands have data."""
    flat = block.reshape(block.shape[0], -1)
    if len(bands) < len(flat):
        flat = flat[bands]
    finite = np.isfinite(flat)
    valid = finite.all(axis=0)
    seen = finite.any(axis=1)
    values = flat.astype(np.float64) if valid.all() else flat[:, valid].astype(np.float64)
    return values, valid, seen


@dataclass(frozen=True)
class Whitening:
    """Squared length of `matrix^T (value - mean)`, `matrix (band, component)`; lower triangular if `triangular`."""

    mean: np.ndarray
    matrix: np.ndarray
    triangular: bool

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """`(n)` for `values (band, n)`, which are overwritten; NaN where one of them is not finite."""
        values -= self.mean[:, None]
        gpu = device.gpu()
        if gpu is not None:
            return (_to(self.matrix, gpu).T @ _to(values, gpu)).square().sum(0).cpu().numpy()
        if not self.triangular:
            return _squares(self.matrix.T @ values)
        # half of a triangular matrix is zero: most of that half is left out, panel by panel
        edges = np.linspace(0, len(values), PANELS + 1).astype(int)
        total = np.zeros(values.shape[1])
        for a, b in itertools.pairwise(edges):
            total += _squares(self.matrix.T[a:b, a:] @ values[a:])
        return total


def whitening(mean: np.ndarray, matrix: np.ndarray) -> Whitening:
    """The whitening by `matrix (band, component)`; a square matrix is rotated to triangular form, which changes no length."""
    square = matrix.shape[0] == matrix.shape[1]
    return Whitening(mean, np.asarray(np.linalg.qr(matrix.T, mode="r")).T if square else matrix, square)


def _squares(white: np.ndarray) -> np.ndarray:
    return np.einsum("rn,rn->n", white, white)


def map_pixels(cube: xr.DataArray, bands: np.ndarray, score: Callable[[np.ndarray], np.ndarray]) -> Any:
    """`score` of every valid pixel, NaN elsewhere: `(y, x)` float64, a Dask array if the cube is one.

    score: takes spectra `(used band, n)` float64, which it may overwrite, and gives `(n)`; each column independently.
    """
    if cube.chunks is None:
        out = np.empty(cube.shape[1:])
        for rows in _strips(cube.shape):
            out[rows] = _score_block(cube.data[:, rows], bands, score)
        return out
    data = cube.data.rechunk({0: -1})
    return data.map_blocks(_score_block, bands, score, drop_axis=0, dtype=np.float64, meta=np.empty((0, 0)))


def score_map(cube: xr.DataArray, data: Any, long_name: str, notes: list[str], **attrs: int) -> xr.DataArray:
    """`data (y, x)` as a DataArray on the pixel coordinates of `cube`."""
    import xarray as xr

    coords = {name: c for name, c in cube.coords.items() if "band" not in c.dims}
    about: dict[str, Any] = {"long_name": long_name, "units": "1", **attrs}
    if notes:
        about["note"] = " ".join(notes)
    return xr.DataArray(data, dims=("y", "x"), coords=coords, name="score", attrs=about)


def _score_block(block: np.ndarray, bands: np.ndarray, score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    out = np.empty(block.shape[1:])
    for piece in pieces(block.shape, device.gpu()):
        values = in_float64(block, piece, bands)
        # a value that is not finite affects only the score of its own pixel: other pieces need no search for such values
        with np.errstate(invalid="ignore", over="ignore"):
            scores = score(values)
        if not np.isfinite(scores).all():
            scores[~np.isfinite(in_float64(block, piece, bands)).all(axis=0)] = np.nan
        out[piece] = scores.reshape(out[piece].shape)
    return out


def _strips(shape: tuple[int, ...]) -> Iterator[slice]:
    bands, rows, cols = shape
    step = max(1, STRIP // (bands * cols))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def _to(values: np.ndarray, where: Any) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(values)).to(where)

"""Mean and covariance of a cube's spectra in one pass, and any per-pixel score computed block by block.

A cube is a DataArray `(band, y, x)`, backed by NumPy or by Dask. A pixel counts as missing when any used band of it is
not finite; a band is used unless its coordinate `good` says no or it has no finite value at all. NumPy cubes are worked
through in strips and Dask cubes in their own blocks (all bands of a block together), so that never more than a block
per worker is held in float64. Where `workbench.device.device()` is a GPU, the products are computed there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

BLOCK = 2**22  # values per strip of a NumPy cube: 32 MiB in float64
FAN_IN = 8  # blocks merged by one task of the Dask reduction


class Moments(NamedTuple):
    """`n` pixels, `mean (band)`, `scatter (band, band)` = sum of outer products about the mean; `seen (band)`: has data."""

    n: int
    mean: np.ndarray
    scatter: np.ndarray
    seen: np.ndarray


def check_cube(cube: xr.DataArray, who: str) -> None:
    """Raise InputError unless `cube` is a real-valued DataArray `(band, y, x)` that is not empty."""
    dims = getattr(cube, "dims", None)
    if dims != ("band", "y", "x"):
        found = f"dims {dims}" if dims is not None else f"a {type(cube).__name__}"
        raise InputError(f"{who} needs a DataArray with dims ('band', 'y', 'x'); found {found}. Transpose or rename.")
    if cube.dtype.kind not in "fiu":
        raise InputError(
            f"{who} needs a cube of real numbers; found {cube.dtype}. Take the magnitude or the real part first."
        )
    if not cube.size:
        raise InputError(f"{who} needs at least one band and one pixel; the cube has shape {cube.shape}.")


class Background(NamedTuple):
    """Second-order statistics of a cube: `n` pixels, used `bands`, `mean`, and the covariance (n - 1) as
    `variances` (ascending eigenvalues) and `axes` (eigenvectors in columns); `rank` of them are not numerically zero.
    """

    n: int
    bands: np.ndarray
    mean: np.ndarray
    variances: np.ndarray
    axes: np.ndarray
    rank: int


def background(cube: xr.DataArray, who: str) -> Background:
    """Mean and covariance of all valid pixels, the covariance diagonalised.

    Reads the cube. Raises InputError when fewer than two valid pixels are there or all of them are equal.
    """
    check_cube(cube, who)
    bands, found = moments(cube)
    if found.n < 2:
        raise InputError(
            f"{who} needs at least two pixels without missing values; found {found.n} in {len(bands)} bands. "
            "Mark the bands that have gaps as bad (coordinate 'good')."
        )
    variances, axes = np.linalg.eigh(found.scatter / (found.n - 1))
    # The same cut as numpy.linalg.matrix_rank: below it an eigenvalue is rounding error.
    rank = int((variances > variances[-1] * len(bands) * np.finfo(float).eps).sum()) if variances[-1] > 0 else 0
    if rank == 0:
        raise InputError(
            f"{who} needs spectra that differ; all {found.n} valid pixels of this cube are equal. "
            "Check that the right variable of the file was read."
        )
    return Background(found.n, bands, found.mean, variances, axes, rank)


def moments(cube: xr.DataArray) -> tuple[np.ndarray, Moments]:
    """The indices of the used bands, and the moments of all valid pixels over them.

    Blocks are merged by the pairwise update of Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for
    computing sample variances", COMPSTAT 1982. Reads the cube once, or twice if some band turns out to have no data.
    """
    bands = np.arange(cube.sizes["band"])
    if "good" in cube.coords:
        bands = np.flatnonzero(cube["good"].values)
    found = _moments(cube, bands)
    if not found.seen.all():
        bands = bands[found.seen]
        found = _moments(cube, bands)
    return bands, found


def _moments(cube: xr.DataArray, bands: np.ndarray) -> Moments:
    if not len(bands):
        raise InputError("No band is left: every band is marked bad or has no finite value. Check the bad-band list.")
    if cube.chunks is None:
        merged: Moments | None = None
        for rows in _strips(cube.shape):
            part = block_moments(cube.data[:, rows], bands)
            merged = part if merged is None else merge([merged, part])
        assert merged is not None
        return merged
    import dask

    blocks = cube.data.rechunk({0: -1}).to_delayed().ravel()
    parts = [dask.delayed(block_moments)(block, bands) for block in blocks]
    while len(parts) > 1:
        parts = [dask.delayed(merge)(parts[i : i + FAN_IN]) for i in range(0, len(parts), FAN_IN)]
    return parts[0].compute()


def block_moments(block: np.ndarray, bands: np.ndarray) -> Moments:
    """Moments of the valid pixels of one block `(band, y, x)`."""
    values, _, seen = spectra(block, bands)
    n = values.shape[1]
    if n == 0:
        zero = np.zeros(len(bands))
        return Moments(0, zero, np.zeros((len(bands), len(bands))), seen)
    mean = values.mean(axis=1)
    values -= mean[:, None]
    gpu = _gpu()
    if gpu is None:
        scatter = values @ values.T
    else:
        on_gpu = _to(values, gpu)
        scatter = (on_gpu @ on_gpu.T).cpu().numpy()
    return Moments(n, mean, scatter, seen)


def merge(parts: list[Moments]) -> Moments:
    """Moments of the union of disjoint parts."""
    total = parts[0]
    for part in parts[1:]:
        seen = total.seen | part.seen
        if part.n == 0 or total.n == 0:
            total = (total if part.n == 0 else part)._replace(seen=seen)
            continue
        n = total.n + part.n
        step = part.mean - total.mean
        scatter = total.scatter + part.scatter + np.outer(step, step) * (total.n * part.n / n)
        total = Moments(n, total.mean + step * (part.n / n), scatter, seen)
    return total


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


def whiten(values: np.ndarray, mean: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Squared length `(n)` of `matrix^T (value - mean)` for `values (band, n)`, which are overwritten."""
    values -= mean[:, None]
    gpu = _gpu()
    if gpu is None:
        white = matrix.T @ values
        return np.einsum("rn,rn->n", white, white)
    return (_to(matrix, gpu).T @ _to(values, gpu)).square().sum(0).cpu().numpy()


def map_pixels(cube: xr.DataArray, bands: np.ndarray, score: Callable[[np.ndarray], np.ndarray]) -> Any:
    """`score` of every valid pixel, NaN elsewhere: `(y, x)` float64, a Dask array where the cube is one.

    score: takes spectra `(used band, n)` float64, which it may overwrite, and gives `(n)`.
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
    values, valid, _ = spectra(block, bands)
    out = np.full(len(valid), np.nan)
    if valid.any():
        out[valid] = score(values)
    return out.reshape(block.shape[1:])


def _strips(shape: tuple[int, ...]) -> Iterator[slice]:
    bands, rows, cols = shape
    step = max(1, BLOCK // (bands * cols))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def _gpu() -> Any:
    """The GPU to compute on, or None."""
    from workbench.device import device

    chosen = device()
    return chosen if chosen.type == "cuda" else None


def _to(values: np.ndarray, where: Any) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(values)).to(where)

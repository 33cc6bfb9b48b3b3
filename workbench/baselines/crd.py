"""Collaborative-representation detector (CRD): how badly the ring around a pixel predicts its spectrum.

Every pixel y is written as a linear combination of the s pixels X (band, s) of the ring around it, by ridge regression in which the
penalty on a neighbour grows with its distance from y:

    alpha = argmin |y - X alpha|^2 + ridge * |Gamma alpha|^2,    Gamma = diag(|y - x_1|, ..., |y - x_s|)
          = (X^T X + ridge Gamma^2)^-1 X^T y,                    score = |y - X alpha|

W. Li and Q. Du, "Collaborative representation for hyperspectral anomaly detection", IEEE Trans. Geosci. Remote Sens. 53(3), 2015,
doi 10.1109/TGRS.2014.2343955. Without the optional sum-to-one constraint.

The pixels of a tile share most of their neighbours, so all inner products are computed once for the tile: X^T X and X^T y are
parts of that one matrix. Nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np

from workbench.baselines import local_rx as windows
from workbench.baselines import moments as m
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

TILE = 8  # rows and columns of pixels that share one matrix of inner products


def crd(cube: xr.DataArray, inner: int = 7, outer: int = 15, ridge: float = 1e-6) -> xr.DataArray:
    """Distance of every pixel from its prediction by the ring around it, `(y, x)` float64, in units of the cube.

    The ring is that of `local_rx`: the `outer x outer` square without the `inner x inner` one, both shifted inwards at the image's
    edge. Multiplying the cube by a factor multiplies the score; adding a constant to a band changes it.

    NaN where the pixel is missing; missing pixels in a ring are left out of it, and a pixel without any neighbour is NaN too.
    Of a Dask cube, only some rows are in memory at once.

    Raises InputError when a window is even, the outer window is not larger than the inner one, it does not fit the image, or
    ridge is not positive.
    """
    check(cube, inner, outer, ridge)
    return m.drain(rows_against(cube, m.background(cube, "crd"), inner, outer, ridge))


def check(cube: xr.DataArray, inner: int, outer: int, ridge: float) -> None:
    """Raise InputError for windows or a ridge that cannot be used."""
    windows.check(cube, inner, outer, "crd")
    if not ridge > 0:
        raise InputError(f"crd needs ridge > 0; got {ridge}. The paper takes 1e-6.")


def rows_against(
    cube: xr.DataArray, stats: m.Background, inner: int = 7, outer: int = 15, ridge: float = 1e-6
) -> Generator[int, None, xr.DataArray]:
    """`crd` in strips of rows, given the background (of which only the used bands count): yields the rows done, returns the map."""
    window = windows.Window(inner, outer, *cube.shape[1:])
    out = np.full((window.rows, window.cols), np.nan)
    singular = 0
    for top in range(0, window.rows, TILE):
        rows = np.arange(top, min(top + TILE, window.rows))
        y, _ = windows.covered(window, rows, np.arange(window.cols))
        slab = np.moveaxis(np.asarray(cube.data[:, y])[stats.bands].astype(np.float64), 0, -1)
        for left in range(0, window.cols, TILE):
            cols = np.arange(left, min(left + TILE, window.cols))
            part, bad = _tile(slab, y.start, window, rows, cols, ridge)
            out[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] = part
            singular += bad
        yield int(rows[-1]) + 1
    notes = [f"{singular} rings have dependent pixels; they were solved by least squares."] if singular else []
    about = {"bands_used": len(stats.bands), "rank": stats.rank, "inner": inner, "outer": outer}
    score = m.score_map(cube, out, f"CRD score (windows {inner} and {outer}, ridge {ridge:g})", notes, **about)
    return score.assign_attrs(units=str(cube.attrs.get("units", "1")))


def _tile(
    slab: np.ndarray, top: int, window: windows.Window, rows: np.ndarray, cols: np.ndarray, ridge: float
) -> tuple[np.ndarray, int]:
    """Scores of a tile, and how many of its rings were solved by least squares. slab (y, x, band) begins at row `top`."""
    from scipy.linalg.lapack import dposv

    _, x = windows.covered(window, rows, cols)
    seen = slab[:, x]
    wide = seen.shape[1]
    spectra = seen.reshape(-1, seen.shape[2])
    valid = np.isfinite(spectra).all(1)
    spectra = np.where(valid[:, None], spectra, 0.0)
    gram = spectra @ spectra.T
    centred = spectra - spectra[valid].mean(0) if valid.any() else spectra  # differences of large numbers would lose digits
    length = np.einsum("pc,pc->p", centred, centred)
    places = (rows[:, None] - top) * wide + (cols - x.start)
    distance = length[:, None] + length[places.ravel()] - 2 * centred @ centred[places.ravel()].T
    distance = np.maximum(distance, 0.0)

    grid = np.arange(len(spectra)).reshape(-1, wide)
    down, across = window.squares(rows, window.rows), window.squares(cols, window.cols)
    weights, singular, alone = np.zeros((places.size, len(spectra))), 0, np.zeros(places.size, bool)
    for n, place in enumerate(places.ravel()):
        (oy, iy), (ox, ix) = ((a[1][k], a[2][k]) for a, k in zip((down, across), divmod(n, len(cols)), strict=True))
        ring = np.zeros(grid.shape, bool)
        ring[oy - top : oy - top + window.outer, ox - x.start : ox - x.start + window.outer] = True
        ring[iy - top : iy - top + window.inner, ix - x.start : ix - x.start + window.inner] = False
        near = grid[ring & valid.reshape(grid.shape)]
        if not valid[place] or not len(near):
            alone[n] = True
            continue
        penalty = ridge * distance[near, n]
        matrix = gram[np.ix_(near, near)]
        matrix[np.diag_indices_from(matrix)] += penalty
        _, alpha, failed = dposv(matrix, gram[near, place], overwrite_a=True)
        if failed:  # more neighbours than bands, and some of them equal to the pixel: singular to rounding
            singular += 1
            stacked = np.vstack([spectra[near].T, np.diag(np.sqrt(penalty))])
            wanted = np.r_[spectra[place], np.zeros(len(near))]
            alpha = np.linalg.lstsq(stacked, wanted, rcond=None)[0]
        weights[n, near] = alpha
    left = spectra[places.ravel()] - weights @ spectra
    score = np.sqrt(np.einsum("pc,pc->p", left, left))
    score[alone] = np.nan
    return score.reshape(places.shape), singular

"""Kernel isolation forest (KIFD, its global part): pixels that random cuts in a kernel space isolate soon are anomalous.

1. Kernel principal components (Gaussian kernel) of `samples` random pixels; all pixels are projected on the leading ones.
2. An isolation forest of those components: every tree cuts a random subset at random places until its pixels are alone. The score
   of a pixel is 2^(-h / c), h the mean number of cuts that isolate it and c that of an average pixel: near 1 is anomalous, below 0.5
   is not.

S. Li, K. Zhang, P. Duan, X. Kang, "Hyperspectral anomaly detection with kernel isolation forest", IEEE Trans. Geosci. Remote
Sens. 58(1), 2020, doi 10.1109/TGRS.2019.2936308. Left out: its second step, which repeats the forest inside large connected
regions of high scores. The article's kernel width was not available to us; here it is the mean distance between the random pixels.
F. T. Liu, K. M. Ting, Z.-H. Zhou, "Isolation forest", ICDM 2008. Kernel components and forest are scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import numpy as np

from workbench.baselines import moments as m
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

ROOM = 2**22  # spectral values or kernel values in memory at once


def kernel_forest(
    cube: xr.DataArray, components: int = 300, samples: int = 500, trees: int = 500, subset: int = 256, seed: int = 0
) -> xr.DataArray:
    """Isolation score of every pixel in the space of the leading kernel components, `(y, x)` float64 in (0, 1).

    samples: random pixels for the kernel components, at least as many as `components`. subset: pixels that a tree sees. Scenes with
    fewer pixels use all of them. NaN where the pixel is missing. Of a Dask cube, only some rows are in memory at once; it is read
    five times.

    Raises InputError for numbers below 1 (subset below 2) and fewer samples than components.
    """
    check(components, samples, trees, subset)
    stats = m.background(cube, "kernel_forest")
    return m.drain(rows_against(cube, stats, components, samples, trees, subset, seed))


def check(components: int, samples: int, trees: int, subset: int) -> None:
    """Raise InputError for numbers that cannot be used."""
    if min(components, samples, trees) < 1 or subset < 2:
        raise InputError(
            f"kernel_forest needs components, samples and trees of at least 1 and a subset of at least 2; got {components}, "
            f"{samples}, {trees} and {subset}."
        )
    if samples < components:
        raise InputError(f"kernel_forest needs at least as many samples as components; got {samples} and {components}.")


def rows_against(
    cube: xr.DataArray,
    stats: m.Background,
    components: int = 300,
    samples: int = 500,
    trees: int = 500,
    subset: int = 256,
    seed: int = 0,
) -> Generator[int, None, xr.DataArray]:
    """`kernel_forest` in strips of rows, given the background: yields the rows scored, returns the map."""
    from scipy.spatial.distance import pdist
    from sklearn.decomposition import KernelPCA
    from sklearn.ensemble import IsolationForest

    rng = np.random.default_rng(seed)
    valid = np.concatenate([known for _, _, known in _strips(cube, stats.bands, 0)])
    chosen = rng.choice(np.flatnonzero(valid), min(samples, stats.n), replace=False)
    drawn = _pixels(cube, stats.bands, chosen)
    width = float(pdist(drawn).mean())  # mean distance of two different pixels
    if width == 0:
        raise InputError("kernel_forest drew equal pixels only; raise `samples`, or take another seed.")
    kept = min(components, len(drawn) - 1)  # centred
    space = KernelPCA(kept, kernel="rbf", gamma=1 / (2 * width**2), eigen_solver="dense").fit(drawn)
    seen = rng.choice(np.flatnonzero(valid), min(stats.n, max(subset, ROOM // kept)), replace=False)
    forest = IsolationForest(n_estimators=trees, max_samples=min(subset, len(seen)), random_state=seed)
    forest.fit(space.transform(_pixels(cube, stats.bands, seen)))
    out = np.full(cube.shape[1:], np.nan)
    for rows, spectra, known in _strips(cube, stats.bands, len(drawn)):
        part = np.full(known.shape, np.nan)
        if known.any():
            part[known] = -forest.score_samples(space.transform(spectra))
        out[rows] = part.reshape(-1, out.shape[1])
        yield rows.stop
    notes = []
    if kept < components:
        notes.append(f"{components} components were requested; {len(drawn)} pixels give {kept}.")
    about = {"bands_used": len(stats.bands), "pixels_used": stats.n, "rank": stats.rank}
    return m.score_map(cube, out, f"kernel isolation forest score ({kept} components, {trees} trees)", notes, **about)


def _strips(cube: xr.DataArray, bands: np.ndarray, beside: int) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """(rows, spectra (P, C) of their valid pixels, which pixels are valid (flat)), with `beside` more values in memory per pixel."""
    _, height, width = cube.shape
    step = max(1, ROOM // (width * (len(bands) + beside)))
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        spectra = np.asarray(cube.data[:, rows])[bands].reshape(len(bands), -1).T.astype(np.float64)
        valid = np.isfinite(spectra).all(1)
        yield rows, spectra[valid], valid


def _pixels(cube: xr.DataArray, bands: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Spectra (len(chosen), C) of pixels given by their flat positions, all of them valid."""
    width = cube.shape[2]
    out = np.empty((len(chosen), len(bands)))
    for rows, spectra, valid in _strips(cube, bands, 0):
        first, last = rows.start * width, rows.stop * width
        here = (chosen >= first) & (chosen < last)
        out[here] = spectra[(np.cumsum(valid) - 1)[chosen[here] - first]]
    return out

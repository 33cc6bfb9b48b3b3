"""Anomaly detectors for hyperspectral cubes: RX and its relatives.

Every detector maps a cube to a score map, `(band, y, x) -> (y, x)` float64 on the same pixel coordinates, higher = more
anomalous, NaN where a pixel is missing. None of them uses the truth. Those of this module score a pixel by its squared
Mahalanobis distance from a background (`crd.py`, `kernel_forest.py` and `autoencoder.py` do not); they differ in how the background's
covariance is estimated and inverted:

    rx                    the pseudo-inverse of the covariance of the whole scene
    ridge_rx              its eigenvalues raised by a fraction of the largest one
    pca_rx                only the leading principal components
    random_projection_rx  a few random linear combinations of the bands
    local_rx              mean and covariance of a ring around each pixel (in `local_rx.py`)

The cube may be backed by NumPy or Dask, of any size. Mean and covariance are computed immediately, in one pass over the blocks;
with a Dask cube the score stays lazy, and `workbench.engines.cluster.blocks(score.data)` computes it block by block.
`rx_against` and the other `..._against` functions score a cube against a background that was computed before.
Everything is float64, on the GPU if `workbench.parts.device.device()` is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from workbench.baselines.local_rx import local_rx
from workbench.baselines.moments import Background, background, map_pixels, score_map, whitening
from workbench.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Detector", "local_rx", "pca_rx", "random_projection_rx", "ridge_rx", "rx"]


class Detector(Protocol):
    """The common signature: a cube `(band, y, x)` to a score map `(y, x)`; settings are keywords with defaults."""

    def __call__(self, cube: xr.DataArray, /) -> xr.DataArray:
        """The score map `(y, x)` of a cube `(band, y, x)`."""
        ...


def rx(cube: xr.DataArray) -> xr.DataArray:
    """Global RX: squared Mahalanobis distance of every pixel from the scene's mean, `(y, x)`.

    Covariance with n - 1 and its Moore-Penrose inverse; `attrs["note"]` says when it does not have full rank. The mean score
    over the n valid pixels is rank * (n - 1) / n. Raises InputError when there are so few pixels that all get the same score.

    I. S. Reed and X. Yu, "Adaptive multiple-band CFAR detection of an optical pattern with unknown spectral
    distribution", IEEE Trans. Acoust., Speech, Signal Process. 38(10), 1990, doi 10.1109/29.60107.
    """
    return rx_against(cube, background(cube, "rx"))


def rx_against(cube: xr.DataArray, stats: Background) -> xr.DataArray:
    """`rx` of the pixels of `cube`, given its background."""
    _enough_pixels(stats, stats.rank, "rx")
    matrix = stats.axes[:, -stats.rank :] / np.sqrt(stats.variances[-stats.rank :])
    return _score(cube, stats, matrix, "RX score")


def ridge_rx(cube: xr.DataArray, ridge: float = 1e-4) -> xr.DataArray:
    """RX with every principal variance raised by `ridge` times the largest one: `(y, x)`.

    Damps the directions in which the scene hardly varies; towards 0 it is RX, towards infinity the Euclidean distance
    from the mean. Raises InputError unless ridge > 0.

    N. M. Nasrabadi, "Regularization for spectral matched filter and RX anomaly detector", Proc. SPIE 6966, 2008.
    """
    return ridge_rx_against(cube, background(cube, "ridge_rx"), ridge)


def ridge_rx_against(cube: xr.DataArray, stats: Background, ridge: float = 1e-4) -> xr.DataArray:
    """`ridge_rx` of the pixels of `cube`, given its background."""
    if not ridge > 0:
        raise InputError(f"ridge_rx needs ridge > 0; got {ridge}. Use rx for no regularisation.")
    raised = stats.variances + ridge * stats.variances[-1]
    return _score(cube, stats, stats.axes / np.sqrt(raised), f"ridge-RX score (ridge {ridge:g})")


def pca_rx(cube: xr.DataArray, components: int = 30) -> xr.DataArray:
    """RX on the `components` leading principal components: `(y, x)`.

    With as many components as bands it is RX; a scene with fewer independent bands than `components` is scored with all
    of them, and `attrs["note"]` says so.
    """
    return pca_rx_against(cube, background(cube, "pca_rx"), components)


def pca_rx_against(cube: xr.DataArray, stats: Background, components: int = 30) -> xr.DataArray:
    """`pca_rx` of the pixels of `cube`, given its background."""
    kept = _kept(stats, components, "pca_rx")
    matrix = stats.axes[:, -kept:] / np.sqrt(stats.variances[-kept:])
    return _score(cube, stats, matrix, f"PCA-RX score ({kept} components)", requested=components)


def random_projection_rx(cube: xr.DataArray, components: int = 61, seed: int = 0) -> xr.DataArray:
    """RX on `components` random linear combinations of the bands (Gaussian weights, drawn from `seed`): `(y, x)`.

    With as many components as bands it is RX; a scene with fewer independent bands than `components` is scored with
    all of them, and `attrs["note"]` says so.

    J. E. Fowler and Q. Du, "Anomaly detection and reconstruction from random projections", IEEE Trans. Image Process.
    21(1), 2012, doi 10.1109/TIP.2011.2159730.
    """
    return random_projection_rx_against(cube, background(cube, "random_projection_rx"), components, seed)


def random_projection_rx_against(cube: xr.DataArray, stats: Background, components: int = 61, seed: int = 0) -> xr.DataArray:
    """`random_projection_rx` of the pixels of `cube`, given its background."""
    kept = _kept(stats, components, "random_projection_rx")
    project = np.random.default_rng(seed).standard_normal((len(stats.bands), kept))
    # Singular values of the projected square root: forming the projected covariance would square the condition number.
    root = stats.axes[:, -stats.rank :] * np.sqrt(stats.variances[-stats.rank :])
    _, spread, turned = np.linalg.svd(root.T @ project, full_matrices=False)
    matrix = project @ turned.T / spread
    return _score(cube, stats, matrix, f"random-projection RX score ({kept} projections)", requested=components)


def _score(
    cube: xr.DataArray, stats: Background, matrix: np.ndarray, long_name: str, requested: int | None = None
) -> xr.DataArray:
    """The squared length of every centred pixel after `matrix (band, component)`, as a labelled map."""
    data = map_pixels(cube, stats.bands, whitening(stats.mean, matrix))
    notes = []
    if stats.rank < len(stats.bands):
        notes.append(
            f"The covariance has rank {stats.rank} with {len(stats.bands)} bands (dependent or constant bands, or too "
            "few pixels); directions without variance do not enter the score."
        )
    if requested is not None and requested > matrix.shape[1]:
        notes.append(
            f"{requested} components were requested; the scene has {stats.rank} independent bands, and all are used."
        )
    return score_map(cube, data, long_name, bands_used=len(stats.bands), pixels_used=stats.n, rank=stats.rank, notes=notes)


def _kept(stats: Background, components: int, who: str) -> int:
    if components < 1:
        raise InputError(f"{who} needs at least 1 component; got {components}. Set components to 1 or more.")
    kept = min(components, stats.rank)
    _enough_pixels(stats, kept, who)
    return kept


def _enough_pixels(stats: Background, dimensions: int, who: str) -> None:
    if stats.n - 1 <= dimensions:
        raise InputError(
            f"{who} needs more pixels than dimensions; found {stats.n} valid pixels that span {dimensions} dimensions, "
            "where every pixel gets the same score. Use pca_rx with fewer components, ridge_rx, or a larger scene."
        )

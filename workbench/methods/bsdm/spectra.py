"""Conversion between a scene and its spectra: usable bands, scaling, detectors, maps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.errors import InputError
from workbench.methods.bsdm.settings import NEEDS
from workbench.metrics.anomaly import auc
from workbench.scene import require


def spectra_of(scene: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(spectra (P, C) float64, bands (C,) int, valid (y, x) bool): all pixels that have every band not marked bad.

    Raises InputError for several chips, complex values, fewer than 3 bands, an empty band, fewer than 2 complete pixels,
    and a constant cube.
    """
    bands, _ = usable(scene)
    cube = scene["hsi"].values[bands]
    finite = np.isfinite(cube)
    empty = bands[~finite.any((1, 2))]
    if len(empty):
        raise InputError(
            f"bsdm needs values in every band; band {empty[0]} has none. Mark it bad in good(band), or drop it."
        )
    valid = finite.all(0)
    spectra = cube[:, valid].T.astype(np.float64)  # (P, C)
    if len(spectra) < 2:
        raise InputError(f"bsdm needs complete pixels; only {len(spectra)} of {valid.size} have all {len(bands)} bands.")
    if spectra.min() == spectra.max():
        raise InputError(f"bsdm cannot scale a constant cube; every value is {spectra.min():g}.")
    return np.ascontiguousarray(spectra), bands, valid


def usable(scene: xr.Dataset) -> tuple[np.ndarray, int]:
    """The bands not marked bad, and the number of pixels; raises the InputErrors that need no pixel values."""
    require(scene, *NEEDS, who="bsdm")
    hsi = scene["hsi"]
    if hsi.dims != ("band", "y", "x"):
        raise InputError(
            f"bsdm works on one image, hsi (band, y, x); this one has {hsi.dims}. Choose one: scene.isel(sample=0)."
        )
    if hsi.dtype.kind == "c":
        raise InputError("bsdm needs real reflectance or radiance; this hsi is complex. Take its amplitude first.")
    good = scene["good"].values.astype(bool) if "good" in scene.coords else np.ones(hsi.sizes["band"], bool)
    bands = np.flatnonzero(good)
    if len(bands) < 3:
        raise InputError(f"bsdm needs at least 3 bands; this scene has {len(bands)} of {len(good)} marked good.")
    return bands, hsi.sizes["y"] * hsi.sizes["x"]


def scaled(spectra: Tensor, kind: str) -> Tensor:
    """Min-max to [0, 1], one pair of numbers for the whole cube ("global") or one per band (a constant band gives 0)."""
    low, high = (spectra.amin(), spectra.amax()) if kind == "global" else (spectra.amin(0), spectra.amax(0))
    span = high - low
    return (spectra - low) / torch.where(span > 0, span, torch.ones_like(span))


def detected(detector: Callable[[xr.DataArray], xr.DataArray], spectra: Tensor) -> Tensor:
    """Scores (P,) float64 of spectra (P, C), from a detector that ignores position."""
    cube = xr.DataArray(spectra.double().cpu().numpy().T[:, :, None], dims=("band", "y", "x"))  # one pixel wide
    return torch.from_numpy(np.array(detector(cube).values, dtype=np.float64)[:, 0])


class Frame:
    """Converts spectra back to arrays on the scene: its coordinates, valid pixels and truth, if any."""

    def __init__(self, scene: xr.Dataset, bands: np.ndarray, valid: np.ndarray) -> None:
        self.scene, self.bands, self.valid = scene, bands, valid
        truth = scene["truth"].values[valid] if "truth" in scene else np.zeros(0)
        both = (truth > 0).any() and (truth == 0).any()  # otherwise there is no ROC curve
        self.truth = truth if both else None
        self.shown = _shown_bands(scene, bands)

    def grid(self, table: Tensor) -> np.ndarray:
        """(P, ...) -> (..., y, x), NaN where a pixel is missing."""
        values = table.detach().cpu().numpy()
        grid = np.full((*values.shape[1:], *self.valid.shape), np.nan, values.dtype)
        grid[..., self.valid] = np.moveaxis(values, 0, -1)
        return grid

    def map(self, numbers: Tensor, text: str = "score") -> xr.DataArray:
        """(P,) -> (y, x) on the scene's coordinates."""
        return self._on_scene(self.grid(numbers), ("y", "x"), text)

    def cube(self, spectra: Tensor, text: str) -> xr.DataArray:
        """(P, C) -> (band, y, x) float32 on all of the scene's bands; NaN in those not used."""
        grid = np.full(self.scene["hsi"].shape, np.nan, np.float32)
        grid[self.bands] = self.grid(spectra.float())
        return self._on_scene(grid, ("band", "y", "x"), text)

    def glimpse(self, spectra: Tensor, factor: float = 1.0) -> xr.DataArray:
        """(P, C) -> (quiet_band, y, x) float32, times `factor`: red, green and blue if wavelengths are known."""
        three = factor * spectra[:, self.shown].double()
        return self._on_scene(self.grid(three.float()), ("quiet_band", "y", "x"), "three bands")

    def auc(self, numbers: Tensor) -> float:
        """AUC(D,F) of scores (P,); needs truth."""
        return auc(numbers.numpy(), self.truth)

    def aucs(self, **scores: Tensor) -> dict[str, float]:
        """The AUC of each score by its name; empty for a scene without truth."""
        return {name: self.auc(numbers) for name, numbers in scores.items()} if self.truth is not None else {}

    def _on_scene(self, values: np.ndarray, dims: tuple[str, ...], text: str) -> xr.DataArray:
        coords = {n: c.variable for n, c in self.scene["hsi"].coords.items() if set(c.dims) <= set(dims)}
        if "quiet_band" in dims:
            position = self.bands[self.shown]
            coords["quiet_band"] = xr.Variable("quiet_band", position, {"long_name": "band of the scene"})
            if "wavelength" in self.scene.coords:
                nm = self.scene["wavelength"].values[position]
                coords["quiet_wavelength"] = xr.Variable("quiet_band", nm, {"units": "nm"})
        return xr.DataArray(values, coords=coords, dims=dims, attrs={"long_name": text})


def _shown_bands(scene: xr.Dataset, bands: np.ndarray) -> np.ndarray:
    """Three positions among the used bands: nearest 650, 550, 460 nm, or evenly spread if these are not distinct."""
    n = len(bands)
    if "wavelength" in scene.coords:
        nm = scene["wavelength"].values[bands]
        near = [int(np.abs(nm - target).argmin()) for target in (650, 550, 460)]
        if np.isfinite(nm).all() and len(set(near)) == 3:
            return np.array(near)
    return np.array([5 * n // 6, n // 2, n // 6])

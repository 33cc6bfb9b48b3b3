"""The samples of the data: their scores in a run so far, and their thumbnails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from workbench.views.gallery import tiles
from workbench.views.image import composite, presets


class Film:
    """Quantities of every training sample by epoch: `p`, `d` and `S`, each epoch -> (sample,)."""

    def __init__(self) -> None:
        self.ids: np.ndarray | None = None
        self.place: np.ndarray | None = None  # (sample, 2) row and column, for pixels of a scene
        self.p: dict[int, np.ndarray] = {}
        self.d: dict[int, np.ndarray] = {}
        self.S: dict[int, np.ndarray] = {}
        self._at: dict[str, int] = {}

    def add(self, epoch: int, arrays: Mapping[str, xr.DataArray]) -> None:
        """Add the arrays of one event of the scoring run."""
        self._know(arrays["p_label"])
        self.p[epoch] = arrays["p_label"].values
        if "contribution" in arrays:
            self.d[epoch] = arrays["contribution"].values[:, -1]
        if "score" in arrays:
            self.S[epoch] = arrays["score"].values

    def finish(self, result: xr.Dataset) -> None:
        """Add from the result what the events did not contain."""
        self._know(result["score"])
        for T in result["T"].values:
            self.S[int(T)] = result["score_by_T"].sel(T=T).values
        if "p_label" in result:
            self.p = {int(e): result["p_label"].sel(epoch=e).values for e in result["epoch"].values}
            self.d = {int(e): result["contribution"].sel(change=e).values for e in result["change"].values}

    def _know(self, array: xr.DataArray) -> None:
        if self.ids is None:
            self.ids = array["sample"].values.astype(str)
            self._at = {i: n for n, i in enumerate(self.ids.tolist())}
            if "sample_y" in array.coords:
                self.place = np.stack([array["sample_y"].values, array["sample_x"].values], 1)

    @property
    def epochs(self) -> list[int]:
        """Epochs with probabilities, in order."""
        return sorted(self.p)

    def at(self, ids: Sequence[str]) -> np.ndarray:
        """Positions of samples along the sample dim."""
        return np.array([self._at[i] for i in ids], int)

    def ease(self, epoch: int) -> np.ndarray:
        """Mean probability of the label up to an epoch (sample)."""
        return np.mean([self.p[e] for e in self.epochs if e <= epoch], axis=0)


class Pictures:
    """Thumbnails of samples by identifier: the chip, the spectrum, or the neighbourhood of a pixel."""

    AROUND = 9  # pixels a side of the neighbourhood of a labelled pixel

    def __init__(self, data: xr.Dataset) -> None:
        name = next(n for n in ("image", "hsi", "sar") if n in data)
        self.values = data[name]
        self.chips = "sample" in self.values.dims
        self.ground: np.ndarray | None = None  # (row, column, 3), for a scene
        if self.chips:
            ids = (
                data["sample"].values.astype(str) if "sample" in data.coords else np.arange(data.sizes["sample"]).astype(str)
            )
            self._at = {i: n for n, i in enumerate(ids.tolist())}
            self.labels = dict(zip(ids.tolist(), data["label"].values.tolist(), strict=True))
            self.spectra = self.values.shape[-1] == self.values.shape[-2] == 1
        else:
            many = self.values.dims[0] == "band" and self.values.shape[0] > 2
            which = next(iter(presets(self.values).values())) if many else (0, 0, 0)
            self.ground = composite(self.values, which)
            self.spectra = False

    def of(self, ids: Sequence[str]) -> np.ndarray:
        """Thumbnails (n, y, x, 3) uint8 of these samples."""
        if not len(ids):
            return np.zeros((0, 1, 1, 3), np.uint8)
        if self.chips:
            return tiles(self.values[[self._at[i] for i in ids]].values)
        half = self.AROUND // 2
        assert self.ground is not None
        padded = np.pad(self.ground, ((half, half), (half, half), (0, 0)))
        places = [tuple(map(int, i.split(","))) for i in ids]
        return np.stack([padded[y : y + self.AROUND, x : x + self.AROUND] for y, x in places])

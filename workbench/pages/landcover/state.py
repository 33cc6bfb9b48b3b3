"""Shared state of the tabs of the land cover page: the visible image, the classifier, the cell of the confusion matrix, the pixel."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import param
import xarray as xr

from workbench.data.coresets import class_names, true_map
from workbench.data.patch_settings import SENSORS
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.one_run import OneRun
from workbench.pages.landcover.findings import OWN, Findings, Pixel
from workbench.views.image import as_colours, coloured, presets
from workbench.views.spectra import Axis

NAMES = {
    "hsi": "hyperspectral cube",
    "sar": "radar",
    "image": "image",
    "lidar": "LiDAR",
    "infrared": "infrared",
}


class LandcoverState(OneRun):
    """State of the land cover page. Tabs watch its parameters and set them; those named in ADDRESS are in the address.

    findings: result of the followed run; None before it has finished. runner: controls of the followed run.
    """

    ADDRESS = ("scene", "truth", "keys", "run", "tab", "image", "classifier", "cell", "at", "pixel", "time")
    MADE: ClassVar = SharedResults(24)  # networks, images at a noise level, spectra

    tab = param.Integer(0, bounds=(0, 3))
    image = param.Integer(-1, doc="number of the visible image; -1: the first")
    classifier = param.String(OWN, doc="whose map and numbers are visible")
    cell = param.String("", doc="chosen cell of the confusion matrix: true,given")
    at = param.Integer(0, doc="which pixel of the cell is shown")
    pixel = param.String("", doc="picked pixel: row,column")
    time = param.Integer(100, bounds=(0, 499), doc="noise level")
    sensor = param.String("", doc="which sensor is drawn")

    findings: Findings | None

    # --- scene ------------------------------------------------------------------------------------------------------

    @property
    def images(self) -> list[str]:
        """Names of the images of the scene; one empty name if it is a single image."""
        assert self.data is not None
        if "sample" not in self.data["truth"].dims:
            return [""]
        count = self.data.sizes["sample"]
        return (
            self.data["sample"].values.astype(str).tolist()
            if "sample" in self.data.coords
            else [str(n) for n in range(count)]
        )

    @property
    def shown(self) -> int:
        """Number of the visible image: the chosen one; else the first tested one."""
        images = self.findings.images if self.findings is not None else range(len(self.images))
        return self.image if self.image in images else images[0]

    @property
    def sensors(self) -> list[str]:
        """The sensors of the scene."""
        return [] if self.data is None else [s for s in SENSORS if s in self.data]

    def of_image(self, name: str) -> xr.DataArray:
        """A variable of the visible image."""
        assert self.data is not None
        array = self.data[name]
        return array.isel(sample=self.shown) if "sample" in array.dims else array

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of an image."""
        assert self.data is not None
        return self.data.sizes["y"], self.data.sizes["x"]

    def drawn(self, sensor: str) -> tuple[str, list[int]]:
        """Name and positions of the bands of a sensor that are drawn: three; the first, if it has fewer or is LiDAR."""
        array = self.of_image(sensor)
        if sensor == "hsi":
            name, bands = next(iter(presets(array).items()))
            return name, list(bands)
        return NAMES[sensor], [0, 1, 2] if array.shape[0] > 2 and sensor != "lidar" else [0]

    def caption(self, sensor: str) -> str:
        """Title of the picture of a sensor, with its bands: by wavelength, by polarisation, or numbered from 0."""
        array = self.of_image(sensor)
        name, bands = self.drawn(sensor)
        if sensor == "hsi" and (axis := Axis(array)).known:
            return f"{name}: {' / '.join(f'{axis.at[b]:.0f}' for b in bands)} nm"
        named = array["polarization"].values if "polarization" in array.coords else range(array.shape[0])
        if array.shape[0] == 1:
            return name
        return f"{name}: {'band' if len(bands) == 1 else 'bands'} {' / '.join(str(named[b]) for b in bands)}"

    def picture(self, sensor: str) -> np.ndarray:
        """(row, column, 3) uint8: the visible image of a sensor, of the bands of `drawn`; radar in dB."""
        array = self.of_image(sensor)
        array = array.isel({array.dims[0]: self.drawn(sensor)[1]}).astype("float32").compute()
        if sensor == "sar":
            array = 10 * np.log10(array.clip(min=1e-6))
        return coloured(array.values[0], "Viridis") if sensor == "lidar" else as_colours(array)

    def labels(self) -> np.ndarray:
        """(row, column): class of each pixel of the visible image, -1 where it has no label."""
        return true_map(self.of_image("truth").compute(), self.classes)

    @property
    def classes(self) -> list[str]:
        """Names of the classes of the scene: of the result, or of the truth's numbers above 0."""
        if self.findings is not None:
            return self.findings.names
        assert self.data is not None
        truth = self.data["truth"]
        numbers = np.unique(truth.values[truth.values > 0])
        if len(numbers) == 1:
            numbers = np.array([0, *numbers])
        return class_names(truth, numbers)

    # --- choices ----------------------------------------------------------------------------------------------------

    @property
    def chosen(self) -> tuple[int, int] | None:
        """The chosen cell of the confusion matrix, (true, given); None if there is none."""
        found = _whole(self.cell, 2)
        count = len(self.classes)
        return (found[0], found[1]) if found is not None and max(found) < count else None

    @property
    def walked(self) -> list[Pixel]:
        """The test pixels of the chosen cell."""
        if self.findings is None or self.chosen is None:
            return []
        return self.findings.pixels(self.classifier, *self.chosen)

    @property
    def picked(self) -> tuple[int, int] | None:
        """Row and column of the picked pixel; None if there is none on this image."""
        found = _whole(self.pixel, 2)
        high, wide = self.shape
        return (found[0], found[1]) if found is not None and found[0] < high and found[1] < wide else None

    def pick(self, row: int, column: int) -> None:
        """Pick a pixel of the visible image."""
        self.pixel = f"{row},{column}"


def _whole(text: str, count: int) -> list[int] | None:
    """`"3,4"` -> [3, 4]; None unless these are `count` whole numbers from 0.

    >>> _whole("3,4", 2), _whole("", 2), _whole("1,-2", 2)
    ([3, 4], None, None)
    """
    parts = text.split(",")
    return [int(p) for p in parts] if len(parts) == count and all(p.isdecimal() for p in parts) else None

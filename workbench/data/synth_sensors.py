"""Simulated places seen by two sensors, with classes that neither sensor can tell alone: `make("sim-two-sensors")`.

Both scenes have `hsi (band, y, x)`, `lidar (lidar_band, y, x)` and `truth (y, x)`, 96 x 96 pixels of 1 m. Every pixel belongs to the class
of the nearest of 160 random points, so that each class has many small areas. The numbers are deterministic; nothing is measured.

    sim-two-sensors    4 spectra x 2 heights = 8 classes. The spectra alone, and the heights alone, leave classes that are equal.
    sim-textures       6 classes: two pairs share spectrum and height, and differ only in the period of a texture (2 or 4 pixels); one pair
                       shares the spectrum and differs only in height.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from workbench.errors import InputError, did_you_mean

NAMES = ("sim-two-sensors", "sim-textures")

SIDE = 96
BANDS = 32
SITES = 160  # points whose nearest pixels form one area
NOISE = 0.031  # standard deviation in each band, reflectance
AMPLITUDE = 0.5 * NOISE  # of a texture: half the noise of a band
LOW, HIGH = 2.0, 8.0  # heights, m
SPREAD = 1.3  # standard deviation of a height, m


class Kind(NamedTuple):
    """A class: its name, the number of its spectrum, its height in metres, the period of its texture in pixels (0: none)."""

    name: str
    spectrum: int
    height: float
    period: int


KINDS = {
    "sim-two-sensors": tuple(
        Kind(f"spectrum {s + 1}, {text}", s, height, 0) for s in range(4) for text, height in (("low", LOW), ("high", HIGH))
    ),
    "sim-textures": (
        Kind("spectrum 1, period 2", 0, LOW, 2),
        Kind("spectrum 1, period 4", 0, LOW, 4),
        Kind("spectrum 2, period 2", 1, LOW, 2),
        Kind("spectrum 2, period 4", 1, LOW, 4),
        Kind("spectrum 3, low", 2, LOW, 0),
        Kind("spectrum 3, high", 2, HIGH, 0),
    ),
}
LAYERS = {"sim-two-sensors": 2, "sim-textures": 4}


def make(name: str) -> xr.Dataset:
    """The embedded scene of that name; the same values at every call.

    >>> make("sim-two-sensors")["lidar"].sizes["lidar_band"]
    2

    Raises InputError for a name that is not in `NAMES`.
    """
    if name not in NAMES:
        raise InputError(f"There is no simulated scene {name!r}; there are {', '.join(NAMES)}.{did_you_mean(name, NAMES)}")
    titles = (
        "Four spectra and two heights, eight classes (simulated)",
        "Six classes, two pairs that differ only in texture (simulated)",
    )
    number = NAMES.index(name)
    return simulate(name, SIDE, seed=11 + number).assign_attrs(id=name, title=titles[number])


def simulate(name: str, side: int = SIDE, bands: int = BANDS, seed: int = 0) -> xr.Dataset:
    """A scene with the classes of `name`, side x side pixels.

    seed: of the areas, the texture and the noise; the spectra do not depend on it.
    """
    random = np.random.default_rng(seed)
    kinds = KINDS[name]
    y, x = np.mgrid[:side, :side]
    sites = max(round(SITES * (side / SIDE) ** 2), 2 * len(kinds))
    at = random.uniform(0, side, (sites, 2))
    area = ((y[..., None] - at[:, 0]) ** 2 + (x[..., None] - at[:, 1]) ** 2).argmin(-1)
    of = random.permutation(np.arange(sites) % len(kinds))
    number = of[area]  # (y, x), the position of a class in `kinds`
    phase = random.uniform(0, 2 * np.pi, (2, sites))[:, area]
    period = np.array([k.period for k in kinds])[number]
    angle = 2 * np.pi / np.maximum(period, 1)
    # at period 2 a sine of random phase may vanish at every pixel; the cosine of a phase near 0 or pi does not
    near = np.where(period == 2, np.pi * (phase > np.pi), phase)
    wave = np.cos(angle * x + near[0]) * np.cos(angle * y + near[1]) * np.sqrt(2) * (period > 0)
    wavelength = np.linspace(450, 2350, bands)
    hsi = _spectra(wavelength)[np.array([k.spectrum for k in kinds])[number]].transpose(2, 0, 1) + AMPLITUDE * wave
    hsi = hsi + NOISE * random.standard_normal(hsi.shape)
    layers = LAYERS[name]
    height = np.array([k.height for k in kinds])[number]
    lidar = height + SPREAD * random.standard_normal((layers, side, side))
    return xr.Dataset(
        {
            "hsi": (("band", "y", "x"), hsi.astype("float32"), {"long_name": "reflectance", "units": "1"}),
            "lidar": (("lidar_band", "y", "x"), lidar.astype("float32"), {"long_name": "height above ground", "units": "m"}),
            "truth": (("y", "x"), (number + 1).astype("int16"), {"names": ["unlabelled", *(k.name for k in kinds)]}),
        },
        {"wavelength": ("band", wavelength, {"units": "nm"}), "y": np.arange(side), "x": np.arange(side)},
        {
            "id": f"{name}-{side}-{seed}",
            "title": f"{len(kinds)} classes (simulated)",
            "simulated": "two sensors, made by a formula",
        },
    )


def _spectra(wavelength: np.ndarray) -> np.ndarray:
    """(4, bands) smooth spectra that differ by a few hundredths of reflectance."""
    ramp = (wavelength - wavelength[0]) / (wavelength[-1] - wavelength[0])
    bumps = [np.exp(-0.5 * ((ramp - centre) / 0.12) ** 2) for centre in (0.2, 0.4, 0.6, 0.8)]
    return np.stack([0.25 + 0.15 * ramp + 0.05 * bump for bump in bumps])

"""Simulated scenes with known truth, deterministic, offline, in about a second: `make("sim-coast-town")`.

Measured reflectance spectra are assigned to a ground with cells four times finer than the pixels, lit with relief and cast
shadows, averaged through the sensor's point spread, mixed linearly with one bilinear term, and given the noise of a
detector. The targets are small man-made objects of materials that the ground does not have, and the fraction of every pixel
that they fill is known. docs/simulated_scenes.md says what is realistic and what is not.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import xarray as xr

from workbench.errors import InputError, did_you_mean
from workbench.resources import folder

Image = np.ndarray  # on the cells of the ground

NAMES = ("sim-coast-town", "sim-dry-airfield")

ZOOM = 4  # cells of the ground per pixel and direction
THRESHOLD = 0.2  # fraction of a pixel that targets must fill for truth = 1
STEP = 1e-4  # reflectances are stored in these steps, as products scaled by 10 000 are


class Cover(NamedTuple):
    """A kind of ground: the spectra it mixes, and how the mixture varies."""

    spectra: tuple[str, ...]
    length: float = 6.0  # correlation length of the mixture, pixels
    contrast: float = 2.0  # gain of the softmax over random fields: 0 mixes evenly, 5 gives nearly pure pixels
    texture: float = 0.05  # standard deviation of the relative brightness from pixel to pixel


COVERS = {
    # coast
    "sea": Cover(("water-clear", "water-turbid"), 18, 1.5, 0.03),
    "surf": Cover(("foam", "water-turbid", "sand-1"), 1.5, 1.5, 0.15),
    "beach": Cover(("sand-1", "sand-2", "sand-3", "soil-1"), 8, 1.2, 0.04),
    "wet-beach": Cover(("sand-1", "water-turbid"), 4, 0.8, 0.05),
    "forest": Cover(("canopy-1", "canopy-3", "canopy-5", "canopy-6", "litter-1"), 3, 1.8, 0.12),
    "meadow": Cover(("grass-1", "grass-2", "canopy-2", "canopy-4", "soil-2"), 6, 1.6, 0.06),
    "scrub": Cover(("canopy-4", "canopy-5", "grass-2", "soil-1", "litter-1"), 2, 1.8, 0.10),
    "field": Cover(("soil-1", "soil-2", "dirt-1", "grass-1"), 9, 1.5, 0.04),
    "garden": Cover(("canopy-1", "canopy-2", "canopy-6", "grass-2", "soil-2", "concrete-1"), 1.2, 1.8, 0.10),
    "lawn": Cover(("canopy-2", "canopy-6", "grass-1"), 4, 1.2, 0.05),
    "street": Cover(("asphalt-1", "asphalt-2", "asphalt-5"), 6, 1.8, 0.05),
    "lot": Cover(("asphalt-3", "asphalt-4", "concrete-2"), 4, 1.8, 0.06),
    "pavement": Cover(("concrete-1", "concrete-2"), 4, 1.5, 0.05),
    "tiles": Cover(("roof-tile-1", "roof-tile-2", "roof-tile-3"), 1.5, 2.0, 0.06),
    "shingles": Cover(("roof-shingle-1", "roof-shingle-2", "roof-shingle-3"), 2.0, 3.0, 0.06),
    "blue-shingles": Cover(("roof-shingle-4", "roof-shingle-2"), 2.0, 3.0, 0.06),
    "wood-roof": Cover(("roof-wood-1", "roof-shingle-3"), 2.0, 2.0, 0.06),
    "flat-roof": Cover(("roof-gravel-1", "roof-concrete-1", "asphalt-3"), 3.0, 3.0, 0.05),
    # airfield
    "plain": Cover(("desert-1", "desert-2", "desert-4", "gravel-1", "grass-2"), 9, 1.6, 0.05),
    "stony": Cover(("desert-3", "desert-5", "gravel-1", "rock-1", "dirt-1"), 5, 1.6, 0.07),
    "clay": Cover(("desert-1", "desert-5", "dirt-1", "soil-2"), 10, 1.4, 0.04),
    "wadi": Cover(("desert-3", "sand-1", "sand-3", "gravel-1"), 4, 1.5, 0.05),
    "shrub": Cover(("canopy-4", "canopy-5", "grass-2", "litter-1"), 1.5, 1.5, 0.12),
    "outcrop": Cover(("rock-1", "gravel-1"), 2, 1.5, 0.10),
    "burnt": Cover(("char-1", "desert-1"), 2, 1.2, 0.10),
    "runway": Cover(("asphalt-1", "asphalt-2", "asphalt-4"), 7, 1.6, 0.04),
    "apron": Cover(("runway-1", "runway-2", "concrete-2"), 5, 1.6, 0.04),
    "track": Cover(("dirt-1", "desert-2", "gravel-1"), 4, 1.2, 0.05),
}

# Materials of the targets; no cover contains them.
TARGETS = {
    "coast": ("paint-red-1", "paint-red-2", "paint-blue-1", "paint-white-1", "paint-white-2", "paint-yellow-1",
              "metal-green-1", "metal-bare-1", "metal-zinc-1", "glass-1"),
    "airfield": ("paint-white-1", "paint-white-2", "paint-white-3", "paint-blue-1", "metal-green-1", "metal-bare-1",
                 "metal-zinc-1", "glass-1"),
}  # fmt: skip
AIRCRAFT = ("paint-white-1", "paint-white-2", "paint-white-3", "metal-bare-1")


def make(name: str) -> xr.Dataset:
    """The embedded scene of that name, 100 x 100 pixels of 190 bands; the same values at every call.

    >>> make("sim-coast-town").sizes["band"]
    190

    Raises InputError for a name that is not in `NAMES`.
    """
    if name not in NAMES:
        raise InputError(f"There is no simulated scene {name!r}; there are {', '.join(NAMES)}.{did_you_mean(name, NAMES)}")
    if name == "sim-coast-town":
        return simulate("coast", seed=1).assign_attrs(id=name, title="Town on a coast (simulated)")
    return simulate("airfield", seed=5).assign_attrs(id=name, title="Airfield in a dry plain (simulated)")


def small(seed: int = 0, size: int = 24, bands: int = 30) -> xr.Dataset:
    """A small airfield for tests and smoke runs."""
    return simulate("airfield", size=size, bands=bands, seed=seed)


def simulate(layout: str = "coast", *, size: int = 100, bands: int = 190, seed: int = 0, noise: float = 1.0) -> xr.Dataset:
    """A simulated scene: `hsi (band, y, x)` reflectance, `truth (y, x)`, and `fraction (y, x)` filled by targets.

    layout: "coast" or "airfield".
    size: pixels along each side, 16 to 200; the ground is scaled with it, the targets are not.
    bands: spread evenly over 400-1350, 1460-1790 and 1960-2450 nm; the gaps are the water vapour bands.
    seed: of the ground and the targets.
    noise: factor on the standard deviation of the detector noise; with 0 only the rounding to 1e-4 remains.

    `truth` is 1 where targets fill at least 0.2 of the pixel. Variables are lazy with one chunk.
    Raises InputError for a layout or a number that cannot be used.
    """
    if layout not in _LAYOUTS:
        raise InputError(f"There is no layout {layout!r}; there are {', '.join(_LAYOUTS)}.{did_you_mean(layout, _LAYOUTS)}")
    if not (16 <= size <= 200 and 4 <= bands <= 400 and noise >= 0 and seed >= 0):
        raise InputError(
            f"A simulated scene needs size 16 to 200, bands 4 to 400, noise and seed from 0; "
            f"asked for size={size}, bands={bands}, noise={noise}, seed={seed}."
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    wavelength = _bands(bands)
    ground = _LAYOUTS[layout](rng, size)
    target = _implant(rng, ground, size, TARGETS[layout], layout)
    direct, whole, keys, fraction = _abundances(rng, ground, target, size, TARGETS[layout])
    cube = _radiative(rng, ground, direct, whole, keys, wavelength, size)
    cube = _sense(rng, cube, wavelength, noise)
    fraction = np.round(fraction, 4)  # so that rounding errors of another machine cannot change the truth
    truth = (fraction >= THRESHOLD).astype("int16")

    pixel = {"y": np.arange(size), "x": np.arange(size)}
    scene = xr.Dataset(
        {
            "hsi": (("band", "y", "x"), cube, {"units": "reflectance (1)", "long_name": "surface reflectance"}),
            "truth": (("y", "x"), truth, {"names": ["background", "anomaly"], "long_name": "simulated targets"}),
            "fraction": (("y", "x"), fraction.astype("float32"),
                         {"units": "1", "long_name": "share of the pixel filled by targets"}),
        },
        coords={
            "wavelength": ("band", wavelength,
                           {"units": "nm", "long_name": "wavelength", "standard_name": "radiation_wavelength"}),
            "good": ("band", np.ones(bands, bool), {"long_name": "band is usable"}),
            **pixel,
        },
        attrs={
            "id": f"sim-{layout}-{size}-{bands}-{seed}",
            "title": f"Small {layout} (simulated)",
            "simulated": "Library reflectance spectra mixed on a drawn ground with relief, shadows, point spread, a "
            "bilinear term and detector noise; nothing in it was seen by an imaging sensor.",
            "source": f"workbench.data.synth.simulate({layout!r}, size={size}, bands={bands}, seed={seed}, noise={noise:g}) "
            "on spectra of earthlib 1.1.0",
            "citation": "C. Anderson, The Earth Library (earthlib) 1.1.0, https://github.com/earth-chris/earthlib",
            "licence": "Apache-2.0 (scene), MIT (the spectra, (c) 2023 Christopher Anderson)",
            "notes": f"Truth: pixels at least {THRESHOLD:.0%} filled by targets; the shares are in 'fraction'.\n"
            "Green vegetation spectra come from the PROSAIL model (by way of the library), water and foam from formulas; "
            "all other spectra were measured.",
        },
    )  # fmt: skip
    return scene.assign({name: variable.chunk() for name, variable in scene.data_vars.items()})


# ---------------------------------------------------------------------------------------------------- spectra


def _bands(count: int) -> np.ndarray:
    """Wavelengths (nm) of `count` bands, evenly over the three windows between the water vapour bands."""
    along = np.linspace(0, 950 + 330 + 490, count)
    return np.where(along <= 950, 400 + along, np.where(along <= 1280, 510 + along, 680 + along))


@cache
def _library() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Wavelengths (nm) and the spectra of the extract, key -> reflectance."""
    with (folder("data_catalog") / "spectra" / "earthlib_extract.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    return np.array(header[8:], float), {row[0]: np.array(row[8:], float) for row in rows}


def _spectrum(key: str, wavelength: np.ndarray) -> np.ndarray:
    """Reflectance of one material; water and foam are not in the library and computed by formulas."""
    if key == "water-clear":
        return 0.006 + 0.030 * np.exp(-(((wavelength - 470) / 90) ** 2))
    if key == "water-turbid":
        return 0.010 + 0.075 * np.exp(-(((wavelength - 560) / 110) ** 2)) + 0.012 * np.exp(-(((wavelength - 810) / 40) ** 2))
    if key == "foam":
        return 0.03 + 0.35 * np.exp(-((wavelength / 1100) ** 2))
    known, spectra = _library()
    return np.interp(wavelength, known, spectra[key])


# ----------------------------------------------------------------------------------------------------- ground


class Ground(NamedTuple):
    """Cover, heights and free places, on cells a quarter of a pixel wide; images of shape (ZOOM * size, ZOOM * size)."""

    cover: Image  # index into COVERS
    gain: Image  # brightness of the cell relative to its spectrum
    height: Image  # of buildings and trees, in pixels; casts shadows
    relief: Image  # of the terrain, in pixels; changes the light on slopes
    free: dict[str, Image]  # kind of place -> where targets may be


def fast_length(n: int) -> int:
    """The smallest length from `n` on without other prime factors than 2, 3 and 5; `scipy.fft` takes a tenth of a second to import.

    >>> fast_length(97)
    100
    """
    while True:
        rest = n
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return n
        n += 1


def _field(rng: np.random.Generator, shape: int, length: float) -> np.ndarray:
    """A Gaussian random field (shape, shape) with Gaussian correlation of this length in cells; mean 0, variance 1."""
    # the Fourier transform is periodic, so a margin is cut away; sizes with small factors are fast
    pad = fast_length(shape + int(3 * length) + 1)
    f = np.fft.fftfreq(pad)[:, None] ** 2 + np.fft.rfftfreq(pad)[None, :] ** 2
    white = np.fft.rfft2(rng.standard_normal((pad, pad)))
    field = np.fft.irfft2(white * np.exp(-((np.pi * length) ** 2) * f), (pad, pad))[:shape, :shape]
    return (field - field.mean()) / field.std()


def _wave(rng: np.random.Generator, t: np.ndarray, period: float) -> np.ndarray:
    """A smooth random curve of t: four sines, standard deviation about 1."""
    out = np.zeros_like(t)
    for k in range(1, 5):
        out = out + np.sin(2 * np.pi * t * k / (2 * period) + rng.uniform(0, 2 * np.pi)) / k
    return out / 0.84


def _cells(size: int) -> tuple[Image, Image]:
    at = (np.arange(size * ZOOM) + 0.5) / ZOOM
    return at[:, None] + 0 * at[None, :], at[None, :] + 0 * at[:, None]


_CODE = {name: i for i, name in enumerate(COVERS)}


def _coast(rng: np.random.Generator, size: int) -> Ground:
    """Sea to the left, a beach, a promenade, a town in rotated blocks, and hills with forest, scrub and fields."""
    y, x = _cells(size)
    n = size * ZOOM
    scale = size / 100
    shore = size * 0.25 + size * 0.05 * _wave(rng, y[:, :1], size * 0.45) + 0.8 * _field(rng, n, 5 * ZOOM)
    inland = x - shore
    beach = np.maximum((6.5 + 1.6 * _wave(rng, y[:, :1], size * 0.3)) * max(scale, 0.5), 2.0)

    # hills: the cover is the highest of four random fields
    patches = [_field(rng, n, 9 * ZOOM * max(scale, 0.5)) + 0.35 * _field(rng, n, 1.2 * ZOOM) for _ in range(4)]
    lift = np.array([0.5, 0.1, 0.35, -0.25])[:, None, None]
    kinds = np.array([_CODE[k] for k in ("forest", "meadow", "scrub", "field")])
    cover = kinds[np.argmax(np.stack(patches) + lift, axis=0)]
    height = np.where(cover == _CODE["forest"], 0.7 * (_field(rng, n, 0.6 * ZOOM) > 0.8), 0.0)
    gain = np.ones((n, n))
    trail = np.abs(_field(rng, n, 22 * ZOOM * max(scale, 0.4)) - 0.2) < 0.035
    cover = np.where(trail, _CODE["track"], cover)
    hills = np.ones((n, n), bool)

    # town
    town = (y < size * 0.64 + size * 0.05 * _wave(rng, x[:1, :], size * 0.4)) & (inland > beach)
    built = _blocks(rng, y, x, n)
    for image, layer in zip((cover, gain, height), built, strict=True):
        image[town] = layer[town]
    hills &= ~town

    promenade = (inland > beach) & (inland < beach + 1.8)
    cover[promenade] = _CODE["street"]
    cover[(inland > beach - 0.7) & (inland <= beach)] = _CODE["pavement"]
    height[promenade] = 0
    sand = (inland > 0) & (inland <= beach - 0.7)
    cover[sand] = _CODE["beach"]
    cover[(inland > 0) & (inland < 1.3)] = _CODE["wet-beach"]
    cover[inland <= 0] = _CODE["sea"]
    cover[(inland <= 0.2) & (inland > -1.1) & (_field(rng, n, 1.5 * ZOOM) > 0.5)] = _CODE["surf"]
    flat = inland <= beach
    height[flat] = 0
    gain[flat | promenade] = 1
    pier = (np.abs(y - size * 0.3 - 0.12 * (x - shore)) < 0.6) & (inland < 1) & (inland > -15 * scale)
    cover[pier] = _CODE["pavement"]
    relief = _field(rng, n, 12 * ZOOM * max(scale, 0.4)) * 3.0 * np.clip((inland - beach) / (20 * scale), 0, 1)
    relief = np.where(town, 0.3 * relief, relief)
    free = {
        "sea": (inland < -3) & ~pier,
        "open": (sand & (inland > 1.5)) | (hills & (inland > beach + 3)),
        "built": town & (inland > beach + 3) & (height == 0),
    }
    return Ground(cover, gain, height, relief, free)


def _blocks(rng: np.random.Generator, y: Image, x: Image, n: int) -> tuple[Image, Image, Image]:
    """Cover, gain and height of streets, houses with gabled roofs, halls, lots and parks in a slightly bent grid."""
    angle = np.deg2rad(14)
    bend = 1.6 * _field(rng, n, 25 * ZOOM)
    u = 200 + x * np.cos(angle) + y * np.sin(angle) + bend
    v = 200 - x * np.sin(angle) + y * np.cos(angle) + bend
    i, du = np.divmod(u, 15.0)
    j, dv = np.divmod(v, 10.5)
    i, j = i.astype(int) % 64, j.astype(int) % 64
    kind = rng.choice(4, (64, 64), p=[0.68, 0.14, 0.08, 0.10])[i, j]  # houses, halls, lots, parks

    # two rows of four plots in a block; a house on most plots
    plot, pu = np.divmod(du - 1.5, 3.375)
    row, pv = np.divmod(dv - 1.3, 4.6)
    a = 4 * i + np.clip(plot, 0, 3).astype(int)
    b = 2 * j + np.clip(row, 0, 1).astype(int)
    wide, deep = rng.uniform(1.8, 2.9, (256, 128))[a, b], rng.uniform(1.6, 2.8, (256, 128))[a, b]
    off = np.abs(pv - 2.3 - rng.uniform(-0.6, 0.6, (256, 128))[a, b])
    occupied = rng.random((256, 128))[a, b] < 0.9
    house = (kind == 0) & occupied & (np.abs(pu - 1.69) < wide / 2) & (off < deep / 2)
    roofs = np.array([_CODE[k] for k in ("tiles", "shingles", "blue-shingles", "wood-roof", "flat-roof")])
    roof = roofs[rng.choice(5, (256, 128), p=[0.42, 0.28, 0.06, 0.10, 0.14])][a, b]
    along = rng.random((256, 128))[a, b] < 0.6
    sunny = np.where(along, pv > 2.3, pu > 1.69)
    slope = np.where(roof == _CODE["flat-roof"], 1.0, np.where(sunny, 1.12, 0.80))

    hall = (kind == 1) & (np.abs(du - 8.2) < 5.0) & (np.abs(dv - 5.9) < 2.9)
    cover = np.full((n, n), _CODE["garden"])
    cover[kind == 1] = _CODE["lot"]
    cover[kind == 2] = _CODE["lot"]
    cover[kind == 3] = _CODE["lawn"]
    trees = (kind == 3) & (_field(rng, n, 1.2 * ZOOM) > 0.5)
    cover[trees] = _CODE["forest"]
    cover = np.where(house, roof, cover)
    cover[hall] = _CODE["flat-roof"]
    street = (du < 1.5) | (dv < 1.3)
    cover[street] = _CODE["street"]
    tone = rng.uniform(0.85, 1.15, (256, 128))[a, b]
    gain = np.where(house & ~street, slope * tone, 1.0)
    height = np.where(street, 0.0, np.where(house, 1.0, np.where(hall, 1.8, np.where(trees, 0.9, 0.0))))
    return cover, gain, height


def _airfield(rng: np.random.Generator, size: int) -> Ground:
    """A dry plain with a wadi and shrubs, crossed by a runway; taxiways, an apron with hangars, a road, a track."""
    y, x = _cells(size)
    n = size * ZOOM
    scale = size / 100
    patches = [_field(rng, n, 13 * ZOOM * max(scale, 0.4)) + 0.3 * _field(rng, n, 1.5 * ZOOM) for _ in range(3)]
    lift = np.array([0.6, 0.0, 0.1])[:, None, None]
    kinds = np.array([_CODE[k] for k in ("plain", "stony", "clay")])
    cover = kinds[np.argmax(np.stack(patches) + lift, axis=0)]
    bed = np.abs(_field(rng, n, 26 * ZOOM * max(scale, 0.4)) + 0.15 * _field(rng, n, 3 * ZOOM) + 0.5) < 0.11
    cover[bed] = _CODE["wadi"]
    density = _field(rng, n, 8 * ZOOM * max(scale, 0.4)) + 1.2 * bed
    shrub = _field(rng, n, 0.5 * ZOOM) > 2.35 - 0.35 * density
    cover[shrub] = _CODE["shrub"]
    cover[_field(rng, n, 2.2 * ZOOM) > 3.1] = _CODE["outcrop"]
    height = np.where(shrub, 0.35, 0.0)
    track = np.abs(_field(rng, n, 30 * ZOOM * max(scale, 0.4)) - 0.3) < 0.02
    cover[track] = _CODE["track"]

    # runway coordinates: s along, t across
    angle = np.deg2rad(-24)
    s = (x - size / 2) * np.cos(angle) + (y - size * 0.66) * np.sin(angle)
    t = -(x - size / 2) * np.sin(angle) + (y - size * 0.66) * np.cos(angle)
    s, t = s / scale, t / scale  # the installations are scaled with the scene
    runway = np.abs(t) < 4.2
    taxi = (np.abs(t + 15) < 1.5) | ((np.abs(np.abs(s + 4) - 30) < 1.5) & (t < 0) & (t > -15))
    apron = (np.abs(s - 2) < 22) & (t < -16) & (t > -31)
    paved = runway | taxi | apron
    cover[runway | taxi] = _CODE["runway"]
    cover[apron] = _CODE["apron"]
    cover[(np.abs(t) > 4.2) & (np.abs(t) < 5.2)] = _CODE["track"]
    slab = rng.uniform(0.93, 1.07, (64, 64))[(s // 3.7).astype(int) % 64, (t // 3.7).astype(int) % 64]
    gain = np.where(apron, slab, 1.0)
    gain = np.where(runway & (np.abs(t) < 2.2), 0.86, gain)  # rubber where wheels touch
    hangar = (t < -32) & (t > -38) & (np.abs(s - 2) < 20) & ((s + 18) % 10.5 < 8)
    house = (np.abs(s - 30) < 4.5) & (t < -19) & (t > -36) & ((t + 36) % 6 < 3.6)
    road = ((np.abs(t + 40.5) < 1.0) | ((np.abs(s - 36) < 1.0) & (t < -16))) & ~hangar
    cover[road] = _CODE["runway"]
    cover[hangar] = _CODE["flat-roof"]
    cover[house] = np.where(t < -27, _CODE["shingles"], _CODE["tiles"])[house]
    gain = np.where(hangar, np.where(t > -35, 1.15, 0.85), gain)
    burnt = (s + 30) ** 2 + (t + 27) ** 2 < 5
    cover[burnt] = _CODE["burnt"]
    height = np.where(paved | road, 0.0, height)
    height = np.where(hangar, 2.2, np.where(house, 1.0, height))
    relief = _field(rng, n, 10 * ZOOM * max(scale, 0.4)) * 1.6 + _field(rng, n, 2.5 * ZOOM) * 0.25
    relief = np.where(paved | road | hangar | house, 0.0, relief)
    near = np.abs(t) < 6
    open_ground = ~(paved | road | hangar | house | burnt | near)
    stands = apron & (np.abs(s - 2) < 18.5) & (np.abs(t + 23.5) < 3.0)
    free = {"open": open_ground, "stands": stands, "built": (apron & ~stands) | runway | road}
    return Ground(cover, gain, height, relief, free)


_LAYOUTS: dict[str, Callable[[np.random.Generator, int], Ground]] = {"coast": _coast, "airfield": _airfield}


# ---------------------------------------------------------------------------------------------------- targets


def _rectangle(dy: np.ndarray, dx: np.ndarray, turn: float, long: float, wide: float) -> Image:
    a, b = dx * np.cos(turn) + dy * np.sin(turn), -dx * np.sin(turn) + dy * np.cos(turn)
    return (np.abs(a) < long / 2) & (np.abs(b) < wide / 2)


def _aircraft(dy: np.ndarray, dx: np.ndarray, turn: float) -> Image:
    """Fuselage, swept wings and tail; about 6 pixels long and wide."""
    a, b = dx * np.cos(turn) + dy * np.sin(turn), -dx * np.sin(turn) + dy * np.cos(turn)
    body = (np.abs(a) < 3.0) & (np.abs(b) < 0.45)
    wing = (np.abs(a + 0.45 * np.abs(b) - 0.4) < 0.55) & (np.abs(b) < 2.9)
    tail = (np.abs(a + 0.5 * np.abs(b) + 2.5) < 0.35) & (np.abs(b) < 1.2)
    return body | wing | tail


def _implant(rng: np.random.Generator, ground: Ground, size: int, materials: tuple[str, ...], layout: str) -> Image:
    """Index of the target material in each cell, -1 where there is none; gain and height of the ground are updated."""
    y, x = _cells(size)
    target = np.full(y.shape, -1)
    taken = np.zeros(y.shape, bool)
    area = (size / 100) ** 2
    # kind of place, how many per 100 x 100 pixels, smallest and largest length and width in pixels
    plans = {
        "coast": [("sea", 3, (2.0, 3.0), (1.5, 2.0)), ("sea", 6, (0.5, 1.2), (0.4, 0.7)),
                  ("open", 3, (2.0, 2.6), (1.8, 2.2)), ("open", 14, (0.4, 1.0), (0.35, 0.8)),
                  ("built", 2, (2.0, 3.0), (1.8, 2.2)), ("built", 9, (0.5, 1.0), (0.4, 0.7))],
        "airfield": [("stands", 3, (0, 0), (0, 0)),
                     ("open", 5, (2.0, 2.6), (1.8, 2.2)), ("open", 18, (0.4, 1.0), (0.35, 0.8)),
                     ("built", 5, (0.5, 1.0), (0.4, 0.7))],
    }[layout]  # fmt: skip
    margin = 3 if size >= 48 else 1
    inner = (np.minimum(y, size - y) > margin) & (np.minimum(x, size - x) > margin)
    for place, count, long, wide in plans:
        if place == "stands" and size < 48:
            continue  # the apron is smaller than an aircraft
        for _ in range(max(1, round(count * area))):
            spots = np.flatnonzero(inner & ground.free[place] & ~taken)
            if not spots.size:
                continue
            cy, cx = np.unravel_index(spots[rng.integers(spots.size)], y.shape)
            dy, dx = y - y[cy, 0], x - x[0, cx]
            turn = rng.uniform(0, np.pi)
            if place == "stands":
                shape, apart = _aircraft(dy, dx, np.deg2rad(66)), 8.5
                material = AIRCRAFT[rng.integers(len(AIRCRAFT))]
            else:
                shape, apart = _rectangle(dy, dx, turn, rng.uniform(*long), rng.uniform(*wide)), 4.0
                material = materials[rng.integers(len(materials))]
            target[shape] = materials.index(material)
            ground.gain[shape] = rng.uniform(0.75, 1.1)
            ground.height[shape] = 0.35
            taken |= dy**2 + dx**2 < apart**2
    return target


# ----------------------------------------------------------------------------------------------- light, sensor


def _average(size: int, image: np.ndarray) -> np.ndarray:
    """Pixel values of an image on cells: a Gaussian point spread of 0.35 pixels, then the mean over the pixel."""
    return _optics(size) @ image @ _optics(size).T


@cache
def _optics(size: int) -> np.ndarray:
    cells = (np.arange(size * ZOOM) + 0.5) / ZOOM
    spread = np.exp(-0.5 * ((cells[:, None] - cells[None, :]) / 0.35) ** 2)
    pixels = spread.reshape(size, ZOOM, -1).sum(1)
    return pixels / pixels.sum(1, keepdims=True)


def _shadow(height: Image) -> Image:
    """Cells in the shadow of something higher; the sun is in the south-east, 45 degrees above the horizon."""
    dark = np.zeros(height.shape, bool)
    for step in range(1, int(np.ceil(height.max() * ZOOM)) + 1):
        sy, sx = round(0.8 * step), round(0.6 * step)
        if sy >= height.shape[0]:
            break
        caster = np.zeros_like(height)
        caster[: height.shape[0] - sy, : height.shape[1] - sx] = height[sy:, sx:]
        dark |= caster - height >= step / ZOOM - 1e-9
    return dark


def _abundances(
    rng: np.random.Generator, ground: Ground, target: Image, size: int, materials: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
    """Abundance of each spectrum in direct and in all light (spectrum, y, x), the keys, the fraction of targets (y, x)."""
    lit = ~_shadow(ground.height)
    keys: list[str] = []
    direct, whole = [], []

    def add(key: str, seen_direct: np.ndarray, seen: np.ndarray) -> None:
        if key not in keys:
            keys.append(key)
            direct.append(np.zeros((size, size)))
            whole.append(np.zeros((size, size)))
        direct[keys.index(key)] += seen_direct
        whole[keys.index(key)] += seen

    bare = target < 0
    for name, cover in COVERS.items():
        here = ground.gain * (bare & (ground.cover == _CODE[name]))
        if not here.any():
            continue
        seen_direct, seen = _average(size, here * lit), _average(size, here)
        fields = np.stack(
            [_field(rng, size, cover.length) + 0.25 * rng.standard_normal((size, size)) for _ in cover.spectra]
        )
        weight = np.exp(cover.contrast * fields)
        weight *= np.exp(cover.texture * rng.standard_normal((size, size))) / weight.sum(0)
        for key, w in zip(cover.spectra, weight, strict=True):
            add(key, w * seen_direct, w * seen)
    for index, key in enumerate(materials):
        here = ground.gain * (target == index)
        if here.any():
            add(key, _average(size, here * lit), _average(size, here))
    return np.stack(direct), np.stack(whole), keys, _average(size, (~bare).astype(float))


def _radiative(
    rng: np.random.Generator,
    ground: Ground,
    direct: np.ndarray,
    whole: np.ndarray,
    keys: list[str],
    wavelength: np.ndarray,
    size: int,
) -> np.ndarray:
    """Reflectance (band, y, x) of a sensor without noise."""
    spectra = np.stack([_spectrum(key, wavelength) for key in keys], axis=1)  # (band, spectrum)
    sky = (0.06 + 0.22 * (400 / wavelength) ** 2)[:, None, None]  # fraction of light that comes from the sky
    slope_y, slope_x = np.gradient(ground.relief, 1 / ZOOM)
    shade = np.clip(1 - 0.45 * _average(size, 0.8 * slope_y + 0.6 * slope_x), 0.4, 1.5)  # lit from the south-east

    def seen(which: list[int]) -> np.ndarray:
        part = spectra[:, which]
        return np.tensordot(part, direct[which] * shade, 1) * (1 - sky) + np.tensordot(part, whole[which], 1) * sky

    leaves = seen([i for i, key in enumerate(keys) if key.startswith("canopy")])
    cube = seen(list(range(len(keys))))
    cube += 0.5 * leaves * (cube - leaves)  # light reflected by both the leaves and the materials beside them
    lines = np.array([(940, 18, 1.0), (1130, 22, 1.0), (1405, 45, 2.0), (1875, 65, 2.0)])  # centre, width (nm), depth
    vapour = np.exp(-0.5 * ((wavelength[:, None] - lines[:, 0]) / lines[:, 1]) ** 2) @ lines[:, 2]
    cube *= np.exp(-0.02 * vapour[:, None, None] * _field(rng, size, size / 6))  # residual of the atmospheric correction
    return cube


def _sense(rng: np.random.Generator, cube: np.ndarray, wavelength: np.ndarray, noise: float) -> np.ndarray:
    """Detector noise (a constant and a photon part), gain of each detector column, and storage in steps of 1e-4."""
    dim = 1 + 1.5 * np.exp(-(wavelength - 400) / 40) + 1.5 * np.exp((wavelength - 2450) / 120)  # weak light at both ends
    variance = (0.0008 * dim[:, None, None]) ** 2 + 4e-6 * np.clip(cube, 0, None)
    gain = 1 + noise * 0.0012 * rng.standard_normal((cube.shape[0], 1, cube.shape[2]))
    cube = cube * gain + noise * np.sqrt(variance) * rng.standard_normal(cube.shape)
    return (np.round(cube / STEP) * STEP).astype("float32")

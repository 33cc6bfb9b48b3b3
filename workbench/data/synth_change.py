"""Simulated pairs with known change and known ambiguity, deterministic, offline, in about a second.

    scene = make("sim-change-town")             # one pair of 256 x 256 pixels
    scene = make("sim-change-tiles")            # 96 pairs of 64 x 64 pixels for training, 32 for testing
    scene = simulate(size=128, seed=7, modality="sar")

A town is drawn twice on cells half as wide as the pixels. Between the dates some buildings disappear and others appear:
this is the change. Sun, season, cars, colours and noise also differ, and the second image is shifted and distorted by
fractions of a pixel: this is not change. In *doubtful zones* (dug-over earth, roofs under repair) the truth itself is
drawn, with a probability that is known: `chance (y, x)` is P(truth = 1) everywhere, and `ambiguity = 2 chance (1 - chance)` is
what a perfect uncertainty map would show there. docs/simulated_scenes.md says what is realistic and what is not.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.special import ndtri

from workbench.errors import InputError, did_you_mean

NAMES = ("sim-change-town", "sim-change-tiles", "sim-change-sar")

ZOOM = 2  # cells of the ground per pixel and direction
TILE = 64
DOUBT = {"earth": 0.5, "repair": 0.2}  # probability that the truth of a doubtful zone of this kind is changed
SIMULATED = (
    "A drawn town with buildings that appear and vanish between two dates; nothing in it was seen by an imaging sensor."
)

# reflectance in red, green, blue, near infrared; backscatter (intensity)
COVERS: dict[str, tuple[tuple[float, ...], float]] = {
    "grass": ((0.16, 0.22, 0.11, 0.42), 0.10),
    "trees": ((0.07, 0.12, 0.06, 0.36), 0.16),
    "field": ((0.30, 0.25, 0.17, 0.34), 0.07),
    "crop": ((0.13, 0.24, 0.09, 0.46), 0.12),
    "street": ((0.19, 0.19, 0.20, 0.22), 0.03),
    "lot": ((0.33, 0.32, 0.31, 0.34), 0.05),
    "earth": ((0.42, 0.31, 0.22, 0.45), 0.14),
    "repair": ((0.20, 0.34, 0.52, 0.40), 0.30),
}
ROOFS = (
    ((0.44, 0.24, 0.18, 0.38), 0.55),
    ((0.30, 0.28, 0.28, 0.32), 0.45),
    ((0.55, 0.53, 0.50, 0.56), 0.60),
    ((0.36, 0.22, 0.19, 0.30), 0.40),
    ((0.22, 0.23, 0.26, 0.26), 0.50),
)
CARS = ((0.60, 0.60, 0.60, 0.55), (0.10, 0.10, 0.12, 0.10), (0.45, 0.12, 0.12, 0.30), (0.15, 0.18, 0.40, 0.25))


class Light(NamedTuple):
    """Light of one date: direction to the sun in cells per unit of height, gain and offset per band, haze."""

    sun: tuple[float, float]
    gain: np.ndarray
    offset: np.ndarray
    shade: float


SETS = ("sim-change-tiles",)  # those of `NAMES` that are sets of pairs


def make(name: str) -> xr.Dataset:
    """The embedded scene of that name; the same values at every call.

    >>> dict(make("sim-change-town").truth.sizes)
    {'y': 256, 'x': 256}

    Raises InputError for a name that is not in `NAMES`.
    """
    if name not in NAMES:
        raise InputError(f"There is no simulated pair {name!r}; there are {', '.join(NAMES)}.{did_you_mean(name, NAMES)}")
    return _made(name).copy()


@cache
def _made(name: str) -> xr.Dataset:
    if name == "sim-change-tiles":
        return tiles().assign_attrs(id=name, title="Town tiles at two dates (simulated), 96 + 32 pairs of 64 x 64 pixels")
    if name == "sim-change-sar":
        return simulate(seed=3, modality="sar").assign_attrs(id=name, title="Town at two dates in SAR (simulated)")
    return simulate(seed=1).assign_attrs(id=name, title="Town at two dates (simulated)")


def small(seed: int = 0) -> xr.Dataset:
    """A small set for tests and smoke runs: 16 pairs of 32 x 32 pixels for training and 8 for testing."""
    return tiles(train=1, test=1, size=128, tile=32, seed=seed).isel(sample=np.r_[:16, 16:24])


def tiles(
    train: int = 6, test: int = 2, *, size: int = 256, tile: int = TILE, seed: int = 100, modality: str = "optical"
) -> xr.Dataset:
    """A set of pairs cut from `train + test` towns: `before`, `after (sample, band, y, x)`, `truth`, `chance`, `ambiguity
    (sample, y, x)` and the coordinate `split (sample)`. No town is in both splits.

    size: of a town; tile: of a pair, which must divide it. Raises InputError for numbers that cannot be used.
    """
    if train < 1 or test < 1 or tile < 8 or size % tile:
        raise InputError(
            f"A set of simulated pairs needs towns for both splits and tiles that divide them; asked for train={train}, "
            f"test={test}, size={size}, tile={tile}."
        )
    pieces, names, splits = [], [], []
    for town in range(train + test):
        whole = simulate(size, seed=seed + town, modality=modality).drop_vars(["y", "x"])
        for i in range(0, size, tile):
            for j in range(0, size, tile):
                pieces.append(whole.isel(y=slice(i, i + tile), x=slice(j, j + tile)))
                names.append(f"town-{town:02d}-{i:03d}-{j:03d}")
                splits.append("train" if town < train else "test")
    scene = xr.concat([p.compute() for p in pieces], "sample", coords="minimal", compat="override", combine_attrs="override")
    scene = scene.assign_coords(
        sample=np.array(names),
        split=("sample", np.array(splits)),
        y=np.arange(tile, dtype=float),
        x=np.arange(tile, dtype=float),
    )
    scene.attrs |= {
        "id": f"sim-change-tiles-{tile}-{seed}",
        "title": f"Town tiles at two dates (simulated), {len(names)} pairs",
        "source": f"workbench.data.synth_change.tiles(train={train}, test={test}, size={size}, tile={tile}, seed={seed}, "
        f"modality={modality!r})",
    }
    return scene.assign({name: variable.chunk(sample=16) for name, variable in scene.data_vars.items()})


def simulate(
    size: int = 256, *, seed: int = 0, modality: str = "optical", bands: int = 3, hard: float = 1.0, looks: float = 4.0
) -> xr.Dataset:
    """A simulated pair: `before`, `after (band, y, x)`, `truth`, `chance` and `ambiguity (y, x)`, float32 and int16.

    size: pixels along each side, 32 to 1024.
    seed: of the town and its changes.
    modality: "optical", values in [0, 1] in steps of 1/255; or "sar", intensity of one band with speckle.
    bands: 1 to 4 of red, green, blue, near infrared; optical only.
    hard: factor on all differences that are not change (light, season, shift, cars, noise); with 0 only the change remains.
    looks: of the SAR images; intensity is gamma distributed with this shape.

    `truth` is 1 where buildings that appeared or disappeared fill more than half of the pixel, and in doubtful zones where the
    random draw is 1; 0 elsewhere. Raises InputError for a modality or a number that cannot be used.
    """
    if modality not in ("optical", "sar"):
        raise InputError(f"modality is optical or sar; got {modality!r}.")
    if not (32 <= size <= 1024 and 1 <= bands <= 4 and 0 <= hard <= 3 and looks >= 1 and seed >= 0):
        raise InputError(
            "A simulated pair needs size 32 to 1024, bands 1 to 4, hard 0 to 3, looks and seed from 1 and 0; "
            f"asked for size={size}, bands={bands}, hard={hard}, looks={looks}, seed={seed}."
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    n = size * ZOOM
    town = _town(rng, n)
    doubt = _doubt(rng, n, town)
    fraction = _pixels(town.before != town.after, size)  # of each pixel, filled by buildings of one date only
    shares = {kind: _pixels(zone, size) for kind, zone in doubt.items()}

    seen = []
    for date in (0, 1):
        ground = _colours(rng, town, doubt, date, hard, modality)
        if modality == "optical":
            ground = _lit(rng, ground, town, date, hard)[:bands]
        seen.append(_sensed(rng, ground, size, hard if date else 0.0, modality, looks, hard))

    chance = np.where(fraction > 0.5, 1.0, 0.0)
    for kind, p in DOUBT.items():
        chance = np.where((shares[kind] > 0.5) & (fraction <= 0.5), p, chance)
    draw = field(rng, size, 2.5)
    truth = np.where((chance > 0) & (chance < 1), draw < ndtri(np.clip(chance, 1e-9, 1 - 1e-9)), chance > 0.5)

    about = {"kind": modality, "units": "reflectance (1)" if modality == "optical" else "intensity (1)"}
    if modality == "optical":
        about |= {"step": 1 / 255}  # type: ignore[dict-item]
    what = "image" if modality == "optical" else "SAR intensity"
    dates = ("2021-07-02", "2023-10-19")
    variables = {
        name: (("band", "y", "x"), image, {"long_name": f"simulated {what}, {name}", "time": date, **about})
        for name, image, date in zip(("before", "after"), seen, dates, strict=True)
    }
    scene = xr.Dataset(
        {
            **variables,
            "truth": (("y", "x"), truth.astype(np.int16),
                      {"names": ["unchanged", "changed"], "long_name": "simulated change"}),
            "chance": (("y", "x"), chance.astype(np.float32),
                       {"units": "1", "long_name": "probability that the truth says changed"}),
            "ambiguity": (("y", "x"), (2 * chance * (1 - chance)).astype(np.float32),
                          {"units": "1", "long_name": "expected |truth - chance|: what a perfect uncertainty shows"}),
        },
        coords={"band": np.arange(len(seen[0])), "y": np.arange(size, dtype=float), "x": np.arange(size, dtype=float)},
        attrs={
            "id": f"sim-change-{modality}-{size}-{seed}",
            "title": f"Town at two dates (simulated, {modality})",
            "modality": modality,
            "simulated": SIMULATED,
            "source": f"workbench.data.synth_change.simulate({size}, seed={seed}, modality={modality!r}, bands={bands}, "
            f"hard={hard:g}, looks={looks:g})",
            "citation": "workbench, simulated pairs (docs/simulated_scenes.md)",
            "licence": "Apache-2.0",
            "notes": "Truth: buildings that appeared or vanished. In doubtful zones it is drawn with the probability in "
            "'chance'; what cannot be known there is in 'ambiguity'.",
        },
    )  # fmt: skip
    return scene.assign({name: variable.chunk() for name, variable in scene.data_vars.items()})


# ----------------------------------------------------------------------------------------------------- the town


def field(rng: np.random.Generator, n: int, length: float) -> np.ndarray:
    """A smooth Gaussian random field (n, n) with this correlation length in cells; mean 0, variance 1.

    Drawn on the coarsest grid that its smoothness allows, and interpolated: three times as fast as that of `synth`.
    """
    coarse = max(1, int(length / 3))
    m = -(-n // coarse) + 1
    sigma = length / coarse / np.sqrt(2)
    rim = int(3 * sigma) + 1
    white = gaussian_filter(rng.standard_normal((m + 2 * rim, m + 2 * rim)), sigma, mode="constant", truncate=3)
    out = white[rim:-rim, rim:-rim]
    if coarse == 1:
        out = out[:n, :n]
    else:
        at = np.arange(n) / coarse
        low = at.astype(int)
        weight = np.zeros((n, m))
        weight[np.arange(n), low] = 1 - (at - low)
        weight[np.arange(n), np.minimum(low + 1, m - 1)] += at - low
        out = weight @ out @ weight.T
    return (out - out.mean()) / out.std()


class Town(NamedTuple):
    """Buildings and ground, on cells (n, n): building numbers of both dates (0 = none), and the cover."""

    before: np.ndarray
    after: np.ndarray
    roof: np.ndarray  # per building: index into ROOFS
    height: np.ndarray  # per building, in cells
    tone: np.ndarray  # per building
    cover: np.ndarray  # index into COVERS
    trees: np.ndarray  # height of trees, in cells


_CODE = {name: i for i, name in enumerate(COVERS)}


def _town(rng: np.random.Generator, n: int) -> Town:
    """Streets in a distorted grid, fields and woods around it, buildings of three sizes on most plots at both dates."""
    y, x = np.mgrid[:n, :n].astype(float)
    turn = rng.uniform(0, np.pi / 2)
    bend = 6 * field(rng, n, 60)
    u = x * np.cos(turn) + y * np.sin(turn) + bend + rng.uniform(0, 100)
    v = -x * np.sin(turn) + y * np.cos(turn) + bend + 2000 + rng.uniform(0, 100)
    wide, deep = rng.uniform(62, 82), rng.uniform(46, 60)
    i, du = np.divmod(u + 1000, wide)
    j, dv = np.divmod(v, deep)
    street = (du < 7) | (dv < 6)
    nature = [field(rng, n, 26) + 0.3 * field(rng, n, 4) + lift for lift in (0.5, 0.0, 0.15, 0.1)]
    kinds = np.array([_CODE[k] for k in ("grass", "trees", "field", "crop")])
    cover = kinds[np.argmax(np.stack(nature), axis=0)]
    unbuilt = rng.random((256, 256)) < 0.18
    cover = np.where(unbuilt[i.astype(int) % 256, j.astype(int) % 256], _CODE["lot"], cover)
    cover[street] = _CODE["street"]
    trees = np.where((cover == _CODE["trees"]) | ((cover == _CODE["grass"]) & (field(rng, n, 2.5) > 1.5)), 5.0, 0.0)
    cover[(trees > 0) & (cover == _CODE["grass"])] = _CODE["trees"]

    before, after = np.zeros((n, n), int), np.zeros((n, n), int)
    taken = np.zeros((n, n), bool)
    roofs, heights, tones = [0], [0.0], [1.0]
    wanted = int(0.007 * n * n)
    for _ in range(wanted):
        cy, cx = rng.integers(n, size=2).tolist()
        if taken[cy, cx] or street[cy, cx]:
            continue
        long, short = (
            (rng.uniform(14, 24), rng.uniform(10, 16)) if rng.random() < 0.85 else (rng.uniform(30, 50), rng.uniform(18, 28))
        )
        angle = turn + (np.pi / 2 if rng.random() < 0.5 else 0.0)
        reach = int(long) + 2
        rows, columns = slice(max(cy - reach, 0), cy + reach), slice(max(cx - reach, 0), cx + reach)
        dy, dx = y[rows, columns] - cy, x[rows, columns] - cx
        a, b = np.abs(dx * np.cos(angle) + dy * np.sin(angle)), np.abs(-dx * np.sin(angle) + dy * np.cos(angle))
        shape = (a < long / 2) & (b < short / 2)
        near = (a < long / 2 + 4) & (b < short / 2 + 4)
        if (taken[rows, columns] & shape).any() or street[rows, columns][shape].mean() > 0.02:
            continue
        taken[rows, columns] |= near
        fate = rng.choice(3, p=[0.60, 0.26, 0.14])  # remains, appears, disappears
        number = len(roofs)
        roofs.append(int(rng.integers(len(ROOFS))))
        heights.append(rng.uniform(5, 9) if long < 26 else rng.uniform(8, 13))
        tones.append(rng.uniform(0.8, 1.15))
        if fate != 1:
            before[rows, columns][shape] = number
        if fate != 2:
            after[rows, columns][shape] = number
    built = (before > 0) | (after > 0)
    trees[built] = 0
    cover[built & (cover == _CODE["trees"])] = _CODE["grass"]
    return Town(before, after, np.array(roofs), np.array(heights), np.array(tones), cover, trees)


def _doubt(rng: np.random.Generator, n: int, town: Town) -> dict[str, np.ndarray]:
    """The doubtful zones of each kind, at the second date: patches of dug-over earth, and some roofs under repair."""
    open_ground = (town.before == 0) & (town.after == 0) & (town.cover != _CODE["street"])
    earth = (field(rng, n, 14) + 0.15 * field(rng, n, 2) > 1.75) & open_ground
    stays = np.intersect1d(np.unique(town.before), np.unique(town.after))
    chosen = stays[(stays > 0) & (rng.random(len(stays)) < 0.22)]
    return {"earth": earth, "repair": np.isin(town.after, chosen)}


# ---------------------------------------------------------------------------------------------- light, sensor


def _colours(
    rng: np.random.Generator, town: Town, doubt: dict[str, np.ndarray], date: int, hard: float, modality: str
) -> np.ndarray:
    """Reflectance (4, n, n) or backscatter (1, n, n) of everything at one date, without light and shadow."""
    n = len(town.cover)
    optical = modality == "optical"
    table = np.array([colour if optical else (back,) for colour, back in COVERS.values()])
    cover = town.cover.copy()
    if date:  # harvest: some fields are sown, some are mown
        turned = (field(rng, n, 30) > 0.1) & (hard > 0)
        cover = np.where(turned & (town.cover == _CODE["crop"]), _CODE["field"], cover)
        cover = np.where(turned & (town.cover == _CODE["field"]), _CODE["crop"], cover)
        cover[doubt["earth"]] = _CODE["earth"]
    ground = table[cover].transpose(2, 0, 1).copy()
    if date and optical:  # autumn: green vegetation becomes browner, in patches
        green = np.isin(cover, [_CODE["grass"], _CODE["trees"], _CODE["crop"]])
        much = hard * np.clip(0.5 + 0.35 * field(rng, n, 22), 0, 1.2)
        ground = np.where(green, ground * (1 + much * np.array([0.9, 0.25, 0.3, -0.2])[:, None, None]), ground)
    texture = 0.10 * field(rng, n, 1.2) + 0.08 * field(rng, n, 7)
    ground *= np.exp(np.where(cover == _CODE["street"], 0.5, 1.0) * texture)
    standing = town.after if date else town.before
    roofs = np.array([colour if optical else (back,) for colour, back in ROOFS])
    for number in np.unique(standing[standing > 0]):
        here = standing == number
        ground[:, here] = (
            roofs[town.roof[number]][:, None] * town.tone[number] * (1 + 0.03 * rng.standard_normal(here.sum()))
        )
    if date:
        ground[:, doubt["repair"]] = table[_CODE["repair"]][:, None] * (
            1 + 0.05 * rng.standard_normal(doubt["repair"].sum())
        )
    places = np.flatnonzero((town.cover == _CODE["street"]) | (town.cover == _CODE["lot"]) & (standing == 0))
    cars = np.array(CARS) if optical else np.array([[1.2]])
    count = int(hard * 0.0012 * n * n) if places.size else 0
    for at, kind in zip(rng.choice(places, count), rng.integers(len(cars), size=count), strict=True):
        cy, cx = divmod(int(at), n)
        ground[:, cy : cy + 2, cx : cx + 4] = cars[kind][:, None, None]
    return ground


def _lit(rng: np.random.Generator, ground: np.ndarray, town: Town, date: int, hard: float) -> np.ndarray:
    """The ground in the light of its date: cast shadows, gain and offset of every band."""
    angle = rng.uniform(0.15, 0.45) + date * hard * rng.uniform(0.5, 0.9)
    long = 0.7 + date * hard * rng.uniform(0.2, 0.7)
    heights = np.maximum(town.height[town.after if date else town.before], town.trees)
    dark = _shadow(heights, long * np.cos(angle), long * np.sin(angle))
    ground = np.where(dark, ground * np.array([0.38, 0.42, 0.50, 0.33])[:, None, None], ground)
    if date:
        ground = ground * (1 + hard * rng.uniform(-0.18, 0.22, (4, 1, 1))) + hard * rng.uniform(0, 0.03, (4, 1, 1))
        ground = ground * (1 + hard * 0.06 * field(rng, ground.shape[1], ground.shape[1] / 5))  # thin cloud and its shade
    return ground


def _shadow(height: np.ndarray, down: float, right: float) -> np.ndarray:
    """Cells in the shadow of something higher; the shadow of height h is shifted by h * (down, right) cells."""
    dark = np.zeros(height.shape, bool)
    steps = int(np.ceil(height.max() * max(abs(down), abs(right))))
    for k in range(1, steps + 1):
        part = k / max(steps, 1) * height.max()
        sy, sx = round(part * down), round(part * right)
        caster = np.zeros_like(height)
        caster[sy:, sx:] = height[: height.shape[0] - sy, : height.shape[1] - sx]
        dark |= caster > height + part * 0.999
    return dark


def _sensed(
    rng: np.random.Generator, ground: np.ndarray, size: int, shifted: float, modality: str, looks: float, hard: float
) -> np.ndarray:
    """Pixels (band, size, size) of the ground: shifted and distorted by fractions of a pixel, blurred, noisy, quantised."""
    n = ground.shape[1]
    if shifted:
        y, x = np.mgrid[:n, :n].astype(float)
        dy, dx = rng.uniform(-0.9, 0.9, 2) * shifted * ZOOM
        y += dy + shifted * 0.35 * ZOOM * field(rng, n, n / 4)
        x += dx + shifted * 0.35 * ZOOM * field(rng, n, n / 4)
        ground = np.stack([map_coordinates(b, [y, x], order=1, mode="nearest") for b in ground])
    if modality == "sar":
        image = np.stack([_pixels(b, size) for b in ground])
        return (image * rng.gamma(looks, 1 / looks, image.shape)).astype(np.float32)
    image = np.stack([_pixels(gaussian_filter(b, 0.45 * ZOOM), size) for b in ground])
    image = image + hard * 0.012 * rng.standard_normal(image.shape)
    return (np.round(np.clip(1.5 * image, 0, 1) * 255) / 255).astype(np.float32)


def _pixels(cells: np.ndarray, size: int) -> np.ndarray:
    """Means over the cells of every pixel, (size, size)."""
    return cells.reshape(size, ZOOM, size, ZOOM).mean((1, 3))

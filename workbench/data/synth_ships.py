"""Simulated SAR chips with ships, deterministic, offline.

    scene = make("sim-ships")                 # 192 chips of 128 x 128 pixels for training, 64 for testing
    one = simulate(256, seed=7, land=True)    # one chip of any size
    tiny = small(seed=0)                      # 12 + 6 chips of 64 x 64 pixels, for tests

A chip is 8-bit amplitude: `image (sample, band, y, x)` in [0, 1] in steps of 1/255, with boxes `box (object, edge)` of the ships
and, unlike a real chip, `clutter (sample, y, x)`: what each pixel shows besides. The sea has K-distributed clutter (gamma texture
times gamma speckle of 1 to 4 looks), swell and a gradient; ships are 9 to 40 pixels long, uneven, and many are dim. On half of the
chips there is land. Piers, rails, breakwaters and azimuth streaks are brighter than most ships. docs/simulated_scenes.md says what
is realistic and what is not.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter

from workbench.errors import InputError, did_you_mean

NAMES = ("sim-ships",)
CLUTTER = ("sea", "land", "pier", "rail", "streak", "ghost", "buoy")  # names of the values of `clutter`
SIMULATED = "Drawn ships, land and clutter with computed speckle; nothing in it was seen by a radar."
SEA = 26.0  # mean amplitude of the sea in an average chip, of 255
TRIES = 40  # places that are tried for a ship


def make(name: str) -> xr.Dataset:
    """The embedded chips of that name; the same values at every call. Raises InputError for a name that is not in `NAMES`."""
    if name not in NAMES:
        raise InputError(f"There are no simulated ships {name!r}; there are {', '.join(NAMES)}.{did_you_mean(name, NAMES)}")
    return _made(name).copy()


@cache
def _made(name: str) -> xr.Dataset:
    scene = chips(192, 64, size=128, seed=0)
    return scene.assign_attrs(id=name, title="Ships in SAR (simulated), 192 + 64 chips of 128 x 128 pixels")


def small(seed: int = 0) -> xr.Dataset:
    """A small set for tests and smoke runs: 12 chips of 64 x 64 pixels for training and 6 for testing."""
    return chips(12, 6, size=64, seed=seed)


def chips(train: int, test: int, *, size: int = 128, seed: int = 0) -> xr.Dataset:
    """A set of chips, every second one with land: `image`, `clutter`, boxes, and the coordinates `split`, `looks` and `inshore (sample)`.

    Raises InputError for numbers that cannot be used.
    """
    if train < 1 or test < 1:
        raise InputError(f"A set of simulated ships needs chips for both splits; asked for train={train}, test={test}.")
    looks = [1 + (n // 2) % 4 for n in range(train + test)]
    made = [
        simulate(size, seed=seed * 100_003 + n, land=n % 2 == 1, looks=k, name=f"chip-{n:03d}") for n, k in enumerate(looks)
    ]
    flat = ("box", "box_sample", "box_label")
    scene = xr.concat([m.drop_vars(flat) for m in made], "sample", combine_attrs="override").assign_coords(
        split=("sample", np.array(["train"] * train + ["test"] * test)),
        looks=("sample", np.array(looks), {"long_name": "number of looks"}),
        inshore=("sample", np.arange(train + test) % 2 == 1, {"long_name": "whether there is land"}),
    )
    boxes = {name: np.concatenate([m[name].values for m in made]) for name in flat}
    scene = scene.assign({name: (made[0][name].dims, boxes[name], made[0][name].attrs) for name in flat})
    scene = scene.assign_coords(edge=["x0", "y0", "x1", "y1"])
    scene.attrs |= {
        "id": f"sim-ships-{size}-{seed}",
        "title": f"Ships in SAR (simulated), {train + test} chips",
        "source": f"workbench.data.synth_ships.chips({train}, {test}, size={size}, seed={seed})",
    }
    return scene.chunk(sample=16)


def simulate(size: int = 128, *, seed: int = 0, land: bool = False, looks: int = 2, name: str = "chip") -> xr.Dataset:
    """One chip: `image (sample, band, y, x)`, `clutter (sample, y, x)`, `box`, `box_sample`, `box_label`.

    size: pixels along each side, 48 to 4096. land: whether a coast crosses the chip. looks: 1 to 16. name: identifier of the chip.
    Ships per area are those of 2 to 6 in 128 x 128 pixels. Raises InputError for numbers that cannot be used.
    """
    if not (48 <= size <= 4096 and 1 <= looks <= 16 and seed >= 0):
        raise InputError(
            f"A simulated chip needs size 48 to 4096, looks 1 to 16 and seed from 0; asked for size={size}, looks={looks}, "
            f"seed={seed}."
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    chip = _Chip(rng, size)
    if land:
        chip.coast()
    for _ in range(max(1, round(rng.uniform(1, 3) * (size / 128) ** 2))):
        chip.line(int(rng.choice([2, 3] if land else [2, 4])))
    ships = chip.ships(max(1, round(rng.uniform(2, 6) * (size / 128) ** 2)))
    for _ in range(rng.poisson(2 * (size / 128) ** 2)):
        chip.buoy()
    return _scene(chip, ships, chip.seen(looks), name, {"size": size, "seed": seed, "land": land, "looks": looks})


def _scene(chip: _Chip, ships: list[np.ndarray], image: np.ndarray, name: str, how: dict[str, object]) -> xr.Dataset:
    size = len(image)
    place = np.arange(size, dtype=float)
    args = ", ".join(f"{k}={v}" for k, v in how.items())
    clutter = {"long_name": "known to the simulation", "names": list(CLUTTER)}
    return xr.Dataset(
        {
            "image": (
                ("sample", "band", "y", "x"),
                image[None, None],
                {"long_name": "simulated SAR amplitude", "step": 1 / 255},
            ),
            "clutter": (("sample", "y", "x"), chip.clutter[None], clutter),
            "box": (("object", "edge"), np.array(ships, np.float32).reshape(-1, 4), {"units": "pixel"}),
            "box_sample": ("object", np.array([name] * len(ships), dtype="U16")),
            "box_label": ("object", np.zeros(len(ships), np.int64), {"names": ["ship"]}),
        },
        {"sample": np.array([name], dtype="U16"), "band": [0], "y": place, "x": place, "edge": ["x0", "y0", "x1", "y1"]},
        {
            "id": f"sim-ships-{size}",
            "title": "Ships in SAR (simulated)",
            "simulated": SIMULATED,
            "source": f"workbench.data.synth_ships.simulate({args})",
            "citation": "workbench, simulated ships (docs/simulated_scenes.md)",
            "licence": "Apache-2.0",
            "notes": "8-bit amplitude, not calibrated. clutter names what a pixel shows besides ships; a detector must not read it.",
        },
    )


class _Chip:
    """Mean intensity (y, x) of the ground, relative to the sea, while it is drawn; `clutter`: what each pixel shows."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng, self.size = rng, size
        self.y, self.x = np.mgrid[:size, :size].astype(float)
        texture = gaussian_filter(rng.standard_normal((size, size)), rng.uniform(1.5, 5), mode="wrap")
        spread = rng.uniform(0.15, 0.5)
        swell = np.sin((self.x * np.cos(a := rng.uniform(0, np.pi)) + self.y * np.sin(a)) * 2 * np.pi / rng.uniform(9, 30))
        slope = rng.uniform(-0.5, 0.5) * (self.x / size - 0.5)
        self.mean = np.exp(spread * texture / texture.std() + rng.uniform(0, 0.3) * swell + slope)
        self.clutter = np.zeros((size, size), np.int8)
        self.taken = np.zeros((size, size), bool)  # ships, and water too near to them
        self.direction = rng.uniform(0, 2 * np.pi)  # from the sea to the land
        self.shore = np.full((size, size), -np.inf)  # pixels inland

    def coast(self) -> None:
        """Land on one side: patches of fields and towns with strong single echoes."""
        rng, n = self.rng, self.size
        rough = gaussian_filter(rng.standard_normal((n, n)), n / 10, mode="reflect")
        across = (self.x - n / 2) * np.cos(self.direction) + (self.y - n / 2) * np.sin(self.direction)
        self.shore = across + rough / rough.std() * n / 20 - rng.uniform(0.02, 0.28) * n
        land = self.shore > 0
        patches = gaussian_filter(rng.standard_normal((n, n)), rng.uniform(3, 8), mode="reflect")
        tone = np.exp(0.7 * patches / patches.std() + rng.uniform(0.3, 1.4))
        towns = gaussian_filter(rng.standard_normal((n, n)), 10, mode="reflect")
        echoes = (rng.random((n, n)) < 0.03) & (towns > 0.4 * towns.std())
        tone = tone + gaussian_filter(echoes * rng.gamma(1.0, 600.0, (n, n)), 0.8)
        self.mean[land] = tone[land]
        self.clutter[land] = 1

    def line(self, kind: int) -> None:
        """A pier from the shore, or a breakwater at sea (2); a rail (3); an azimuth streak of a strong echo (4)."""
        rng, n = self.rng, self.size
        if kind == 4:
            self.streak(rng.uniform(0, n), rng.uniform(0, n), rng.uniform(150, 900))
            return
        angle = rng.uniform(0, np.pi)
        cy, cx = rng.uniform(0.1 * n, 0.9 * n, 2)
        length, width = rng.uniform(0.25, 0.6) * n, rng.uniform(2, 4)
        if kind == 2 and np.isfinite(self.shore).any():
            at_shore = np.argwhere(np.abs(self.shore) < 1.5)
            if len(at_shore):
                cy, cx = at_shore[rng.integers(len(at_shore))]
            angle = self.direction + rng.uniform(-0.5, 0.5)
            length = rng.uniform(0.15, 0.4) * n
        along = (self.x - cx) * np.cos(angle) + (self.y - cy) * np.sin(angle)
        across = -(self.x - cx) * np.sin(angle) + (self.y - cy) * np.cos(angle)
        if kind == 3:  # two parallel lines of evenly spaced echoes through the whole chip
            hit = (np.abs(np.abs(across) - 2.5) < 0.8) & (np.mod(along, 6) < 4)
            power = rng.uniform(60, 200)
        else:
            hit = (np.abs(across) < width / 2) & (np.abs(along) < length / 2)
            power = rng.uniform(60, 250)
        self.mean[hit] = power * rng.gamma(1.5, 1 / 1.5, int(hit.sum())) + 5
        self.clutter[hit] = kind

    def streak(self, cy: float, cx: float, power: float) -> None:
        """Sidelobes of a strong echo along azimuth, which is along the columns."""
        reach = self.rng.uniform(0.15, 0.45) * self.size
        dy, dx = np.abs(self.y - cy), np.abs(self.x - cx)
        fade = np.clip(1 - dy / reach, 0, 1) ** 1.5
        lobes = power * fade * (0.55 + 0.45 * np.cos(dy * np.pi / 1.7) ** 2) * (dx < 1.2)
        self.mean += lobes
        self.clutter[lobes > 4] = 4

    def ships(self, count: int) -> list[np.ndarray]:
        """Draw up to `count` ships in open water, some beside piers; returns their boxes."""
        boxes = []
        for _ in range(count):
            for _ in range(TRIES):
                box = self.ship()
                if box is not None:
                    boxes.append(box)
                    break
        return boxes

    def ship(self) -> np.ndarray | None:
        """One ship: an uneven hull with some strong echoes; None if there is no room for it."""
        rng, n = self.rng, self.size
        length = rng.uniform(9, 40) if rng.random() < 0.5 else rng.uniform(9, 20)
        width = np.clip(length / rng.uniform(2.2, 5), 4, 10)
        angle = rng.uniform(0, np.pi)
        cy, cx = rng.uniform(6, n - 6, 2)
        reach = int(length / 2 + 3)
        rows = slice(max(int(cy) - reach, 0), min(int(cy) + reach + 2, n))
        columns = slice(max(int(cx) - reach, 0), min(int(cx) + reach + 2, n))
        y, x = self.y[rows, columns] - cy, self.x[rows, columns] - cx
        along = (x * np.cos(angle) + y * np.sin(angle)) / (length / 2)
        across = (-x * np.sin(angle) + y * np.cos(angle)) / (width / 2)
        hull = (np.abs(along) <= 1) & (np.abs(across) <= np.clip(1.6 * (1 - np.abs(along)), 0, 1))  # pointed ends
        near = (np.abs(along) <= 1 + 6 / length) & (np.abs(across) <= 1 + 4 / width)
        solid = np.isin(self.clutter[rows, columns], (1, 2, 3))
        if hull.sum() < 20 or (self.taken[rows, columns] & near).any() or solid[hull].any():
            return None
        cut = hull[[0, -1]].any() or hull[:, [0, -1]].any()  # partly beyond the border: only if enough is left
        if cut and sum(map(np.ptp, np.nonzero(hull))) < 10:
            return None
        power = np.exp(rng.uniform(np.log(7), np.log(90)))  # of the hull, relative to the sea
        body = power * rng.gamma(1.2, 1 / 1.2, hull.shape) * (0.35 + 0.65 * rng.random())
        echoes = (rng.random(hull.shape) < 0.06) * power * rng.uniform(2, 7)
        bridge = power * 2.5 * np.exp(-0.5 * ((along - rng.uniform(-0.7, 0.7)) / 0.12) ** 2)
        shown = np.where(hull, body + bridge + gaussian_filter(echoes, 0.6) * 2, 0.0)
        self.mean[rows, columns] += shown
        self.taken[rows, columns] |= near
        self.clutter[rows, columns][hull] = 0
        if power > 45 and rng.random() < 0.5:
            self.streak(cy, cx, power * rng.uniform(1, 4))
        if power > 30 and rng.random() < 0.4:  # azimuth ambiguity: the same ship, dim and smeared, elsewhere in its columns
            self.ghost(rows, columns, shown)
        r, c = np.nonzero(hull)
        return np.array(
            [c.min() + columns.start, r.min() + rows.start, c.max() + 1 + columns.start, r.max() + 1 + rows.start]
        )

    def ghost(self, rows: slice, columns: slice, shown: np.ndarray) -> None:
        """A dim copy of a ship, displaced along azimuth."""
        start = rows.start + int(self.rng.choice([-1, 1]) * self.rng.uniform(0.25, 0.6) * self.size)
        high = shown.shape[0]
        if start < 0 or start + high > self.size:
            return
        at = (slice(start, start + high), columns)
        smeared = gaussian_filter(shown, (2.0, 0.5)) * self.rng.uniform(0.08, 0.25)
        free = ~self.taken[at] & (self.clutter[at] == 0)
        self.mean[at] += np.where(free, smeared, 0)
        self.clutter[at][free & (smeared > 1.5)] = 5

    def buoy(self) -> None:
        """A point echo of one or two pixels: bright, but no ship."""
        cy, cx = self.rng.uniform(2, self.size - 2, 2)
        spot = self.rng.uniform(40, 300) * np.exp(-0.5 * ((self.y - cy) ** 2 + (self.x - cx) ** 2) / 0.7**2)
        free = ~self.taken & (self.clutter == 0)
        self.mean += np.where(free, spot, 0)
        self.clutter[free & (spot > 4)] = 6

    def seen(self, looks: int) -> np.ndarray:
        """(y, x) float32 amplitude in [0, 1], in steps of 1/255: speckle, point spread, noise, saturation."""
        rng, n = self.rng, self.size
        ground = gaussian_filter(self.mean * rng.gamma(shape := rng.uniform(3, 12), 1 / shape, (n, n)), 0.5)
        power = np.zeros((n, n))
        for _ in range(looks):
            field = rng.standard_normal((2, n, n))
            field = gaussian_filter(field, (0, 0.45, 0.45), truncate=3)  # neighbours are correlated, as after resampling
            power += (field**2).sum(0) / (2 * field.var())
        amplitude = np.sqrt(ground * power / looks + 0.05)
        scaled = amplitude * SEA * rng.uniform(0.6, 1.4)
        return (np.clip(np.rint(scaled), 0, 255) / 255).astype(np.float32)

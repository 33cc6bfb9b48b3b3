"""Toy: brightness of pixels, sharpened step by step. It exists only in the tests, and shows what a declaration alone gives.

Nothing in the package knows it. It yields every kind of array, and its result has most names of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from pydantic import Field

from workbench.config import Settings
from workbench.event import Bars, Boxes, Curves, Event, Film, Map, Matrix, Outcome, Trace
from workbench.scene import PROVENANCE, require

NEEDS = ("hsi",)
SMOKE = {"steps": 4}
HEADLINE = ("contrast", "error")
SHOWS = (
    Curves("error", ("error",), references=("floor",), units="1"),
    Film(("score", "quiet"), "Brightness, and what is left of the cube"),
    Map("labels", "Dark, middle, bright"),
    Boxes("picture", "The brightest square"),
    Bars("bits", "Bits of each layer", "bit"),
    Matrix("confusion", "How often one class becomes another"),
)


class Config(Settings):
    """All that the toy can be told."""

    steps: int = Field(40, ge=1, le=10_000, description="how often the brightness is sharpened")
    power: float = Field(1.1, gt=1, le=2, description="exponent of one sharpening")
    wait: float = Field(0.0, ge=0, le=1, description="seconds that a step takes at least")


def run(scene: xr.Dataset, config: Config, state: Mapping[str, Any] | None = None) -> Trace:
    """Events: errors of the toy and of a control that guesses, maps, a box, bits and a confusion matrix."""
    import time

    require(scene, *NEEDS, who="toy")
    cube = scene["hsi"].transpose("band", "y", "x").values.astype(float)
    bright = np.nan_to_num(cube.mean(0))
    bright = (bright - bright.min()) / (np.ptp(bright) or 1.0)
    done = int(state["done"]) if state else 0
    generator = np.random.default_rng(config.seed)
    guess = generator.random(config.steps)
    for step in range(done + 1, config.steps + 1):
        time.sleep(config.wait)
        error = {"error/toy": 1 / step, "error/guess": 0.5 + guess[step - 1] / 10, "floor": 1 / config.steps}
        arrays = _arrays(scene, cube, bright ** (config.power**step))
        yield Event(step, error, arrays, config.steps, lambda at=step: {"done": at})
    final = _arrays(scene, cube, bright ** (config.power**config.steps))
    score = final["score"]
    result = xr.Dataset({n: final[n] for n in ("score", "labels", "probability", "box", "box_score", "box_label", "bits")})
    result.attrs = {k: scene.attrs[k] for k in PROVENANCE if k in scene.attrs}
    result["kept"] = ("sample", np.arange(12) % 3 > 0, {"long_name": "kept samples"})
    result["contrast"] = ((), float(score.max() - score.mean()), {"long_name": "largest minus mean score", "units": "1"})
    result["error"] = ((), 1 / config.steps, {"long_name": "error after the last step", "units": "dB"})
    return Outcome(result)


def _arrays(scene: xr.Dataset, cube: np.ndarray, sharp: np.ndarray) -> dict[str, xr.DataArray]:
    """Everything that is shown, of one step."""
    place = {d: scene[d] for d in ("y", "x") if d in scene.coords}
    names = ["dark", "middle", "bright"]
    labels = np.digitize(sharp, (1 / 3, 2 / 3))
    y, x = np.unravel_index(int(sharp.argmax()), sharp.shape)
    box = np.array([[x - 2, y - 2, x + 3, y + 3], [1, 1, 6, 6]])
    confusion = np.bincount(3 * labels[:-1].ravel() + labels[1:].ravel(), minlength=9).reshape(3, 3)
    probability = np.stack([labels == n for n in range(3)]).astype(np.float32)

    def made(dims: tuple[str, ...], values: np.ndarray, text: str, coords: Mapping[str, Any], **attrs: Any) -> xr.DataArray:
        return xr.DataArray(values, dims=dims, coords=coords, attrs={"long_name": text, **attrs})

    return {
        "score": made(("y", "x"), sharp, "sharpened brightness", place),
        "quiet": made(("band", "y", "x"), cube[:3] * (1 - sharp), "what is left", place),
        "picture": made(("band", "y", "x"), cube[:3], "three bands", place),
        "labels": made(("y", "x"), labels, "class", place, names=names),
        "probability": made(("class", "y", "x"), probability, "probability of a class", {**place, "class": names}),
        "box": made(("object", "edge"), box, "squares", {}),
        "box_score": made(("object",), np.array([float(sharp.max()), 0.1]), "how sure", {}),
        "box_label": made(("object",), np.array([2, 0]), "class of a square", {}, names=names),
        "bits": made(("layer",), np.array([8.0, 4.0, 2.0]), "bits of a weight", {"layer": ["first", "second", "last"]}),
        "confusion": made(("row", "column"), confusion, "pairs of neighbours", {"row": names, "column": names}),
    }

"""What a page shows of the messages: feature maps at their owner and rebuilt, what each rank keeps, costs, and is worth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.methods.fedfusion.pixels import Pixels
from workbench.methods.fedfusion.settings import Config
from workbench.parts.by_rank import by_rank, sheet
from workbench.parts.cross_fusion import CHANNELS, PLACES, WINDOW
from workbench.parts.feature_exchange import Exchange
from workbench.parts.federation import FLOAT, kept_energy

MOST = 1000  # test pixels for what each rank is worth


def messages_of(result: xr.Dataset, pixels: Pixels, config: Config, own: Exchange) -> None:
    """Of the trained exchange: what `workbench.parts.by_rank` has, and `bytes_by_pixel (what, party)`."""
    rows = np.sort(np.random.default_rng(config.seed).permutation(pixels.test)[:MOST])
    features, truth = own.features({s: pixels.take(rows, s) for s in own.sensors}), pixels.label[rows]

    def accuracy(there: list[Tensor]) -> float:
        right = []
        for owner in own.groups[0]:
            seen = [features[m] if m == owner.number else t for m, t in enumerate(there)]
            right.append((owner.told(seen)[0].argmax(1).numpy() == truth).mean())
        return float(np.mean(right))

    by_rank(result, own.sensors, features, config.batch, accuracy)
    result.coords["what"] = ["raw pixel", "raw window", "features", "message"]
    values = CHANNELS * PLACES**2
    message = own.codec.payload((config.batch, CHANNELS, PLACES, PLACES)) / config.batch
    table = [[FLOAT * pixels.bands[s], FLOAT * pixels.bands[s] * WINDOW**2, FLOAT * values, message] for s in own.sensors]
    text = {"long_name": "bytes of one pixel, float32", "units": "byte"}
    result["bytes_by_pixel"] = (("what", "party"), np.array(table).T, text)


def pictures(learner: Exchange, windows: Mapping[str, Tensor]) -> dict[str, xr.DataArray]:
    """`feature`, `rebuilt`, `difference (y, x)` of the first test pixel and each sensor; `kept_energy (sensor, rank)` of these pixels."""
    features = learner.features(windows)
    rebuilt = [learner.codec.decode(learner.codec.encode(f)) for f in features]
    made = {}
    for name, maps in (
        ("feature", features),
        ("rebuilt", rebuilt),
        ("difference", [r - f for f, r in zip(features, rebuilt, strict=True)]),
    ):
        shown = np.concatenate([sheet(m[0]) for m in maps])
        text = {"feature": "at its owner", "rebuilt": "rebuilt from the message", "difference": "rebuilt - at its owner"}[
            name
        ]
        made[name] = xr.DataArray(shown, dims=("y", "x"), attrs={"long_name": f"{' above '.join(learner.sensors)}, {text}"})
    energy = torch.stack([kept_energy(f) for f in features]).numpy()
    made["kept_energy"] = xr.DataArray(
        energy,
        {"sensor": learner.sensors, "rank": [str(k + 1) for k in range(energy.shape[1])]},
        ("sensor", "rank"),
        attrs={"long_name": "share of the energy of the features that a rank keeps", "units": "1"},
    )
    return made

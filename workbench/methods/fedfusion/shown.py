"""What a page shows of the messages: feature maps at their owner and rebuilt, what each rank keeps, costs, and is worth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.methods.fedfusion.exchange import Exchange
from workbench.methods.fedfusion.network import CHANNELS, PLACES, WINDOW
from workbench.methods.fedfusion.pixels import Pixels
from workbench.methods.fedfusion.settings import Config
from workbench.parts.federation import FLOAT, Codec, kept_energy

MOST = 1000  # test pixels for what each rank is worth
RANKS = PLACES * PLACES


def messages_of(result: xr.Dataset, pixels: Pixels, config: Config, own: Exchange) -> None:
    """Of the trained exchange, by rank: `oa_by_rank`, `bytes_by_rank` of a pixel, `kept_by_rank (sensor, rank)`; `maps (sensor, version,
    map_y, map_x)` of one test pixel; and `bytes_by_pixel (what, sensor)`."""
    rows = np.sort(np.random.default_rng(config.seed).permutation(pixels.test)[:MOST])
    features, truth = own.features({s: pixels.take(rows, s) for s in own.sensors}), pixels.label[rows]
    ranks = range(1, RANKS + 1)
    oa, versions = [], [[f[0] for f in features]]
    for rank in ranks:
        codec = Codec("low_rank", rank)
        there = [torch.cat([codec.decode(codec.encode(p)) for p in f.split(config.batch)]) for f in features]
        versions.append([t[0] for t in there])
        right = []
        for owner in own.groups[0]:
            seen = [features[m] if m == owner.number else t for m, t in enumerate(there)]
            right.append((owner.told(seen)[0].argmax(1).numpy() == truth).mean())
        oa.append(float(np.mean(right)))
    batch = [f[: config.batch] for f in features]
    size = [Codec("low_rank", k).payload(batch[0].shape) / len(batch[0]) for k in ranks]
    result.coords["rank"] = [str(k) for k in ranks]
    result.coords["sensor"] = own.sensors
    result["oa_by_rank"] = (
        "rank",
        oa,
        {"long_name": f"overall accuracy on {len(rows)} test pixels, trained once, by rank of the messages", "units": "1"},
    )
    result["bytes_by_rank"] = ("rank", size, {"long_name": "payload of a message, one pixel", "units": "byte"})
    result["kept_by_rank"] = (
        ("sensor", "rank"),
        torch.stack([kept_energy(f) for f in batch]).numpy(),
        {"long_name": "share of the energy of the features that a rank keeps", "units": "1"},
    )
    sheets = np.stack([[sheet(one[m]) for one in versions] for m in range(len(own.sensors))])
    result["maps"] = (
        ("sensor", "version", "map_y", "map_x"),
        sheets.astype(np.float32),
        {"long_name": "64 feature maps of one test pixel: at their owner, and rebuilt from messages of each rank"},
    )
    result.coords["version"] = ["at its owner", *(f"rank {k}" for k in ranks)]
    result.coords["what"] = ["raw pixel", "raw window", "features", "message"]
    message = own.codec.payload(batch[0].shape) / len(batch[0])
    table = [
        [FLOAT * pixels.bands[s], FLOAT * pixels.bands[s] * WINDOW**2, FLOAT * CHANNELS * PLACES**2, message]
        for s in own.sensors
    ]
    result["bytes_by_pixel"] = (
        ("what", "sensor"),
        np.array(table).T,
        {"long_name": "bytes of one pixel, float32", "units": "byte"},
    )


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


def sheet(maps: Tensor) -> np.ndarray:
    """(rows, columns): 64 maps of 4 x 4, sixteen in a row, with a line of zeros below and to the right of each."""
    padded = torch.nn.functional.pad(maps, (0, 1, 0, 1))
    side = PLACES + 1
    return (
        padded.reshape(CHANNELS // 16, 16, side, side).permute(0, 2, 1, 3).reshape(CHANNELS // 16 * side, 16 * side).numpy()
    )

"""What messages cost beside the pixels that they replace."""

from __future__ import annotations

import numpy as np
import xarray as xr
from torch import Tensor

from workbench.data.sensor_patches import SIDE, Patches
from workbench.methods.feddiff.owners import Bank
from workbench.methods.feddiff.rounds import Federation
from workbench.methods.feddiff.settings import Config
from workbench.metrics.class_maps import scalar
from workbench.parts.by_rank import by_rank
from workbench.parts.federation import FLOAT

PLACES = (4, 4)  # rows and columns of the maps that travel
MOST = 1000  # test pixels for what each rank is worth
KINDS = ("raw pixel", "raw patch", "bank", "features", "message")


def ranks_of(
    result: xr.Dataset, patches: Patches, config: Config, own: Federation, known: Bank | None, place: np.ndarray
) -> None:
    """What `workbench.parts.by_rank` has of test pixels, MOST at most. known: the bank of the pixels at `place` (n, 3), which are those of
    `patches.test` in their order."""
    few = np.sort(np.random.default_rng(config.seed).permutation(len(place))[:MOST])
    truth, bank = patches.label[patches.test[few]], None if known is None else {n: b[few] for n, b in known.items()}
    features = [owner.features(patches, place[few], bank) for owner in own.owners]

    def accuracy(there: list[Tensor]) -> float:
        heads = [o.probabilities(features[o.number], there[1 - o.number]).mean(0) for o in own.owners]
        return float(np.mean([(p.argmax(1) == truth).mean() for p in heads]))

    by_rank(result, ["_".join(o.sensors) for o in own.owners], features, config.batch, accuracy)


def bytes_of(result: xr.Dataset, patches: Patches, config: Config, own: Federation, tested: int) -> str:
    """`bytes (message, owner)` of one pixel, `message_per_patch (owner)` and `message_ratio`, and `megabytes_*` of the whole training.

    Returns a warning that names the owners whose messages are larger than their pixels, else "".

    tested: bytes of the messages about the test pixels.
    """
    table = []
    for owner in own.owners:
        channels = sum(patches.cubes[s].shape[1] for s in owner.sensors)
        wide = owner.branch.wide
        channels_sent = wide + (0 if owner.bank is None else wide)
        bank = 0 if owner.bank is None else owner.bank[0].numel()
        message = own.codec.payload((config.batch, channels_sent, *PLACES))
        table.append(
            [
                FLOAT * channels,
                FLOAT * channels * SIDE**2,
                FLOAT * bank,
                FLOAT * channels_sent * int(np.prod(PLACES)),
                message / config.batch,
            ]
        )
    values = np.array(table)
    names = ["_".join(o.sensors) for o in own.owners]
    result["bytes"] = (("message", "owner"), values.T, {"long_name": "bytes of one pixel, float32", "units": "byte"})
    result.coords["owner"] = names
    result.coords["message"] = list(KINDS)
    ratio = values[:, 4] / values[:, 1]
    result["message_per_patch"] = (
        "owner",
        ratio,
        {"long_name": "bytes of a message / bytes of the raw patch; above 1 the pixels are cheaper", "units": "1"},
    )
    result["message_ratio"] = scalar(
        ratio.max(),
        "bytes of a message / bytes of the raw patch, of the owner where it is larger; above 1 the pixels are cheaper",
    )
    once = len(own.owners[0].label) * values[:, 1].sum()
    for kind, size, text in (
        ("features", own.traffic.of("features"), "features sent in training, both owners"),
        ("weights", own.traffic.of("weights"), "shared weights sent in training, both owners, up and down"),
        ("test", tested, "features sent for the test pixels, both owners"),
        ("raw", once, "raw patches of the training pixels of both owners, sent once"),
    ):
        result[f"megabytes_{kind}"] = scalar(size / 1e6, text, "MB")
    return " ".join(
        f"A message of {name} has {values[i, 4]:,.0f} bytes a pixel, its raw patch {values[i, 1]:,.0f}: the pixels are cheaper."
        for i, name in enumerate(names)
        if ratio[i] > 1
    )

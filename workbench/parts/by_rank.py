"""What each rank of a message keeps of the features, costs, and is worth; and feature maps rebuilt from messages of each rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.parts.federation import Codec, kept_energy

ACROSS = 8  # maps in a row, twice as many where there are more than ACROSS squared


def by_rank(
    result: xr.Dataset,
    names: Sequence[str],
    features: Sequence[Tensor],
    batch: int,
    accuracy: Callable[[list[Tensor]], float],
) -> None:
    """Put into a result, for every rank: `oa_by_rank`, `bytes_by_rank` of a pixel, `kept_by_rank (party, rank)`; and `maps (party,
    version, map_y, map_x)`, the feature maps of the first pixel at their owner and rebuilt.

    names, features (n, channels, y, x): of each party, which sends `batch` pixels in a message. accuracy: of what all parties rebuild.
    """
    ranks = range(1, int(np.prod(features[0].shape[2:])) + 1)
    oa, versions = [], [[f[0] for f in features]]
    for rank in ranks:
        codec = Codec("low_rank", rank)
        there = [torch.cat([codec.decode(codec.encode(p)) for p in f.split(batch)]) for f in features]
        versions.append([t[0] for t in there])
        oa.append(accuracy(there))
    first, across = [f[:batch] for f in features], ACROSS if features[0].shape[1] <= ACROSS**2 else 2 * ACROSS
    size = [Codec("low_rank", k).payload(first[0].shape) / len(first[0]) for k in ranks]
    result.coords["rank"] = [str(k) for k in ranks]
    result.coords["party"] = list(names)
    text = f"overall accuracy on {len(features[0])} test pixels, trained once, by rank of the messages"
    result["oa_by_rank"] = ("rank", oa, {"long_name": text, "units": "1"})
    result["bytes_by_rank"] = ("rank", size, {"long_name": "payload of a message, one pixel", "units": "byte"})
    result["kept_by_rank"] = (
        ("party", "rank"),
        torch.stack([kept_energy(f) for f in first]).numpy(),
        {"long_name": "share of the energy of the features that a rank keeps", "units": "1"},
    )
    result["maps"] = (
        ("party", "version", "map_y", "map_x"),
        np.stack([[sheet(one[m], across) for one in versions] for m in range(len(names))]).astype(np.float32),
        {"long_name": "feature maps of one test pixel: at their owner, and rebuilt from messages of each rank"},
    )
    result.coords["version"] = ["at its owner", *(f"rank {k}" for k in ranks)]


def sheet(maps: Tensor, across: int = 16) -> np.ndarray:
    """(rows, columns): maps (channels, y, x), `across` in a row, with a line of zeros below and to the right of each."""
    padded = torch.nn.functional.pad(maps, (0, 1, 0, 1))
    high, wide = padded.shape[1:]
    down = len(maps) // across
    return padded.reshape(down, across, high, wide).permute(0, 2, 1, 3).reshape(down * high, across * wide).numpy()

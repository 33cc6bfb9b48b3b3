"""Inference on pairs of any size: tiles are read one at a time and joined without seams into strips.

A `margin` is cut from every tile on the sides with neighbours, and the next band is blended linearly with the neighbour. With
`context="window"` and a margin of at least `reach(config)` neighbours have equal values there, and the result equals that of
the whole image. With `context="global"` every tile has its own context, of the training size, so neighbours differ and are
blended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional as F

from workbench.data.tiles import blended, line
from workbench.errors import InputError
from workbench.methods.arcdnet.network import ARCDNet, disagreement, reach, reverse_attention
from workbench.methods.arcdnet.pairs import as_tensor
from workbench.methods.arcdnet.settings import Config
from workbench.parts.device import device
from workbench.parts.training import rebuilding, saved_network, weights

if TYPE_CHECKING:
    from os import PathLike

Maps = Callable[[Tensor, Tensor], Tensor]  # (1, bands, h, w) twice -> (K, h, w), h and w multiples of the stride


@dataclass(frozen=True)
class Trained:
    """A trained network, its settings, and the offset before the logarithm (None: no logarithm)."""

    network: ARCDNet
    config: Config
    log: float | None = None

    def maps(self, before: Tensor, after: Tensor) -> Tensor:
        """(K, h, w) in [0, 1] of one pair: P, and U if the network has the branch."""
        out = self.network(before, after)
        logits = [out.change] if out.uncertainty is None else [out.change, out.uncertainty]
        return torch.sigmoid(torch.cat(logits)[:, 0])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the maps that `maps` gives: change, uncertainty."""
        return ("change", "uncertainty") if self.network.branch is not None else ("change",)


def packed(network: ARCDNet, config: Config, log: float | None) -> dict[str, dict[str, Tensor]]:
    """`weights` of an Outcome: the network, and as JSON bytes everything needed to rebuild it."""
    about = json.dumps({"bands": network.bands, "log": log, "config": config.model_dump(mode="json")}, sort_keys=True)
    return {"arcdnet": weights(network), "settings": {"json": torch.tensor(list(about.encode()), dtype=torch.uint8)}}


def load_network(source: str | PathLike[str]) -> Trained:
    """A trained network from a run folder, or from the weights.safetensors of one.

    Raises InputError for a folder without weights, and for weights of another method.
    """
    own, about, _ = saved_network(source, "arcdnet")
    with rebuilding(source, "arcdnet"):
        config = Config.model_validate(about["config"])
        network = ARCDNet(about["bands"], config)
        network.load_state_dict(own)
        return Trained(network.eval().to(device()), config, about["log"])


# --- tiles of pairs -----------------------------------------------------------------------------------------------------


def layout(config: Config, tile: int | None = None, margin: int | None = None) -> tuple[int, int, int]:
    """(tile, margin, fade) in pixels: arguments, else settings, else 1024 (global: the crop) and an output's reach."""
    known = reach(config)
    tile = tile or config.tile or (max(1024, 4 * known) if known is not None else max(config.crop, 64))
    margin = margin if margin is not None else config.margin
    if margin is None:
        margin = known if known is not None else tile // 16
    return tile, margin, 1 if known is not None else tile // 4


def strips(
    maps: Maps,
    before: xr.DataArray,
    after: xr.DataArray,
    tile: int,
    margin: int,
    fade: int,
    stride: int,
    log: float | None = None,
) -> Iterator[np.ndarray]:
    """Rows of the finished maps from the top: (K, rows, x) float32, NaN where a band of either date is missing.

    before, after: (band, y, x), lazy or not; tiles are read one at a time, and at most one row of tiles is in memory.
    """
    down, across = (line(before.sizes[d], tile, margin, fade, stride) for d in ("y", "x"))
    return blended(lambda rows, columns: _tile(maps, before, after, rows, columns, log), down, across)


def _tile(
    maps: Maps, before: xr.DataArray, after: xr.DataArray, rows: slice, columns: slice, log: float | None
) -> np.ndarray:
    """(K, h, w) of one tile; beyond the image's edge the last row and column are repeated."""
    a, b = (as_tensor(image.isel(y=rows, x=columns), log)[None] for image in (before, after))
    missing = ~(torch.isfinite(a).all(1) & torch.isfinite(b).all(1))[0]
    h, w = a.shape[-2:]
    padding = (0, columns.stop - columns.start - w, 0, rows.stop - rows.start - h)
    if any(padding):
        a, b = (F.pad(x, padding, mode="replicate") for x in (a, b))
    with torch.inference_mode():
        values = maps(a.to(device()), b.to(device())).float().cpu()
    values = values.clone()
    values[:, :h, :w][:, missing] = torch.nan
    return values.numpy()


# --- applying a trained network ---------------------------------------------------------------------------------------


def check_fits(trained: Trained, before: xr.DataArray) -> None:
    """Raises InputError when the images have other bands or another kind (SAR, optical) than the network's training images."""
    if before.sizes["band"] != trained.network.bands:
        raise InputError(
            f"This network was trained with {trained.network.bands} bands; the pair has {before.sizes['band']}. Choose the "
            "same bands in the same order, or train a network on such pairs."
        )
    sar = before.attrs.get("kind") == "sar"
    if trained.config.transform == "auto" and "kind" in before.attrs and sar != (trained.log is not None):
        kinds = ("SAR", "optical") if sar else ("optical", "SAR")
        raise InputError(
            f"This pair is {kinds[0]}, the network was trained on {kinds[1]} pairs. Train a network on such pairs."
        )


def _strips(
    trained: Trained, before: xr.DataArray, after: xr.DataArray, tile: int | None, margin: int | None
) -> Iterator[np.ndarray]:
    check_fits(trained, before)
    trained.network.eval()
    return strips(
        trained.maps, before, after, *layout(trained.config, tile, margin), trained.network.shape.stride, trained.log
    )


def predict(
    trained: Trained, before: xr.DataArray, after: xr.DataArray, tile: int | None = None, margin: int | None = None
) -> xr.Dataset:
    """`change` and, with the branch, `uncertainty (y, x)` float32 in [0, 1] of one pair (band, y, x) of any size.

    The images may be lazy; the maps are in memory. tile, margin: see `layout`.
    """
    maps = np.concatenate(list(_strips(trained, before, after, tile, margin)), axis=1)
    return as_maps(maps, trained.names, before)


def as_maps(maps: np.ndarray, names: tuple[str, ...], like: xr.DataArray) -> xr.Dataset:
    """(K, y, x) as named variables on the coordinates of an image."""
    texts = {"change": "probability of change", "uncertainty": "expected error of the change map"}
    coords = {n: c.variable for n, c in like.coords.items() if set(c.dims) <= {"y", "x"}}
    variables = {n: (("y", "x"), m, {"long_name": texts.get(n, n)}) for n, m in zip(names, maps, strict=True)}
    return xr.Dataset(variables, coords)


def predict_to_cog(
    trained: Trained,
    before: xr.DataArray,
    after: xr.DataArray,
    change: str | PathLike[str],
    uncertainty: str | PathLike[str] | None = None,
    tile: int | None = None,
    margin: int | None = None,
) -> list[Path]:
    """`predict`, written strip by strip to cloud-optimised GeoTIFFs, so that no map is in memory as a whole; returns the paths.

    Georeferenced like `before`. Raises InputError for `uncertainty` when the network has no uncertainty branch.
    """
    from workbench.data.export import write_cogs

    if uncertainty is not None and trained.network.branch is None:
        raise InputError("This network was trained with oue=false and has no uncertainty; leave its path out.")
    paths = [Path(change)] if uncertainty is None else [Path(change), Path(uncertainty)]
    rows = _strips(trained, before, after, tile, margin)
    return write_cogs((strip[: len(paths)] for strip in rows), paths, like=before)


def inspect(trained: Trained, before: xr.DataArray, after: xr.DataArray) -> xr.Dataset:
    """Masks and attention maps of knowledge review for one pair (band, y, x), at image size and without tiles.

    mask (level, y, x): s(m_k) for k = 2, 3, ...; reverse, disagreement (review, y, x): A_r and A_u for k = 3, ....
    """
    check_fits(trained, before)
    maps = knowledge(trained, *(as_tensor(image, trained.log)[None] for image in (before, after)))
    coords = {n: c.variable for n, c in before.coords.items() if set(c.dims) <= {"y", "x"}}
    return maps.assign_coords(coords)


def knowledge(trained: Trained, before: Tensor, after: Tensor) -> xr.Dataset:
    """`inspect` for tensors (1, bands, h, w)."""
    trained.network.eval()
    h, w = before.shape[-2:]
    stride = trained.network.shape.stride
    a, b = (F.pad(x, (0, -w % stride, 0, -h % stride), mode="replicate") for x in (before, after))
    with torch.inference_mode():
        masks = trained.network(a.to(device()), b.to(device())).masks

        def shown(x: Tensor) -> np.ndarray:
            return trained.network.enlarged(x)[0, 0, :h, :w].cpu().numpy()

        levels = [shown(torch.sigmoid(m)) for m in masks]
        reverse = [shown(reverse_attention(m)) for m in masks[1:]]
        doubt = [shown(disagreement(masks[0], m)) for m in masks[1:]]
    coords: dict[str, Any] = {"level": np.arange(2, 2 + len(levels)), "review": np.arange(3, 2 + len(levels))}
    return xr.Dataset(
        {
            "mask": (("level", "y", "x"), np.stack(levels), {"long_name": "side mask s(m_k)"}),
            "reverse": (("review", "y", "x"), np.stack(reverse), {"long_name": "reverse attention 1 - s(m_k)"}),
            "disagreement": (("review", "y", "x"), np.stack(doubt), {"long_name": "disagreement of m_2 and m_k"}),
        },
        coords,
    )


def exchange_gap(trained: Trained, before: xr.DataArray, after: xr.DataArray) -> xr.DataArray:
    """|P(A, B) - P(B, A)| (y, x): how much the result depends on the order of the dates."""
    forward, backward = (predict(trained, *dates)["change"] for dates in ((before, after), (after, before)))
    return abs(forward - backward).assign_attrs(long_name="|P(A, B) - P(B, A)|").rename("exchange_gap")

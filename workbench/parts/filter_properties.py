"""Numbers that say how much a filter matters: the mean rank of its feature maps, and the size of its weights.

The rank is HRank's (M. Lin et al., CVPR 2020), taken for all layers in one sweep of the images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from workbench.parts.pruning import still

Place = Literal["activation", "convolution"]


@torch.no_grad()
def feature_ranks(
    network: nn.Module, images: Tensor, layers: Sequence[str], place: Place = "activation", batch: int = 64
) -> dict[str, np.ndarray]:
    """layer -> (filters,) mean matrix rank of each filter's map over the images (N, bands, y, x); between 0 and the shorter side.

    place: "activation" is the map after the layer's own batch normalisation, if it has one, and ReLU; "convolution" is its raw output, as
    in the code of PIC-PQ, which is of full rank for almost every filter.
    """
    sums: dict[str, Tensor] = {}

    def add(name: str, maps: Tensor) -> None:
        sums[name] = sums.get(name, 0) + torch.linalg.matrix_rank(maps.float()).double().sum(0).cpu()

    _swept(network, images, layers, place, batch, add)
    return {name: (sums[name] / len(images)).numpy() for name in layers}


@torch.no_grad()
def feature_maps(network: nn.Module, images: Tensor, layer: str, number: int, place: Place = "activation") -> np.ndarray:
    """(N, y, x) the maps of one filter for the images (N, bands, y, x), where `feature_ranks` takes its ranks."""
    found: list[Tensor] = []
    _swept(network, images, [layer], place, len(images), lambda name, maps: found.append(maps[:, number].cpu()))
    return torch.cat(found).numpy()


def _swept(
    network: nn.Module, images: Tensor, layers: Sequence[str], place: Place, batch: int, add: Callable[[str, Tensor], None]
) -> None:
    """Call `add(layer, maps)` with the maps of each layer, batch by batch."""
    modules = dict(network.named_modules())
    waiting: dict[int, str] = {}  # a convolution's output, which its normalisation reads next

    def seen(name: str, maps: Tensor) -> None:
        add(name, torch.relu(maps) if place == "activation" else maps)

    def after_convolution(name: str, follows: bool) -> Any:
        def hook(module: nn.Module, given: Any, out: Tensor) -> None:
            if follows:
                waiting[id(out)] = name
            else:
                seen(name, out)

        return hook

    def after_norm(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        name = waiting.pop(id(given[0]), None)
        if name is not None:
            seen(name, out)

    followed = set(_normalised(network, images, layers)) if place == "activation" else set()
    hooks = [modules[n].register_forward_hook(after_convolution(n, n in followed)) for n in layers]
    hooks += [m.register_forward_hook(after_norm) for m in modules.values() if isinstance(m, nn.BatchNorm2d) and followed]
    with still(network):
        for part in images.split(batch):
            network(part)
    for hook in hooks:
        hook.remove()


def _normalised(network: nn.Module, images: Tensor, layers: Sequence[str]) -> list[str]:
    """The layers whose output is read by a batch normalisation."""
    made: dict[int, tuple[str, Tensor]] = {}
    found: list[str] = []
    modules = dict(network.named_modules())

    def keep(name: str) -> Any:
        return lambda module, given, out: made.update({id(out): (name, out)})

    def read(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        if id(given[0]) in made:
            found.append(made[id(given[0])][0])

    hooks = [modules[n].register_forward_hook(keep(n)) for n in layers]
    hooks += [m.register_forward_hook(read) for m in modules.values() if isinstance(m, nn.BatchNorm2d)]
    with still(network):
        network(images[:1])
    for hook in hooks:
        hook.remove()
    return found


def weight_norms(network: nn.Module, layers: Sequence[str]) -> dict[str, np.ndarray]:
    """layer -> (filters,) sum of the absolute weights of each filter."""
    modules = dict(network.named_modules())
    return {n: modules[n].weight.detach().abs().flatten(1).sum(1).cpu().numpy() for n in layers}  # type: ignore[operator, union-attr]

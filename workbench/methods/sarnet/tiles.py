"""Detection in tiles of the training size, duplicates merged once; loading a trained network. `scenes` is for one large image.

Strip means depend on how long the strips are, so a network is applied to tiles of the size that it was trained with. Neighbouring
tiles share `margin` pixels. A detection that touches the inner border of a tile is dropped if it is shorter than the margin: a
neighbour sees it whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.data.boxed_images import entered, padded
from workbench.errors import InputError
from workbench.methods.sarnet.settings import Config
from workbench.parts.detect import Found, detections, nms
from workbench.parts.device import device
from workbench.parts.sarnet_network import STRIDES, SARNet
from workbench.parts.training import rebuilding, saved_network, weights

if TYPE_CHECKING:
    from os import PathLike

AT_ONCE = 8  # tiles in one forward pass
HELD = 64  # tiles whose outputs are decoded and suppressed at once
TOUCH = 2.0  # pixels: nearer to the border than this is touching it

_Place = tuple[int, tuple[int, int], tuple[int, int]]  # number of the image, top and left, height and width of a tile
Read = Callable[[slice, slice], Tensor]  # (rows, columns) -> amplitude (1, h, w) in [0, 1]


@dataclass(frozen=True)
class Trained:
    """A trained network, its settings, the names of its classes, and the lowest score of a detection in use."""

    network: SARNet
    config: Config
    names: list[str]
    operating: float = 0.5


def starts(length: int, tile: int, margin: int) -> list[int]:
    """First pixels of the tiles along one side; the last tile is moved back so that all have one size.

    >>> starts(300, 128, 48)
    [0, 80, 160, 172]
    """
    if margin >= tile:
        raise InputError(f"Tiles of {tile} pixels cannot share {margin}; use a smaller margin or larger tiles.")
    return [*range(0, max(length - tile, 0), tile - margin), max(length - tile, 0)]


def detect_all(
    network: SARNet, reads: Sequence[tuple[tuple[int, int], Read]], config: Config, shuffled: bool = False
) -> list[Found]:
    """Detections of several images, each given by its (height, width) and a function that reads a window of it.

    Tiles are read one at a time; at most AT_ONCE + 2 of them, and the outputs of about HELD, are in memory. shuffled: each tile gets the
    gates of another, a control that needs at least two tiles.
    """
    network.eval()
    parts = found_in_tiles(network, _tiles(reads, config), [size for size, _ in reads], config, shuffled)
    return [merged(p, config) for p in parts]


def found_in_tiles(
    network: SARNet,
    tiles: Iterator[tuple[int, tuple[int, int], Tensor]],
    sizes: Sequence[tuple[int, int]],
    config: Config,
    shuffled: bool = False,
) -> list[list[Found]]:
    """Detections of each tile of each image, in pixels of the image, without those that a neighbouring tile sees whole.

    network: set to evaluation. tiles: (number of the image, (top, left), input of the network (1, h, w)). sizes: (height, width) of each
    image.
    """
    where, side = device(), config.side
    parts: list[list[Found]] = [[] for _ in sizes]
    held: list[_Place] = []
    levels: list[Sequence[Tensor]] = []

    def suppress() -> None:
        """Find the detections of the tiles that are held, all at once: the overhead of many small tensors is paid once."""
        for n, found in _of_tiles([torch.cat(x) for x in zip(*levels, strict=True)], held, sizes, config):
            parts[n].append(found)
        held.clear()
        levels.clear()

    with torch.inference_mode():
        for some in _batches(tiles):
            x = torch.stack([padded(tile, side) for _, _, tile in some])
            levels.append(network(x.to(where), shuffled).levels)
            held += [(n, corner, (tile.shape[1], tile.shape[2])) for n, corner, tile in some]
            if len(held) >= HELD:
                suppress()
        if held:
            suppress()
    return parts


def _of_tiles(
    levels: Sequence[Tensor], tiles: Sequence[_Place], sizes: Sequence[tuple[int, int]], config: Config
) -> Iterator[tuple[int, Found]]:
    """(number of an image, its detections in these tiles, in pixels of the image) for each image that has some."""
    sides = [size for *_, size in tiles]
    found = detections(levels, STRIDES, sides, threshold=config.threshold, overlap=config.overlap)
    rows, box, score, label = (column.cpu() for column in found)
    corner, size, image, owner = (
        torch.tensor(values)[rows]
        for values in ([c for _, c, _ in tiles], sides, [sizes[n] for n, *_ in tiles], [n for n, *_ in tiles])
    )
    whole = _whole(box, corner, size, image, config.margin)
    box = box + corner.flip(1).repeat(1, 2)
    for n in dict.fromkeys(n for n, *_ in tiles):
        own = whole & (owner == n)
        if own.any():
            yield n, Found(box[own], score[own], label[own])


def _tiles(reads: Sequence[tuple[tuple[int, int], Read]], config: Config) -> Iterator[tuple[int, tuple[int, int], Tensor]]:
    for n, ((high, wide), read) in enumerate(reads):
        for top in starts(high, config.side, config.margin):
            for left in starts(wide, config.side, config.margin):
                rows, columns = slice(top, min(top + config.side, high)), slice(left, min(left + config.side, wide))
                yield n, (top, left), entered(read(rows, columns), config)


def _batches(tiles: Iterator[tuple[int, tuple[int, int], Tensor]]) -> Iterator[list[tuple[int, tuple[int, int], Tensor]]]:
    """Lists of AT_ONCE tiles; a last single one joins the list before it, so that gates can be shuffled."""
    held: list[tuple[int, tuple[int, int], Tensor]] = []
    for tile in tiles:
        held.append(tile)
        if len(held) == AT_ONCE + 2:
            yield held[:AT_ONCE]
            held = held[AT_ONCE:]
    if held:
        yield held


def _whole(box: Tensor, corner: Tensor, size: Tensor, image: Tensor, margin: int) -> Tensor:
    """Which boxes (N,) of tiles are not cut by a border that a neighbouring tile sees beyond.

    box (N, 4): in pixels of its tile. corner, size, image (N, 2): of each box the top and left of its tile, the height and width of the
    tile, and those of the image.
    """
    inner = torch.cat([corner.flip(1) > 0, (corner + size < image).flip(1)], 1)  # left, top, right, bottom
    near = torch.cat([box[:, :2], size.flip(1) - box[:, 2:]], 1) < TOUCH
    short = (box[:, 2:] - box[:, :2]).amax(1) < margin - TOUCH
    return ~((near & inner).any(1) & short)


def merged(parts: Sequence[Found], config: Config) -> Found:
    """Detections of all tiles of one image, suppressed once more where tiles overlap. The order of the tiles does not matter."""
    box, score, label = joined(parts)
    # of boxes with equal scores, always the same one is kept
    order = torch.from_numpy(np.lexsort((label.numpy(), *box.numpy().T)))
    box, score, label = box[order], score[order], label[order]
    kept = nms(box, score, config.overlap, label)[: config.most]
    return Found(box[kept], score[kept], label[kept])


def joined(parts: Sequence[Found]) -> Found:
    """The detections of all parts, one part behind the other."""
    if not parts:
        return Found(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    return Found(*(torch.cat(column) for column in zip(*parts, strict=True)))


def as_variables(found: Found, names: Sequence[str]) -> dict[str, xr.DataArray]:
    """`box`, `box_score` and `box_label` of detections."""
    return {
        "box": xr.DataArray(found.box.numpy(), dims=("object", "edge"), attrs={"long_name": "detections", "units": "pixel"}),
        "box_score": xr.DataArray(found.score.numpy(), dims="object", attrs={"long_name": "score"}),
        "box_label": xr.DataArray(found.label.numpy(), dims="object", attrs={"long_name": "class", "names": list(names)}),
    }


# --- weights ----------------------------------------------------------------------------------------------------------


def packed(network: SARNet, config: Config, names: Sequence[str], operating: float) -> dict[str, dict[str, Tensor]]:
    """`weights` of an Outcome: the network, and as JSON bytes everything needed to rebuild it."""
    facts = {"names": list(names), "operating": operating, "config": config.model_dump(mode="json")}
    about = json.dumps(facts, sort_keys=True)
    return {"sarnet": weights(network), "settings": {"json": torch.tensor(list(about.encode()), dtype=torch.uint8)}}


def load_network(source: str | PathLike[str]) -> Trained:
    """A trained network from a run folder, or from the weights.safetensors of one.

    Raises InputError for a folder without weights, and for weights of another method.
    """
    own, about, _ = saved_network(source, "sarnet")
    with rebuilding(source, "sarnet"):
        config = Config.model_validate(about["config"])
        network = SARNet(len(about["names"]), config.width, "sarnet", config.aggregate)
        network.load_state_dict(own)
        return Trained(network.eval().to(device()), config, about["names"], float(about["operating"]))

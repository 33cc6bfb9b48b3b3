"""Detection in images of any size: tiles of the training size, duplicates merged once; loading a trained network.

Strip means depend on how long the strips are, so a network is applied to tiles of the size that it was trained with. Neighbouring
tiles share `margin` pixels. A detection that touches the inner border of a tile is dropped if it is shorter than the margin: a
neighbour sees it whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.errors import InputError
from workbench.methods.sarnet.chips import entered, grey, padded
from workbench.methods.sarnet.network import STRIDES, SARNet
from workbench.methods.sarnet.settings import Config
from workbench.parts.detect import Found, detections, nms
from workbench.parts.device import device
from workbench.parts.training import weights

if TYPE_CHECKING:
    from os import PathLike

AT_ONCE = 8  # tiles in one forward pass
TOUCH = 2.0  # pixels: nearer to the border than this is touching it

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

    Tiles are read one at a time; at most AT_ONCE + 2 are in memory. shuffled: each tile gets the gates of another, a control that
    needs at least two tiles.
    """
    network.eval()
    parts: list[list[tuple[Tensor, Tensor, Tensor]]] = [[] for _ in reads]
    with torch.inference_mode():
        for tiles in _batches(_tiles(reads, config)):
            x = torch.stack([padded(amplitude, config.side) for _, _, amplitude in tiles])
            out = network(entered(x, config).to(device()), shuffled)
            true = [(a.shape[1], a.shape[2]) for _, _, a in tiles]
            found = detections(out.levels, STRIDES, true, threshold=config.threshold, overlap=config.overlap)
            for (n, (top, left), _), size, one in zip(tiles, true, found, strict=True):
                whole = _whole(one.box, (top, left), size, reads[n][0], config.margin)
                box = one.box[whole] + torch.tensor([left, top, left, top], device=one.box.device)
                parts[n].append((box.cpu(), one.score[whole].cpu(), one.label[whole].cpu()))
        return [_merged(p, config) for p in parts]


def _tiles(reads: Sequence[tuple[tuple[int, int], Read]], config: Config) -> Iterator[tuple[int, tuple[int, int], Tensor]]:
    for n, ((high, wide), read) in enumerate(reads):
        for top in starts(high, config.side, config.margin):
            for left in starts(wide, config.side, config.margin):
                rows, columns = slice(top, min(top + config.side, high)), slice(left, min(left + config.side, wide))
                yield n, (top, left), read(rows, columns)


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


def _whole(box: Tensor, place: tuple[int, int], size: tuple[int, int], image: tuple[int, int], margin: int) -> Tensor:
    """Which boxes (N,) of a tile are not cut by a border that a neighbouring tile sees beyond."""
    (top, left), (high, wide) = place, size
    inner = torch.tensor([left > 0, top > 0, left + wide < image[1], top + high < image[0]], device=box.device)
    near = torch.stack([box[:, 0], box[:, 1], wide - box[:, 2], high - box[:, 3]], 1) < TOUCH
    short = (box[:, 2:] - box[:, :2]).amax(1) < margin - TOUCH
    return ~((near & inner).any(1) & short)


def _merged(parts: Sequence[tuple[Tensor, Tensor, Tensor]], config: Config) -> Found:
    """Detections of all tiles of one image, suppressed once more where tiles overlap."""
    box, score, label = (torch.cat([p[i] for p in parts]) for i in range(3))
    kept = nms(box, score, config.overlap, label) if len(parts) > 1 else torch.arange(len(box))
    kept = kept[: config.most]
    return Found(box[kept], score[kept], label[kept])


def detect(trained: Trained, image: xr.DataArray, threshold: float | None = None, most: int | None = None) -> xr.Dataset:
    """`box (object, edge)`, `box_score`, `box_label` of one image (band, y, x) of any size, in pixels of the image.

    The image holds amplitudes in [0, 1] and may be lazy: it is read tile by tile. threshold: lowest score; None:
    the one with the best F1 on the validation images of the training. most: detections that are kept; None: as in the settings.
    """
    if set(image.dims) != {"band", "y", "x"}:
        raise InputError(f"detect needs one image (band, y, x); this array has the dims {tuple(image.dims)}.")
    image = image.transpose("band", "y", "x")

    def read(rows: slice, columns: slice) -> Tensor:
        values = np.ascontiguousarray(image.isel(y=rows, x=columns).values, np.float32)
        return grey(torch.from_numpy(values), str(image.name))

    lowest = trained.operating if threshold is None else threshold
    config = trained.config.model_copy(update={"most": most or trained.config.most, "threshold": lowest})
    (found,) = detect_all(trained.network, [((image.sizes["y"], image.sizes["x"]), read)], config)
    return xr.Dataset(as_variables(found, trained.names), {"edge": ["x0", "y0", "x1", "y1"]})


def as_amplitude(sar: xr.DataArray, low: float = -25.0, high: float = 5.0) -> xr.DataArray:
    """`image (band, y, x)` in [0, 1] of linear intensity `sar (sar_band, y, x)`, for `detect`; stays lazy.

    Intensity in dB is clipped to `low` and `high`, fixed for all scenes, and scaled so that the network's logarithmic input is linear
    in dB. Choose them so that the sea and the ships have the brightness of the training chips. Raises InputError for another array.
    """
    if "sar_band" not in sar.dims or np.iscomplexobj(sar) or not low < high:
        raise InputError(
            f"as_amplitude needs intensity with the dim sar_band, and low below high; got dims {tuple(sar.dims)}, {sar.dtype}, "
            f"low={low:g}, high={high:g}."
        )
    decibels = 10 * np.log10(sar.data.astype(np.float32).clip(1e-12))
    share = (decibels.clip(low, high) - low) / (high - low)
    image = sar.copy(data=((np.exp2(8 * share) - 1) / 255).astype(np.float32))
    return image.rename({"sar_band": "band"}).rename("image")


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
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(source).expanduser()
    path = path / "weights.safetensors" if path.is_dir() else path
    try:
        flat = load_file(path)
    except FileNotFoundError:
        raise InputError(f"There is no {path}: the run has not finished, or its method saves no weights.") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a .safetensors file ({error}).") from None
    if "settings/json" not in flat or "sarnet/backbone.stem.0.weight" not in flat:
        raise InputError(
            f"{path} holds no network of sarnet; give the folder of a finished sarnet run, or its weights file."
        )
    about = json.loads(bytes(flat["settings/json"].tolist()))
    config = Config.model_validate(about["config"])
    network = SARNet(len(about["names"]), config.width, "sarnet", config.aggregate)
    network.load_state_dict({n.removeprefix("sarnet/"): v for n, v in flat.items() if n.startswith("sarnet/")})
    return Trained(network.eval().to(device()), config, about["names"], float(about["operating"]))

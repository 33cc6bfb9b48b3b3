"""RS-DGC: train on several workers while each sends only the gradient entries that matter, and see which they are.

W. Xie, Z. Wang, J. Ma, D. Li, Y. Li, "RS-DGC: Exploring Neighborhood Statistics for Dynamic Gradient Compression on
Remote Sensing Image Interpretation", IEEE TGRS 2024, doi 10.1109/TGRS.2024.3394501, arXiv 2312.17530. What you get: a
scene classifier trained by real torch.distributed ranks, once per compressor, with accuracy against bytes for each; and,
for RS-DGC, gradient, neighbourhood mean and spread, score and sent entries of some layers while they change.

The paper's text was not open to us: the neighbourhood statistical indicator (NSI) is a labelled *reconstruction* from its
abstract, and the layer-wise dynamic budget is ours. What is known and what is not: docs/methods/rsdgc.md.

Everything a DDP script of one's own needs is in `workbench.parts.gradients`; this room only trains with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
import xarray as xr
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.baselines.compression import RIVALS, Sparse, buffer_bytes, wrap
from workbench.config import Settings
from workbench.engines.processes import loopback_bytes, rank_device, ranks
from workbench.errors import InputError, did_you_mean
from workbench.event import Event, Outcome, Trace
from workbench.parts.gradients import warmup_densities
from workbench.parts.indicators import INDICATORS, neighbourhood, score
from workbench.parts.seeding import Seeded
from workbench.scene import PROVENANCE, require

NEEDS = ("image", "label")
RECONSTRUCTION = "The NSI formula is a reconstruction from the paper's abstract, not the paper's own equation."
SHOWN = (128, 512)  # rows and columns of a gradient matrix that are shown; larger ones are cut
RATIOS = {
    "ratio_entries": "entries of the gradient against entries sent; what papers often print",
    "ratio_upload": "bytes of a float32 gradient against bytes of one rank's message, positions included",
    "ratio_wire": "bytes of dense ring all-reduce against all bytes sent, by all ranks together: the one that counts",
}
AGES = (0, 1, 2, 4, 8, 16, 32, 64, 128)  # steps since an entry was sent; the last bin is open


class Config(Settings):
    """The paper's settings are not known beyond VGG-19 and a compression above 50; these follow DGC's public code."""

    network: Literal["vgg", "vgg19", "resnet", "cnn"] = Field(
        "vgg", description="eight-layer VGG, VGG-19 with one head, ResNet-10, or four layers without norms"
    )
    width: int = Field(16, ge=1, le=256, description="channels of the first stage; VGG-19 as published has 64")
    rivals: tuple[str, ...] = Field(
        RIVALS, min_length=1, description="compressors trained one after another: " + ", ".join(RIVALS)
    )
    workers: int = Field(2, ge=1, le=64, description="ranks that share every batch")
    steps: int = Field(300, ge=1, description="optimiser steps of each compressor")
    batch: int = Field(16, ge=1, description="chips per worker and step")
    lr: float = Field(0.05, gt=0, le=10, description="largest learning rate; cosine to 0")
    lr_warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the learning rate rises to it")
    momentum: float = Field(0.9, ge=0, lt=1, description="in the hook (rsdgc, dgc) or in the optimiser, never in both")
    weight_decay: float = Field(1e-4, ge=0, le=1, description="of the optimiser")
    density: float = Field(0.01, gt=0, le=1, description="share of the gradient entries sent per step")
    warmup_stages: int = Field(0, ge=0, le=20, description="larger densities used first, a geometric row down to density")
    warmup_steps: int = Field(10, ge=1, description="steps of each of them")
    indicator: Literal["mix", "contrast", "zscore", "energy", "tile", "magnitude"] = Field(
        "mix", description="what makes an entry matter: a reconstruction of the NSI, or magnitude"
    )
    p: int = Field(3, ge=1, le=15, description="side of the neighbourhood, odd")
    dynamic: float = Field(0.5, ge=0, le=1, description="how far a layer's share follows its importance; 0: by size alone")
    values: Literal["f32", "f16"] = Field("f32", description="sent values")
    index: Literal["auto", "elias-fano", "bitmap", "varint", "int32"] = Field("auto", description="coding of positions")
    powersgd_rank: int = Field(2, ge=1, le=32, description="rank of PowerSGD's factors")
    powersgd_start: int = Field(10, ge=2, description="steps of all-reduce before PowerSGD begins")
    train_fraction: float = Field(0.7, gt=0, lt=1, description="share for training, where the scene has no split of its own")
    size: int = Field(64, ge=4, le=512, description="longest side of a chip; larger ones are averaged down")
    augment: bool = Field(False, description="flips and quarter turns; right for images from above, wrong for digits")
    eval_every: int = Field(25, ge=1, description="steps between two test accuracies")
    show_every: int = Field(10, ge=1, description="steps between two views of the gradient")
    watch: int = Field(3, ge=0, le=10, description="layers whose gradient is shown, from first to last")
    timeout: float = Field(60.0, gt=0, le=3600, description="seconds after which a silent rank counts as lost")
    threads: int = Field(1, ge=1, le=64, description="threads of each rank")

    @field_validator("rivals")
    @classmethod
    def _known(cls, rivals: tuple[str, ...]) -> tuple[str, ...]:
        for name in rivals:
            if name not in RIVALS:
                raise ValueError(
                    f"there is no compressor {name!r}; there are {', '.join(RIVALS)}.{did_you_mean(name, RIVALS)}"
                )
        if len(set(rivals)) < len(rivals):
            raise ValueError("names a compressor twice")
        return rivals

    @field_validator("p")
    @classmethod
    def _odd(cls, p: int, info: Any) -> int:
        if p % 2 == 0:
            raise ValueError("must be odd")
        if p == 1 and info.data.get("indicator") in ("contrast", "zscore"):
            raise ValueError(f"must be 3 or more for {info.data['indicator']}")
        return p


# --- networks --------------------------------------------------------------------------------------------------------


class VGG(nn.Sequential):
    """Stages of 3 x 3 convolutions with batch norm, width doubling up to 8 times, halved in between while there is room.

    (N, bands, y, x) -> (N, classes). depth (2, 2, 4, 4, 4), width 64 are the convolutions of VGG-19: 20 million weights.
    """

    def __init__(
        self, bands: int, classes: int, width: int = 16, depth: Sequence[int] = (1, 2, 2, 2), side: int = 64
    ) -> None:
        layers: list[nn.Module] = []
        channels = bands
        for stage, convolutions in enumerate(depth):
            wide = width * 2 ** min(stage, 3)
            for _ in range(convolutions):
                layers += [nn.Conv2d(channels, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
                channels = wide
            if side >= 4 and stage < len(depth) - 1:
                layers.append(nn.MaxPool2d(2))
                side //= 2
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, channels: int, wide: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, wide, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(wide)
        self.second = nn.Conv2d(wide, wide, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(wide)
        same = stride == 1 and channels == wide
        self.short = nn.Identity() if same else nn.Conv2d(channels, wide, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.second(F.relu(self.norm(self.first(x)))))
        return F.relu(y + self.short(x))


class ResNet(nn.Sequential):
    """A stem and four residual blocks, each twice as wide and half as large as the one before."""

    def __init__(self, bands: int, classes: int, width: int = 16) -> None:
        wides = [width * 2**i for i in range(4)]
        blocks = [Residual(c, w, 1 if i == 0 else 2) for i, (c, w) in enumerate(zip([width, *wides], wides, strict=False))]
        super().__init__(
            nn.Conv2d(bands, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            *blocks,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(wides[-1], classes),
        )


class CNN(nn.Sequential):
    """Two convolutions and two linear layers, no norms: small, and less forgiving of a wrong gradient than the others."""

    def __init__(self, bands: int, classes: int, width: int = 16) -> None:
        super().__init__(
            nn.Conv2d(bands, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveMaxPool2d(4),
            nn.Flatten(),
            nn.Linear(32 * width, 5 * width),
            nn.ReLU(inplace=True),
            nn.Linear(5 * width, classes),
        )


def network(config: Config, bands: int, classes: int, side: int) -> nn.Module:
    """The network of this config, with the weights of its seed."""
    with Seeded(config.seed):
        if config.network == "resnet":
            return ResNet(bands, classes, config.width)
        if config.network == "cnn":
            return CNN(bands, classes, config.width)
        depth = (2, 2, 4, 4, 4) if config.network == "vgg19" else (1, 2, 2, 2)
        return VGG(bands, classes, config.width, depth, side)


# --- chips -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Chips:
    """Standardised chips (N, band, y, x) float32 with label (N,), and which are for training and for testing."""

    image: Tensor
    label: Tensor
    train: Tensor
    test: Tensor
    names: tuple[str, ...]


def chips_of(scene: xr.Dataset, config: Config) -> Chips:
    """The labelled chips of a scene. Split: its own `split` (test, else val), or by class at random from the seed.

    Raises InputError for a single image, for complex or missing values, and where a class or the split is too small.
    """
    require(scene, *NEEDS, who="rsdgc")
    image, label = scene["image"], scene["label"].values.astype(np.int64)
    if image.dims != ("sample", "band", "y", "x"):
        raise InputError(f"rsdgc needs chips, image (sample, band, y, x); this scene has image ({', '.join(image.dims)}).")
    if image.dtype.kind == "c":
        raise InputError("rsdgc needs real values; this image is complex. Take its amplitude first.")
    used = np.flatnonzero(label >= 0)
    classes, targets = np.unique(label[used], return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"rsdgc needs at least two classes; the labelled chips have {len(classes)}.")
    values = torch.from_numpy(np.ascontiguousarray(image.values[used], dtype=np.float32))
    if not torch.isfinite(values).all():
        raise InputError("rsdgc needs finite values; some chips have missing ones (NaN). Fill or drop them.")
    train, test = split(scene, used, targets, config)
    longest = max(values.shape[2:])
    if longest > config.size:
        shrunk = [max(4, round(s * config.size / longest)) for s in values.shape[2:]]
        values = torch.cat([F.adaptive_avg_pool2d(part, shrunk) for part in values.split(64)])
    mean = values[train].mean((0, 2, 3), keepdim=True)
    spread = values[train].std((0, 2, 3), keepdim=True).clamp(min=1e-6)
    given = [str(n) for n in scene["label"].attrs.get("names", [])]
    names = tuple(given[c] if c < len(given) else str(c) for c in classes)
    return Chips((values - mean) / spread, torch.from_numpy(targets), train, test, names)


def split(scene: xr.Dataset, used: np.ndarray, targets: np.ndarray, config: Config) -> tuple[Tensor, Tensor]:
    """(train, test) positions among the used chips."""
    if "split" in scene.coords:
        own = scene["split"].values[used].astype(str)
        train = np.flatnonzero(own == "train")
        test = np.flatnonzero(own == ("test" if (own == "test").any() else "val"))
    else:
        draw = np.random.default_rng(config.seed)
        parts = [draw.permutation(np.flatnonzero(targets == c)) for c in np.unique(targets)]
        cuts = [min(max(1, round(config.train_fraction * len(p))), len(p) - 1) for p in parts]
        train = np.sort(np.concatenate([p[:c] for p, c in zip(parts, cuts, strict=True)]))
        test = np.sort(np.concatenate([p[c:] for p, c in zip(parts, cuts, strict=True)]))
    if len(test) == 0 or len(train) < config.workers * config.batch:
        raise InputError(
            f"rsdgc needs chips for testing, and {config.workers} x {config.batch} for a training step; this scene gives "
            f"{len(test)} and {len(train)}. Lower batch or workers, or give a larger set."
        )
    return torch.from_numpy(train), torch.from_numpy(test)


def batch_of(chips: Chips, config: Config, rank: int, step: int) -> tuple[Tensor, Tensor]:
    """Rank's share of the batch of a step: epochs are permutations drawn from the seed, shared out in turn."""
    together = config.workers * config.batch
    per_epoch = len(chips.train) // together
    epoch, place = divmod(step, per_epoch)
    draw = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    order = torch.randperm(len(chips.train), generator=draw)
    begin = place * together + rank * config.batch
    chosen = chips.train[order[begin : begin + config.batch]]
    x = chips.image[chosen]
    if config.augment:
        draw = torch.Generator().manual_seed((config.seed * 1_000_003 + step) * 64 + rank)
        turns = torch.randint(0, 8, (len(x),), generator=draw).tolist()
        square = x.shape[2] == x.shape[3]
        x = torch.stack([_turned(chip, t if square else t & 5) for chip, t in zip(x, turns, strict=True)])
    return x, chips.label[chosen]


def _turned(chip: Tensor, how: int) -> Tensor:
    """One of the eight flips and quarter turns; how & 5 leaves out those that change the shape."""
    if how & 1:
        chip = chip.flip(2)
    if how & 4:
        chip = chip.flip(1)
    return chip.transpose(1, 2) if how & 2 else chip


# --- training on one rank --------------------------------------------------------------------------------------------


def learning_rate(step: int, config: Config) -> float:
    """Linear rise over the first lr_warmup steps, then half a cosine to 0. Step 0 of 100 with 5 %: lr / 5."""
    rise = round(config.lr_warmup * config.steps)
    if step < rise:
        return config.lr * (step + 1) / rise
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, config.steps - rise)))


class Training:
    """One compressor on one rank: network, optimiser, compressor, and what has been seen so far."""

    def __init__(self, rival: str, rank: int, chips: Chips, config: Config) -> None:
        self.rival, self.rank, self.chips, self.config = rival, rank, chips, config
        self.device = rank_device(rank)
        bands, side = chips.image.shape[1], min(chips.image.shape[2:])
        self.network = network(config, bands, len(chips.names), side).to(self.device)
        self.ddp, self.compressor = wrap(
            rival,
            self.network,
            density=config.density,
            momentum=config.momentum,
            rank=config.powersgd_rank,
            powersgd_start=config.powersgd_start,
            indicator=config.indicator,
            p=config.p,
            dynamic=config.dynamic,
            values=config.values,
            index=config.index,
            warmup=warmup_densities(config.density, config.warmup_stages),
            warmup_steps=config.warmup_steps,
            seed=config.seed,
        )
        self.optimiser = torch.optim.SGD(
            self.network.parameters(),
            lr=config.lr,
            momentum=self.compressor.optimiser_momentum,
            weight_decay=config.weight_decay,
        )
        self.buffers = 0  # bytes of norms' statistics, counted like the gradient
        self.measured: int | None = 0
        self.skipped = 0
        self.age: dict[str, Tensor] = {}
        self.watched: list[str] = []
        if rival == "rsdgc" and isinstance(self.compressor, Sparse) and config.watch:
            names = [la.name for la in self.compressor.layers.values() if la.compressed]
            self.watched = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, config.watch).round().astype(int))]
        dist.barrier()  # the first weights are on their way until now, and are not to be measured

    def step(self, step: int) -> float | None:
        """One optimiser step; the loss of this rank's share, or None when the step was skipped on all ranks."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(step, self.config)
        if isinstance(self.compressor, Sparse):
            self.compressor.watch = set(self.watched)
        before = loopback_bytes()
        x, y = batch_of(self.chips, self.config, self.rank, step)
        self.optimiser.zero_grad()
        loss = F.cross_entropy(self.ddp(x.to(self.device)), y.to(self.device))
        loss.backward()
        after = loopback_bytes()
        self.buffers += buffer_bytes(self.ddp)
        if self.measured is not None:
            self.measured = None if before is None or after is None else self.measured + after - before
        if self.compressor.skipped:
            self.skipped += 1
            return None
        self.optimiser.step()
        if isinstance(self.compressor, Sparse):
            for name, (_, kept) in self.compressor.seen.items():
                age = self.age.setdefault(name, torch.zeros(kept.shape, dtype=torch.int32))
                age.add_(1).masked_fill_(kept.cpu(), 0)
        return float(loss.detach())

    @property
    def counted(self) -> int:
        """Bytes sent by all ranks together since the start, norms' statistics included."""
        return self.compressor.counted + self.buffers

    def predicted(self) -> Tensor:
        """Classes (test,) of the test chips; every rank computes its share."""
        own = self.chips.test[self.rank :: self.config.workers]
        for buffer in self.network.buffers():  # every rank has statistics of its own since DDP last sent those of rank 0
            dist.broadcast(buffer, 0)
        self.network.eval()
        with torch.no_grad():
            parts = [self.network(self.chips.image[i].to(self.device)).argmax(1) for i in own.split(128)]
        self.network.train()
        labels = torch.zeros(len(self.chips.test), dtype=torch.int64, device=self.device)
        labels[self.rank :: self.config.workers] = torch.cat(parts) if parts else labels[:0]
        dist.all_reduce(labels)
        return labels.cpu()

    def state(self) -> dict[str, Any]:
        """Everything this rank needs to continue."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "compressor": self.compressor.state_dict(),
            "numbers": [self.buffers, self.measured, self.skipped],
            "age": self.age,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`, after a backward pass in which DDP groups its buckets as it had them."""
        self.ddp(torch.zeros_like(self.chips.image[: self.config.batch]).to(self.device)).sum().backward()
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.compressor.load_state_dict(state["compressor"])
        self.buffers, self.measured, self.skipped = state["numbers"]
        self.age = {name: age.clone() for name, age in state["age"].items()}


def worker(
    rank: int,
    world: int,
    image: Tensor,
    label: Tensor,
    train: Tensor,
    test: Tensor,
    names: tuple[str, ...],
    settings: dict[str, Any],
    state: Mapping[str, Any] | None = None,
) -> Generator[Event, None, dict[str, Any]]:
    """All compressors in turn on one rank; rank 0's events carry numbers and views. Returns what each came to."""
    config = Config.model_validate(settings)
    chips = Chips(image, label, train, test, names)
    results: dict[str, dict[str, Any]] = {} if state is None else {k: dict(v) for k, v in state["results"].items()}
    last = len(config.rivals) * config.steps
    first_rival, first_step = (0, 0) if state is None else (int(state["rival"]), int(state["step"]))
    for number in range(first_rival, len(config.rivals)):
        rival = config.rivals[number]
        training = Training(rival, rank, chips, config)
        begin = 0
        if state is not None and number == first_rival:
            training.load(state["training"])
            begin = first_step
        found = results.setdefault(rival, {"at": [], "accuracy": [], "bytes": [], "budget": [], "signal": []})
        for step in range(begin, config.steps):
            loss = training.step(step)
            event_step = number * config.steps + step + 1
            scalars = {f"megabytes/{rival}": training.counted / 1e6}
            if loss is not None and math.isfinite(loss):
                scalars[f"loss/{rival}"] = loss
            if training.skipped:
                scalars[f"skipped/{rival}"] = float(training.skipped)
            if training.measured is not None:
                scalars[f"measured_megabytes/{rival}"] = training.measured / 1e6
            if (step + 1) % config.eval_every == 0 or step + 1 == config.steps:
                guess = training.predicted()
                accuracy = float((guess == chips.label[chips.test]).double().mean())
                scalars[f"accuracy/{rival}"] = accuracy
                scalars |= {f"{ratio}/{rival}": value for ratio, value in ratios(training, step + 1).items()}
                found["at"].append(step + 1)
                found["accuracy"].append(accuracy)
                found["bytes"].append(float(training.counted))
                if step + 1 == config.steps:
                    found |= conclusion(training, guess)
            arrays = {}
            if isinstance(training.compressor, Sparse):
                report = training.compressor.report
                scalars[f"density/{rival}"] = report.density
                if rival == "rsdgc":
                    found["budget"].append(list(report.k.values()))
                    found["signal"].append(list(report.signal.values()))
                    if report.overlap:
                        scalars["overlap/ranks"] = float(np.mean(report.overlap))
                    if rank == 0 and (step % config.show_every == 0 or step + 1 == config.steps):
                        arrays = views(training)
            yield Event(
                event_step,
                scalars if rank == 0 else {},
                arrays,
                last,
                _saved(number, step + 1, training, results),
            )
    return results


def _saved(number: int, step: int, training: Training, results: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    return lambda: {"rival": number, "step": step, "training": training.state(), "results": results}


def conclusion(training: Training, guess: Tensor) -> dict[str, Any]:
    """What one compressor came to; plain values and tensors."""
    ended: dict[str, Any] = {
        "predicted": guess,
        "counted": float(training.counted),
        "sent": float(training.compressor.sent),
        "measured": None if training.measured is None else float(training.measured),
        "skipped": float(training.skipped),
        **ratios(training, training.config.steps),
    }
    if training.rival == training.config.rivals[0]:
        ended["weights"] = {k: v.detach().cpu().clone() for k, v in training.network.state_dict().items()}
    if isinstance(training.compressor, Sparse):
        layers = [la for la in training.compressor.layers.values() if la.compressed]
        ended["layers"] = [la.name for la in layers]
        ended["sizes"] = [la.n for la in layers]
    return ended


def ratios(training: Training, steps: int) -> dict[str, float]:
    """How much less is sent than by dense training, after so many steps; the last two for sparse compressors only."""
    compressor = training.compressor
    entries = sum(p.numel() for p in training.network.parameters())
    dense = 2 * (training.config.workers - 1) * 4 * entries * steps
    found = {"ratio_wire": dense / max(1, training.counted)}
    if isinstance(compressor, Sparse):
        found["ratio_entries"] = entries / sum(la.k for la in compressor.layers.values() if la.compressed)
        found["ratio_upload"] = 4 * entries / compressor.report.sent
    return found


def views(training: Training) -> dict[str, xr.DataArray]:
    """What RS-DGC sees in this step: the watched layers' matrices, all layers' budget, signal and residual."""
    compressor, config = training.compressor, training.config
    assert isinstance(compressor, Sparse)
    arrays = {}
    for name, (A, kept) in compressor.seen.items():
        arrays[f"importance/{name}"] = importance(A.cpu().float(), kept.cpu(), config.indicator, config.p)
    report = compressor.report
    layers = [compressor.layers[n] for n in report.k]
    norms = compressor.residual_norms()
    coords = {"layer": [la.name for la in layers], "entries": ("layer", [la.n for la in layers])}

    def by_layer(values: Sequence[float], what: str) -> xr.DataArray:
        return xr.DataArray(np.asarray(values, np.float64), coords, ("layer",), attrs={"long_name": what})

    arrays["budget"] = by_layer(list(report.k.values()), "entries a layer may send in this step")
    arrays["signal"] = by_layer(list(report.signal.values()), "mean score against its first steps, smoothed (ours)")
    arrays["residual"] = by_layer([norms[n] for n in report.k], "norm of the gradient that waits to be sent")
    if training.age:
        ages = np.stack([np.histogram(a.numpy(), [*AGES, np.inf])[0] / a.numel() for a in training.age.values()])
        arrays["age"] = xr.DataArray(
            ages,
            {"layer": list(training.age), "steps": list(AGES)},
            ("layer", "steps"),
            attrs={"long_name": "share of entries by steps since they were sent"},
        )
    return arrays


def importance(A: Tensor, kept: Tensor, indicator: str, p: int) -> xr.DataArray:
    """(quantity, row, column): gradient, mean, sigma, score, kept of a layer's matrix, cut to SHOWN.

    For "tile" the score shown is the entry's neighbourhood energy.
    """
    mu, sigma = neighbourhood(A, p)
    S = score(A, "energy" if indicator == "tile" else indicator, p)
    rows, columns = (min(n, most) for n, most in zip(A.shape, SHOWN, strict=True))
    stack = torch.stack([x[:rows, :columns].float() for x in (A, mu, sigma, S, kept)])
    return xr.DataArray(
        stack.numpy(),
        {"quantity": ["gradient", "mean", "sigma", "score", "kept"], "row": np.arange(rows), "column": np.arange(columns)},
        ("quantity", "row", "column"),
        attrs={
            "long_name": f"accumulated gradient and its {indicator} score",
            "indicator": INDICATORS[indicator],
            "p": p,
            "of_rows": A.shape[0],
            "of_columns": A.shape[1],
            "note": RECONSTRUCTION,
        },
    )


# --- the face --------------------------------------------------------------------------------------------------------


def run(scene: xr.Dataset, config: Config | None = None, state: Mapping[str, Any] | None = None) -> Trace:
    """Train every compressor on the scene's chips, with `config.workers` ranks; the result is described in the docs page.

    state: what an event of an interrupted run gave. Raises InputError for a scene that cannot be used; `RankLost` (from
    `workbench.engines.processes`) when a rank dies.
    """
    config = config or Config()
    chips = chips_of(scene, config)
    results = yield from ranks(
        worker,
        chips.image,
        chips.label,
        chips.train,
        chips.test,
        chips.names,
        config.model_dump(),
        world=config.workers,
        state=state,
        timeout=config.timeout,
        threads=config.threads,
    )
    return outcome(scene, chips, config, results)


def outcome(scene: xr.Dataset, chips: Chips, config: Config, results: Mapping[str, Mapping[str, Any]]) -> Outcome:
    """The results of all compressors as one Dataset on the scene's samples, and the first one's weights."""
    rivals = list(config.rivals)
    lead = results[rivals[0]]
    found = xr.Dataset(coords={n: c.variable for n, c in scene.coords.items() if c.dims == ("sample",)})
    used = np.flatnonzero(scene["label"].values >= 0)
    classes = np.unique(scene["label"].values[used])
    labels = np.full(scene.sizes["sample"], -1, np.int64)
    labels[used[chips.test.numpy()]] = classes[np.asarray(lead["predicted"])]
    found["labels"] = ("sample", labels, {"long_name": f"class given by {rivals[0]}; -1 for training chips"})

    def by_rival(name: str, key: Callable[[Mapping[str, Any]], float], what: str, units: str = "1") -> None:
        values = np.array([key(results[r]) for r in rivals], np.float64)
        found[name] = ("rival", values, {"long_name": what, "units": units})
        if name in ("accuracy", "bytes_sent", "ratio_wire"):
            for rival, value in zip(rivals, values, strict=True):
                found[f"{name}_{rival}"] = ((), value, {"long_name": f"{what}, {rival}", "units": units})

    by_rival("accuracy", lambda r: r["accuracy"][-1], "test accuracy after the last step")
    by_rival("bytes_sent", lambda r: r["counted"], "bytes sent by all ranks, counted", "byte")
    by_rival(
        "bytes_measured",
        lambda r: np.nan if r["measured"] is None else r["measured"],
        "bytes this machine sent to itself meanwhile, whoever sent them",
        "byte",
    )
    for ratio, what in RATIOS.items():
        by_rival(ratio, lambda r, ratio=ratio: r.get(ratio, np.nan), what)
    by_rival("skipped", lambda r: r["skipped"], "steps that were not finite")
    found["overall_accuracy"] = ((), lead["accuracy"][-1], {"long_name": f"test accuracy of {rivals[0]}"})
    at = lead["at"]
    found = found.assign_coords(rival=rivals, at=("at", at, {"long_name": "optimiser step"}))
    curves = {"accuracy_at": ("accuracy", "test accuracy"), "bytes_at": ("bytes", "bytes sent by all ranks so far")}
    for name, (key, what) in curves.items():
        found[name] = (("rival", "at"), np.array([results[r][key] for r in rivals]), {"long_name": what})
    ours = results.get("rsdgc")
    if ours is not None:
        found = found.assign_coords(layer=ours["layers"], step=np.arange(1, config.steps + 1))
        found["entries"] = ("layer", np.array(ours["sizes"]), {"long_name": "entries of the layer"})
        found["budget"] = (("step", "layer"), np.array(ours["budget"]), {"long_name": "entries sent by each rank"})
        found["signal"] = (("step", "layer"), np.array(ours["signal"]), {"long_name": "change of importance (ours)"})
    found.attrs = {k: scene.attrs[k] for k in PROVENANCE if scene.attrs.get(k)}
    notes = [n for n in str(scene.attrs.get("notes", "")).splitlines() if n]
    found.attrs["notes"] = "\n".join([*notes, RECONSTRUCTION])
    weights = {rivals[0]: lead["weights"]} if "weights" in lead else {}
    return Outcome(found, weights)

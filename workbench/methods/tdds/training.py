"""Training, on all samples with a recorder or on a coreset."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn import functional as F

from workbench.baselines.coresets import scorers
from workbench.data.samples import Samples
from workbench.errors import InputError
from workbench.event import Event, Outcome, Trace
from workbench.methods.tdds.labelled import accuracy_of, on_samples, painted, provenance
from workbench.methods.tdds.samples import samples_of
from workbench.methods.tdds.scoring import TDDS, PLabel, window_of
from workbench.methods.tdds.settings import Config
from workbench.parts.device import device
from workbench.parts.dynamics import Recorder
from workbench.parts.networks import classifier, halves
from workbench.parts.schedules import cosine
from workbench.parts.seeding import Seeded
from workbench.parts.training import Checkpoint, weights


class Training:
    """The training of a network on some of the samples: all state that a step changes.

    rows: positions in `samples` trained on. iterations: total optimiser steps, the length of the cosine. weight: (N,) of
    all samples, for loss_scale="official". network: its kind; "": that of the config. The seed determines initial weights, order and
    augmentation.
    """

    def __init__(
        self,
        samples: Samples,
        rows: np.ndarray,
        config: Config,
        iterations: int,
        seed: int,
        weight: Tensor | None = None,
        network: str = "",
    ) -> None:
        self.samples, self.config, self.iterations = samples, config, iterations
        here = device()
        self.rows = torch.from_numpy(rows).to(here)
        self.values, self.label = samples.only.to(here), samples.label.to(here)
        (blank,) = samples.blank.values()
        self.blank = blank.to(here)
        self.weight = None if weight is None else weight.float().to(here)
        self.random = Seeded(seed)
        with self.random:
            self.network = classifier(network or config.network, samples.only.shape[1:], samples.classes).to(here)
        self.features, self.head = halves(self.network)
        self.optimiser = torch.optim.SGD(
            self.network.parameters(),
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.momentum > 0,
            weight_decay=config.weight_decay,
        )
        self.checkpoint = Checkpoint(network=self.network, optimiser=self.optimiser, random=self.random)
        self.done = 0
        self.queue = torch.empty(0, dtype=torch.int64)  # remaining rows of this pass
        self.factor = math.nan

    @property
    def passes(self) -> int:
        """Number of steps of one pass over the rows."""
        return math.ceil(len(self.rows) / self.config.batch)

    def advance(self, steps: int, recorder: Recorder | None = None) -> dict[str, float]:
        """Train `steps` more steps; returns their mean loss and accuracy and the learning rate after them.

        recorder: gets the logits of every batch in training mode, before its step, with positions in `rows`.
        """
        with self.random:
            return self._advance(steps, recorder)

    def _advance(self, steps: int, recorder: Recorder | None) -> dict[str, float]:
        c, here = self.config, self.values.device
        losses, right, seen = torch.zeros((), device=here), torch.zeros((), device=here), 0
        factors = torch.zeros((), device=here)
        self.network.train()
        for _ in range(steps):
            if len(self.queue) == 0:
                self.queue = torch.randperm(len(self.rows))
            index, self.queue = self.queue[: c.batch], self.queue[c.batch :]
            rows = self.rows[index.to(here)]
            x, y = self.values[rows], self.label[rows]
            if c.augment == "crop-flip":
                x = crop_flip(x, self.blank)
            for group in self.optimiser.param_groups:
                group["lr"] = cosine(self.done, self.iterations, c.lr)
            h = self.features(x)
            logits = self.head(h)
            loss = F.cross_entropy(logits, y)
            if recorder is not None:
                recorder(index, logits, features=h)
            scaled = loss
            if self.weight is not None:
                factor = self.weight[rows].mean()
                scaled = loss * factor
                factors += factor
            self.optimiser.zero_grad()
            scaled.backward()
            self.optimiser.step()
            losses += loss.detach() * len(y)
            right += (logits.argmax(1) == y).sum()
            seen += len(y)
            self.done += 1
        self.factor = float(factors) / steps if self.weight is not None else math.nan
        mean = float(losses) / seen
        if not math.isfinite(mean):
            raise InputError(f"The training diverged: the mean loss up to step {self.done} is {mean}. Lower lr={c.lr:g}.")
        return {"loss": mean, "accuracy": float(right) / seen, "lr": cosine(self.done, self.iterations, c.lr)}

    def record_clean(self, recorder: Recorder) -> None:
        """Pass every training sample's logits in evaluation mode to the recorder."""
        with torch.no_grad():
            self.network.eval()
            for index in torch.arange(len(self.rows)).split(512):
                h = self.features(self.values[self.rows[index.to(self.rows.device)]])
                recorder(index, self.head(h), features=h)

    def _right(self) -> Tensor:
        """Which test samples (test,) are classified right."""
        with torch.no_grad():
            self.network.eval()
            rows = torch.from_numpy(self.samples.test).to(self.values.device)
            return torch.cat([self.network(self.values[r]).argmax(1) == self.label[r] for r in rows.split(512)])

    def test_accuracy(self) -> float:
        """Share of test samples classified right; NaN without test samples."""
        return float(self._right().sum()) / len(self.samples.test) if len(self.samples.test) else math.nan

    def class_accuracy(self) -> list[float]:
        """For each class, the share of its test samples classified right; NaN for a class without test samples."""
        if not len(self.samples.test):
            return [math.nan] * self.samples.classes
        right, label = self._right().cpu(), self.samples.label[torch.from_numpy(self.samples.test)]
        count = torch.bincount(label, minlength=self.samples.classes)
        hits = torch.bincount(label[right], minlength=self.samples.classes)
        return [h / n if n else math.nan for h, n in zip(hits.tolist(), count.tolist(), strict=True)]

    def state(self) -> dict[str, Any]:
        """State for a checkpoint; after `load` the numbers are the same as without the interruption."""
        return {"done": self.done, "queue": self.queue.clone(), **self.checkpoint.state()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from a result of `state`."""
        self.done, self.queue = state["done"], state["queue"].clone()
        self.checkpoint.load(state)


def crop_flip(x: Tensor, blank: Tensor, pad: int = 4) -> Tensor:
    """Every image shifted by up to `pad` pixels, and half of them mirrored: (B, C, h, w) -> same.

    blank (C,): what comes in from outside: black, as in the authors' loaders, which pad the images before they standardise.
    """
    b, _, height, width = x.shape
    dy, dx = torch.randint(0, 2 * pad + 1, (2, b))
    mirrored = torch.rand(b) < 0.5
    rows = dy[:, None] + torch.arange(height)
    columns = dx[:, None] + torch.where(mirrored[:, None], torch.arange(width - 1, -1, -1), torch.arange(width))
    padded = blank[:, None, None].repeat(b, 1, height + 2 * pad, width + 2 * pad)
    padded[..., pad : pad + height, pad : pad + width] = x
    which = torch.arange(b)[:, None, None].to(x.device)
    return padded[which, :, rows[:, :, None].to(x.device), columns[:, None].to(x.device)].permute(0, 3, 1, 2)


def phase_lengths(total: int, count: int) -> list[int]:
    """`total` steps in at most `count` phases of nearly equal length."""
    edges = np.linspace(0, total, min(count, total) + 1).round().astype(int)
    return np.diff(edges).tolist()


def train_on(
    scene: xr.Dataset,
    kept: xr.DataArray | None,
    config: Config | None = None,
    scores: xr.DataArray | None = None,
    name: str = "coreset",
) -> Trace:
    """Train a new network on the kept samples of a scene for `config.iterations` steps, whatever their number; a trace.

    kept: bool `(sample)` by identifier, as `select` gives it; None: all training samples. scores: needed for
    loss_scale="official". Default of iterations: those of `config.epochs` epochs over all training samples.
    The outcome has `accuracy` of the last and `accuracy_best` of the best phase on the test samples, and the weights.

    Raises InputError when `kept` names samples that are not training samples of this scene, or keeps none.
    """
    config = config or Config()
    samples = samples_of(scene, config)
    ids = samples.ids[samples.train]
    if kept is None:
        kept = xr.DataArray(np.ones(len(ids), bool), {"sample": ids}, "sample")
    rows = samples.train[_positions(kept["sample"].values[kept.values.astype(bool)], ids)]
    weight = None
    if config.loss_scale == "official":
        if scores is None:
            raise InputError(
                'loss_scale="official" multiplies losses by scores; give scores (sample), or leave loss_scale out.'
            )
        weight = official_weight(scores.reindex(sample=ids), samples)
    training = Training(samples, rows, config, iterations_of(samples, config), config.seed + 1, weight)
    accuracies: list[float] = []
    phases = phase_lengths(training.iterations, config.epochs)
    for i, steps in enumerate(phases):
        numbers = train_phase(training, steps, accuracies)
        yield Event(i + 1, {f"{quantity}/{name}": value for quantity, value in numbers.items()}, of=len(phases))
    result = xr.Dataset({"kept": kept.rename("kept")}, attrs=provenance(scene, config, samples))
    result = result.assign(accuracy_of(name, accuracies))
    return Outcome(result, {name: weights(training.network)})


def train_phase(training: Training, steps: int, accuracies: list[float]) -> dict[str, float]:
    """Train `steps` steps, append the test accuracy to `accuracies`, and give the finite numbers of the phase."""
    numbers = training.advance(steps)
    accuracies.append(training.test_accuracy())
    return _finite({**numbers, "test_accuracy": accuracies[-1], "loss_factor": training.factor})


def iterations_of(samples: Samples, config: Config) -> int:
    """Optimiser steps of a coreset's training: `config.iterations`, else those of the scoring run."""
    return config.iterations or config.epochs * math.ceil(len(samples.train) / config.batch)


def _positions(names: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Positions of names in ids, sorted; raises InputError for a name that is not in ids, and for no names."""
    names = names.astype(str)
    if len(names) == 0:
        raise InputError("This selection keeps no sample; choose a larger keep.")
    order = np.argsort(ids)
    positions = order[np.searchsorted(ids, names, sorter=order).clip(max=len(ids) - 1)]
    unknown = names[ids[positions] != names]
    if len(unknown):
        raise InputError(
            f"{len(unknown)} of the kept samples are not among the training samples of this scene ({', '.join(unknown[:3])}): "
            "the selection was made on other data, with another seed, or the data changed. Select again."
        )
    return np.sort(positions)


def official_weight(scores: xr.DataArray, samples: Samples) -> Tensor:
    """(N,) scores min-max-normalised over the training samples: the undocumented factor of the authors' coreset script."""
    values = scores.values.astype(np.float64)
    span = values.max() - values.min()
    weight = torch.zeros(len(samples.ids))
    weight[torch.from_numpy(samples.train)] = torch.from_numpy((values - values.min()) / (span or 1.0)).float()
    return weight


class Scoring:
    """The scoring run: training on all samples, its recorder, and the recorded numbers."""

    def __init__(self, samples: Samples, config: Config) -> None:
        self.samples, self.config = samples, config
        self.ids = samples.ids[samples.train]
        rivals = scorers(config.J, min(10, config.epochs))
        tdds = TDDS(config.J, None, config.beta, config.difference)
        self.recorder = Recorder(
            samples.label[torch.from_numpy(samples.train)],
            samples.classes,
            {"tdds": tdds, "easy": PLabel(), **rivals},
            log=config.log,
            sample=self.ids,
            fingerprint=samples.fingerprint,
        )
        self.per_epoch = math.ceil(len(samples.train) / config.batch)
        self.training = Training(samples, samples.train, config, config.epochs * self.per_epoch, config.seed)
        self.accuracy: list[float] = []
        self.by_T: list[Tensor] = []  # S after every epoch from J on, float32
        self.p_label: list[Tensor] = []
        self.changes: list[Tensor] = []

    def epoch(self) -> dict[str, float]:
        """Train, record and test one epoch; returns its numbers."""
        numbers = self.training.advance(self.per_epoch, None if self.config.clean_pass else self.recorder)
        if self.config.clean_pass:
            self.training.record_clean(self.recorder)
        self.recorder.end_epoch()
        self.accuracy.append(self.training.test_accuracy())
        epochs, memory = self.recorder.epochs, self.recorder.memory("tdds")
        if epochs >= self.config.J:
            self.by_T.append(memory["score"].float().cpu())
        if self.config.trajectories:
            self.p_label.append(self.recorder.memory("easy")["last"].float().cpu())
            if epochs > 1:
                self.changes.append(window_of(memory, epochs)[-1].float().cpu())
        return _finite({**numbers, "test_accuracy": self.accuracy[-1]})

    def arrays(self, scene: xr.Dataset) -> dict[str, xr.DataArray]:
        """The arrays of an event after the last recorded epoch, on `sample`."""
        epochs, memory = self.recorder.epochs, self.recorder.memory("tdds")
        coords: dict[str, Any] = {"sample": self.ids}
        if self.samples.position is not None:
            place = self.samples.position[self.samples.train]
            coords |= {"sample_y": ("sample", place[:, 0]), "sample_x": ("sample", place[:, 1])}
        last = self.recorder.memory("easy")["last"]
        shown = {"p_label": on_samples(last, coords, "probability of the label")}
        if epochs > 1:
            window = window_of(memory, epochs)
            when = np.arange(epochs - len(window), epochs) + 1  # the epochs that made the changes
            shown["contribution"] = xr.DataArray(
                window.T.float().cpu().numpy().copy(),
                {**coords, "window": when},
                ("sample", "window"),
                attrs={"long_name": "change d"},
            )
        if epochs >= self.config.J:
            shown["score"] = on_samples(memory["score"], coords, f"TDDS score, T = {epochs}")
            if self.samples.position is not None:
                shown["score_map"] = painted(scene, self.samples, shown["score"])
        return shown

    def scores(self, T: int) -> xr.Dataset:
        """`tdds` for a trajectory of T epochs, and every rival's score, on `sample`."""
        rivals = self.recorder.scores()
        return rivals.assign(tdds=("sample", self.by_T[T - self.config.J].double().numpy().copy()))

    def state(self) -> dict[str, Any]:
        """Everything to continue after the last whole epoch."""
        written: dict[str, list[Any]] = {
            "accuracy": self.accuracy,
            "by_T": self.by_T,
            "p_label": self.p_label,
            "changes": self.changes,
        }
        return {
            **{k: list(v) for k, v in written.items()},
            "recorder": self.recorder.state(),
            "training": self.training.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""
        self.recorder.load(state["recorder"])
        self.training.load(state["training"])
        self.accuracy, self.by_T, self.p_label, self.changes = (
            list(state[k]) for k in ("accuracy", "by_T", "p_label", "changes")
        )


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    return {k: v for k, v in numbers.items() if math.isfinite(v)}

"""Training dynamics: the logits of every sample, recorded epoch by epoch and turned into scores.

Two lines in a training loop are enough:

    recorder = Recorder(labels, classes=10, scorers={"aum": AUM(), "el2n": EL2N()})
    for epoch in range(30):
        for index, x, y in loader:            # index: the position of each row in `labels`
            logits = network(x)
            recorder(index, logits)           # before the optimiser's step
            ...
        recorder.end_epoch()                  # every sample exactly once, or an error that names which
    recorder.score("aum")                     # score (sample)

or, in a Lightning callback whose module returns {"loss": ..., "logits": ...} from its training step:

    def on_train_batch_end(self, trainer, module, outputs, batch, i): recorder(batch["index"], outputs["logits"])
    def on_train_epoch_end(self, trainer, module): recorder.end_epoch()

Memory: one epoch's logits, one epoch's probabilities, and the memory of the scorers, O(N (C + J)), not O(T N C). With
`log=` the logits are also written to a Zarr store, which may be larger than memory: `open_log` opens it as *dynamics*, an
`xr.Dataset` with `logits (epoch, sample, class)`, `loss (epoch, sample)` and `label (sample)`, and `scores` reads it once,
block by block, for any number of scorers.

A *scorer* is a frozen dataclass of settings with four functions (`Scorer`); its memory is a dict of tensors which the
recorder owns. Samples with higher scores are kept first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from workbench.data.samples import identity
from workbench.errors import InputError, did_you_mean

Memory = dict[str, Tensor]
BLOCK = 2**15  # probabilities processed at once, 256 KiB in float64: temporaries stay in the processor's cache

CHUNK = 2**18  # logits in a chunk of the log, 1 MiB in float32


@dataclass(frozen=True)
class Batch:
    """Some samples of one epoch, the input of a scorer; float64, on the device of the logits.

    epoch: from 0. logits, p, previous: (B, C); `previous` is p one epoch earlier, None in epoch 0. label, loss: (B,), None
    if labels are not known. feature_norm: (B,), Euclidean norm of the features before the last layer, if recorded.
    """

    epoch: int
    logits: Tensor
    p: Tensor
    previous: Tensor | None = None
    label: Tensor | None = None
    loss: Tensor | None = None
    feature_norm: Tensor | None = None

    @property
    def known_label(self) -> Tensor:
        """`label`; raises InputError if labels are not known."""
        if self.label is None:
            raise InputError("This score compares predictions with labels, but none were given; use Recorder(labels, ...).")
        return self.label

    @cached_property
    def p_label(self) -> Tensor:
        """The probability of the label: (B,)."""
        return self.p.gather(1, self.known_label[:, None])[:, 0]

    @cached_property
    def correct(self) -> Tensor:
        """Whether the most probable class is the label: (B,) bool."""
        return self.logits.argmax(1) == self.known_label

    @cached_property
    def error(self) -> Tensor:
        """||p - onehot(label)||_2: (B,). For p = (0.8, 0.2) and label 1: sqrt(0.64 + 0.64) = 1.1314."""
        rest = self.p.square().sum(1) - self.p_label.square() + (1 - self.p_label).square()
        return rest.sqrt()


class Scorer(Protocol):
    """A score computed epoch by epoch, with a memory of a few numbers per sample."""

    def start(self, n: int) -> Memory:
        """The memory of n samples before the first epoch; the sample axis comes last."""

    def see(self, memory: Memory, rows: slice, batch: Batch) -> None:
        """Update the memory with these rows of the current epoch."""

    def end(self, memory: Memory, epoch: int) -> None:
        """Called after an epoch (from 0), when every row was seen."""

    def score(self, memory: Memory, epochs: int) -> Tensor:
        """(n,) float64, higher = keep first. Raises InputError when there are too few epochs for a score."""


class Recorder:
    """Records every sample's logits, epoch by epoch, into scorers and, with `log`, into a Zarr log.

    labels: (N,) classes 0..classes-1; or N alone, for scorers that need no labels.
    scorers: name -> Scorer. log: folder of a Zarr store, not yet existing. sample: N stable identifiers (text or numbers;
    positions when left out). fingerprint: a hash of the data, if you have one; labels and identifiers are hashed by the recorder.

    Raises InputError for fewer than two classes, for labels of one class only, for labels out of range, and from `end_epoch`
    for a sample seen twice or never and for logits that are not finite; such an epoch changes nothing.
    """

    def __init__(
        self,
        labels: Tensor | np.ndarray | Sequence[int] | int,
        classes: int,
        scorers: Mapping[str, Scorer] | None = None,
        *,
        log: str | Path | None = None,
        sample: Sequence[Any] | np.ndarray | None = None,
        fingerprint: str = "",
    ) -> None:
        self.label, self.n = _labels(labels, classes)
        self.classes = classes
        self.scorers = dict(scorers or {})
        self.sample = np.arange(self.n) if sample is None else np.asarray(sample)
        if len(self.sample) != self.n or len(set(self.sample.tolist())) != self.n:
            raise InputError(
                f"Every sample needs an identifier of its own: {self.n} labels, {len(self.sample)} identifiers, "
                f"{len(set(self.sample.tolist()))} of them different."
            )
        self.fingerprint = identity(self.sample, self.label, fingerprint)
        self.epochs = 0
        self._log = None if log is None else Log(log)
        self._memory = {name: scorer.start(self.n) for name, scorer in self.scorers.items()}
        self._previous: Tensor | None = None  # (N, C) float32, p of the epoch before
        self._begin_epoch()
        self._logits: Tensor | None = None  # (N, C) float32, of the current epoch

    def __call__(self, index: Tensor, logits: Tensor, loss: Tensor | None = None, features: Tensor | None = None) -> None:
        """Record the logits (B, C) of the samples at positions index (B,).

        loss: (B,), cross-entropy of the logits when left out. features: (B, D) before the last layer, for GraNd.
        """
        logits = logits.detach()
        index = torch.as_tensor(index).cpu().long()
        if logits.ndim != 2 or logits.shape[1] != self.classes or index.shape != logits.shape[:1]:
            raise InputError(
                f"The recorder expects index (B,) and logits (B, {self.classes}); it got index "
                f"{tuple(index.shape)} and logits {tuple(logits.shape)}."
            )
        if self._logits is None or self._logits.device != logits.device:
            self._move_to(logits.device)
        assert self._logits is not None
        try:
            self._seen.index_add_(0, index, torch.ones(len(index), dtype=torch.int32))
        except (IndexError, RuntimeError):
            raise InputError(
                f"The recorder was made for {self.n} samples, positions 0 to {self.n - 1}; it got positions "
                f"{int(index.min())} to {int(index.max())}."
            ) from None
        index = index.to(logits.device)
        self._logits.index_copy_(0, index, logits.float())
        for name, values in (
            ("loss", loss),
            ("feature_norm", None if features is None else features.detach().float().norm(dim=1)),
        ):
            if values is not None:
                if name not in self._extra:
                    self._extra[name] = torch.full((self.n,), float("nan"), device=logits.device)
                self._extra[name].index_copy_(0, index, values.detach().float())

    def end_epoch(self) -> None:
        """Close the epoch: check that it is complete, then pass it to every scorer."""
        try:
            self._check()
        except InputError:
            self._begin_epoch()  # so that the epoch can be repeated
            raise
        assert self._logits is not None
        if self._previous is None:
            self._previous = torch.empty_like(self._logits)
        losses = None if self._log is None or self.label is None else torch.empty(self.n, device=self._logits.device)
        for rows in _blocks(self.n, self.classes):
            batch = make_batch(
                self.epochs,
                self._logits[rows],
                self._previous[rows] if self.epochs else None,
                None if self.label is None else self.label[rows],
                **{name: values[rows] for name, values in self._extra.items()},
            )
            for name, scorer in self.scorers.items():
                scorer.see(self._memory[name], rows, batch)
            self._previous[rows] = batch.p
            if losses is not None and batch.loss is not None:
                losses[rows] = batch.loss.float()
        for name, scorer in self.scorers.items():
            scorer.end(self._memory[name], self.epochs)
        if self._log is not None:
            extra = {name: values.cpu().numpy() for name, values in self._extra.items()}
            if losses is not None:
                extra["loss"] = losses.cpu().numpy()
            self._log.append(self, self._logits.cpu().numpy(), extra)
        self.epochs += 1
        self._begin_epoch()

    def score(self, name: str) -> xr.DataArray:
        """`score (sample)` of one scorer after the epochs so far; higher = keep first."""
        if name not in self.scorers:
            raise InputError(
                f"There is no scorer {name!r} here; there are {', '.join(self.scorers) or 'none'}."
                + did_you_mean(name, self.scorers)
            )
        values = self.scorers[name].score(self._memory[name], self.epochs)
        return xr.DataArray(
            values.cpu().numpy().copy(), {"sample": self.sample}, "sample", name, {"long_name": f"{name} score"}
        )

    def scores(self) -> xr.Dataset:
        """The scores of all scorers, one variable each, on `sample`."""
        return xr.Dataset({name: self.score(name) for name in self.scorers})

    def memory(self, name: str) -> Memory:
        """The memory of a scorer, read only: name -> tensor, sample axis last. Not a copy."""
        return self._memory[name]

    def state(self) -> dict[str, Any]:
        """The state after the last complete epoch, for a checkpoint; the current epoch is not included."""
        return {
            "about": self._about(),
            "epochs": self.epochs,
            "previous": None if self._previous is None else self._previous.cpu().clone(),
            "memory": {s: {k: v.cpu().clone() for k, v in m.items()} for s, m in self._memory.items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from a result of `state`, to the same scores as without the interruption.

        Raises InputError when samples, labels, data or scorers differ from those of the state.
        """
        then, now = state["about"], self._about()
        if then != now:
            reasons = {"fingerprint": "the data (identifiers, labels or values) changed between the runs"}
            differences = "; ".join(
                reasons.get(k, "") + f" {k}: {then.get(k)} then, {v} now" for k, v in now.items() if then.get(k) != v
            )
            raise InputError(
                f"These recorded dynamics cannot be continued: {differences.strip()}. Restore the old data or start a new run."
            )
        self.epochs = int(state["epochs"])
        self._previous = None if state["previous"] is None else state["previous"].clone()
        self._memory = {s: {k: v.clone() for k, v in m.items()} for s, m in state["memory"].items()}
        self._logits = None
        self._begin_epoch()

    def _about(self) -> dict[str, Any]:
        scorers = {name: repr(scorer) for name, scorer in self.scorers.items()}
        return {"samples": self.n, "classes": self.classes, "scorers": scorers, "fingerprint": self.fingerprint}

    def _begin_epoch(self) -> None:
        self._seen = torch.zeros(self.n, dtype=torch.int32)
        self._extra: dict[str, Tensor] = {}

    def _move_to(self, device: torch.device) -> None:
        """Move all tensors to the device of the logits."""
        current = self._logits
        self._logits = torch.zeros(self.n, self.classes, device=device) if current is None else current.to(device)
        self._previous = None if self._previous is None else self._previous.to(device)
        self.label = None if self.label is None else self.label.to(device)
        self._memory = {s: {k: v.to(device) for k, v in m.items()} for s, m in self._memory.items()}
        self._extra = {k: v.to(device) for k, v in self._extra.items()}

    def _check(self) -> None:
        for wrong, word in ((self._seen > 1, "more than once"), (self._seen == 0, "never")):
            if wrong.any():
                raise InputError(
                    f"Every sample must be seen exactly once in an epoch; in epoch {self.epochs} {self._name(wrong)} seen "
                    f"{word}. Use a sampler without replacement that drops no last batch, and give the recorder positions "
                    "in the data set."
                )
        assert self._logits is not None
        wrong = ~torch.isfinite(self._logits.amax(1) - self._logits.amin(1))  # without an (N, C) temporary
        if wrong.any():
            raise InputError(
                f"Logits must be finite; in epoch {self.epochs} those of {self._name(wrong)} not. The training "
                "has diverged: lower the learning rate."
            )

    def _name(self, which: Tensor) -> str:
        positions = torch.nonzero(which.cpu())[:, 0]
        names = ", ".join(str(s) for s in self.sample[positions[:3].numpy()])
        if len(positions) == 1:
            return f"sample {names} was"
        return f"{len(positions)} samples ({names}{', ...' if len(positions) > 3 else ''}) were"


def make_batch(
    epoch: int,
    logits: Tensor,
    previous: Tensor | None,
    label: Tensor | None,
    loss: Tensor | None = None,
    feature_norm: Tensor | None = None,
) -> Batch:
    """A Batch from logits (B, C): softmax in float64, cross-entropy if no loss is given."""
    logits = logits.double()
    log_p = torch.log_softmax(logits, 1)
    if loss is None and label is not None:
        loss = -log_p.gather(1, label[:, None])[:, 0]
    return Batch(
        epoch,
        logits,
        log_p.exp(),
        None if previous is None else previous.double(),
        label,
        None if loss is None else loss.double(),
        None if feature_norm is None else feature_norm.double(),
    )


def _labels(labels: Any, classes: int) -> tuple[Tensor | None, int]:
    if classes < 2:
        raise InputError(
            f"Training dynamics need at least two classes; there is {classes}. With one class every probability is 1."
        )
    if isinstance(labels, int | np.integer):
        if labels < 1:
            raise InputError(f"A recorder needs at least one sample; it was made for {labels}.")
        return None, int(labels)
    label = torch.as_tensor(np.asarray(labels)).long().reshape(-1).clone()
    if len(label) == 0:
        raise InputError("A recorder needs at least one sample; the list of labels is empty.")
    low, high = int(label.min()), int(label.max())
    if low < 0 or high >= classes:
        raise InputError(f"Labels must lie between 0 and {classes - 1}; these reach from {low} to {high}.")
    if low == high:
        raise InputError(f"Training dynamics need at least two classes; all {len(label)} samples have label {low}.")
    return label, len(label)


def _blocks(n: int, width: int, least: int = 1) -> Iterator[slice]:
    size = max(BLOCK // max(width, 1), least)
    for begin in range(0, n, size):
        yield slice(begin, min(begin + size, n))


# --- the log ----------------------------------------------------------------------------------------------------------


@dataclass
class Log:
    """A Zarr store that grows by one epoch at a time; if the process is killed while it writes, all complete epochs are readable.

    Arrays `logits (epoch, sample, class)` and `loss`, `feature_norm (epoch, sample)` float32, `label (sample)`;
    identifiers as UTF-8 bytes, one a line, in `sample_utf8`. Attribute `epochs`: number of complete epochs.
    """

    path: str | Path
    _group: Any = field(default=None, repr=False)

    def append(self, recorder: Recorder, logits: np.ndarray, extra: Mapping[str, np.ndarray]) -> None:
        """Write the epoch `recorder.epochs`; later epochs of an interrupted run are overwritten."""
        epoch = recorder.epochs
        try:
            group = self._open(recorder) if self._group is None else self._group
            self._group = group
            given = {"logits": logits, **extra}
            stored = {name for name in ("logits", "loss", "feature_norm") if name in group}
            if epoch and stored != set(given):
                raise InputError(
                    f"Every epoch of a log needs the same arrays; so far {', '.join(sorted(stored))}, now "
                    f"{', '.join(sorted(given))}. Give the recorder losses or features always or never."
                )
            for name, values in given.items():
                if name not in group:
                    self._create(group, name, values)
                group[name].resize((epoch + 1, *values.shape))
                group[name][epoch] = values
            group.attrs["epochs"] = epoch + 1
        except OSError as error:
            raise InputError(
                f"The log {self.path} cannot be written: {error.strerror or error}; choose another folder."
            ) from None

    def _create(self, group: Any, name: str, values: np.ndarray) -> None:
        n = len(values)
        width = values[0].size
        rows = min(n, max(1, CHUNK // width))
        group.create_array(
            name,
            shape=(0, *values.shape),
            chunks=(1, rows, *values.shape[1:]),
            dtype="float32",
            dimension_names=("epoch", "sample", "class")[: values.ndim + 1],
        )

    def _open(self, recorder: Recorder) -> Any:
        import zarr

        path = Path(self.path)
        if recorder.epochs == 0:
            if path.exists() and any(path.iterdir() if path.is_dir() else [path]):
                raise InputError(
                    f"{path} exists already and is not overwritten; give the log another folder, or continue the "
                    "recorder that wrote it with load(state)."
                )
            group = zarr.create_group(str(path))
            group.attrs.update({"fingerprint": recorder.fingerprint, "classes": recorder.classes, "epochs": 0})
            text = np.frombuffer("\n".join(str(s) for s in recorder.sample.tolist()).encode(), np.uint8)
            group.create_array("sample_utf8", data=text, dimension_names=("byte",))
            if recorder.label is not None:
                group.create_array("label", data=recorder.label.cpu().numpy(), dimension_names=("sample",))
            return group
        group = _open_group(path, "r+")
        if group.attrs.get("fingerprint") != recorder.fingerprint:
            raise InputError(
                f"The log {path} belongs to other data than this recorder (hash {str(group.attrs.get('fingerprint'))[:12]}, "
                f"here {recorder.fingerprint[:12]}); restore the old data or start a new log."
            )
        if group.attrs.get("epochs", 0) < recorder.epochs:
            raise InputError(
                f"The log {path} has {group.attrs.get('epochs', 0)} complete epochs, but the recorder is at "
                f"{recorder.epochs}; continue from an older state or start a new log."
            )
        return group


def _open_group(path: Path, mode: str) -> Any:
    import zarr

    try:
        return zarr.open_group(str(path), mode=mode)  # type: ignore[arg-type]
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise InputError(
            f"{path} is not a log of training dynamics: {str(error).splitlines()[0]}. Give the folder that was "
            "given to Recorder(log=...)."
        ) from None


def open_log(path: str | Path) -> xr.Dataset:
    """The dynamics of a log, lazily: `logits (epoch, sample, class)`, `loss (epoch, sample)`, `label (sample)`, ...

    Only complete epochs are read. Raises InputError for a folder that is not such a log.
    """
    group = _open_group(Path(path), "r")
    if "logits" not in group or "epochs" not in group.attrs:
        raise InputError(
            f"{path} is not a log of training dynamics: it has no logits. Give the folder given to Recorder(log=...)."
        )
    import dask.array as da

    epochs = int(group.attrs["epochs"])
    data = xr.Dataset(coords={"sample": bytes(group["sample_utf8"][:]).decode().split("\n")})
    for name in ("logits", "loss", "feature_norm"):
        if name in group:  # an epoch that a killed process wrote partly is left out
            data[name] = (("epoch", "sample", "class")[: group[name].ndim], da.from_zarr(group[name])[:epochs])
    if "label" in group:
        data["label"] = ("sample", group["label"][:])
    return data


def dynamics(logits: Any, label: Any = None, sample: Any = None, **extra: Any) -> xr.Dataset:
    """Dynamics from arrays in memory: logits (T, N, C) of NumPy, torch or Dask, label (N,); extra: loss, feature_norm."""
    array = logits.numpy() if isinstance(logits, Tensor) else logits
    if array.ndim != 3:
        raise InputError(f"Dynamics need logits (epoch, sample, class); these have shape {tuple(array.shape)}.")
    names = np.arange(array.shape[1]) if sample is None else np.asarray(sample)
    data = xr.Dataset({"logits": (("epoch", "sample", "class"), array)}, coords={"sample": names})
    if label is not None:
        data["label"] = ("sample", np.asarray(label))
    for name, values in extra.items():
        data[name] = (("epoch", "sample"), np.asarray(values))
    return data


def scores(dynamics: xr.Dataset, scorers: Mapping[str, Scorer], at: Sequence[int] | None = None) -> xr.Dataset:
    """Every scorer's `score (sample)` from recorded dynamics, read once and block by block.

    at: numbers of epochs T; the scores are then `(T, sample)`, each as if training had ended after T epochs.
    Raises InputError for one class, logits that are not finite, and T above the number of recorded epochs.
    """
    if "logits" not in dynamics or dynamics["logits"].dims != ("epoch", "sample", "class"):
        raise InputError("Dynamics need 'logits' (epoch, sample, class); make them with dynamics(...) or open_log(path).")
    total, n, classes = dynamics["logits"].shape
    label, _ = _labels(dynamics["label"].values if "label" in dynamics else n, classes)
    wanted = [total] if at is None else [int(t) for t in at]
    if not wanted or min(wanted) < 1 or max(wanted) > total:
        raise InputError(f"Scores were requested after {wanted} epochs; {total} are recorded.")
    results = {name: np.empty((len(wanted), n)) for name in scorers}
    extra = [name for name in ("loss", "feature_norm") if name in dynamics]
    rows_in_file = dynamics["logits"].chunks[1][0] if dynamics["logits"].chunks else 1
    for rows in _blocks(n, classes, rows_in_file):
        block, b = dynamics.isel(sample=rows), rows.stop - rows.start
        memory = {name: scorer.start(b) for name, scorer in scorers.items()}
        previous = None
        for epoch in range(max(wanted)):
            logits = torch.from_numpy(np.array(block["logits"][epoch].values, np.float32))
            if not torch.isfinite(logits).all():
                raise InputError(
                    f"Logits must be finite; those of epoch {epoch} are not, in samples {rows.start} to {rows.stop - 1}."
                )
            more = {name: torch.from_numpy(np.array(block[name][epoch].values, np.float32)) for name in extra}
            batch = make_batch(epoch, logits, previous, None if label is None else label[rows], **more)
            previous = batch.p.float()  # as in a recorder
            for name, scorer in scorers.items():
                scorer.see(memory[name], slice(0, b), batch)
                scorer.end(memory[name], epoch)
                for i, T in enumerate(wanted):
                    if epoch + 1 == T:
                        results[name][i, rows] = scorer.score(memory[name], T).numpy()
    coords = {"sample": dynamics["sample"].values} | ({} if at is None else {"T": wanted})
    dims = ("sample",) if at is None else ("T", "sample")
    return xr.Dataset(
        {k: (dims, v[0] if at is None else v, {"long_name": f"{k} score"}) for k, v in results.items()}, coords=coords
    )


def score(dynamics: xr.Dataset, scorer: Scorer) -> xr.DataArray:
    """`score (sample)` of one scorer from recorded dynamics; higher = keep first."""
    return scores(dynamics, {"score": scorer})["score"]

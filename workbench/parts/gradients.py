"""RS-DGC as a communication hook for any DistributedDataParallel model: each rank sends only the important entries.

    ddp = DistributedDataParallel(model)
    state = RSDGC(model, density=0.01)
    ddp.register_comm_hook(state, rsdgc_hook)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)       # momentum 0: the hook applies it

Per worker and compressed layer, with gradient g: u = m u + g; v = v + u; the k_l entries of v with the highest score are
sent, v and u are zeroed there (error feedback with momentum correction and factor masking: Y. Lin et al., "Deep Gradient
Compression", ICLR 2018, arXiv 1712.01887). Scores and layer shares: `workbench.parts.indicators`, which also explains why
the neighbourhood statistical indicator is a reconstruction. Bytes: `workbench.parts.wire`. Biases and norms are sent whole.

Tested properties: one collective per bucket and none in callbacks; state by parameter name, so that DDP may regroup its
buckets; all ranks know every message's size in advance; a bucket whose sparse message would cost more than all-reduce is
sent dense; a gradient that is not finite on one rank makes the step a no-op on all.

Memory: four float32 copies of the compressed parameters (u, v and their next values, so that a skipped step changes
nothing); two without momentum.
"""

# no `from __future__ import annotations`: DDP checks the hook's annotations themselves, not their names
import hashlib
import json
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from workbench.errors import InputError
from workbench.parts.buckets import Layer, flat, gradient_of, in_memory_order, kept_as
from workbench.parts.indicators import (
    Indicator,
    budget,
    check_indicator,
    largest,
    sampled,
    score,
    tile_entries,
    tile_grid,
)
from workbench.parts.wire import (
    CODINGS,
    VALUES,
    Layout,
    all_gather_bytes,
    all_gather_transfers,
    all_reduce_bytes,
    all_reduce_transfers,
    cheapest,
    pack,
    unpack,
)

REFERENCE_STEPS = 10  # a layer's signal is relative to its mean over this number of first steps
SMOOTHING = 0.9  # of the signal's running mean
GREETING = 1024  # bytes of the message with which ranks compare their settings before the first step

_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # renamed in torch 2.13


def warmup_densities(density: float, stages: int) -> list[float]:
    """density^(i / (stages + 1)), i = 1..stages, as in DGC's code: 0.001, 5 -> .316, .1, .0316, .01, .00316."""
    return [density ** (i / (stages + 1)) for i in range(1, stages + 1)]


@dataclass(frozen=True)
class _Job:
    """One bucket being sent: its layers, where they begin in the buffer, and the message."""

    layers: list[Layer]
    starts: list[int]
    layout: Layout | None  # None: this bucket is sent dense
    message: Tensor
    chosen: Tensor | None = None  # this rank's positions, for codings that do not send them


@dataclass
class Report:
    """Report of the last step. `sent`: bytes of this rank's messages; `counted`: bytes sent by all ranks together."""

    step: int
    density: float
    k: dict[str, int] = field(default_factory=dict)
    signal: dict[str, float] = field(default_factory=dict)
    sent: int = 0
    counted: int = 0
    buckets: int = 0
    dense_buckets: int = 0
    overlap: list[float] = field(
        default_factory=list
    )  # Jaccard index of the entries of ranks 0 and 1, per bucket, while watching


class RSDGC:
    """State of the hook on one rank: unsent gradient and momentum by parameter name, layer signals, byte counts.

    model: the module, wrapped in DDP or not. density: share of the entries of compressed layers (two dims and more) sent
    per step. momentum: applied to the gradient before sending; the optimiser's must then be 0. indicator: a name of `INDICATORS`
    or a function (matrix, p) -> score. p: odd window. dynamic: 0 gives a layer a share
    of the budget in proportion to its size, 1 in proportion to its size times its importance.
    feedback: keep unsent entries for later steps (False needs momentum 0). masking: reset the momentum of sent entries.
    values: "f32" or "f16" in messages; rounding errors are added to the unsent gradient. index: "auto" or a coding.
    warmup: densities used first, each for `warmup_steps` steps. select: "exact", or "sampled" as in DGC.
    fallback: use dense all-reduce when it costs less. scaler: the GradScaler of a mixed-precision loop, whose scale is
    removed before anything is stored. seed: of the indicator "random".

    Raises InputError for settings out of range; at the first step when ranks disagree on them; at the optimiser's step
    when it has momentum too.
    """

    def __init__(
        self,
        model: nn.Module,
        density: float = 0.01,
        *,
        momentum: float = 0.9,
        indicator: Indicator = "mix",
        p: int = 3,
        dynamic: float = 0.5,
        feedback: bool = True,
        masking: bool = True,
        values: Literal["f32", "f16"] = "f32",
        index: str = "auto",
        warmup: Sequence[float] = (),
        warmup_steps: int = 1,
        select: Literal["exact", "sampled"] = "exact",
        fallback: bool = True,
        scaler: Any = None,
        seed: int = 0,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        check_indicator(indicator)
        for value in (density, *warmup):
            if not 0 < value <= 1:
                raise InputError(f"A density is the share of entries sent, above 0 and at most 1; got {value}.")
        if not 0 <= momentum < 1:
            raise InputError(f"momentum must be at least 0 and below 1, got {momentum}.")
        if p < 1 or p % 2 == 0:
            raise InputError(f"The window p must be odd (1, 3, 5, ...), got {p}.")
        if not 0 <= dynamic <= 1:
            raise InputError(f"dynamic must be between 0 and 1, got {dynamic}.")
        if not feedback and momentum > 0:
            raise InputError(
                "Without error feedback there is no momentum correction: give momentum=0 and use the optimiser's momentum."
            )
        if values not in VALUES or index not in ("auto", *CODINGS) or select not in ("exact", "sampled"):
            raise InputError(
                f"values is one of {', '.join(VALUES)}; index auto or one of {', '.join(CODINGS)}; select exact or sampled; "
                f"got {values}, {index}, {select}."
            )
        if warmup_steps < 1:
            raise InputError(f"warmup_steps must be at least 1, got {warmup_steps}.")
        self.density, self.momentum, self.indicator, self.p, self.dynamic = density, momentum, indicator, p, dynamic
        self.feedback, self.masking, self.values, self.index, self.select = feedback, masking, values, index, select
        self.warmup, self.warmup_steps, self.fallback, self.seed = tuple(warmup), warmup_steps, fallback, seed
        self.scaler, self.group = scaler, process_group

        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        self.layers = {
            name: Layer(name, w, i, w.dim() > 1, w.numel(), w.shape[0] if w.dim() > 1 else 1)
            for i, (name, w) in enumerate(model.named_parameters())
            if w.requires_grad
        }
        if not self.layers:
            raise InputError("No parameter of this model requires a gradient; there is nothing to compress.")
        self._by_id = {id(layer.parameter): layer for layer in self.layers.values()}
        self.step = 0
        self.sent = self.counted = 0  # bytes since the start: of this rank's messages, and sent by all ranks
        self.report = Report(0, density)
        self.watch: set[str] = set()  # layers whose matrix and sent entries are recorded in `seen`
        self.seen: dict[str, tuple[Tensor, Tensor]] = {}  # name -> (matrix before sending, bool matrix of sent entries)
        self._settings_agree = False
        self._pending = False  # whether a step's next values are not yet applied
        self._bad: list[Tensor] = []
        self._signals: list[tuple[list[Layer], Tensor]] = []  # layers, (ranks, layers) signals
        self._scale, self._world = 1.0, 1
        self._scratch: Tensor | None = None  # scores of one layer
        _watch_optimisers(self)

    # --- a step ------------------------------------------------------------------------------------------------------

    def density_at(self, step: int) -> float:
        """The density of step 0, 1, ...: one of `warmup`, then `density`."""
        stage = step // self.warmup_steps
        return self.warmup[stage] if stage < len(self.warmup) else self.density

    @property
    def skipped(self) -> bool:
        """Whether the last backward pass had a gradient that is not finite, on any rank; its step has no effect."""
        return any(bool(b) for b in self._bad)

    def begin(self, world: int) -> None:
        """Apply the previous step (unless skipped) and give every layer its share of the budget for this one."""
        self.settle()
        self._bad, self._signals, self._pending = [], [], True
        self._world = world
        self._scale = float(self.scaler.get_scale()) if self.scaler is not None else 1.0
        density = self.density_at(self.step)
        layers = [la for la in self.layers.values() if la.compressed and la.parameter.requires_grad]
        n = sum(la.n for la in layers)
        shares = budget(
            [la.n for la in layers], round(density * n), [la.signal for la in layers], density, blend=self.dynamic
        )
        for layer, k in zip(layers, shares, strict=True):
            layer.k = layer.units = k
            if self.indicator == "tile":
                down, across = tile_grid(*layer.shape, self.p)
                layer.units = min(down * across, max(1, round(k / self.p**2)))
        self.report = Report(self.step, density, {la.name: la.k for la in layers}, {la.name: la.signal for la in layers})
        self.seen = {}

    @property
    def transfers(self) -> int:
        """Transfers of the last backward pass, of all ranks together; each has headers besides its data."""
        dense, sparse = self.report.dense_buckets, self.report.buckets - self.report.dense_buckets
        return dense * all_reduce_transfers(self._world) + sparse * all_gather_transfers(self._world)

    def settle(self) -> None:
        """Apply the results of the last step: residuals, momenta, signals. Nothing if that step was skipped."""
        if not self._pending:
            return
        self._pending = False
        if self.skipped:
            return
        for layer in self.layers.values():
            if layer.u_next is not None:
                layer.u, layer.u_next = layer.u_next, layer.u
            if layer.v_next is not None:
                layer.v, layer.v_next = layer.v_next, layer.v
        for layers, signals in self._signals:
            means = signals.double().mean(0).tolist()
            for layer, mean in zip(layers, means, strict=True):
                total, count = layer.reference
                if count < REFERENCE_STEPS:
                    total, count = total + mean, count + 1
                    layer.reference = (total, count)
                now = mean * count / total if total > 0 else 1.0
                layer.signal = SMOOTHING * layer.signal + (1 - SMOOTHING) * now
        self.step += 1

    def compress(self, layers: list[Layer], starts: list[int], buffer: Tensor) -> _Job:
        """One flat buffer of these layers' gradients -> the message to send. The buffer may be overwritten."""
        if self._scale != 1.0:
            buffer.div_(self._scale)
        layout = self._layout(layers, buffer)
        if layout is None:
            return self._compress_dense(layers, starts, buffer)
        finite = torch.isfinite(buffer.sum(dtype=kept_as(buffer.dtype)))
        whole, values, positions, signals, before = [], [], [], [], 0
        for layer, start in zip(layers, starts, strict=True):
            u, v = self._accumulate(layer, gradient_of(layer, buffer, start))
            if not layer.compressed:
                whole.append(u)
                continue
            chosen, signal = self._choose(layer, v)
            if self.indicator == "tile":
                entries, valid = tile_entries(chosen, *layer.shape, self.p)
                entries, inside = entries.view(-1), valid.view(-1)
                value = v[entries] * inside
            else:
                entries, inside = chosen, None
                value = v[entries]
            self._record(layer, v, entries if inside is None else entries[inside])
            wire = value.to(VALUES[self.values])
            if self.values == "f16":
                wire = wire.clamp(-65504, 65504)
            own = entries if inside is None else entries[inside]
            rest = value - wire.to(value.dtype)
            v[own] = rest if inside is None else rest[inside]
            if self.masking and layer.u_next is not None:
                u[own] = 0
            values.append(wire)
            positions.append(chosen + before)
            signals.append(signal)
            before += self._places(layer)

        empty = buffer.new_empty(0, dtype=torch.float32)
        status = (~finite).to(torch.float32)
        together = torch.cat(positions) if positions else empty.long()
        message = pack(
            layout,
            status,
            torch.stack(signals) if signals else empty,
            torch.cat(whole) if whole else empty,
            torch.cat(values) if values else empty,
            together,
        )
        return _Job(layers, starts, layout, message, together)

    def decompress(self, job: _Job, messages: Sequence[Tensor], buffer: Tensor) -> Tensor:
        """The messages of all ranks -> the averaged gradient, written into `buffer`; the same on every rank."""
        assert job.layout is not None
        total = buffer if buffer.dtype in (torch.float32, torch.float64) else torch.empty_like(buffer, dtype=torch.float32)
        total.zero_()
        statuses, signals, overlap = [], [], []
        share = 1 / len(messages)
        for message in messages:  # in rank order, so that rounding is equal on every rank
            status, signal, whole, values, positions = unpack(job.layout, message)
            statuses.append(status)
            signals.append(signal)
            overlap.append(positions)
            if job.layout.coding == "implied":
                assert job.chosen is not None
                positions = job.chosen
            at = self._targets(job, positions)
            total.index_add_(0, at, values.to(total.dtype), alpha=share)
            begin = 0
            for layer, start in zip(job.layers, job.starts, strict=True):
                if not layer.compressed:
                    total[start : start + layer.n].add_(whole[begin : begin + layer.n], alpha=share)
                    begin += layer.n
        if self._scale != 1.0:
            total.mul_(self._scale)
        for layer, start in zip(job.layers, job.starts, strict=True):
            if not layer.parameter.is_contiguous():  # from the order of its dims to the memory order that DDP expects
                part = total[start : start + layer.n]
                in_memory_order(layer, part).copy_(part.clone().view(layer.parameter.shape))
        if total is not buffer:
            buffer.copy_(total)
        self.note(job, torch.stack(statuses), torch.stack(signals))
        if self.watch and len(overlap) > 1 and job.layout.coding != "implied":
            both = torch.isin(overlap[0], overlap[1]).sum().item()
            self.report.overlap.append(both / max(1, 2 * job.layout.k - both))
        bad = self._bad[-1]
        if buffer.is_cuda:
            return buffer.masked_fill_(bad, torch.nan)  # without synchronising with the device
        return buffer.fill_(torch.nan) if bad else buffer

    def note(self, job: _Job, statuses: Tensor, signals: Tensor) -> None:
        """Record whether any rank had a gradient that is not finite, and the layer signals (ranks, layers)."""
        self._bad.append(statuses.sum() > 0)
        self._signals.append(([la for la in job.layers if la.compressed], signals))

    def count(self, job: _Job) -> None:
        """Add a job to the byte counts."""
        dense = job.layout is None
        size = job.message.numel() * job.message.element_size()
        counted = (all_reduce_bytes if dense else all_gather_bytes)(size, self._world)
        self.sent += size
        self.counted += counted
        self.report.sent += size
        self.report.counted += counted
        self.report.buckets += 1
        self.report.dense_buckets += dense

    # --- inside a step -----------------------------------------------------------------------------------------------

    def _places(self, layer: Layer) -> int:
        """Number of positions of a layer: entries, or tiles."""
        if self.indicator != "tile":
            return layer.n
        down, across = tile_grid(*layer.shape, self.p)
        return down * across

    def _layout(self, layers: list[Layer], buffer: Tensor) -> Layout | None:
        """The layout of the message of these layers, or None if dense all-reduce is cheaper."""
        sparse = [la for la in layers if la.compressed]
        k, n = sum(la.units for la in sparse), sum(self._places(la) for la in sparse)
        coding = "implied" if self.indicator == "random" else cheapest(n, k) if self.index == "auto" else self.index
        layout = Layout(
            layers=len(sparse),
            dense=sum(la.n for la in layers if not la.compressed),
            sent=k * (self.p**2 if self.indicator == "tile" else 1),
            k=k,
            n=n,
            values=self.values,
            coding=coding,
        )
        world = max(2, self._world)
        dense = all_reduce_bytes(buffer.numel() * buffer.element_size(), world)
        return None if self.fallback and all_gather_bytes(layout.size, world) >= dense else layout

    def _accumulate(self, layer: Layer, g: Tensor) -> tuple[Tensor, Tensor]:
        """(u, v) after this gradient, stored as the layer's next values."""
        u = g
        if self.momentum > 0:
            if layer.u is None:
                layer.u, layer.u_next = torch.zeros_like(g), torch.empty_like(g)
            u = torch.add(g, layer.u, alpha=self.momentum, out=layer.u_next)
        if not layer.compressed:
            return u, u
        if not self.feedback:
            return u, u.clone()
        if layer.v is None:
            layer.v, layer.v_next = torch.zeros_like(g), torch.empty_like(g)
        return u, torch.add(layer.v, u, out=layer.v_next)

    def _choose(self, layer: Layer, v: Tensor) -> tuple[Tensor, Tensor]:
        """(positions to send, increasing; mean score of the layer)."""
        if self.indicator == "random":
            generator = torch.Generator().manual_seed(((self.seed * 1_000_003 + self.step) * 4099 + layer.number) % 2**63)
            S = torch.rand(layer.n, generator=generator).to(v.device)
            return largest(S, layer.units), v.new_ones((), dtype=torch.float32)
        if self._scratch is None or self._scratch.dtype != v.dtype:
            self._scratch = v.new_empty(max(la.n for la in self.layers.values()))
        out = self._scratch[: layer.n].view(layer.shape)
        S = score(v.view(layer.shape), self.indicator, self.p, out=out).reshape(-1)
        choose = sampled if self.select == "sampled" else largest
        return choose(S, layer.units), S.mean().to(torch.float32)

    def _targets(self, job: _Job, positions: Tensor) -> Tensor:
        """Positions in a message -> positions in the buffer."""
        targets, begin, before = [], 0, 0
        for layer, start in zip(job.layers, job.starts, strict=True):
            if not layer.compressed:
                continue
            own = positions[begin : begin + layer.units] - before
            if self.indicator == "tile":
                own = tile_entries(own, *layer.shape, self.p)[0].view(-1)
            targets.append(own + start)
            begin, before = begin + layer.units, before + self._places(layer)
        return torch.cat(targets) if targets else positions

    def _record(self, layer: Layer, v: Tensor, entries: Tensor) -> None:
        """Store a watched layer's matrix and its sent entries in `seen`."""
        if layer.name in self.watch:
            A = v.view(layer.shape)
            kept = torch.zeros(layer.n, dtype=torch.bool, device=v.device)
            kept[entries] = True
            self.seen[layer.name] = (A.clone(), kept.view(A.shape))

    def _compress_dense(self, layers: list[Layer], starts: list[int], buffer: Tensor) -> _Job:
        """Send the whole unsent gradient; the momentum stays, as in plain training."""
        for layer, start in zip(layers, starts, strict=True):
            g = gradient_of(layer, buffer, start)
            _, v = self._accumulate(layer, g)
            part = buffer[start : start + layer.n]
            in_memory_order(layer, part).copy_(v.view(layer.parameter.shape))
            if layer.compressed:
                entries = torch.arange(layer.n, device=v.device) if layer.name in self.watch else v.new_empty(0).long()
                self._record(layer, v, entries)
                v.sub_(in_memory_order(layer, part).reshape(-1))  # 0, or the rounding error of a half-precision buffer
        buffer.mul_(1 / self._world)
        return _Job(layers, starts, None, buffer)

    def decompress_dense(self, job: _Job, buffer: Tensor) -> Tensor:
        """After the all-reduce: record whether all values are finite, restore the loss scale."""
        self._bad.append(~torch.isfinite(buffer.sum(dtype=kept_as(buffer.dtype))))
        return buffer.mul_(self._scale) if self._scale != 1.0 else buffer

    # --- around a run ------------------------------------------------------------------------------------------------

    def residual_norms(self) -> dict[str, float]:
        """||v|| of every compressed layer after the last step: the norm of its unsent gradient."""
        self.settle()
        return {la.name: float(la.v.norm()) if la.v is not None else 0.0 for la in self.layers.values() if la.compressed}

    def settings(self) -> dict[str, Any]:
        """The settings that must be equal on all ranks."""
        indicator = (
            self.indicator if isinstance(self.indicator, str) else getattr(self.indicator, "__qualname__", "function")
        )
        return {
            "density": self.density,
            "momentum": self.momentum,
            "indicator": indicator,
            "p": self.p,
            "dynamic": self.dynamic,
            "feedback": self.feedback,
            "masking": self.masking,
            "values": self.values,
            "index": self.index,
            "warmup": hashlib.sha256(json.dumps([self.warmup, self.warmup_steps]).encode()).hexdigest()[:12],
            "select": self.select,
            "fallback": self.fallback,
            "seed": self.seed,
            "step": self.step,
            "parameters": hashlib.sha256(
                json.dumps([[la.name, list(la.parameter.shape)] for la in self.layers.values()]).encode()
            ).hexdigest()[:12],
        }

    def greet(self) -> None:
        """Compare settings with the other ranks, once: a message of another size would hang or corrupt the collective.

        Raises InputError, on all ranks, when they differ. These bytes are not counted.
        """
        if self._settings_agree:
            return
        message = json.dumps(self.settings()).encode().ljust(GREETING)
        device = next(iter(self.layers.values())).parameter.device
        sent = torch.frombuffer(bytearray(message), dtype=torch.uint8).to(device)
        received = torch.empty(self._world * GREETING, dtype=torch.uint8, device=device)
        _gather(received, sent, group=self.group)
        settings = [json.loads(bytes(m.tolist())) for m in received.cpu().view(self._world, GREETING)]
        for name in settings[0]:
            values = [s[name] for s in settings]
            if any(v != values[0] for v in values):
                raise InputError(
                    f"The ranks disagree on {name}: "
                    + ", ".join(f"rank {r} has {v}" for r, v in enumerate(values))
                    + ". Give every rank the same settings, model and checkpoint step."
                )
        self._settings_agree = True

    def before_optimiser(self, optimiser: torch.optim.Optimizer) -> None:
        """Refuse a second momentum; make the step of a skipped gradient a no-op. Called before every optimiser step."""
        groups = [g for g in optimiser.param_groups if any(id(p) in self._by_id for p in g["params"])]
        for group in groups if self.momentum > 0 else ():
            second = group.get("momentum") or (group.get("betas") or (0,))[0]
            if second:
                raise InputError(
                    f"The hook has momentum {self.momentum} and {type(optimiser).__name__} has {second}: applied twice, the "
                    f"learning rate would grow by 1 / (1 - {second}). Give the optimiser momentum 0, or RSDGC(momentum=0)."
                )
        if groups and self.skipped:
            for layer in self.layers.values():
                layer.parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """The state needed to continue on this rank, by parameter name; `torch.load(weights_only=True)` reads it."""
        self.settle()

        def copied(t: Tensor | None) -> Tensor | None:
            return None if t is None else t.detach().cpu().clone()

        return {
            "step": self.step,
            "bytes": [self.sent, self.counted],
            "layers": {
                la.name: {
                    "momentum": copied(la.u),
                    "residual": copied(la.v),
                    "reference": list(la.reference),
                    "signal": la.signal,
                }
                for la in self.layers.values()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a result of `state_dict`. Raises InputError when it belongs to another model."""
        layers = state["layers"]
        if set(layers) != set(self.layers):
            different = sorted(set(layers) ^ set(self.layers))
            raise InputError(f"This state belongs to another model: {', '.join(different[:3])} are not in both.")
        for name, saved in layers.items():
            layer = self.layers[name]
            for what in ("momentum", "residual"):
                if saved[what] is not None and saved[what].numel() != layer.n:
                    raise InputError(
                        f"This state belongs to another model: {name} had {saved[what].numel()} entries, now {layer.n}."
                    )
        for name, saved in layers.items():
            layer = self.layers[name]
            layer.u, layer.v = (_put(saved[what], layer) for what in ("momentum", "residual"))
            layer.u_next, layer.v_next = (None if t is None else torch.empty_like(t) for t in (layer.u, layer.v))
            layer.reference, layer.signal = (saved["reference"][0], int(saved["reference"][1])), saved["signal"]
        self.step, (self.sent, self.counted) = state["step"], state["bytes"]
        self._pending, self._bad, self._signals, self._settings_agree = False, [], [], False


def rsdgc_hook(state: RSDGC, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """The communication hook: one all-gather of packed entries per bucket, or one all-reduce if that costs less."""
    buffer = bucket.buffer()
    if buffer.is_sparse:
        raise InputError(
            "A layer has sparse gradients (sparse=True); RS-DGC needs dense ones: create the layer with sparse=False."
        )
    if bucket.index() == 0:
        state.begin(dist.get_world_size(state.group))
        state.greet()
    layers, starts, begin = [], [], 0
    for parameter in bucket.parameters():
        layer = state._by_id.get(id(parameter))
        if layer is None:
            raise InputError(
                "The model has a parameter that RSDGC(model) does not know: make the state from the wrapped model itself, "
                "after its last layer was added or unfrozen."
            )
        layers.append(layer)
        starts.append(begin)
        begin += layer.n
    job = state.compress(layers, starts, buffer)
    state.count(job)
    if job.layout is None:
        work = dist.all_reduce(buffer, group=state.group, async_op=True)

        def reduced(future: torch.futures.Future) -> Tensor:
            future.value()  # raises the exception of the collective
            return state.decompress_dense(job, buffer)

        return work.get_future().then(reduced)
    world, size = state._world, job.layout.size
    received = torch.empty(world * size, dtype=torch.uint8, device=buffer.device)
    work = _gather(received, job.message, group=state.group, async_op=True)

    def gathered(future: torch.futures.Future) -> Tensor:
        future.value()
        if received.is_cuda:  # the callback runs on its own stream
            for tensor in (received, job.message, buffer):
                tensor.record_stream(torch.cuda.current_stream(received.device))
        return state.decompress(job, list(received.view(world, size)), buffer)

    return work.get_future().then(gathered)


def exchange(states: Sequence[RSDGC], gradients: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """One step of several simulated workers in this process, with the hook's code: the averaged gradient by name.

    states: one for each worker, each made from a model of the same parameter names; gradients: each worker's gradient by name.
    """
    jobs, world = [], len(states)
    for state, gradient in zip(states, gradients, strict=True):
        state.begin(world)
        layers = list(state.layers.values())
        starts = [sum(la.n for la in layers[:i]) for i in range(len(layers))]
        buffer = torch.cat([flat(gradient[la.name], la) for la in layers])
        jobs.append(state.compress(layers, starts, buffer))
        state.count(jobs[-1])
    out = torch.empty_like(buffer)
    if jobs[0].layout is None:
        out = torch.stack([job.message for job in jobs]).sum(0)
        for state, job in zip(states, jobs, strict=True):
            averaged = state.decompress_dense(job, out.clone())
    else:
        messages = [job.message for job in jobs]
        for state, job in zip(states, jobs, strict=True):
            averaged = state.decompress(job, messages, out.clone())
    return {
        la.name: in_memory_order(la, averaged[start : start + la.n]).reshape(la.parameter.shape)
        for la, start in zip(jobs[-1].layers, jobs[-1].starts, strict=True)
    }


# --- helpers ---------------------------------------------------------------------------------------------------------


def _put(saved: Tensor | None, layer: Layer) -> Tensor | None:
    return None if saved is None else saved.to(layer.parameter.device).clone()


def _watch_optimisers(state: RSDGC) -> None:
    """Call `state.before_optimiser` before every step of any optimiser, as long as the state exists."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    reference = weakref.ref(state)

    def before(optimiser: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        alive = reference()
        if alive is not None:
            alive.before_optimiser(optimiser)

    finalizer = weakref.finalize(state, register_optimizer_step_pre_hook(before).remove)
    finalizer.atexit = False

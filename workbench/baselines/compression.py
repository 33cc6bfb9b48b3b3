"""Gradient compressors that RS-DGC is compared with, each as a DDP model with its hook and an exact byte count.

    ddp, rival = wrap("topk", model, density=0.01, momentum=0.9)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=rival.optimiser_momentum)
    ...
    rival.counted                   # bytes sent by all ranks together since the start

    dense         all-reduce of float32, torch's own DDP
    fp16          all-reduce of float16, torch's fp16_compress_hook
    powersgd      T. Vogels, S. P. Karimireddy, M. Jaggi, NeurIPS 2019, arXiv 1905.13727; torch's powerSGD_hook
    topk          largest entries with error feedback: S. U. Stich et al., NeurIPS 2018, arXiv 1809.07599
    randomk       random entries with error feedback (same source); one draw for all ranks, so no positions are sent
    dgc           Y. Lin et al., ICLR 2018, arXiv 1712.01887: momentum correction, factor masking, sampled threshold
    no-feedback   RS-DGC without error feedback: entries that are not sent are discarded; an ablation
    rsdgc         the method itself, with a reconstructed indicator

Three ablations differ from rsdgc in its indicator, its budget, or both, and in nothing else, so that a gain can be attributed:

    rsdgc-uniform      rsdgc's indicator; every layer sends the same share of its entries
    magnitude-dynamic  the largest entries; rsdgc's budget, which follows the mean magnitude of each layer
    magnitude-uniform  the largest entries; every layer sends the same share

The common interface is a hook, not a pair of compress and decompress, because PowerSGD communicates twice, between its own
steps. PowerSGD starts collectives in callbacks; with several buckets the ranks may call them in different orders and gloo
aborts, so it gets one bucket, larger than the model.
"""

# no `from __future__ import annotations`: DDP checks the hooks' annotations themselves, not their names
from collections.abc import Mapping
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook, fp16_compress_hook
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import PowerSGDState, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

from workbench.baselines.compressors import RIVALS
from workbench.errors import InputError, did_you_mean
from workbench.parts.gradients import RSDGC, rsdgc_hook
from workbench.parts.wire import all_reduce_bytes, all_reduce_transfers, broadcast_bytes, broadcast_transfers

# indicator x budget: name -> keywords in which it differs from rsdgc
ABLATIONS: dict[str, dict[str, Any]] = {
    "rsdgc": {},
    "rsdgc-uniform": {"dynamic": 0.0},
    "magnitude-dynamic": {"indicator": "magnitude"},
    "magnitude-uniform": {"indicator": "magnitude", "dynamic": 0.0},
}


class Rival(Protocol):
    """Interface of a compressor. `sent`: bytes of this rank's messages since the start; `counted`: bytes of all ranks.

    transfers: of the last backward pass, of all ranks together; each has headers, which are not in `counted`.
    optimiser_momentum: momentum that the optimiser must use. skipped: whether the last backward pass was not finite on
    some rank; equal on all ranks, and the optimiser must then not step.
    """

    sent: int
    counted: int
    optimiser_momentum: float

    @property
    def transfers(self) -> int:
        """Transfers of the last backward pass, of all ranks together."""

    @property
    def skipped(self) -> bool:
        """Whether the step of the last backward pass must be left out."""

    def state_dict(self) -> dict[str, Any]:
        """The state needed to continue, as tensors and plain values."""

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Continue from a result of `state_dict`."""


def wrap(
    name: str,
    model: nn.Module,
    *,
    density: float = 0.01,
    momentum: float = 0.9,
    rank: int = 2,
    powersgd_start: int = 10,
    **settings: Any,
) -> tuple[DistributedDataParallel, Rival]:
    """`model` in DDP with the compressor `name` of RIVALS, and its byte counts; the process group must be initialised.

    density: for the sparse compressors. momentum: in the hook for "rsdgc", its three ablations and "dgc", else in the optimiser.
    rank, powersgd_start: for PowerSGD, rank of the factors and number of all-reduce steps before it (at least 2). settings:
    further keywords of `RSDGC`, for "rsdgc", its ablations and "no-feedback"; the other sparse compressors use only
    `warmup`, `warmup_steps`, `values`, `index`, `seed` and `scaler` of them.

    Raises InputError for an unknown name, with a did-you-mean.
    """
    if name not in RIVALS:
        raise InputError(f"There is no compressor {name!r}; there are {', '.join(RIVALS)}.{did_you_mean(name, RIVALS)}")
    device = next(model.parameters()).device
    ids = [device] if device.type == "cuda" else None
    if name in ("dense", "fp16"):
        ddp = DistributedDataParallel(model, device_ids=ids)
        plain = Reduced(2 if name == "fp16" else 4, momentum)
        ddp.register_comm_hook(plain, _fp16 if name == "fp16" else _dense)
        return ddp, plain
    if name == "powersgd":
        megabytes = sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20
        ddp = DistributedDataParallel(model, device_ids=ids, bucket_cap_mb=2 * megabytes + 1)
        low_rank = PowerSGD(rank, max(2, powersgd_start), momentum)
        ddp.register_comm_hook(low_rank, _powersgd)
        return ddp, low_rank
    shared = {k: v for k, v in settings.items() if k in ("warmup", "warmup_steps", "values", "index", "seed", "scaler")}
    uniform: dict[str, Any] = {"density": density, "dynamic": 0.0, **shared}
    inside = name in ABLATIONS or name == "dgc"
    options: dict[str, dict[str, Any]] = {
        **{n: {"density": density, "momentum": momentum, **settings, **other} for n, other in ABLATIONS.items()},
        "no-feedback": {"density": density, "momentum": 0.0, "feedback": False, **settings},
        "dgc": {**uniform, "momentum": momentum, "indicator": "magnitude", "select": "sampled"},
        "topk": {**uniform, "momentum": 0.0, "indicator": "magnitude"},
        "randomk": {**uniform, "momentum": 0.0, "indicator": "random"},
    }
    ddp = DistributedDataParallel(model, device_ids=ids)
    sparse = Sparse(ddp, **options[name])
    sparse.optimiser_momentum = 0.0 if inside else momentum
    ddp.register_comm_hook(sparse, rsdgc_hook)
    return ddp, sparse


def buffer_bytes(ddp: DistributedDataParallel) -> int:
    """Bytes that DDP sends before a training forward pass to copy rank 0's buffers (norm statistics) to all others."""
    if not ddp.broadcast_buffers:
        return 0
    size = sum(b.numel() * b.element_size() for b in ddp.module.buffers())
    return broadcast_bytes(size, dist.get_world_size())


def buffer_transfers(ddp: DistributedDataParallel) -> int:
    """Transfers of that copy: DDP sends the buffers of each data type together."""
    if not ddp.broadcast_buffers:
        return 0
    return len({b.dtype for b in ddp.module.buffers()}) * broadcast_transfers(dist.get_world_size())


class Sparse(RSDGC):
    """RSDGC that also gives the momentum of the optimiser."""

    optimiser_momentum = 0.0


class Reduced:
    """Byte counts of an all-reduce of `width` bytes per entry."""

    def __init__(self, width: int, momentum: float) -> None:
        self.width, self.optimiser_momentum = width, momentum
        self.sent = self.counted = self.transfers = 0
        self._bad: list[Tensor] = []

    @property
    def skipped(self) -> bool:
        """Whether an averaged gradient of the last backward pass was not finite."""
        return any(bool(b) for b in self._bad)

    def note(self, bucket: dist.GradBucket) -> None:
        """Count a bucket; a new backward pass begins with bucket 0."""
        if bucket.index() == 0:
            self._bad, self.transfers = [], 0
        self.transfers += all_reduce_transfers(dist.get_world_size())
        size = bucket.buffer().numel() * self.width
        self.sent += size
        self.counted += all_reduce_bytes(size, dist.get_world_size())

    def check(self, averaged: Tensor) -> Tensor:
        """Record whether the averaged gradient is finite; returns it unchanged."""
        self._bad.append(~torch.isfinite(averaged.sum(dtype=torch.float32)))
        return averaged

    def state_dict(self) -> dict[str, Any]:
        """The byte counts; an all-reduce has no other state."""
        return {"bytes": [self.sent, self.counted]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a result of `state_dict`."""
        self.sent, self.counted = state["bytes"]
        self._bad = []


def _everyone() -> dist.ProcessGroup:
    group = dist.group.WORLD
    assert group is not None, "torch.distributed has not been initialised"
    return group


def _dense(state: Reduced, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    state.note(bucket)
    return _checked(state, allreduce_hook(_everyone(), bucket))


def _fp16(state: Reduced, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    state.note(bucket)
    return _checked(state, fp16_compress_hook(_everyone(), bucket))


def _checked(state: Any, future: torch.futures.Future) -> torch.futures.Future[torch.Tensor]:
    return future.then(lambda f: state.check(f.value()))


class PowerSGD(Reduced):
    """torch's PowerSGD with its bytes counted and a checkpoint that `torch.load(weights_only=True)` reads.

    Its state is indexed by position in the bucket, and DDP regroups buckets after the first backward pass: load a checkpoint
    after one backward pass.
    """

    def __init__(self, rank: int, start: int, momentum: float) -> None:
        super().__init__(4, momentum)
        self.inner = PowerSGDState(None, matrix_approximation_rank=rank, start_powerSGD_iter=start)

    def note(self, bucket: dist.GradBucket) -> None:
        """Count what `_powersgd` will send: the whole gradient before the start, then vectors, P and Q."""
        if self.skipped:  # values that are not finite would stay in its error memory
            for memory in (self.inner.error_dict, self.inner.p_memory_dict, self.inner.q_memory_dict):
                memory.clear()
        if self.inner.iter < self.inner.start_powerSGD_iter:
            super().note(bucket)
            return
        self._bad = []
        rank, rate = self.inner.matrix_approximation_rank, self.inner.min_compression_rate
        entries = 0
        for gradient in bucket.gradients():
            n, m = gradient.view(gradient.shape[0], -1).shape
            r = min(n, m, rank)
            entries += (n + m) * r if (n + m) * r * rate < n * m else n * m
        size = 4 * entries
        self.transfers = 3 * all_reduce_transfers(dist.get_world_size())  # of vectors, of P, of Q
        self.sent += size
        self.counted += all_reduce_bytes(size, dist.get_world_size())

    def state_dict(self) -> dict[str, Any]:
        """Byte counts, iteration and memories. Its random numbers are drawn once, from a fixed seed, so they need no state."""
        memories = {"error": self.inner.error_dict, "p": self.inner.p_memory_dict, "q": self.inner.q_memory_dict}
        copies = {what: {str(i): t.detach().cpu().clone() for i, t in memory.items()} for what, memory in memories.items()}
        return {**super().state_dict(), "iter": self.inner.iter, **copies}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a result of `state_dict`."""
        super().load_state_dict(state)
        self.inner.iter = state["iter"]
        for what, memory in {
            "error": self.inner.error_dict,
            "p": self.inner.p_memory_dict,
            "q": self.inner.q_memory_dict,
        }.items():
            memory.clear()
            memory.update({int(i): t.clone() for i, t in state[what].items()})


def _powersgd(state: PowerSGD, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    state.note(bucket)
    return _checked(state, powerSGD_hook(state.inner, bucket))

"""PowerSGD for the updates of a federation: what clients send of the change of a weight matrix is of low rank, and their errors wait.

T. Vogels, S. P. Karimireddy, M. Jaggi, "PowerSGD: Practical Low-Rank Gradient Compression for Distributed Optimization", NeurIPS 2019,
arXiv 1905.13727, algorithms 1 and 2, with the change of the weights over a round in place of a gradient:

    M_i = change of client i + its error        P = mean of M_i Q, orthonormal        Q = mean of M_i^T P        change = P Q^T

and client i keeps the error M_i - P (M_i^T P)^T. Q is kept for the next round, so that one power iteration in a round is enough. Where
the changes have the rank of the factors, this is their average. Vectors, counters, and matrices whose factors would be larger travel as
they are. A client that missed a round needs its change later; these bytes are not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.parts.federation import State, average, state_bytes
from workbench.parts.rounds import Round, Update, usable


class PowerSGD:
    """Memory of a federation whose updates are compressed: Q of each matrix, and the error of each client.

    rank: of the factors. seed: of the first Q. Raises InputError for a rank below 1.
    """

    def __init__(self, rank: int = 2, seed: int = 0) -> None:
        if rank < 1:
            raise InputError(f"The rank of PowerSGD is {rank}; it must be 1 or more.")
        self.rank, self.seed = rank, seed
        self.q: dict[str, Tensor] = {}
        self.error: dict[str, dict[str, Tensor]] = {}

    def combine(
        self, number: int, state: State, updates: Mapping[str, Update], failures: Mapping[str, str], asked: int | None = None
    ) -> Round:
        """As `workbench.parts.rounds.combine`; up and down are the factors, and what travels as it is."""
        good, failed = usable(number, state, updates, failures)
        shares = [u.samples / sum(v.samples for v in good.values()) for u in good.values()]
        plain = {n: v for n, v in state.items() if self._width(v) is None}
        made = average(
            [{n: u.state[n] for n in plain} for u in good.values()], [u.samples for u in good.values()], list(good)
        )
        up = down = state_bytes(plain)
        for name, before in state.items():
            width = self._width(before)
            if width is None:
                continue
            changes = []
            for client, update in good.items():
                change = (update.state[name].double() - before.double()).reshape(len(before), -1)
                changes.append(change + self.error.get(client, {}).get(name, torch.zeros_like(change)))
            q = self.q.get(name)
            if q is None:
                draw = torch.Generator().manual_seed(self.seed)
                q = torch.randn(changes[0].shape[1], width, generator=draw, dtype=torch.float64)
            p = torch.linalg.qr(sum((s * m @ q for s, m in zip(shares, changes, strict=True)), torch.zeros(())))[0]
            own = [m.T @ p for m in changes]
            q = self.q[name] = sum((s * one for s, one in zip(shares, own, strict=True)), torch.zeros(()))
            for client, m, one in zip(good, changes, own, strict=True):
                self.error.setdefault(client, {})[name] = m - p @ one.T
            made[name] = (before.double() + (p @ q.T).reshape(before.shape)).to(before.dtype)
            size = (p.numel() + q.numel()) * before.element_size()
            up, down = up + size, down + size
        ordered = {n: made[n] for n in state}
        scalars = {n: dict(u.scalars) for n, u in good.items()}
        return Round(number, ordered, scalars, failed, up * len(updates), down * (len(updates) if asked is None else asked))

    def _width(self, value: Tensor) -> int | None:
        """Columns of the factors of a weight; None for one that travels as it is, because factors would not be smaller."""
        if not value.is_floating_point() or value.ndim < 2:
            return None
        rows, columns = len(value), value[0].numel()
        width = min(self.rank, rows, columns)
        return width if width * (rows + columns) < rows * columns else None

    def state(self) -> dict[str, Any]:
        """What `load` needs to go on."""
        return {"q": dict(self.q), "error": {c: dict(e) for c, e in self.error.items()}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self.q, self.error = dict(state["q"]), {c: dict(e) for c, e in state["error"].items()}

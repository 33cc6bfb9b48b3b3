"""Seeded: a private random state, active only inside a `with` block.

random = Seeded(0)
with random:
    loss = step()      # draws from the private state
yield Event(...)       # the caller draws from the global state
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


class Seeded:
    """Context manager holding its own Python, NumPy and torch random states (CPU, and CUDA where it is used).

    The same seed gives the same draws, whatever other code draws between two `with` blocks. Not re-entrant; do not `yield`
    inside a block.
    """

    def __init__(self, seed: int) -> None:
        self._inside: dict[str, Any] | None = None
        outside = _capture()
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        self._own = _capture()
        _restore(outside)

    def __enter__(self) -> Seeded:
        if self._inside is not None:
            raise RuntimeError("this Seeded is already entered")
        self._inside = _capture()
        _restore(self._own)
        return self

    def __exit__(self, *exc: object) -> None:
        self._own = _capture()
        assert self._inside is not None
        _restore(self._inside)
        self._inside = None

    def state(self) -> dict[str, Any]:
        """The private state as tensors and plain values, for a checkpoint."""
        return {**self._own, "torch": self._own["torch"].clone()}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a result of `state()`."""
        self._own = state


def _capture() -> dict[str, Any]:
    name, keys, pos, has_gauss, cached = np.random.get_state()  # type: ignore[misc]
    version, internal, gauss = random.getstate()
    state: dict[str, Any] = {
        "python": [version, list(internal), gauss],
        "numpy": [str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), int(pos), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def _restore(state: dict[str, Any]) -> None:
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, pos, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), pos, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])

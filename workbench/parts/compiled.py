"""Functions compiled by Numba: they release the GIL and are cached on disk if a cache folder is writable."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, compiled when it is first called; sums keep the order they are written in."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no writable cache folder: compiled again in every process
        return numba.njit(nogil=True)(function)

"""Number of BLAS threads, and a limit of one thread for code that already runs a block of pixels on every core."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

_lock = threading.Lock()
_users = 0
_limit: Any = None
_known: tuple[int, Any] = (0, None)  # number of modules then loaded, the libraries found then


def _libraries() -> Any:
    """The loaded libraries that have threads. Finding them takes milliseconds, so that is repeated only after further imports."""
    global _known
    from threadpoolctl import ThreadpoolController

    loaded, found = _known
    if found is None or loaded != len(sys.modules):
        loaded, found = len(sys.modules), ThreadpoolController()
        _known = loaded, found
    return found


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Limit BLAS to one thread in the whole process while any caller is inside the block."""
    global _users, _limit
    with _lock:
        _users += 1
        if _users == 1:
            _limit = _libraries().limit(limits=1, user_api="blas")
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _limit.restore_original_limits()


def threads() -> int:
    """Number of threads that BLAS uses: the user's limit (OMP_NUM_THREADS and similar variables), else the number of cores."""
    import scipy.linalg.cython_blas  # noqa: F401  (loads SciPy's BLAS, so that it is counted)

    return max((pool["num_threads"] for pool in _libraries().info() if pool["user_api"] == "blas"), default=1)

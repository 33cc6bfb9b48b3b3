"""How many threads BLAS may use, and one only where we run a block of pixels on every core ourselves."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

_lock = threading.Lock()
_users = 0
_limit: Any = None


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One BLAS thread for the whole process while any caller is inside."""
    global _users, _limit
    from threadpoolctl import threadpool_limits

    with _lock:
        _users += 1
        if _users == 1:
            _limit = threadpool_limits(1, user_api="blas")
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _limit.restore_original_limits()


def threads() -> int:
    """How many threads BLAS would use here: what the user allows us (OMP_NUM_THREADS and its like), else the cores."""
    import scipy.linalg.cython_blas  # noqa: F401  (loaded, so that it is counted)
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)

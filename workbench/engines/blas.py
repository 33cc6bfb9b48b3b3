"""Number of BLAS threads, and a limit of one thread for code that already runs a block of pixels on every core."""

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
    """Limit BLAS to one thread in the whole process while any caller is inside the block."""
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
    """Number of threads that BLAS uses: the user's limit (OMP_NUM_THREADS and similar variables), else the number of cores."""
    import scipy.linalg.cython_blas  # noqa: F401  (loads SciPy's BLAS, so that it is counted)
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)

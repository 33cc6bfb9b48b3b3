"""Results that all visitors of one server share: made once, by one worker thread, and kept for the next visitor."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class SharedResults:
    """`ask(key, make)` gives the future of `make()`; the same one for the same key, for the `keep` newest keys."""

    _worker = ThreadPoolExecutor(1, thread_name_prefix="workbench-page")  # one for the whole process

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self._made: OrderedDict[Hashable, Future] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, key: Hashable, make: Callable[[], Any]) -> Future:
        """The future of the result for this key. One that failed is not kept, so the next call tries again."""
        with self._lock:
            cached = self._made.get(key)
            if cached is not None and not (cached.done() and cached.exception()):
                self._made.move_to_end(key)
                return cached
            future = self._made[key] = self._worker.submit(make)
            while len(self._made) > self.keep:
                self._made.popitem(last=False)
            return future

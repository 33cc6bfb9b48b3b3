"""Cache of results that all visitors of one server share: computed once, by one worker thread."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class SharedResults:
    """`ask(key, make)` returns the future of `make()`, cached by key for the `keep` newest keys."""

    _worker = ThreadPoolExecutor(1, thread_name_prefix="workbench-page")  # one for the process

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self._made: OrderedDict[Hashable, Future] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, key: Hashable, make: Callable[[], Any]) -> Future:
        """The future of the result for this key. A failed one is not cached, so the next call tries again."""
        with self._lock:
            cached = self._made.get(key)
            if cached is not None and not (cached.done() and cached.exception()):
                self._made.move_to_end(key)
                return cached
            future = self._made[key] = self._worker.submit(make)
            while len(self._made) > self.keep:
                self._made.popitem(last=False)
            return future

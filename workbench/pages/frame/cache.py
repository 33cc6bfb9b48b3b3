"""Cache of results that all visitors of one server share: computed once, by one worker thread."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, ClassVar


class SharedResults:
    """`ask(key, make)` returns the future of `make()`, cached by key for the `keep` newest keys."""

    _trials = ThreadPoolExecutor(4, thread_name_prefix="workbench-trial")
    _worker = ThreadPoolExecutor(1, thread_name_prefix="workbench-page")  # one for the process
    _all: ClassVar[weakref.WeakSet[SharedResults]] = weakref.WeakSet()

    def __init__(self, keep: int) -> None:
        self._all.add(self)
        self.keep = keep
        self._made: OrderedDict[Hashable, Future] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def wait_for_all(cls) -> None:
        """Wait until all that has been asked for so far is made, and those who asked have been told."""
        wait([future for results in cls._all for future in results._made.values()])
        cls._worker.submit(int).result()  # the worker tells before its next task

    def ask(self, key: Hashable, make: Callable[[], Any], first: Callable[[], None] | None = None) -> Future:
        """The future of the result for this key. A failed one is not cached, so the next call tries again.

        first: is called before `make`, in another thread, so that other results do not wait for it.
        """
        with self._lock:
            cached = self._made.get(key)
            if cached is not None and not (cached.done() and cached.exception()):
                self._made.move_to_end(key)
                return cached
            if first is None:
                future = self._worker.submit(make)
            else:
                future = self._trials.submit(lambda: (first(), self._worker.submit(make).result())[1])
            self._made[key] = future
            while len(self._made) > self.keep:
                self._made.popitem(last=False)
            return future

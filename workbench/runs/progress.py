"""How far a long job is, on standard error: a bar in a terminal or a notebook, and lines, now and then, in a log."""

from __future__ import annotations

import sys
import time
from typing import Any

EVERY = 10.0  # seconds between two lines of a log


def progress_bar(*, shown: bool = True, **options: Any) -> Any:
    """A `tqdm` bar with these options; not shown, it says nothing.

    Standard error that is no terminal, as in CI or where it is kept in a file, gets a line at most every ten seconds and one at
    the end: a bar would be redrawn there thousands of times.
    """
    from tqdm.auto import tqdm

    options = {"file": sys.stderr, "disable": not shown, **options}
    if sys.stderr.isatty() or any(c.__module__ == "tqdm.notebook" for c in tqdm.__mro__):
        return tqdm(dynamic_ncols=True, **options)
    return _lines()(**options)


def _lines() -> Any:
    """A bar that is written line by line. Made when it is wanted: importing tqdm takes a tenth of a second."""
    from tqdm.std import tqdm

    class Lines(tqdm):
        _said = 0.0

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            now = time.monotonic()
            if msg is None and now - self._said >= EVERY:
                self._said = now
                self._line()

        def clear(self, nolock: bool = False) -> None:
            """Nothing: what stands in a log stays there. `write` asks for it."""

        def close(self) -> None:
            if not self.disable:
                self._line()
            self.leave = False  # there is no bar on the screen that could be drawn once more
            super().close()

        def _line(self) -> None:
            self.fp.write(f"{self}\n")
            self.fp.flush()

    return Lines

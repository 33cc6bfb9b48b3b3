"""Progress on standard error: a bar in a terminal or a notebook; in a log, a line every ten seconds."""

from __future__ import annotations

import sys
import time
from typing import Any

EVERY = 10.0  # seconds between two lines of a log


def progress_bar(*, shown: bool = True, **options: Any) -> Any:
    """A `tqdm` bar with these options; with `shown=False` it prints nothing.

    Where standard error is not a terminal (CI, a file), a line is printed at most every ten seconds and one at the end: tqdm
    would redraw its bar there thousands of times.
    """
    from tqdm.auto import tqdm

    options = {"file": sys.stderr, "disable": not shown, **options}
    if sys.stderr.isatty() or any(c.__module__ == "tqdm.notebook" for c in tqdm.__mro__):
        return tqdm(dynamic_ncols=True, **options)
    return _lines()(**options)


def _lines() -> Any:
    """The class of a bar that prints lines. It is defined here because importing tqdm takes a tenth of a second."""
    from tqdm.std import tqdm

    class Lines(tqdm):
        _printed = 0.0  # time of the last line, s

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            now = time.monotonic()
            if msg is None and now - self._printed >= EVERY:
                self._printed = now
                self._line()

        def clear(self, nolock: bool = False) -> None:
            """No-op: lines of a log cannot be erased. Called by tqdm.write()."""

        def close(self) -> None:
            if not self.disable:
                self._line()
            self.leave = False  # else tqdm would draw its bar once more
            super().close()

        def _line(self) -> None:
            self.fp.write(f"{self}\n")
            self.fp.flush()

    return Lines

"""Progress bars of notebooks and sweeps, with the step of the current run."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from workbench.reports.cells import cells_of
from workbench.runs.progress import progress_bar
from workbench.runs.watch import Live

if TYPE_CHECKING:
    from nbformat import NotebookNode


class Watching:
    """A progress bar that a thread refreshes, every `seconds`, while the context is open. Subclasses define `refresh`."""

    def __init__(self, bar: Any, seconds: float) -> None:
        self.bar, self.seconds = bar, seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if not self.bar.disable:
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        self.bar.close()

    def stop(self) -> None:
        """End the thread; nothing refreshes the bar afterwards."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self.seconds):
            self.refresh()

    def refresh(self) -> None:
        """Put what is new into the bar."""
        raise NotImplementedError


class NotebookProgress(Watching):
    """A bar over the cells of a notebook, with the step of the current run, read from its run folder."""

    def __init__(self, notebook: Path, folder: Path, *, shown: bool) -> None:
        cells = cells_of(notebook)
        count = sum(c["cell_type"] == "code" for c in cells) + 1  # + 1: the cell that Papermill adds
        self.name, self.index = "start", 0
        self._steps = Steps(folder)
        bar = progress_bar(
            shown=shown,
            total=count,
            desc="starting",
            bar_format="{percentage:3.0f}% |{bar:20}| {elapsed}  {desc}{postfix}",
        )
        super().__init__(bar, 0.5)

    def cell(self, cell: NotebookNode, cell_index: int) -> None:
        """Show the name of the cell that starts (`metadata.name`); Papermill calls this."""
        self.index = cell_index
        if cell.cell_type == "code":
            self.name = str(cell.metadata.get("name", "injected parameters"))
            self.bar.update(1)
            self.bar.set_postfix_str("", refresh=False)
            self.bar.set_description_str(self.name.replace("-", " "))

    def refresh(self) -> None:
        """Show the newest step, if there is a new one."""
        text = self._steps.newest()
        if text is not None:
            self.bar.set_postfix_str(text)


class Steps:
    """The step of the newest run directly under a folder, as a line of text."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._watched: dict[Path, Live] = {}

    def newest(self) -> str | None:
        """`bsdm-seed0 step 20/60  loss 0.7`, or None if there is no new event."""
        files = list(self.folder.glob("*/events.jsonl"))
        if not files:
            return None
        newest = max(files, key=lambda f: f.stat().st_mtime).parent
        live = self._watched.setdefault(newest, Live(newest))
        if not live.poll() or live.latest is None:
            return None
        line = live.latest
        scalars = "  ".join(f"{k} {v:.4g}" for k, v in list(line["scalars"].items())[:2])
        of = f"/{line['of']}" if line.get("of") else ""
        return f"{newest.name} step {line['step']}{of}  {scalars}"

"""Base of the pages that follow one run at a time: what they do with it where a page needs nothing special.

    class Landcover(OneRun):
        METHOD = "mdfl"

A page makes its `Runner` and its tabs in `build`, and defines `read`, `fill` and what is different from the calls below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

import xarray as xr

from workbench import runs
from workbench.methods import load
from workbench.pages.frame.cache import SharedResults
from workbench.pages.frame.followed import Follower
from workbench.pages.frame.runner import Runner, changes
from workbench.pages.frame.session import Session
from workbench.runs.watch import Live
from workbench.scene import Needs


class OneRun(Session):
    """A page of one method, or of several of which the visitor chooses one; it is the host of its runner.

    runner: controls of the followed run. learning: the tab that shows a training. findings: what `read` makes of the result of the
    followed run; None before it has finished.
    """

    METHOD: ClassVar[str]  # of a page of one method
    OLD: ClassVar[str]  # error, if the result of a run does not have what the page needs
    MADE: ClassVar[SharedResults]  # answers of `later`

    runner: Runner
    learning: Any
    findings: Any

    @classmethod
    def needs(cls) -> Needs:
        """What the method of the page needs."""
        return load(cls.METHOD).NEEDS

    def followed(self) -> list[Follower]:
        """The run of the method."""
        return [self.runner]

    # --- to be defined by subclasses --------------------------------------------------------------------------------

    def read(self, result: xr.Dataset) -> Any:
        """What the tabs need of a result; None if it does not have that, because the run is too old."""
        raise NotImplementedError

    def fill(self) -> None:
        """Fill the tabs with `findings`, or empty them while it is None."""
        raise NotImplementedError

    def reset(self) -> dict[str, Any]:
        """Parameters of the view with which a run begins that the visitor has chosen."""
        return {}

    # --- called by the runner ----------------------------------------------------------------------------------------

    def summary(self, config: Mapping[str, Any]) -> str:
        """Text of a run in the list of runs: the settings that differ from their defaults."""
        return changes(self.runner.method, config)

    def cleared(self) -> None:
        """Empty all tabs; no run is followed."""
        self.findings = None
        self.learning.clear()
        self.fill()

    def watching(self, config: Mapping[str, Any], fresh: bool) -> None:
        """Show the training of the followed run. fresh: the visitor has chosen another run, so the view begins anew."""
        if fresh:
            self.param.update(**self.reset())
        self.learning.invite(False)

    def took(self, live: Live, new: Sequence[Mapping[str, Any]]) -> None:
        """Draw the new events."""
        self.when_seen("Training", lambda: self.learning.take(live))

    def ended(self, live: Live, result: xr.Dataset | None) -> None:
        """Show the result when the run has finished."""
        if result is None:
            return
        self.findings = self.read(result)
        if self.findings is None:
            self.complain(self.OLD)
        else:
            self.finished(result)

    def finished(self, result: xr.Dataset) -> None:
        """Called with a result whose `findings` have been read."""
        self.fill()

    # --- work on a result -------------------------------------------------------------------------------------------

    def weights(self) -> Path | None:
        """Run folder of the network whose result is shown; None without a result."""
        if self.findings is None or self.runner.live is None:
            return None
        given = self.runner.config.get("weights")
        return Path(given) if given else self.runner.live.folder

    def later(self, key: Any, make: Callable[[], Any], then: Callable[[Future], None]) -> None:
        """Compute in the worker thread, once for all visitors; the answer is dropped if another scene or run was opened meanwhile."""
        asked, live = self.asked, self.runner.live

        def here(future: Future) -> None:
            if asked == self.asked and live is self.runner.live:
                then(future)

        self.when(self.MADE.ask(key, make), here)

    def networks_of(self, own: str, usable: Callable[[Path, Mapping[str, Any]], bool]) -> dict[str, str]:
        """Finished runs of the method whose weights can be applied, newest first: label -> folder.

        own: what a scene without a name is called. usable: asked with the folder and the record of each.
        """
        networks: dict[str, str] = {}
        for folder, about in reversed(list(runs.iter_status(self.root))):
            if about.get("method") == self.METHOD and about.get("status") == "finished" and usable(folder, about):
                scene = about["scene"].get("id") or own
                networks[f"trained on {scene}, {self.summary(about['config'])} ({folder.name[:15]})"] = str(folder.resolve())
        return networks

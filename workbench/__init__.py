"""workbench: remote-sensing learning systems you can run on your own data, watch inside, and report honestly.

    import workbench as wb
    scene = wb.open_scene("sim-coast-town")
    outcome = wb.execute("rx", scene)
    outcome.result["auc"]

A notebook needs only the names below. Each is imported when it is first used, so `import workbench` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "InputError": "workbench.errors",
    "Event": "workbench.event",
    "Outcome": "workbench.event",
    "open_scene": "workbench.data.catalog",
    "Source": "workbench.data.source",
    "names": "workbench.data.catalog",
    "fetch": "workbench.data.catalog",
    "describe": "workbench.scene",
    "load": "workbench.methods",
    "override": "workbench.config",
    "start": "workbench.execution",
    "execute": "workbench.execution",
    "resume": "workbench.execution",
    "launch": "workbench.execution",
    "replay": "workbench.runs",
    "follow": "workbench.runs",
    "Live": "workbench.runs.watch",
    "report": "workbench.reports.notebook",
    "explorer": "workbench.pages.anomaly.page",
    "coresets": "workbench.pages.coresets.page",
    "federation": "workbench.pages.federation.page",
    "gradients": "workbench.pages.gradients.page",
    "change": "workbench.pages.change.page",
    "compression": "workbench.pages.compression.page",
    "detection": "workbench.pages.detection.page",
    "landcover": "workbench.pages.landcover.page",
    "browse_runs": "workbench.pages.runs.page",
    "watch": "workbench.pages.watch",
    "sweep": "workbench.reports.sweep",
    "rerun": "workbench.reports.rerun",
}

__all__ = [*_WHERE, "__version__"]

if TYPE_CHECKING:
    from workbench.config import override as override
    from workbench.data.catalog import fetch as fetch
    from workbench.data.catalog import names as names
    from workbench.data.catalog import open_scene as open_scene
    from workbench.data.source import Source as Source
    from workbench.errors import InputError as InputError
    from workbench.event import Event as Event
    from workbench.event import Outcome as Outcome
    from workbench.execution import execute as execute
    from workbench.execution import launch as launch
    from workbench.execution import resume as resume
    from workbench.execution import start as start
    from workbench.methods import load as load
    from workbench.runs.watch import Live as Live
    from workbench.runs.watch import follow as follow
    from workbench.runs.watch import replay as replay
    from workbench.scene import describe as describe


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'workbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])

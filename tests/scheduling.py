"""Which tests share a worker, and which of them begin: the dearest first, so that no worker is alone at the end.

xdist's own groups (`--dist loadgroup`) do not work with pytest 9.2: node ids can no longer carry the group
(pytest-xdist issue 1386), and nothing says so. Here the group follows from the node id alone.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

BROWSER = "tests/browser"  # its files follow one another: they have one server and one Chromium


class ByFile(LoadScopeScheduling):
    """Tests of a file go to one worker, in the order in which they are collected; so what a file prepares is made once."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def group(nodeid: str) -> str:
    """The file, or the folder of the browser, whose tests share a worker with this one."""
    path = nodeid.partition("::")[0]
    return BROWSER if path.startswith(f"{BROWSER}/") else path


def dearest_first(items: list[pytest.Item]) -> None:
    """Sort in place by group: browser and notebooks, then what starts processes, then the rest; within a group as collected."""
    rank: dict[str, int] = {}
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        name = group(item.nodeid)
        cost = 0 if name == BROWSER else 1 if "notebook" in marks else 2 if "process" in marks else 3
        rank[name] = min(rank.get(name, 3), cost)
    items.sort(key=lambda item: rank[group(item.nodeid)])

"""Which tests share a worker, and which of them begin: the dearest first, so that no worker is alone at the end.

xdist's own groups (`--dist loadgroup`) do not work with pytest 9.2: node ids can no longer carry the group
(pytest-xdist issue 1386), and nothing says so. Here the group follows from the node id alone.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

# The files of tests/browser, in two chains of about equal length: each chain has one server and one Chromium.
CHAINS = {
    "tests/browser/test_every_page.py": "tests/browser, every page",  # the first of its chain: it visits a server that has made no page
    "tests/browser/test_runs.py": "tests/browser, every page",
    "tests/browser/test_screens.py": "tests/browser, every page",
}
VISITS = "tests/browser, visits"  # all other files of the folder


class ByFile(LoadScopeScheduling):
    """Tests of a file go to one worker, in the order in which they are collected; so what a file prepares is made once."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def group(nodeid: str) -> str:
    """The file, or chain of files, whose tests share a worker with this one."""
    path = nodeid.partition("::")[0]
    return CHAINS.get(path, VISITS if path.startswith("tests/browser/") else path)


def dearest_first(items: list[pytest.Item]) -> None:
    """Sort in place by group: browser and notebooks, then what starts processes, then the rest; within a group as collected."""
    rank: dict[str, tuple[int, str]] = {}
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        name = group(item.nodeid)
        cost = 0 if name.startswith("tests/browser") else 1 if "notebook" in marks else 2 if "process" in marks else 3
        chain = name if cost == 0 else ""  # the files of a chain follow one another
        rank[name] = min(rank.get(name, (3, "")), (cost, chain))
    items.sort(key=lambda item: rank[group(item.nodeid)])

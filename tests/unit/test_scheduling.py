"""Which tests share a worker, and which begin."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.scheduling import CHAINS, VISITS, dearest_first, group

TESTS = Path(__file__).parents[1]


def item(nodeid: str, *marks: str) -> SimpleNamespace:
    return SimpleNamespace(nodeid=nodeid, iter_markers=lambda: [getattr(pytest.mark, mark).mark for mark in marks])


def test_a_file_stays_together_and_the_browser_has_two_chains() -> None:
    assert group("tests/unit/test_a.py::TestB::test_c[tests/browser/x]") == "tests/unit/test_a.py"
    for path in (TESTS / "browser").glob("test_*.py"):
        name = f"tests/browser/{path.name}"
        assert group(f"{name}::test_x") == CHAINS.get(name, VISITS)
    assert all((TESTS.parent / name).exists() for name in CHAINS)
    assert len({*CHAINS.values(), VISITS}) == 2


def test_the_dearest_begin_and_the_first_visits_come_first_on_their_server() -> None:
    files = [
        "browser/test_anomaly",
        "browser/test_every_page",
        "browser/test_lab",
        "browser/test_screens",
        "notebooks/test_a",
        "unit/test_b",
    ]
    items = [item(f"tests/{name}.py::test_{n}") for name in files for n in (1, 2)]
    items += [item("tests/notebooks/test_z.py::test_1", "notebook"), item("tests/unit/test_p.py::test_1", "process")]
    dearest_first(items)  # type: ignore[arg-type]
    order = list(dict.fromkeys(i.nodeid.partition("::")[0].removeprefix("tests/").removesuffix(".py") for i in items))
    chained = ["browser/test_every_page", "browser/test_screens", "browser/test_anomaly", "browser/test_lab"]
    assert order == [*chained, "notebooks/test_z", "unit/test_p", "notebooks/test_a", "unit/test_b"]
    assert [i.nodeid[-1] for i in items[:4]] == ["1", "2", "1", "2"]

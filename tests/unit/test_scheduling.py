"""Which tests share a worker, and which begin."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.scheduling import BROWSER, dearest_first, group

TESTS = Path(__file__).parents[1]


def item(nodeid: str, *marks: str) -> SimpleNamespace:
    return SimpleNamespace(nodeid=nodeid, iter_markers=lambda: [getattr(pytest.mark, mark).mark for mark in marks])


def test_a_file_stays_together_and_so_does_the_browser() -> None:
    assert group("tests/unit/test_a.py::TestB::test_c[tests/browser/x]") == "tests/unit/test_a.py"
    assert {group(f"tests/browser/{p.name}::test_x") for p in (TESTS / "browser").glob("test_*.py")} == {BROWSER}


def test_the_dearest_begin_and_keep_their_order() -> None:
    files = ["unit/test_b", "notebooks/test_a", "browser/test_anomaly", "browser/test_every_page"]
    items = [item(f"tests/{name}.py::test_{n}") for name in files for n in (1, 2)]
    items += [item("tests/notebooks/test_z.py::test_1", "notebook"), item("tests/unit/test_p.py::test_1", "process")]
    dearest_first(items)  # type: ignore[arg-type]
    order = list(dict.fromkeys(i.nodeid.partition("::")[0].removeprefix("tests/").removesuffix(".py") for i in items))
    visits = ["browser/test_anomaly", "browser/test_every_page"]
    assert order == [*visits, "notebooks/test_z", "unit/test_p", "unit/test_b", "notebooks/test_a"]
    assert [i.nodeid[-1] for i in items[:4]] == ["1", "2", "1", "2"]

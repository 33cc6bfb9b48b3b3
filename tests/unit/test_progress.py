"""A bar where it can be redrawn, lines where it cannot."""

import io

import pytest

from workbench.runs import progress
from workbench.runs.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def count(to: io.StringIO, monkeypatch: pytest.MonkeyPatch, shown: bool = True) -> str:
    monkeypatch.setattr("sys.stderr", to)
    with progress_bar(shown=shown, desc="work", total=50) as bar:
        for _ in range(50):
            bar.update(1)
            bar.refresh()
    return to.getvalue()


def test_a_log_gets_a_first_line_and_a_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = count(io.StringIO(), monkeypatch).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("work:   0%")
    assert lines[1].startswith("work: 100%")
    assert "50/50" in lines[1]


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    said = count(io.StringIO(), monkeypatch)
    assert "\r" not in said
    assert "10/50" in said
    assert len(said.splitlines()) >= 50


def test_what_is_said_beside_it_leaves_a_log_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    to = io.StringIO()
    monkeypatch.setattr("sys.stderr", to)
    with progress_bar(desc="work", total=2) as bar:
        bar.update(1)
        bar.write("one has failed", file=to)
    assert "\r" not in to.getvalue()
    assert to.getvalue().splitlines()[1] == "one has failed"


def test_a_terminal_gets_a_bar_that_is_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    said = count(Terminal(), monkeypatch)
    assert said.count("\r") > 10
    assert said.count("\n") == 1


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_quiet_is_quiet(kind: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    assert count(kind(), monkeypatch, shown=False) == ""

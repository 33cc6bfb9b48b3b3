"""The form in a notebook cell gives the same overrides as every other form; the bar drives, pauses and stops a run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from workbench import runs
from workbench.config import Settings, override
from workbench.errors import InputError
from workbench.event import Event, Outcome
from workbench.views import cell


class Config(Settings):
    steps: int = Field(500, ge=1, le=900, description="how many steps")
    rate: float = Field(0.5, gt=0, description="how fast")
    kind: Literal["paper", "official"] = Field("paper", description="whose")
    frozen: bool = Field(True, description="hold it")
    pixels: int | None = Field(None, ge=1, description="how many pixels")


def test_form_shows_every_field_with_its_meaning() -> None:
    form = cell.form(Config)
    assert list(form.fields) == list(Config.model_fields)
    text = {row.children[0].value: row.children[2].value for row in form.children[:-1]}
    assert "how many steps; 1 to 900; default 500" in text["steps"]
    assert "0 to 4294967295" in text["seed"]
    assert "default none" in text["pixels"]
    assert form.fields["kind"].options == ("paper", "official")
    assert form.overrides == {}


def test_form_gives_overrides_of_the_right_type() -> None:
    form = cell.form(Config, {"steps": "60", "pixels": 2000})
    assert form.overrides == {"steps": 60, "pixels": 2000}
    form.fields["pixels"].value = ""
    form.fields["kind"].value = "official"
    form.fields["frozen"].value = False
    assert form.overrides == {"steps": 60, "kind": "official", "frozen": False}
    assert override(Config(), form.overrides).kind == "official"


def test_form_says_what_is_wrong() -> None:
    form = cell.form(Config)
    form.fields["steps"].value = 901
    assert "steps=901" in form.message.value
    with pytest.raises(InputError, match="steps=901"):
        _ = form.overrides


def counting(n: int):  # noqa: ANN201
    for step in range(1, n + 1):
        yield Event(step, {"loss": 1 / step}, of=n)
    import xarray as xr

    return Outcome(xr.Dataset({"auc": ((), 0.75)}))


@pytest.fixture
def bar(monkeypatch: pytest.MonkeyPatch):  # noqa: ANN201
    """The bar that `progress` shows."""
    shown: list = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    return shown


def recorded(folder: Path, n: int):  # noqa: ANN201
    runs.create(folder, {"method": "counting", "config": {}, "scene": {}})
    return runs.record(counting(n), folder)


def test_progress_gives_the_outcome(tmp_path: Path, bar: list) -> None:
    outcome = asyncio.run(cell.progress(recorded(tmp_path / "run", 5), tmp_path / "run"))
    assert float(outcome.result["auc"]) == 0.75
    assert (bar[0].bar.value, bar[0].bar.max, bar[0].bar.bar_style) == (5, 5, "success")
    assert runs.read(tmp_path / "run")["status"] == "finished"


@pytest.mark.long
def test_pause_resume_and_stop(tmp_path: Path, bar: list) -> None:
    folder = tmp_path / "run"

    async def session() -> None:
        task = asyncio.create_task(cell.progress(recorded(folder, 10_000), folder))
        await asyncio.sleep(0.2)
        bar[0].pause.click()
        await asyncio.sleep(0.1)
        paused = len(runs.events(folder))
        await asyncio.sleep(0.4)
        assert len(runs.events(folder)) == paused
        assert bar[0].pause.description == "Resume"
        bar[0].pause.click()
        await asyncio.sleep(0.4)
        assert paused < len(runs.events(folder)) < 10_000
        bar[0].stop.click()
        with pytest.raises(runs.Stopped):
            await asyncio.wait_for(task, 5)

    asyncio.run(session())
    assert runs.read(folder)["status"] == "stopped"
    assert bar[0].bar.bar_style == "warning"


def test_watch_follows_another_process_to_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    async def session() -> cell._Bar:
        trace = recorded(folder, 3)
        next(trace)
        bar = cell.watch(folder, poll=0.01)
        await asyncio.sleep(0.1)
        assert bar.bar.value == 1
        for _ in trace:
            pass
        await asyncio.wait_for(bar.task, 5)
        return bar

    bar = asyncio.run(session())
    assert bar.bar.value == 3
    assert bar.bar.bar_style == "success"

"""A page on a server with limits: files of others are refused, a run waits in the queue and says so, and can be taken out."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench import execution
from workbench.pages.frame import queue
from workbench.pages.frame.policy import Policy, environment


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene_file: Path) -> list[str]:
    """Names of the runs that were begun, on a server that has one at work and opens files beside the little scene."""
    for name, value in environment(Policy(max_runs=1), [scene_file.parent], tmp_path / "runs").items():
        monkeypatch.setenv(name, value)
    begun: list[str] = []
    monkeypatch.setattr(execution, "spawn", lambda command, folder: begun.append(folder.name))
    monkeypatch.setattr(queue, "launched", lambda folder: True)
    monkeypatch.setattr(queue, "_watch", lambda root: None)
    return begun


def test_a_path_outside_is_refused_and_the_scene_stays(page, limited, scene_file):
    explorer = page("sim-coast-town")
    for path in ("/etc/passwd", str(scene_file.parent.parent / "other.nc")):
        explorer.open(path)
        assert "is not in a folder from which this server opens files" in explorer.alert.object
        assert explorer.scene == "sim-coast-town"
    explorer.open("sim-coast-town", truth="/etc/passwd")
    assert "is not in a folder" in explorer.alert.object
    assert explorer.own.visible


def test_no_name_of_a_file_breaks_the_page(page, limited, scene_file):
    explorer = page("sim-coast-town", tabs=(2,))
    data = scene_file.parent
    for name in ("-x", f"{data}/{'a' * 300}", f"{data}/a\0.nc", "a" * 300, "~nobody_here/a.nc", "\ud800.nc"):
        for given in ({"ref": name}, {"ref": "sim-coast-town", "truth": name}):
            explorer.complain("")
            explorer.open(**given)
            assert explorer.alert.visible, given
            assert explorer.scene == "sim-coast-town"
        explorer.train.runner.follow(name)
        assert explorer.run == ""
    explorer.param.update(picks="\ud800")
    assert "picks=%3F" in explorer._query()


@pytest.mark.process
def test_a_file_of_a_visitor_is_opened_after_a_trial(page, limited, scene_file):
    explorer = page("sim-coast-town")
    explorer.open(str(scene_file))
    assert explorer.data is not None
    assert explorer.scene == str(scene_file)


def test_a_run_waits_for_its_turn_and_is_taken_out(page, limited, tmp_path):
    explorer = page("sim-coast-town", tabs=(2,))
    runner = explorer.train.runner
    runner.start()
    assert len(limited) == 1
    runner.start()
    waiting = explorer.run
    assert len(limited) == 1
    assert "Waiting in the queue" in runner.player.text.object
    assert "place 1" in runner.player.text.object
    assert runner.player.stop.visible
    assert not runner.player.stop.disabled
    runner.ask("stop")
    assert not (tmp_path / "runs" / waiting).exists()
    assert explorer.run == ""
    assert "No run yet" in runner.player.text.object


def test_nothing_of_ones_own_on_a_server_of_the_catalogue(page, limited, tmp_path, monkeypatch):
    for name, value in environment(Policy(catalogue_only=True), [tmp_path], tmp_path / "runs").items():
        monkeypatch.setenv(name, value)
    explorer = page("sim-coast-town")
    assert not explorer.own.visible
    explorer.open(str(tmp_path / "a.nc"))
    assert "only scenes of the catalogue" in explorer.alert.object

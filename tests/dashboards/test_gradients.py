"""The gradient page: a short run of two real processes, and what the page draws of it."""

from __future__ import annotations

import json
import shutil
import time

import numpy as np
import pytest

from workbench import execution, runs
from workbench.pages.gradients.page import Gradients
from workbench.pages.gradients.traffic import Budget
from workbench.runs import frames, schema
from workbench.runs.watch import Live

pytestmark = [
    pytest.mark.process,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
TINY = {
    "rivals": ["rsdgc", "dense"], "network": "cnn", "width": 4, "size": 8, "batch": 8, "steps": 6, "eval_every": 2,
    "show_every": 2, "density": 0.05,
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of runs with one finished run, called `one`."""
    folder = tmp_path_factory.mktemp("gradients") / "runs"
    execution.execute("rsdgc", "digits", TINY, folder / "one")
    return folder


@pytest.fixture
def page(root):
    made = []

    def make(scene="digits", run="one", **state):
        opened = Gradients(scene, root=root, **state)
        if run:
            opened.runner.follow(run)
        made.append(opened)
        return opened

    yield make
    for opened in made:
        opened.close()


def test_begins_with_an_invitation_and_offers_chips(page):
    opened = page(run=None)
    assert opened.importance._invite.visible
    assert {"digits", "eurosat-rgb-200"} <= set(opened.choice.options.values())
    assert "sim-coast-town" not in opened.choice.options.values()
    assert "1,797 chips" in opened.card.object


def test_rasters_are_those_of_the_run(page, root):
    opened = page()
    frames = runs.Tail(root / "one")
    lines = frames.lines()
    layer = opened.layer
    last = [line for line in lines if f"importance/{layer}" in line.get("arrays", ())][-1]
    shown = frames.arrays(last)[f"importance/{layer}"]
    for name in ("gradient", "mean", "sigma", "score", "kept"):
        np.testing.assert_array_equal(
            opened.importance.rasters.sources[name].data["image"][0], shown.sel(quantity=name).values.astype(np.float32)
        )
    opened.importance.stepper.slider.value = 1
    assert not opened.importance.stepper.follow.value
    assert "Step 1</b>" in opened.importance.text.object


def test_the_runs_own_score_would_have_sent_the_same(page):
    opened = page(indicator="mix", p=3)
    assert "<b>1.00</b>" in opened.importance.overlap.object
    opened.indicator = "contrast"
    assert "<b>1.00</b>" not in opened.importance.overlap.object
    assert "contrast" in opened.importance.rasters.figures["else"].title.text


def test_budget_and_traffic_are_those_of_the_result(page, root):
    opened, result = page(), runs.result(root / "one")
    drawn = opened.budget.share.lines.data
    assert drawn["name"] == result["layer"].values.tolist()
    at = np.asarray(drawn["xs"][0], int) - 1
    np.testing.assert_allclose(drawn["ys"][0], (result["budget"][:, 0] / result["entries"][0]).values[at])
    lines = dict(zip(opened.traffic.by_step.lines.data["name"], opened.traffic.by_step.lines.data["ys"], strict=True))
    np.testing.assert_allclose(lines["RS-DGC"], result["accuracy_at"].sel(rival="rsdgc"))
    np.testing.assert_allclose(lines["dense"], result["accuracy_at"].sel(rival="dense"))
    sent = dict(zip(opened.traffic.by_bytes.lines.data["name"], opened.traffic.by_bytes.lines.data["xs"], strict=True))
    np.testing.assert_allclose(sent["RS-DGC"], result["bytes_at"].sel(rival="rsdgc") / 1e6)
    said = opened.traffic.table.object
    for ratio in ("ratio_wire", "ratio_counted", "ratio_entries", "ratio_upload"):
        assert f">{float(result[ratio].sel(rival='rsdgc')):.1f}<" in said
    history = opened.runner.live.history  # told while it trains, not only at the end
    assert history["ratio_wire/rsdgc"][1][-1] == pytest.approx(float(result["ratio_wire_rsdgc"]))


def test_a_frame_is_opened_once_by_the_budget_tab_however_long_the_run_is(root, tmp_path, monkeypatch):
    """30 frames that come one by one: 30 are opened, and a drawing with nothing new opens none."""
    folder = _grown(root / "one", tmp_path / "long", frames=30)
    opened = []
    monkeypatch.setattr(frames, "CACHE", frames.Cache(0))  # the page must not need it
    monkeypatch.setattr(frames, "load", lambda path, names, load=frames.load: opened.append(path.name) or load(path, names))
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    budget, live = Budget(), Live(folder)
    budget.clear()
    (folder / "events.jsonl").write_text("")
    for n, line in enumerate(lines, 1):
        with open(folder / "events.jsonl", "a") as file:
            file.write(line)
        live.poll()
        budget.draw(live)
        budget.draw(live)
        assert len(opened) == n
    assert len(set(opened)) == 30
    assert len(budget.share.lines.data["xs"][0]) == 30


def test_run_json_is_parsed_at_most_once_per_poll(page, root, monkeypatch):
    opened = page()
    parsed, whole = [], schema.run_record
    monkeypatch.setattr("workbench.runs.folder.run_record", lambda path: parsed.append(path.name) or whole(path))
    opened.poll()
    assert parsed.count("run.json") == 0  # nothing has changed
    (root / "one" / "run.json").touch()
    time.sleep(0.05)
    opened.poll()
    opened.runner.config, opened.runner.live.status, opened.runner.live.error  # noqa: B018
    assert parsed.count("run.json") == 1


def _grown(old, new, frames):
    """A copy of a run whose first frame comes again and again."""
    shutil.copytree(old, new)
    line = next(line for line in runs.events(old) if "budget" in line.get("arrays", ()))
    source = (old / "frames" / f"{line['step']:06d}.npz").read_bytes()
    shutil.rmtree(new / "frames")
    (new / "frames").mkdir()
    lines = [{**line, "step": step} for step in range(1, frames + 1)]
    for made in lines:
        (new / "frames" / f"{made['step']:06d}.npz").write_bytes(source)
    (new / "events.jsonl").write_text("".join(json.dumps(made) + "\n" for made in lines))
    return new


def test_a_scene_without_chips_is_refused(page):
    opened = page()
    opened.open("sim-coast-town")
    assert "image" in opened.alert.object
    assert opened.alert.visible
    assert opened.scene == "digits"

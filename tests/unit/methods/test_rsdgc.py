"""The room: two real ranks train, its events and result say what happened, and a killed rank costs nothing but time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import islice

import numpy as np
import psutil
import pytest
import torch
import xarray as xr

from tests.driving import played
from workbench import execution, runs
from workbench.config import override
from workbench.data.source import Source
from workbench.engines.processes import RankLost
from workbench.errors import InputError
from workbench.event import drain
from workbench.methods import METHODS, rsdgc
from workbench.methods.rsdgc import Config, batch_of, chips_of, importance, learning_rate
from workbench.methods.rsdgc.chips import turned
from workbench.parts.wire import GLOO_HEADERS, Layout

pytestmark = [pytest.mark.timeout(400)]  # two real gloo processes a test
TINY = {"network": "cnn", "width": 4, "steps": 4, "batch": 8, "eval_every": 2, "show_every": 2, "timeout": 60}


@pytest.fixture(scope="module")
def digits():
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    from workbench.data.chips import digits

    return digits().isel(sample=slice(0, 400))


def tiny(**changes):
    return override(Config(), {**TINY, **changes})


@pytest.fixture(scope="module")
def run(digits):
    before = digits.copy(deep=True)
    events, outcome = played(rsdgc.run(digits, tiny(rivals=["rsdgc", "dense"])))
    xr.testing.assert_identical(digits, before)
    return events, outcome


# --- events and result -----------------------------------------------------------------------------------------------


@pytest.mark.process
def test_every_step_of_every_compressor_is_an_event(run):
    events, _ = run
    assert [e.step for e in events] == list(range(1, 9))
    assert all(e.of == 8 for e in events)
    assert all(np.isfinite(list(e.scalars.values())).all() for e in events)
    assert {"loss/rsdgc", "megabytes/rsdgc", "density/rsdgc", "overlap/ranks"} <= set(events[0].scalars)
    assert [("accuracy/rsdgc" in e.scalars) for e in events[:4]] == [False, True, False, True]
    assert {"loss/dense", "megabytes/dense"} <= set(events[4].scalars)


@pytest.mark.process
def test_counted_megabytes_by_formula(run):
    """CNN of width 4: 36 + 4, 4 * 8 * 9 = 288 + 8, 128 * 20 = 2560 + 20, 200 + 10 parameters: 3084 in 4 matrices, 42 more.

    Dense: 4 steps of 2 (W - 1) 4 * 3126 bytes. RS-DGC: k = 31 of 3084, 42 whole, 4 signals.
    """
    events, outcome = run
    assert events[-1].scalars["megabytes/dense"] == pytest.approx(4 * 8 * 3126 / 1e6)
    assert events[3].scalars["megabytes/rsdgc"] == pytest.approx(4 * 2 * Layout(4, 42, 31, 31, 3084).size / 1e6)
    assert float(outcome.result["bytes_sent_dense"]) == 4 * 8 * 3126
    assert float(outcome.result["ratio_wire_dense"]) == pytest.approx(1.0)
    headers = 4 * 8 * GLOO_HEADERS  # steps x transfers of an all-reduce of two ranks, in one bucket
    assert float(outcome.result["bytes_headers"].sel(rival="dense")) == headers
    assert float(outcome.result["bytes_headers"].sel(rival="rsdgc")) == headers / 2  # all-gather
    assert float(outcome.result["ratio_counted_dense"]) == pytest.approx(4 * 8 * 3126 / (4 * 8 * 3126 + headers))
    assert events[3].scalars["header_megabytes/rsdgc"] == pytest.approx(headers / 2 / 1e6)
    measured = outcome.result["bytes_measured"].sel(rival="rsdgc")
    if np.isfinite(measured):
        assert float(outcome.result["measured_ratio"].sel(rival="rsdgc")) == pytest.approx(4 * 8 * 3126 / float(measured))
    assert float(outcome.result["ratio_entries"].sel(rival="rsdgc")) == pytest.approx(3126 / 31)


@pytest.mark.process
def test_views_of_the_gradient(run):
    events, _ = run
    shown = events[0].arrays
    assert set(shown) == {
        "importance/0.weight",
        "importance/7.weight",
        "importance/9.weight",
        "budget",
        "signal",
        "residual",
        "age",
    }
    image = shown["importance/9.weight"]
    assert image.dims == ("quantity", "row", "column")
    assert image.sizes == {"quantity": 5, "row": 10, "column": 20}
    assert "reconstruction" in image.attrs["indicator"]
    assert "reconstruction" in image.attrs["note"]
    assert int(shown["budget"].sum()) == 31
    assert int(image.sel(quantity="kept").sum()) == int(shown["budget"].sel(layer="9.weight"))
    np.testing.assert_allclose(shown["age"].sum("steps"), 1.0)
    assert not events[1].arrays
    assert not any(e.arrays for e in events[4:])


@pytest.mark.process
def test_the_result_speaks_the_vocabulary(run, digits):
    result = run[1].result
    np.testing.assert_array_equal(result["sample"], digits["sample"])
    tested = result["labels"].values >= 0
    assert 100 <= tested.sum() <= 140  # 30 % of 400, by class
    right = (result["labels"].values == digits["label"].values)[tested].mean()
    assert right == pytest.approx(float(result["overall_accuracy"]))
    assert result["accuracy_at"].dims == ("rival", "at")
    assert result["budget"].sizes == {"step": 4, "layer": 4}
    assert (result["budget"].sum("layer") == 31).all()
    assert "reconstruction" in result.attrs["notes"]
    assert all("long_name" in v.attrs for v in result.data_vars.values())
    assert set(run[1].weights) == {"rsdgc"}


@pytest.mark.process
def test_same_seed_same_numbers(run, digits):
    def seen(events):
        return [{k: v for k, v in e.scalars.items() if not k.startswith("measured")} for e in events]

    with contextlib.closing(rsdgc.run(digits, tiny(rivals=["rsdgc", "dense"]))) as trace:
        again = []
        for event in islice(trace, 3):
            torch.rand(3)  # a listener that draws random numbers
            again.append(event)
    assert seen(again) == seen(run[0][:3])


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def by_name(monkeypatch, digits):
    """The scene under a name, as a resumable run needs it, and a checkpoint at every event."""
    monkeypatch.setitem(METHODS, "rsdgc", ("workbench.methods.rsdgc", ""))
    monkeypatch.setattr(Source, "open", lambda self, **how: digits)
    monkeypatch.setattr("workbench.runs.recorder.CHECKPOINT_SECONDS", -1.0)


@pytest.mark.process
def test_a_killed_rank_fails_the_run_which_then_continues_with_the_same_numbers(by_name, tmp_path):
    """Rank 1 dies in the fifth step of PowerSGD, whose memory goes by place in the bucket."""
    settings = {**TINY, "steps": 7, "rivals": ["rsdgc", "powersgd"], "powersgd_start": 2}
    whole = tmp_path / "whole"
    drain(execution.start("rsdgc", "digits", settings, whole))

    folder = tmp_path / "killed"
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    trace = execution.start("rsdgc", "digits", settings, folder)
    for _ in range(12):
        next(trace)
    servers = [p for p in psutil.Process().children() if "forkserver" in " ".join(p.cmdline())]
    spawned = [p for server in servers for p in server.children() if p.pid not in before]
    victim = max(spawned, key=lambda p: p.pid)
    os.kill(victim.pid, signal.SIGKILL)
    with pytest.raises(RankLost, match="was killed"):
        drain(trace)
    about = runs.read(folder)
    assert about["status"] == "failed"
    assert "Rank 1 of 2 was killed (SIGKILL) after event 12" in about["error"]
    assert "continues from its last checkpoint" in about["error"]
    assert not [p for p in spawned if p.is_running()]

    drain(execution.resume(folder))
    assert runs.read(folder)["status"] == "finished"
    assert runs.metrics(folder) == runs.metrics(whole)
    lines = {line["step"]: line["scalars"] for line in runs.events(folder)}
    for line in runs.events(whole):
        for name, value in line["scalars"].items():
            if not name.startswith("measured"):
                assert lines[line["step"]][name] == value, (line["step"], name)


@pytest.mark.process
def test_a_checkpoint_continues_its_own_run_only(run, digits):
    """An older checkpoint, which does not say what it belongs to, continues to the same numbers."""
    config = tiny(rivals=["rsdgc", "dense"])
    with contextlib.closing(rsdgc.run(digits, config)) as trace:
        state = list(islice(trace, 6))[-1].state()
    old = {"ranks": [{k: v for k, v in rank.items() if k != "about"} for rank in state["ranks"]]}
    events, outcome = played(rsdgc.run(digits, config, old))
    assert [e.step for e in events] == [7, 8]
    np.testing.assert_array_equal(outcome.result["accuracy"], run[1].result["accuracy"])
    assert events[-1].scalars["loss/dense"] == run[0][-1].scalars["loss/dense"]
    with pytest.raises(InputError, match=r"rsdgc belongs to .*other settings: lr=0.05 there and 0.01 here"):
        drain(rsdgc.run(digits, tiny(rivals=["rsdgc", "dense"], lr=0.01), state))
    with pytest.raises(InputError, match="rsdgc belongs to other data"):
        drain(rsdgc.run(digits.isel(sample=slice(0, 390)), config, state))


def test_a_checkpoint_of_other_workers_is_refused(digits):
    with pytest.raises(InputError, match="made by 3 ranks"):
        drain(rsdgc.run(digits, tiny(), state={"ranks": [{}, {}, {}]}))


TORCHRUN = """
import os, signal, sys
from workbench import execution
from workbench.methods import METHODS
METHODS.setdefault("rsdgc", ("workbench.methods.rsdgc", ""))
from workbench.data.chips import digits
from workbench.data.source import Source
Source.open = lambda self, **how: digits().isel(sample=slice(0, 400))
from workbench.runs import recorder
recorder.CHECKPOINT_SECONDS = -1.0
from workbench.methods.rsdgc import Training
step = Training.step
def dying(self, number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, number)
if os.environ.get("KILL") == os.environ["RANK"]:
    Training.step = dying
sys.argv = ["workbench", "run", "--quiet", *sys.argv[1:]]
from workbench.cli import main
main()
"""


def torchrun(tmp_path, *words, kill=""):
    script = tmp_path / "script.py"
    script.write_text(TORCHRUN)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "KILL": kill}
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=200, env=environment)


@pytest.mark.process
def test_torchrun_makes_one_run_folder_and_continues_it_after_a_fault(tmp_path, by_name):
    """Rank 1 dies in the third step: rank 0 says so in the run folder; continued, the numbers are those of spawned ranks."""
    settings = [w for k, v in TINY.items() for w in ("--set", f"{k}={v}")]
    folder = tmp_path / "joined"
    begin = ("rsdgc", "digits", *settings, "--set", 'rivals=["rsdgc"]', "--out", str(folder))
    done = torchrun(tmp_path, *begin, kill="1")
    assert done.returncode != 0
    about = runs.read(folder)
    assert about["status"] == "failed", about
    assert "lost another rank" in about["error"] or "another one had died" in about["error"]

    done = torchrun(tmp_path, "--resume", str(folder), "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    assert len([line for line in done.stdout.splitlines() if line.startswith("{")]) == 1
    assert runs.read(folder)["status"] == "finished"
    drain(execution.start("rsdgc", "digits", {**TINY, "rivals": ["rsdgc"]}, tmp_path / "spawned"))
    assert runs.metrics(folder) == runs.metrics(tmp_path / "spawned")


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda s: s.drop_vars("label"), "rsdgc needs 'label'"),
        (lambda s: s.isel(sample=0), "dims|chips"),
        (lambda s: s.assign(image=s["image"].where(s["image"] > 0)), "finite values"),
        (lambda s: s.assign(image=s["image"].astype(np.complex64)), "complex"),
        (lambda s: s.assign(label=s["label"] * 0), "two classes"),
        (lambda s: s.isel(sample=slice(0, 20)), "2 x 8 for a training step"),
        (lambda s: s.assign_coords(split=("sample", np.full(400, "train"))), "this scene gives 0"),
    ],
)
def test_scenes_that_cannot_be_trained_on(digits, spoil, words):
    with pytest.raises(InputError, match=words):
        next(rsdgc.run(spoil(digits), tiny()))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rivals": ["top-k"]}, "Did you mean 'topk'"),
        ({"rivals": ["topk", "topk"]}, "twice"),
        ({"rivals": []}, "at least 1"),
        ({"p": 4}, "odd"),
        ({"indicator": "contrast", "p": 1}, "3 or more"),
        ({"density": 0}, "greater than 0"),
        ({"workers": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_be(changes, words):
    with pytest.raises(InputError, match=words):
        tiny(**changes)


def test_settings_survive_json():
    config = tiny(rivals=["dense"])
    assert override(Config(), json.loads(config.model_dump_json())) == config


# --- parts of the room -----------------------------------------------------------------------------------------------


def test_the_initial_weights_are_the_seeds_alone():
    torch.manual_seed(5)
    first = rsdgc.network(tiny(seed=3), 1, 10, 8).state_dict()
    torch.manual_seed(6)
    second = rsdgc.network(tiny(seed=3), 1, 10, 8).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_an_epoch_shows_every_chip_once_and_ranks_share(digits):
    """Training chips 281 to 285 or so, 16 a step: 17 steps use 272 of them, each once."""
    config = tiny()
    chips = chips_of(digits, config)
    steps = len(chips.train) // 16
    marked = replace(chips, values={"image": torch.arange(400.0).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)})
    seen = [
        int(v) for step in range(steps) for rank in range(2) for v in batch_of(marked, config, rank, step)[0][:, 0, 0, 0]
    ]
    assert len(seen) == len(set(seen)) == 16 * steps
    assert set(seen) <= set(chips.train.tolist())
    assert not set(chips.train.tolist()) & set(chips.test.tolist())
    again = [int(v) for v in batch_of(marked, config, 0, steps)[0][:, 0, 0, 0]]
    assert again != seen[:8]  # the second epoch has another order


def test_augmentation_turns_chips_in_eight_ways(digits):
    chip = torch.arange(4.0).view(1, 2, 2)
    assert len({tuple(turned(chip, t).flatten().tolist()) for t in range(8)}) == 8
    config = tiny(augment=True)
    chips = chips_of(digits, config)
    x, _ = batch_of(chips, config, 0, 0)
    y, _ = batch_of(chips, tiny(), 0, 0)
    assert not torch.equal(x, y)
    torch.testing.assert_close(x.flatten(1).sort().values, y.flatten(1).sort().values)


def test_chips_are_standardised_split_and_shrunk(digits):
    chips = chips_of(digits, tiny())
    assert chips.only[chips.train].mean().abs() < 1e-5
    assert chips.only[chips.train].std() == pytest.approx(1, abs=1e-3)
    share = [float((chips.label[chips.test] == c).sum() / (chips.label == c).sum()) for c in range(10)]
    assert share == pytest.approx([0.3] * 10, abs=0.02)
    own = digits.assign_coords(split=("sample", np.where(np.arange(400) < 300, "train", "val")))
    assert chips_of(own, tiny()).test.tolist() == list(range(300, 400))
    assert chips_of(digits, tiny(size=4)).only.shape == (400, 1, 4, 4)
    unlabelled = digits.assign(label=digits["label"].where(digits["label"] != 3, -1))
    assert len(chips_of(unlabelled, tiny()).names) == 9


def test_learning_rate_by_hand():
    """100 steps, 5 % rise: lr / 5, ..., lr; half way through the cosine lr / 2; near 0 at the end."""
    config = override(Config(), {"steps": 100, "lr": 1.0})
    assert [learning_rate(s, config) for s in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert learning_rate(5, config) == 1.0
    assert learning_rate(52, config) + learning_rate(53, config) == pytest.approx(1.0, abs=0.01)
    assert 0 < learning_rate(99, config) < 1e-3


def test_importance_by_hand():
    """The matrix 1..9: centre mean 5, sigma 2.581989, mix 37.909944; what was kept is shown."""
    A = torch.arange(1.0, 10.0).view(3, 3)
    kept = torch.eye(3, dtype=torch.bool)
    image = importance(A, kept, "mix", 3)
    centre = image.sel(row=1, column=1)
    assert centre.sel(quantity=["gradient", "mean", "sigma", "score", "kept"]).values == pytest.approx(
        [5, 5, 2.581989, 37.909944, 1], abs=1e-5
    )
    assert importance(torch.zeros(200, 600), torch.zeros(200, 600), "tile", 3).shape == (5, 128, 512)


@pytest.mark.process
def test_a_rank_may_be_alone(digits):
    """One worker sends nothing, and trains all the same."""
    _, outcome = played(rsdgc.run(digits, tiny(workers=1, rivals=["rsdgc"], steps=2)))
    assert float(outcome.result["bytes_sent_rsdgc"]) == 0

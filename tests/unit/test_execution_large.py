"""Runs on cubes that are not to be held: progress over both passes, a result written block by block, no reading to open."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from tests.driving import played
from workbench import execution, runs, scene
from workbench.data import catalog, writers
from workbench.data.catalog import open_scene
from workbench.data.source import Source
from workbench.errors import InputError
from workbench.event import drain
from workbench.methods import rx as detectors


@pytest.fixture
def flight(tmp_path, monkeypatch):
    """An ENVI pair of 5 bands, 40 x 30 pixels; everything counts as large, and blocks are 6 rows."""
    values = np.random.default_rng(5).gamma(2.0, size=(5, 40, 30)).astype("<f4")
    values[:, 7, 8] = -1
    (tmp_path / "flight.bil").write_bytes(values.transpose(1, 0, 2).tobytes())
    (tmp_path / "flight.hdr").write_text(
        "ENVI\nsamples = 30\nlines = 40\nbands = 5\ndata type = 4\ninterleave = bil\nbyte order = 0\ndata ignore value = -1\n"
    )
    monkeypatch.setattr("workbench.data.readers.cube.STRIP", 4 * 5 * 30 * 6)
    monkeypatch.setattr(detectors, "BIG", 100)
    monkeypatch.setattr(catalog, "LARGE", 100)
    monkeypatch.setattr(writers, "TILE", 16)
    monkeypatch.setattr(writers, "OVERVIEW", 20)
    return tmp_path / "flight.hdr"


@pytest.mark.parametrize("method", ["rx", "ridge-rx", "local-rx"])
def test_a_map_too_large_to_hold_is_written_as_it_is_computed(flight, tmp_path, method):
    settings = {"inner": 3, "outer": 9} if method == "local-rx" else {}
    expected = execution.execute(method, open_scene(flight).compute(), settings).result["score"].values
    out = tmp_path / "run"
    events, outcome = played(execution.start(method, flight, settings, out))
    steps = [event.step for event in events]
    assert steps == sorted(set(steps))
    assert events[-1].step == events[-1].of == 80
    assert [e.scalars["read"] for e in events if "read" in e.scalars] == [6, 12, 18, 24, 30, 36]
    assert not (out / "result.nc").exists()
    assert outcome.result["score"].chunks is not None
    np.testing.assert_allclose(outcome.result["score"].values, expected, rtol=1e-9)
    np.testing.assert_allclose(runs.result(out)["score"].values, expected, rtol=1e-9)
    assert runs.result(out, chunks=None)["score"].chunks is None
    assert np.isnan(expected[7, 8])
    over = events[-1].arrays["score"]
    assert over.shape == (20, 15)
    assert float(over.max()) == pytest.approx(np.nanmax(expected), rel=1e-9)
    about = runs.read(out)
    assert about["status"] == "finished"
    assert about["scene"]["sha256"] == scene.digest(flight.with_suffix(".bil"))
    assert [e.step for e in _replayed(out)] == steps


def _replayed(folder):
    trace, events = runs.replay(folder), []
    while True:
        try:
            events.append(next(trace))
        except StopIteration:
            return events


def test_with_truth_the_map_is_held_and_measured(flight, tmp_path):
    mask = np.zeros((40, 30), np.uint8)
    mask[4, 4:9] = 1
    np.save(tmp_path / "truth.npy", mask)
    outcome = execution.execute("rx", Source(flight, tmp_path / "truth.npy"), folder=tmp_path / "run")
    assert (tmp_path / "run" / "result.nc").exists()
    assert 0 <= float(outcome.result["auc"]) <= 1
    eager = execution.execute("rx", open_scene(flight, truth=tmp_path / "truth.npy").compute()).result
    assert float(outcome.result["auc"]) == pytest.approx(float(eager["auc"]), abs=1e-12)


def test_an_interrupted_large_run_begins_anew_to_the_same_map(flight, tmp_path):
    out = tmp_path / "run"
    trace = execution.start("rx", flight, None, out)
    while "rows" not in next(trace).scalars:
        pass
    next(trace)
    trace.close()
    assert runs.read(out)["status"] == "stopped"
    assert not (out / "result.zarr").exists()
    (out / "result.zarr").mkdir()  # as a kill between writing and finishing leaves it
    drain(execution.resume(out))
    expected = execution.execute("rx", open_scene(flight).compute()).result["score"].values
    np.testing.assert_allclose(runs.result(out)["score"].values, expected, rtol=1e-9)


def test_opening_reads_no_pixels_and_a_run_tells_of_a_changed_file(flight, tmp_path, monkeypatch):
    opened = open_scene(flight)
    assert opened.attrs["file"] == str(flight.with_suffix(".bil").resolve())
    assert "sha256" not in opened.attrs
    trace = execution.start("rx", flight, None, tmp_path / "run")
    next(trace)
    trace.close()
    data = bytearray(flight.with_suffix(".bil").read_bytes())
    data[0] ^= 1
    flight.with_suffix(".bil").write_bytes(data)
    with pytest.raises(InputError, match="data are not what they were"):
        execution.resume(tmp_path / "run")


@pytest.mark.parametrize(("value", "message"), [(np.inf, "Infinite values in band 2"), (-1, "No valid value in band 2")])
def test_unusable_bands_are_refused_in_the_pass_that_reads_them(flight, tmp_path, value, message):
    values = np.fromfile(flight.with_suffix(".bil"), "<f4").reshape(40, 5, 30)
    values[:, 2] = value
    values.tofile(flight.with_suffix(".bil"))
    with pytest.raises(InputError, match=message):
        execution.execute("rx", flight, folder=tmp_path / "run")
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["status"] == "failed"
    assert message in about["error"]


def test_the_scene_of_a_run_that_cannot_be_held_is_never_loaded(flight, monkeypatch):
    whole = []
    monkeypatch.setattr(xr.DataArray, "load", lambda self, *a, **k: whole.append(self.shape) or self)
    outcome = execution.execute("rx", flight)
    assert outcome.result["score"].chunks is not None
    assert not [shape for shape in whole if len(shape) == 3]

"""The anomaly page on a scene that is not to be held in memory: only what is seen is read, and zooming in reads it finer."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import execution, runs
from workbench.methods import rx as detectors
from workbench.pages.anomaly import state
from workbench.pages.frame import session
from workbench.views import glimpse
from workbench.views.glimpse import Glimpse, Part, part_of, rasterised
from workbench.views.image import composite, stretch

ROWS, COLUMNS, BANDS = 90, 40, 6


@pytest.fixture
def values():
    made = np.random.default_rng(2).gamma(2.0, size=(BANDS, ROWS, COLUMNS)).astype("<f4")
    made[:, 61, 7] = 50
    return made


@pytest.fixture
def flight(tmp_path, monkeypatch, values):
    """An ENVI cube that counts as large everywhere; pictures have at most 20 pixels a side."""
    values.tofile(tmp_path / "flight.bsq")
    (tmp_path / "flight.hdr").write_text(
        f"ENVI\nsamples = {COLUMNS}\nlines = {ROWS}\nbands = {BANDS}\ndata type = 4\ninterleave = bsq\nbyte order = 0\n"
    )
    for module in (session, state):
        monkeypatch.setattr(module, "IN_MEMORY", 80_000)
    monkeypatch.setattr(glimpse, "SHOWN", 20)
    monkeypatch.setattr("workbench.views.glimpse.part_of.__defaults__", (20,))
    monkeypatch.setattr(glimpse, "FEW", 8)
    return tmp_path / "flight.hdr"


@pytest.fixture
def reads(monkeypatch):
    """The number of values of every window that is read from the file."""
    from workbench.data.readers.cube import Physical

    seen, plain = [], Physical.__getitem__

    def counted(self, key):
        found = plain(self, key)
        seen.append(found.size)
        return found

    monkeypatch.setattr(Physical, "__getitem__", counted)
    return seen


def shown(explorer):
    data = explorer.explore.image.source.data
    return data["image"][0], {k: data[k][0] for k in ("x", "y", "dw", "dh")}


def test_only_the_overview_is_read_and_drawn_in_its_place(page, flight, values, reads):
    explorer = page(flight)
    image, place = shown(explorer)
    assert image.shape == (12, 5)
    assert place == {"x": -0.5, "y": -0.5, "dw": 40, "dh": 96}
    which = explorer.explore.bands[explorer.preset]
    expected = composite(values[:, ::8, ::8], which)
    np.testing.assert_array_equal(image.view(np.uint8).reshape(12, 5, 4)[..., :3], expected)
    assert max(reads) <= BANDS * 12 * 10 < values.size / 20
    assert sum(reads) < values.size / 5
    assert not explorer.scores  # nothing was computed


def test_zooming_reads_what_is_seen_in_full_and_keeps_the_stretch(page, flight, values, reads):
    explorer = page(flight)
    reads.clear()
    explorer.explore._looked((69.6, 54.2), (2.0, 17.0))
    image, place = shown(explorer)
    which = explorer.explore.bands[explorer.preset]
    assert place == {"x": 1.5, "y": 53.5, "dw": 16, "dh": 17}
    expected = [stretch(values[b, 54:71, 2:18], like=values[b, ::8, ::8]) for b in which]
    np.testing.assert_array_equal(image.view(np.uint8).reshape(17, 16, 4)[..., :3], np.dstack(expected))
    assert max(reads) <= 17 * 16
    explorer.explore._looked((ROWS + 30.0, -30.0), (-9.0, COLUMNS + 9.0))
    assert shown(explorer)[0].shape == (12, 5)


def test_a_band_and_a_click_read_no_more_than_they_show(page, flight, values, reads):
    explorer = page(flight)
    reads.clear()
    explorer.param.update(look="Band", band=5)
    assert shown(explorer)[0].shape == (12, 5)
    assert max(reads) <= 12 * 5
    reads.clear()
    explorer.pick(61, 7)
    assert sum(reads) == BANDS
    np.testing.assert_array_equal(explorer.explore.spectra.lines.data["ys"][0], np.full(BANDS, 50))
    assert explorer.frame.marks.data["y"] == [61]


@pytest.mark.timeout(120)
def test_a_detector_is_launched_and_its_overview_shown_with_the_pixels_own_score(
    page, flight, tmp_path, values, monkeypatch
):
    explorer = page(flight, tabs=(1,))
    compare = explorer.compare
    assert compare.buttons["crd"].visible
    assert not compare.buttons["auto-ad"].visible
    assert "Needs the scene in memory" in compare._waiting["auto-ad"].object
    assert compare.buttons["rx"].visible
    assert "Reads the whole file" in compare._waiting["rx"].object

    def spawn(command, folder):
        monkeypatch.setattr(detectors, "BIG", 100)
        monkeypatch.setattr("workbench.data.writers.OVERVIEW", 30)
        execution.execute(command[4], command[5], folder=folder)

    monkeypatch.setattr(execution, "spawn", spawn)
    compare.start("rx")
    folder = compare.launched["rx"].folder
    deadline = time.monotonic() + 60
    while compare.poll():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    full = runs.result(folder)["score"].values
    over = compare.maps["rx"].source.data
    assert over["own"][0].shape == (30, 14)
    assert (over["dw"][0], over["dh"][0]) == (42, 90)
    assert over["own"][0][61 // 3, 7 // 3] == pytest.approx(full[61, 7], rel=1e-6)
    assert not compare.buttons["rx"].visible
    explorer.pick(60, 7)  # in the same cell as the anomaly, but not it
    assert f"{full[60, 7]:.5g}" in explorer.explore.table.rows[0]["cells"]
    compare._looked((59.7, 79.2), (0.0, 19.2))
    fine = compare.maps["rx"].source.data
    assert (fine["x"][0], fine["y"][0], fine["dw"][0], fine["dh"][0]) == (-0.5, 59.5, 20, 20)
    np.testing.assert_allclose(fine["own"][0], full[60:80, 0:20], rtol=1e-6)
    compare._looked((float(ROWS), 0.0), (0.0, float(COLUMNS)))
    expected = full[:88, :40].reshape(11, 8, 5, 8).max((1, 3))
    np.testing.assert_allclose(compare.maps["rx"].source.data["own"][0][:11], expected, rtol=1e-6)
    monkeypatch.setattr("workbench.pages.anomaly.detectors.FINEST", 10)
    compare._looked((59.7, 79.2), (0.0, 19.2))
    assert compare.maps["rx"].source.data["own"][0].shape == (30, 14)  # too much to read: the overview
    explorer.masked, explorer.flag = True, 0.3
    assert explorer.explore.image.mask.data["dh"][0] == 90
    assert np.argwhere(explorer.flagged()).tolist() == [[20, 2]]


def test_bsdm_is_not_offered_for_what_it_cannot_hold(page, flight, scene_file):
    explorer = page(flight, tabs=(2,))
    assert "too large" in explorer._rooms[2].objects[0].object
    assert explorer.train is None
    explorer.open(str(scene_file))
    assert explorer.glimpse is None
    explorer.tab = 2
    assert explorer._rooms[2].objects == [explorer.train.panel]
    explorer.open(str(flight))
    assert explorer.glimpse is not None
    assert "too large" in explorer._rooms[2].objects[0].object  # also when the tab was built for another scene
    explorer.open(str(scene_file))
    assert explorer._rooms[2].objects == [explorer.train.panel]


def test_a_cube_that_breaks_is_told_on_the_page(page, flight, tmp_path):
    explorer = page(flight)
    data = flight.with_suffix(".bsq")
    data.write_bytes(data.read_bytes()[:1000])
    explorer.param.update(look="Band", band=0)
    assert "cannot be read" in explorer.alert.object


spans = st.tuples(st.floats(-50, 500), st.floats(-50, 500))


@given(st.tuples(st.integers(1, 300), st.integers(1, 300)), spans, spans, st.integers(1, 64))
def test_a_part_covers_what_is_seen_of_the_image_with_few_pixels(shape, rows, columns, most):
    part = part_of(shape, rows, columns, most)
    for (start, stop), (a, b), length in zip(part[:2], (rows, columns), shape, strict=True):
        assert 0 <= start < stop <= length
        low, high = sorted((a, b))
        assert start <= max(low, 0) + 1 or start == length - 1 or start // part.step == (length - 1) // part.step
        assert stop >= min(high, length) or stop >= length
        assert len(range(start, stop, part.step)) <= most + 2
    assert part.place["dw"] >= part.columns[1] - part.columns[0]


@pytest.mark.parametrize("step", [1, 2, 4, 8])
def test_a_map_is_rasterised_to_the_highest_of_the_pixels_under_each(step):
    import xarray as xr

    values = np.random.default_rng(3).normal(size=(37, 26))
    values[:step, :step] = np.nan
    part = Part((0, 37), (8, 26), step)
    found = rasterised(xr.DataArray(values, dims=("y", "x")), part)
    assert found.shape == (-(-37 // step), -(-18 // step))
    for (i, j), value in np.ndenumerate(found):
        under = values[step * i : step * (i + 1), 8:][:, step * j : step * (j + 1)]
        np.testing.assert_equal(value, np.nan if np.isnan(under).all() else np.nanmax(under))


def test_a_glimpse_remembers_and_forgets(values, monkeypatch):
    import xarray as xr

    monkeypatch.setattr(glimpse, "KEPT", 3)
    seen = Glimpse(xr.DataArray(values, dims=("band", "y", "x")))
    part = seen.part((0, 9), (0, 9))
    assert not seen.has([0], part)
    seen.bands([0], part)
    seen.bands([0], seen.whole)
    assert seen.has([0], part)
    seen.bands([1, 2, 3], part)
    assert not seen.has([0], part)
    np.testing.assert_array_equal(seen.bands([2], part)[0], values[2, :10, :10])

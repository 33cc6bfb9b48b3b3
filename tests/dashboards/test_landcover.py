"""The land cover page without a browser: make it, do what a visitor does, look at what it holds."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.dashboards.conftest import restored
from tests.taps import tap
from workbench import execution, runs
from workbench.data.coresets import true_map
from workbench.data.synth_sensors import simulate
from workbench.metrics import classify
from workbench.pages.landcover.findings import Findings, reads
from workbench.pages.landcover.page import Landcover
from workbench.views.image import presets
from workbench.views.looks import class_colours

pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")]
TINY = {
    "steps": 4, "width": 8, "batch": 8, "components": 3, "per_class": 10, "times": [5, 50], "head_steps": 4, "show_every": 2,
    "networks": [], "rivals": [], "trees": 5, "split": "class",
}  # fmt: skip


@pytest.fixture(scope="module")
def scene():
    return simulate("sim-two-sensors", 40, bands=6, seed=3)


@pytest.fixture(scope="module")
def root(tmp_path_factory, scene):
    """A folder of runs with one finished run, called `one`."""
    made = tmp_path_factory.mktemp("landcover") / "runs"
    execution.execute("mdfl", scene, TINY, made / "one")
    return made


@pytest.fixture(scope="module")
def _watched(root, scene):
    opened = Landcover(scene, root=root)
    opened.runner.follow("one")
    yield opened
    opened.close()


@pytest.fixture
def page(_watched):
    """One page of the run; what a test moves is moved back."""
    with restored(_watched, "image", "classifier", "cell", "at", "pixel", "time", "sensor", "tab") as opened:
        yield opened
    _watched.maps.masked.value = False


def test_before_a_run_the_page_says_what_to_do_and_names_bands_and_axes(scene, tmp_path):
    opened = Landcover(scene, root=tmp_path / "runs")
    maps = opened.maps
    try:
        assert (maps._wait.visible, maps._numbers.visible) == (True, False)
        assert "Test pixels" not in " ".join(str(getattr(part, "object", "")) for part in maps.panel if part.visible)
        at = [f"{scene['hsi']['wavelength'].values[b]:.0f}" for b in next(iter(presets(scene["hsi"]).values()))]
        assert maps.scene.figure.title.text.endswith(f": {' / '.join(at)} nm")
        for view in (maps.scene, maps.true, maps.given):
            assert (view.figure.xaxis.axis_label, view.figure.yaxis.axis_label) == ("column (pixels)", "row (pixels)")
        maps.sensors.value = "lidar"
        assert maps.scene.figure.title.text == "LiDAR: band 0"
    finally:
        opened.close()


@pytest.mark.parametrize(
    ("bands", "names", "caption"),
    [
        (2, ["VV", "VH"], "radar: band VV"),
        (3, ["VV", "VH", "HH"], "radar: bands VV / VH / HH"),
        (1, ["VV"], "radar"),
        (2, None, "radar: band 0"),
    ],
)
def test_the_bands_of_radar_are_named(scene, tmp_path, bands, names, caption):
    values = np.ones((bands, *scene["truth"].shape), np.float32)
    radar = xr.DataArray(values, dims=("sar_band", "y", "x"), coords={"polarization": ("sar_band", names)} if names else {})
    opened = Landcover(scene.assign(sar=radar), root=tmp_path / "runs")
    assert opened.caption("sar") == caption
    opened.close()


# --- class map and confusion matrix ---------------------------------------------------------------------------------------


def test_the_page_has_the_numbers_of_the_result(page, root):
    result = runs.result(root / "one")
    found = page.findings
    for name in found.classifiers:
        ending = "" if name == "mdfl" else f"_{name}"
        scores = found.scores(name)
        assert scores.oa == pytest.approx(float(result[f"oa{ending}"])), name
        assert scores.aa == pytest.approx(float(result[f"aa{ending}"])), name
    own = found.scores("mdfl")
    np.testing.assert_array_equal(own.counts, result["confusion"])
    np.testing.assert_allclose(own.area.area, result["area"].sel(estimate="estimated"))
    text = page.maps.split.object
    assert "random pixels" in text
    assert "too high for new places" in text  # the warning of a split by random pixels
    assert f"{float(result['leak_random']):.3f}" in text
    assert f"{float(result['leak_split']):.3f}" in text
    for n, share in enumerate(own.recall):
        assert f"{share:.3f}" in page.maps.table.object, n


def test_a_class_keeps_its_colour_in_every_map(page, scene):
    first, third = page.maps, page.trust
    page.tab = 2
    for view in (first.true, first.given, *third.maps.values()):
        assert view.mapper.palette == class_colours(8)
        assert (view.mapper.low, view.mapper.high) == (-0.5, 7.5)
    np.testing.assert_array_equal(first.true.source.data["image"][0], scene["truth"].values - 1)
    assert "spectrum 1, low" in first.legend.object


def test_a_clicked_cell_walks_through_its_pixels(page, root):
    result = runs.result(root / "one")
    counts = result["confusion"].values
    true, given = np.unravel_index((counts - np.diag(np.diag(counts))).argmax(), counts.shape)
    tap(page.maps.matrix.figure, given, true)
    assert page.cell == f"{true},{given}"
    assert page.maps.matrix.marked.data == {"x": [given], "y": [true]}
    seen = []
    for n in range(counts[true, given]):
        row, column = page.picked
        assert f"Pixel {n + 1}:" in page.maps.walk.object
        assert int(page.data["truth"].values[row, column]) - 1 == true
        assert int(result["labels"].values[row, column]) == given
        assert page.maps.frame.marks.data["y"] == [row]
        start, end = page.maps.frame.x_range.start, page.maps.frame.x_range.end
        assert start <= column <= end
        seen.append((row, column))
        page.maps.next.clicks += 1
    assert len(set(seen)) == counts[true, given]
    assert page.picked == seen[0]  # after the last follows the first
    page.maps.back.clicks += 1
    assert page.picked == seen[-1]


def test_an_empty_cell_says_so_and_keeps_the_pixel(page):
    counts = page.findings.scores("mdfl").counts
    true, given = np.argwhere(counts == 0)[0]
    page.pick(3, 4)
    tap(page.maps.matrix.figure, given, true)
    assert "0 test pixels" in page.maps.walk.object
    assert page.maps.next.disabled
    assert page.picked == (3, 4)


def test_another_classifier_has_its_map_or_says_that_it_has_none(page):
    page.maps.classifiers.value = "raw_only"
    shown = page.maps.given.source.data["image"][0]
    np.testing.assert_array_equal(shown, page.findings.layer("labels", "raw_only", 0))
    page.maps.classifiers.value = "forest"
    assert page.maps.given.source.data["image"] == []
    assert "No map" in page.maps.given.figure.title.text
    assert f"OA {page.findings.scores('forest').oa:.3f}" in page.maps.split.object
    assert "estimated area" in page.maps.table.object
    assert "±" not in page.maps.table.object


def test_pixels_without_a_label_are_masked(root, scene):
    some = scene.copy(deep=True)
    some["truth"].values[:10] = -1
    execution.execute("mdfl", some, TINY | {"seed": 1}, root / "masked")
    opened = Landcover(some, root=root)
    opened.runner.follow("masked")
    try:
        whole = opened.maps.given.source.data["image"][0]
        assert np.isfinite(whole[:10]).all()
        opened.maps.masked.value = True
        masked = opened.maps.given.source.data["image"][0]
        assert np.isnan(masked[:10]).all()
        np.testing.assert_array_equal(masked[10:], whole[10:])
    finally:
        opened.close()


def test_the_truth_of_a_scene_has_the_numbers_of_the_result():
    truth = xr.DataArray(np.array([[0, 2, 5], [-1, 2, 9]]), dims=("y", "x"), attrs={"names": ["sea", "a", "sand"]})
    assert true_map(truth, ["sand", "class 5"]).tolist() == [[-1, 0, 1], [-1, 0, -1]]


# --- raw, deep, both ------------------------------------------------------------------------------------------------------


def test_probabilities_and_entropy_of_raw_deep_and_both(page, root):
    result = runs.result(root / "one")
    page.tab = 2
    for name, ending in (("mdfl", ""), ("raw_only", "_raw_only"), ("bank", "_bank")):
        np.testing.assert_array_equal(page.trust.fields[name].source.data["image"][0], result[f"uncertainty{ending}"])
        entropy = classify.entropy(result[f"probability{ending}"].values, 0)
        np.testing.assert_allclose(page.trust.fields[name].source.data["image"][0], entropy, atol=1e-5)
    page.trust.quantity.value = 3
    np.testing.assert_array_equal(page.trust.fields["bank"].source.data["image"][0], result["probability_bank"][3])
    tap(page.trust.maps["bank"].figure, 7, 5)
    assert page.picked == (5, 7)
    for ending in ("", "_raw_only", "_bank"):
        assert f"{float(result[f'probability{ending}'][3, 5, 7]):.3f}" in page.trust.pixel.object
    assert "random pixels" in page.trust.rows.object
    assert "bank of an untrained network" in page.trust.rows.object


# --- noise levels ---------------------------------------------------------------------------------------------------------


def test_the_slider_shows_the_image_at_its_noise_level_and_a_spectrum(page, root):
    result = runs.result(root / "one")
    page.tab = 3
    page.time = 400
    view = page.inside
    assert "At t = 400" in view.text.object
    assert "mean absolute error" in view.text.object
    noisy = view.views["noisy"]
    assert "t = 400" in noisy.figure.title.text
    tap(noisy.figure, 6, 11)
    assert page.picked == (11, 6)
    names = view.spectra.lines.data["name"]
    assert [n for n in names if n.startswith("estimate")] == ["estimate, t = 5", "estimate, t = 50", "estimate, t = 400"]
    assert view.levels.lines.data["ys"][0].tolist() == result["oa_by_time"].values[0].tolist()
    assert [v.panel.visible for v in view.bank] == [True, True] + [False] * 8


def test_a_band_of_frequencies_is_removed_on_request(page):
    page.tab = 3
    view = page.inside
    assert not view._frequencies.visible
    view.annulus.value = (0.1, 0.72)
    view.ask.clicks += 1
    assert view._frequencies.visible
    assert "0.1 to 0.72 cycles per pixel" in view.changed.object
    labels, without = (v.source.data["image"][0] for v in (view.labels, view.without))
    assert f"{(labels != without).mean():.1%}" in view.changed.object
    view.annulus.value = (0.3, 0.3)
    view.ask.clicks += 1
    assert "An annulus has" in view.changed.object


# --- runs that cannot be shown --------------------------------------------------------------------------------------------


def test_a_run_of_old_is_named(root, scene, tmp_path, monkeypatch):
    result = runs.result(root / "one").drop_vars(["test_true", "test_given"])
    assert not reads(result)
    monkeypatch.setattr(runs, "result", lambda *a, **k: result)
    opened = Landcover(scene, root=root)
    opened.runner.follow("one")
    assert Landcover.OLD.split(".")[0] in opened.alert.object
    assert opened.findings is None
    opened.close()


def test_a_run_without_maps_has_numbers(root, scene):
    result = runs.result(root / "one")
    bare = Findings(
        result.drop_vars([n for n in result.data_vars if n.startswith(("labels", "probability", "uncertainty"))])
    )
    assert bare.mapped == []
    assert bare.scores("mdfl").area is None
    assert bare.layer("labels", "mdfl", 0) is None

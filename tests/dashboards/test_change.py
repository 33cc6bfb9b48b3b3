"""The change page without a browser: make it, do what a visitor does, look at what it holds."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from PIL import Image

from tests.dashboards.conftest import restored
from workbench import execution, runs
from workbench.baselines.change import detect
from workbench.data.catalog import open_scene
from workbench.data.source import Source
from workbench.errors import InputError
from workbench.metrics.change import confusion
from workbench.metrics.uncertainty import error_auroc, risk_coverage
from workbench.pages.change.findings import Findings
from workbench.pages.change.page import Changes, told_apart
from workbench.pages.change.trust import Trust
from workbench.views.change import pictures
from workbench.views.fields import OUTCOMES, Field, outcomes, tinted
from workbench.views.looks import UNCERTAINTY
from workbench.views.plots import Frame
from workbench.views.swipe import Swipe

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    # files are read by several threads at once, and Python's filters of warnings are shared by all of them
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning", "ignore::PendingDeprecationWarning"),
]
TINY = {"steps": 6, "width": 4, "crop": 32, "batch": 4, "show_every": 2, "rivals": ["fc-siam-diff"], "warmup": 1}


def town(names: int, size: int = 32) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Pairs of (y, x, 3) uint8 pictures and masks: a bright roof appears on a noisy ground that darkens."""
    made = []
    for n in range(names):
        random = np.random.default_rng(n)
        before = random.integers(60, 120, (size, size, 3))
        after = np.clip(before * 0.9 + random.integers(-6, 7, before.shape), 0, 255)
        mask = np.zeros((size, size), bool)
        y, x = random.integers(2, size - 14, 2)
        mask[y : y + 11, x : x + 9] = True
        after[mask] = 210
        made.append((before.astype(np.uint8), after.astype(np.uint8), mask))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of pairs: train and test, each with A, B, label."""
    top = tmp_path_factory.mktemp("pairs")
    for n, (before, after, mask) in enumerate(town(9)):
        part = top / ("test" if n > 5 else "train")
        for name, picture in (("A", before), ("B", after), ("label", mask.astype(np.uint8) * 255)):
            (part / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(part / name / f"roof{n}.png")
    return top


@pytest.fixture(scope="module")
def root(tmp_path_factory, folder):
    """A folder of runs with one finished run on the set, called `one`."""
    made = tmp_path_factory.mktemp("change") / "runs"
    execution.execute("arcdnet", str(folder), TINY, made / "one")
    return made


@pytest.fixture(scope="module")
def result(root):
    return runs.result(root / "one")


def located(path: Path, picture: np.ndarray, pixel: float = 10.0) -> Path:
    """A GeoTIFF in UTM, with pixels of 10 m."""
    bands = picture[None] if picture.ndim == 2 else picture.transpose(2, 0, 1)
    about = {"driver": "GTiff", "height": bands.shape[1], "width": bands.shape[2], "count": len(bands), "dtype": "uint8"}
    with rasterio.open(
        path, "w", crs="EPSG:32633", transform=rasterio.Affine(pixel, 0, 500000, 0, -pixel, 5800000), **about
    ) as file:
        file.write(bands.astype(np.uint8))
    return path


@pytest.fixture
def page(root, folder):
    made = []

    def make(scene=None, run="one", **state):
        opened = Changes(str(folder) if scene is None else scene, root=state.pop("root", root), **state)
        if run:
            opened.runner.follow(run)
        made.append(opened)
        return opened

    yield make
    for opened in made:
        opened.close()


@pytest.fixture(scope="module")
def _watched(root, folder):
    opened = Changes(str(folder), root=root)
    opened.runner.follow("one")
    yield opened
    opened.close()


@pytest.fixture
def shared(_watched):
    """One page of the run for all tests that move nothing but these."""
    with restored(_watched, "sample", "detector", "overlay", "answered", "rival") as opened:
        yield opened


# --- views ----------------------------------------------------------------------------------------------------------------


def test_decisions_have_the_colours_of_how_they_came_out():
    p = np.array([[0.9, 0.6, 0.4, 0.1, np.nan, 0.9]])
    y = np.array([[1, 0, 1, 0, 1, -1]])
    white, red, blue, black = OUTCOMES.values()
    grey = (128, 128, 128)
    assert [tuple(c) for c in outcomes(p, y)[0].tolist()] == [white, red, blue, black, grey, grey]
    answered = np.array([[True, False, True, True, True, True]])
    assert tuple(outcomes(p, y, answered)[0, 1]) == grey
    assert [tuple(c) for c in outcomes(p, None)[0].tolist()] == [white, white, black, black, grey, white]


def test_an_overlay_is_as_opaque_as_it_is_high_and_gone_where_nothing_is_known():
    alpha = tinted(np.array([[0.0, 0.25, 1.0, np.nan]]))[0, :, 3]
    assert alpha.tolist() == [0, 127, 255, 0]


def test_both_dates_share_one_stretch_and_sar_is_in_decibels():
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 8, 8)
    before = xr.DataArray(values, dims=("band", "y", "x"))
    first, second, told = pictures(before, before * 0.5)
    assert told == "grey"
    assert second.mean() < 0.65 * first.mean()  # darker stays darker
    sar = before.assign_attrs(kind="sar")
    shown, same, told = pictures(sar, sar * 10)
    assert told == "backscatter in dB"
    assert tuple(shown[0, 0]) == (128, 128, 128)  # log of 0: missing
    assert same.mean() > shown.mean()


def test_the_divider_parts_the_dates_and_follows_slider_and_drag():
    ground = Frame()
    ground.fit(4, 10)
    swipe = Swipe(ground)
    swipe.show(np.full((4, 10, 3), 9, np.uint8), np.full((4, 10, 3), 200, np.uint8), "both")
    alpha = np.asarray(swipe.before.data["image"][0]).view(np.uint8).reshape(4, 10, 4)[0, :, 3]
    assert alpha.tolist() == [255] * 5 + [0] * 5
    swipe.slider.value = 30
    assert swipe.divider.location == pytest.approx(2.5)
    swipe.divider.location = 7.5
    assert swipe.slider.value == 80
    assert swipe.divider.location == 7.5  # the slider's whole per cents do not pull it back


def test_fields_of_one_frame_share_their_ranges():
    ground = Frame()
    a, b = (Field(ground, n) for n in "ab")
    assert a.figure.x_range is b.figure.x_range
    a.show(np.zeros((3, 3)))
    assert not a.empty
    a.show(None)
    assert a.empty


# --- opening --------------------------------------------------------------------------------------------------------------


def test_offers_pairs_and_finds_what_takes_a_second(page):
    opened = page("sim-change-town", run=None)
    offered = set(opened.choice.options.values())
    assert {"sim-change-town", "sim-change-tiles", "landsat-taizhou", "sar-ottawa"} <= offered
    assert not {"digits", "sim-coast-town", "gamsberg"} & offered
    assert "one pair of 256 × 256 pixels" in opened.card.object
    scene = open_scene("sim-change-town")
    found = detect("cva", scene)["change"].values
    opened.MADE._worker.submit(lambda: None).result()
    np.testing.assert_array_equal(opened.maps.change.source.data["image"][0], found.astype(np.float32))
    assert f"F1 {confusion(found, scene['truth'].values).f1:.3f}" in opened.maps.text.object
    assert opened.learning._invite.visible
    assert opened.trust._invite.visible
    assert opened.inside._invite.visible


def test_a_pair_of_ones_own_is_opened_with_its_checks(page, tmp_path):
    (before, after, mask), *_ = town(1)
    first, second, third = (
        located(tmp_path / f"{n}.tif", v) for n, v in (("t1", before), ("t2", after), ("gt", 255 * mask))
    )
    opened = page(run=None, root=tmp_path / "runs")
    opened.path.value, opened.after_path.value, opened.truth_path.value = str(first), str(second), str(third)
    opened.open_named()
    assert not opened.alert.visible
    assert (opened.scene, opened.after, opened.truth) == (str(first), str(second), str(third))
    assert "EPSG:32633" in opened.card.object
    assert opened.source == Source(first, third, beside={"after": second})
    small = located(tmp_path / "small.tif", after[:16])
    opened.after_path.value = str(small)
    opened.open_named()
    assert opened.alert.visible
    assert "esample" in opened.alert.object  # the way out is named
    assert opened.after == str(second)  # what was shown stays
    opened.after_path.value = str(first)
    opened.open_named()
    assert "same file" in opened.alert.object


def test_one_image_alone_is_no_pair(page, tmp_path):
    opened = page(run=None)
    opened.open(str(located(tmp_path / "t1.tif", town(1)[0][0])))
    assert opened.alert.visible
    opened.open("")
    assert "No pair was given" in opened.alert.object


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (["b.png", "a.png"], {"before": "a.png", "after": "b.png"}),
        (["x_label.png", "x_post.tif", "x_pre.tif"], {"before": "x_pre.tif", "after": "x_post.tif", "truth": "x_label.png"}),
        (["2000.img", "2000.hdr", "2003.img", "2003.hdr"], {"before": "2000.hdr", "after": "2003.hdr"}),
        (["1.png", "2.png", "3.png"], {"before": "1.png", "after": "2.png", "truth": "3.png"}),
    ],
)
def test_files_that_are_handed_over_are_told_apart(names, roles):
    assert told_apart(names) == roles


def test_a_pair_that_is_handed_over_is_kept_beside_the_runs(page, tmp_path):
    (before, after, _), *_ = town(1)
    blobs = []
    for picture in (after, before):
        out = io.BytesIO()
        Image.fromarray(picture).save(out, format="png")
        blobs.append(out.getvalue())
    opened = page(run=None, root=tmp_path)
    opened.upload.param.update(value=blobs, filename=["roof_after.png", "roof_before.png"], mime_type=["image/png"] * 2)
    assert Path(opened.path.value).name == "roof_before.png"
    assert Path(opened.after_path.value).read_bytes() == blobs[0]
    opened.open_named()
    assert "none: a trained network can be applied" in opened.card.object
    opened.upload.param.update(value=blobs[:1], filename=["alone.png"], mime_type=["image/png"])
    assert "A pair is two images" in opened.alert.object
    with pytest.raises(InputError, match="two images"):
        told_apart(["a.png", "b.png", "c.png", "d.png"])


def test_state_of_the_address_is_restored(page, result):
    last = str(result["sample"].values[-1])
    again = page(run=None, detector="cva", answered=0.4, rival="max_probability", sample=last)
    again.runner.follow("one")
    assert (again.sample, again.shown, again.trust.second) == (last, "cva", "max_probability")
    assert again.samples == open_scene(again.scene)["sample"].values.tolist()
    assert again.maps.samples.value == last


# --- a finished run -------------------------------------------------------------------------------------------------------


def test_the_maps_are_those_of_the_run(shared, result):
    opened = shared
    assert opened.sample == str(result["sample"].values[0])  # the first test pair
    here = result.sel(sample=opened.sample)
    np.testing.assert_array_equal(opened.maps.change.source.data["image"][0], here["change"].values)
    np.testing.assert_array_equal(opened.maps.uncertainty.source.data["image"][0], here["uncertainty"].values)
    error = np.abs((here["truth"].values > 0) - here["change"].values)
    np.testing.assert_allclose(opened.maps.error.source.data["image"][0], error, rtol=1e-6)
    opened.detector = "fc_siam_diff"
    np.testing.assert_array_equal(opened.maps.change.source.data["image"][0], here["change_fc_siam_diff"].values)
    assert opened.maps.uncertainty.empty  # U speaks of AR-CDNet's map
    for name in result["rival"].values:
        row = result["scores"].sel(rival=name)
        assert f">{float(row.sel(metric='f1')):.3f}<" in opened.maps.table.object
    scores = result["scores"].sel(metric=["precision", "recall", "f1", "iou", "kappa"])
    columns = scores.where(np.isfinite(scores), -1).values.round(3)
    best = (columns == columns.max(0)) & (columns != columns.max(0)).any(0)  # bold is for a column, not for a row
    assert opened.maps.table.object.count("</b></td>") == best.sum() > 0


def test_a_training_pair_has_both_dates_and_the_quick_map_only(shared, result):
    opened = shared
    train = next(s for s in opened.samples if s not in result["sample"].values)
    opened.sample = train
    opened.MADE._worker.submit(lambda: None).result()
    assert opened.shown == "cva"
    assert opened.maps.uncertainty.empty
    assert not opened.maps.change.empty
    assert opened.maps.change.mask  # 0 and 1 are no probability
    assert opened.maps.change.figure.title.text == "Change mask, CVA + Otsu"
    assert list(opened.maps.change.scale.major_label_overrides.values()) == ["no", "yes"]
    assert "P > 0.5" not in opened.maps.decisions.figure.title.text
    opened.sample = str(result["sample"].values[0])
    assert opened.shown == "ours"
    assert not opened.maps.change.mask
    assert not opened.maps.change.scale.major_label_overrides
    assert len(opened.maps.change.mapper.palette) == 256


@pytest.mark.parametrize("overlay", ["Reference", "Change", "Uncertainty", "Decisions"])
def test_overlays_lie_over_both_dates(shared, overlay):
    opened = shared
    assert not len(opened.maps.swipe.over.data["image"])
    opened.overlay = overlay
    drawn = opened.maps.swipe.over.data["image"][0].view(np.uint8).reshape(32, 32, 4)
    assert (drawn[..., 3] > 0).any()
    assert not opened.maps.opacity.disabled
    opened.overlay = "Nothing"
    assert opened.maps.opacity.disabled
    assert not len(opened.maps.swipe.over.data["image"])


def test_answering_only_the_surest_is_counted_on_all_test_pixels(shared, result):
    opened = shared
    opened.MADE._worker.submit(lambda: None).result()
    opened.answered = 0.5
    truth, p, u = (result[n].values for n in ("truth", "change", "uncertainty"))
    curve = risk_coverage(u, p, truth)
    at = int(np.searchsorted(curve.coverage, 0.5 - 1e-9))
    kept = u <= curve.threshold[at]
    wrong = ((p > 0.5) != (truth > 0))[kept].mean()
    assert f"{100 * wrong:.2f}<" in opened.trust.readout.object
    assert f"{100 * kept.mean():.1f} %</td>" in opened.trust.readout.object
    here = result["uncertainty"].sel(sample=opened.sample).values <= curve.threshold[at]
    grey = (opened.trust.mine.source.data["image"][0].view(np.uint8).reshape(32, 32, 4)[..., :3] == 128).all(-1)
    np.testing.assert_array_equal(grey, ~here)
    assert opened.trust.curve.lines.data["name"] == [UNCERTAINTY["ours"].title, UNCERTAINTY["entropy"].title]
    opened.rival = "shuffled"
    opened.MADE._worker.submit(lambda: None).result()
    assert UNCERTAINTY["shuffled"].title in opened.trust.curve.lines.data["name"]


def test_all_measures_are_in_the_table_with_their_numbers(shared, result):
    opened = shared
    for name in result["measure"].values:
        number = float(result["uncertainty_scores"].sel(measure=name, quantity="error_auroc"))
        assert f"{number:.3f}<" in opened.trust.table.object
    expected = error_auroc(result["uncertainty"].values, result["change"].values, result["truth"].values)
    assert f"{expected:.3f}<" in opened.trust.table.object
    table = opened.trust._csv().read().splitlines()
    assert table[0] == "measure,coverage,risk,precision,recall,threshold"


def test_of_one_large_pair_only_held_out_squares_are_judged(result):
    one = result.isel(sample=0, drop=True)
    part = np.zeros(one["truth"].shape, np.int8)
    part[:, 16:] = 2
    judged = Findings(one.assign(part=(("y", "x"), part))).judge("ours")
    expected = risk_coverage(one["uncertainty"].values[:, 16:], one["change"].values[:, 16:], one["truth"].values[:, 16:])
    np.testing.assert_array_equal(judged.risk, expected.risk)
    assert Findings(one.drop_vars("truth")).judge("ours") is None


def test_a_tab_is_built_when_it_is_first_seen_with_all_that_came_before(page, shared):
    opened = page()
    assert opened.rooms.built == {}
    assert "being built" in opened.rooms.places[Trust].objects[0].object
    opened.param.update(answered=0.5, tab=2)
    assert list(opened.rooms.built) == [Trust]
    assert opened.rooms.places[Trust].objects == [opened.trust.panel]
    shared.answered = 0.5
    assert opened.trust.readout.object == shared.trust.readout.object
    assert page(tab=1).learning.text.object == shared.learning.text.object


def test_looking_inside_shows_masks_and_the_exchange(page):
    opened = page()
    assert opened.inside.first.empty  # not before the tab is seen
    opened.tab = 3
    opened.MADE._worker.submit(lambda: None).result()
    opened.inside.draw()
    assert not opened.inside.first.empty
    s2, s3 = (f.source.data["image"][0] for f in (opened.inside.first, opened.inside.rows[0][0]))
    reverse, disagree = (f.source.data["image"][0] for f in opened.inside.rows[0][1:])
    np.testing.assert_allclose(reverse, 1 - s3, atol=0.02)  # enlarged from a coarser grid, each on its own
    np.testing.assert_allclose(disagree, s2 * (1 - s3) + s3 * (1 - s2), atol=0.05)
    opened.inside.exchange()
    opened.MADE._worker.submit(lambda: None).result()
    assert not opened.inside.gap.empty
    assert "has different weights" in opened.inside.swapped.object


# --- training ---------------------------------------------------------------------------------------------------------------


def test_a_run_is_followed_while_it_goes_on(page, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.views.stepper.ECHO", 0.0)  # the visitor of this test is quicker than any
    trace = execution.start("arcdnet", str(folder), TINY, tmp_path / "live")
    opened = page(run=None, root=tmp_path)
    opened.tab = 1
    next(trace)
    opened.runner.follow("live")
    assert "untrained" in opened.learning.text.object
    assert len(opened.learning.before.source.data["image"]) == 1
    for _ in range(4):
        next(trace)
    opened.poll()
    assert opened.learning.steps == [0, 2, 4]
    assert "<b>Step 4</b> of 6" in opened.learning.text.object
    shown = opened.runner.live.frame("uncertainty", 4).values
    np.testing.assert_array_equal(opened.learning.uncertainty.source.data["image"][0], shown)
    floor = opened.learning.losses.sources["its entropy floor"].data["y"]
    assert len(floor) == 4
    assert (floor <= opened.learning.losses.sources["uncertainty"].data["y"]).all()
    opened.learning.stepper.slider.value = 1
    assert not opened.learning.stepper.follow.value
    assert "<b>Step 0</b>" in opened.learning.text.object
    assert opened.trust._invite.visible
    for _ in trace:
        pass
    opened.poll()
    assert opened.findings is not None
    assert opened.trust._content.visible
    rival = opened.learning.f1.sources["FC-Siam-diff"].data
    assert rival["x"].tolist() == [2, 4, 6]  # beside AR-CDNet, not behind it


def test_a_trained_network_is_applied_to_a_pair_without_reference(page, root, tmp_path):
    (before, after, _), *_ = town(1)
    first, second = (located(tmp_path / f"{n}.tif", v) for n, v in (("t1", before), ("t2", after)))
    opened = page(str(first), run=None, after=str(second))
    assert "choose a trained one" in opened.networks.options
    network = next(v for v in opened.networks.options.values() if v)
    opened.networks.value = network
    assert opened.runner.form.overrides["weights"] == network
    execution.execute("arcdnet", Source(first, beside={"after": second}), opened.runner.form.overrides, root / "applied")
    opened.runner.follow("applied")
    applied = runs.result(root / "applied")
    np.testing.assert_array_equal(opened.maps.change.source.data["image"][0], applied["change"].values)
    assert opened.trust._no_truth.visible
    assert opened.maps.error.empty
    assert "A trained network is applied" in opened.learning.text.object


# --- taking it away ---------------------------------------------------------------------------------------------------------


def test_areas_of_a_located_pair_have_square_metres(page, tmp_path):
    (before, after, mask), *_ = town(1)
    first, second, third = (
        located(tmp_path / f"{n}.tif", v) for n, v in (("t1", before), ("t2", after), ("gt", 255 * mask))
    )
    opened = page(str(first), run=None, after=str(second), truth=str(third), root=tmp_path / "runs")
    opened.MADE._worker.submit(lambda: None).result()
    opened.tab = 4
    opened.export.least.value = 20
    opened.export.tell()
    p = opened.probability()
    assert "<b>1 area</b>" in opened.export.message.object
    assert "m² on the ellipsoid" in opened.export.message.object
    assert opened.export.geojson.filename == "change.geojson"
    found = json.loads(opened.export.polygon_file(".geojson").read())["features"]
    assert found[0]["properties"]["area_m2"] == pytest.approx(100 * found[0]["properties"]["pixels"], rel=0.01)
    with rasterio.MemoryFile(opened.export.cog("change").read()) as file, file.open() as tif:
        assert tif.crs.to_epsg() == 32633
        assert tif.transform.a == 10.0
        np.testing.assert_array_equal(tif.read(1), p)
    assert "beside={'after'" in opened.export.as_code()


def test_everything_else_can_be_taken_too(page, result):
    opened = page()
    opened.tab = 4
    opened.export.tell()
    assert "not georeferenced" in opened.export.message.object or "No area" in opened.export.message.object
    assert opened.export.geojson.filename == "change-pixels.geojson"
    assert "change-pixels.geojson" in opened.export.code.object
    for feature in json.loads(opened.export.polygon_file(".geojson").read())["features"]:
        assert feature["properties"]["coordinates"] == "pixels: column, row"
    taken = xr.open_dataset(io.BytesIO(opened.export.maps_file().read()), engine="h5netcdf")
    xr.testing.assert_equal(taken["change"], result["change"])
    scores = opened.export.scores().read().splitlines()
    assert scores[0] == "rival,precision,recall,f1,iou,kappa"
    assert len(scores) == 1 + result.sizes["rival"]
    assert opened.export.picture().read(8) == b"\x89PNG\r\n\x1a\n"
    code = opened.export.as_code()
    compile(code, "shown", "exec")
    assert ".sel(sample=" in code


def test_only_sure_areas_are_fewer(page, result):
    opened = page()
    opened.MADE._worker.submit(lambda: None).result()
    opened.tab = 4
    opened.export.take()
    opened.export.threshold.value, opened.export.least.value = 0.0, 1
    everything = sum(f["properties"]["pixels"] for f in opened.export.areas()["features"])
    opened.answered, opened.export.surer.value = 0.3, True
    sure = sum(f["properties"]["pixels"] for f in opened.export.areas()["features"])
    limit = risk_coverage(result["uncertainty"].values, result["change"].values, result["truth"].values)
    at = int(np.searchsorted(limit.coverage, 0.3 - 1e-9))
    assert everything == 32 * 32
    assert sure == int((result["uncertainty"].sel(sample=opened.sample).values <= limit.threshold[at]).sum())

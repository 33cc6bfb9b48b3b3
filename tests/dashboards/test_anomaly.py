"""The anomaly page without a browser: make it, do what a visitor does, look at what it holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.dashboards.conftest import TINY, restored
from workbench import execution, runs
from workbench.metrics.anomaly import at_threshold
from workbench.pages.anomaly.page import Explorer
from workbench.pages.frame.window import THEME
from workbench.views.looks import ANOMALY, PICKS


@pytest.fixture(scope="module")
def _judged(scene_file, tmp_path_factory):
    explorer = Explorer(scene_file, root=tmp_path_factory.mktemp("judged") / "runs")
    for tab in (1, 2, 0):
        explorer.tab = tab
    yield explorer
    explorer.close()


@pytest.fixture
def shared(_judged):
    """One page of the scene for all tests that move nothing but these."""
    with restored(_judged, "detector", "flag") as explorer:
        yield explorer


def test_a_tap_adds_the_spectrum_of_that_pixel(page, scene_file, small_scene):
    explorer = page(scene_file)
    explorer.pick(3, 7)
    drawn = explorer.explore.spectra.lines.data
    x, y = explorer.axis.line(small_scene["hsi"].values[:, 3, 7])
    np.testing.assert_array_equal(drawn["xs"][0], x)
    np.testing.assert_array_equal(drawn["ys"][0], y)
    assert drawn["color"] == [PICKS[0]]
    assert explorer.frame.marks.data["x"] == [7]
    assert explorer.frame.marks.data["y"] == [3]
    assert explorer.picks == "3,7"
    assert "3, 7" in explorer.explore.table.rows[0]["cells"]


def test_a_pick_keeps_its_colour_when_another_goes(page, scene_file):
    explorer = page(scene_file)
    for pixel in ((0, 0), (1, 1), (2, 2)):
        explorer.pick(*pixel)
    explorer.pick(1, 1)  # again: let go
    assert explorer.picked == {1: (0, 0), 3: (2, 2)}
    assert explorer.explore.spectra.lines.data["color"] == [PICKS[0], PICKS[2]]
    assert [row["number"] for row in explorer.explore.table.rows] == [1, 3]
    explorer.pick(5, 5)  # takes the free place
    assert explorer.picked[2] == (5, 5)
    explorer.unpick(3)
    explorer.unpick()
    assert explorer.picked == {}
    assert explorer.picks == ""


def test_when_all_places_are_taken_the_oldest_gives_way(page, scene_file):
    explorer = page(scene_file)
    for i in range(len(PICKS) + 1):
        explorer.pick(i, i)
    assert len(explorer.picked) == len(PICKS)
    assert explorer.picked[1] == (len(PICKS), len(PICKS))


def test_state_of_the_address_is_restored(page, scene_file):
    explorer = page(scene_file, picks="1,2;999,1;x;3,4", flag=2.0, detector="pca-rx", look="Band", band=4, tabs=(1,))
    assert list(explorer.picked.values()) == [(1, 2), (3, 4)]  # what lies outside or makes no sense is left out
    assert explorer.detector == "pca-rx"
    assert explorer.explore.slider.value == 4
    assert explorer.look == "Band"
    assert explorer.flag == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("flag", [0.5, 3.0, 40.0])
@pytest.mark.parametrize("detector", ["rx", "ridge-rx", "pca-rx"])
def test_mask_and_readout_agree_with_the_metrics(shared, small_scene, flag, detector):
    explorer = shared
    explorer.detector = detector
    explorer.flag = min(explorer.compare.cuts.options.values(), key=lambda c: abs(c - flag))
    score = execution.execute(detector, small_scene).result["score"].values
    counted = at_threshold(score, small_scene["truth"].values, explorer.threshold(detector))
    mask = explorer.flagged()
    assert mask.sum() == counted["tp"] + counted["fp"] == round(explorer.flag / 100 * 576)
    shown = explorer.compare.overlay.mask.data["image"][0] >> 24
    assert (shown > 0).sum() == mask.sum()
    line = explorer.compare.verdict.object
    assert f"{counted['tp']:,} of {int((small_scene['truth'] > 0).sum())}" in line
    assert f"{counted['pf']:.5f}" in line
    (shaded,) = (row for row in line.split("<tr") if "background" in row)
    assert ANOMALY[detector].title in shaded
    assert "font-weight:700" not in line  # bold is the best of a column, not the chosen row


def test_mask_on_the_image_is_shown_when_asked_for(page, scene_file):
    explorer = page(scene_file)
    assert explorer.explore.image.mask.data["image"] == []
    explorer.masked = True
    assert len(explorer.explore.image.mask.data["image"]) == 1


def test_maps_show_the_scores_and_their_auc(shared, small_scene):
    explorer = shared
    for name in ("rx", "ridge-rx", "pca-rx"):
        result = execution.execute(name, small_scene).result
        np.testing.assert_allclose(explorer.compare.maps[name].source.data["own"][0], result["score"], rtol=1e-6)
        assert f"{float(result['auc']):.4f}" in explorer.compare.maps[name].figure.title.text
        assert explorer.compare.maps[name].panel.visible
    assert set(explorer.compare.roc.curves.data["name"]) == {"RX", "ridge-RX", "PCA-RX"}
    assert not explorer.compare.maps["trained"].panel.visible


def test_all_image_figures_share_ranges_and_marks(shared):
    explorer = shared
    figures = [explorer.explore.image.figure, explorer.compare.overlay.figure, explorer.train.steps.score.figure]
    figures += [m.figure for m in explorer.compare.maps.values()]
    assert all(f.x_range is explorer.frame.x_range and f.y_range is explorer.frame.y_range for f in figures)
    assert all(any(r.data_source is explorer.frame.marks for r in f.renderers) for f in figures)


def test_the_rank_of_the_highest_score_is_one(page, scene_file):
    explorer = page(scene_file)
    explorer.pick(*np.unravel_index(explorer.scores["rx"].values.argmax(), (24, 24)))
    assert "1 of 576" in explorer.explore.table.rows[0]["cells"]


def test_without_truth_there_is_a_histogram_and_an_explanation(page, small_scene):
    explorer = page(small_scene.drop_vars("truth").load(), tabs=(1,))
    assert not explorer.compare.roc.panel.visible
    assert explorer.compare._no_truth.visible
    assert len(explorer.compare.histogram.bars.data["left"]) == 80
    assert "flagged" in explorer.compare.verdict.object
    assert "PD" not in explorer.compare.verdict.object
    assert explorer.explore.outlines.disabled


def test_the_threshold_slider_of_a_new_scene_stands_where_its_value_is(page, small_scene):
    """The browser is told the position among the options: 1 % of 2400 pixels is an option, but not the first."""
    explorer = page(small_scene.load(), tabs=(1,))
    sent = explorer.compare.cuts.get_root().data
    explorer._given = None
    explorer.open("sim-coast-town")
    options = list(explorer.compare.cuts.options.values())
    assert explorer.compare.cuts.value == explorer.flag
    assert sent.value == options.index(explorer.flag) > 0


def test_band_slider_shows_that_band(page, scene_file, small_scene):
    explorer = page(scene_file)
    before = explorer.explore.image.source.data["image"][0]
    explorer.explore.slider.value = 5
    assert explorer.look == "Band"
    assert (explorer.explore.image.source.data["image"][0] != before).any()
    nm = float(small_scene["wavelength"][5])
    assert f"{nm:.1f} nm" in explorer.explore.image.figure.title.text
    assert explorer.explore.spectra._bands.data["x"] == [nm]


@pytest.mark.parametrize(
    ("ref", "told"),
    [
        ("sim-coast-twon", "Did you mean"),
        ("nowhere/to/be.mat", "be.mat"),
        ("", "No scene was given"),
    ],
)
def test_what_cannot_be_opened_is_told_and_the_page_stays(page, scene_file, ref, told):
    explorer = page(scene_file)
    explorer.open(ref)
    assert explorer.alert.visible
    assert told in explorer.alert.object
    assert explorer.scene == str(scene_file)
    assert explorer.tabs.visible
    explorer.open(str(scene_file))
    assert not explorer.alert.visible


def test_a_page_whose_first_scene_fails_says_what_to_do(page):
    explorer = page("nowhere.mat")
    assert explorer.alert.visible
    assert explorer._empty.visible
    assert not explorer.tabs.visible


def test_names_inside_a_file_that_make_no_sense(page, scene_file):
    explorer = page(scene_file)
    explorer.open(str(scene_file), keys="cube")
    assert "cube=NAME" in explorer.alert.object


def test_an_upload_is_kept_and_opened(page, scene_file, tmp_path):
    explorer = page("sim-coast-town")
    explorer.upload.filename = "mine.nc"
    explorer.upload.value = scene_file.read_bytes()
    assert explorer.alert.object == ""
    assert Path(explorer.scene).name == "mine.nc"
    assert explorer.data.sizes["band"] == 30
    assert Path(explorer.scene).is_relative_to(tmp_path / "runs" / "uploads")


def test_another_scene_begins_anew(page, scene_file):
    explorer = page(scene_file, tabs=(1,))
    explorer.pick(2, 2)
    explorer.open("sim-coast-town")
    assert explorer.picked == {}
    assert explorer.explore.spectra.lines.data["xs"] == []
    assert explorer.frame.shape == (100, 100)
    assert len(explorer.compare.maps["rx"].source.data["own"][0]) == 100


def test_a_finished_run_is_reopened_with_everything(page, scene_file, tmp_path):
    folder = tmp_path / "runs" / "one"
    result = execution.execute("bsdm", scene_file, {**TINY, "steps": 4}, folder).result
    explorer = page(scene_file, run="one", picks="3,7")
    train = explorer.train
    assert 'aria-valuenow="100"' in train.runner.player.text.object
    assert "4 training steps + passes 0 to 2" in train.runner.player.text.object
    assert train.runner.form.overrides["steps"] == 4
    assert list(train.loss.sources["loss"].data["x"]) == [1, 2, 3, 4]
    assert list(train.auc.sources["BSDM"].data["x"]) == [0, 2, 4]
    assert list(train.passes.sources["trained"].data["x"]) == [0, 1, 2]
    np.testing.assert_allclose(train.passes.sources["trained"].data["y"], result["auc_k"])
    assert train.auc.levels["untrained"].data["y"] == [pytest.approx(float(result["auc_untrained"]))]
    assert train.loss.levels["σ² (mean alone)"].data["y"] == [pytest.approx(float(result["sigma2"]))]
    assert [s.step for s in train.steps.stills("passes")] == [5, 6, 7]
    np.testing.assert_allclose(explorer.scores["trained"], result["score"])
    np.testing.assert_allclose(explorer.scores["untrained"], result["score_untrained"])
    quiet = explorer.explore.quiet
    explorer.explore.quiet.relative.value = False
    np.testing.assert_allclose(
        quiet.view.lines.data["ys"][0], explorer.axis.line(result["suppressed_first"].values[:, 3, 7])[1]
    )
    explorer.explore.quiet.which.value = "suppressed"
    np.testing.assert_allclose(quiet.view.lines.data["ys"][0], explorer.axis.line(result["suppressed"].values[:, 3, 7])[1])
    text = explorer.explore._csv().getvalue().splitlines()
    assert text[0] == "band,wavelength_nm,good,hsi_row3_column7,suppressed_first_row3_column7,suppressed_row3_column7"
    assert len(text) == 31


def test_stepping_through_the_passes_moves_the_maps_and_the_cursor(page, scene_file, tmp_path):
    result = execution.execute("bsdm", scene_file, {**TINY, "steps": 4}, tmp_path / "runs" / "one").result
    train = page(scene_file, run="one").train
    assert train.steps.which.value == "passes"
    train.steps.stepper.slider.value = 2
    np.testing.assert_allclose(train.steps.score.source.data["own"][0], result["score_k"][1], rtol=1e-5)
    assert train.passes._cursor.data["x"] == [1]
    train.steps.which.value = "training"
    train.steps.stepper.slider.value = 1
    assert train.auc._cursor.data["x"] == [0]
    assert train.passes._cursor.data["x"] == []


def test_a_run_of_another_scene_is_not_shown_as_this_one(page, scene_file, tmp_path):
    execution.execute("bsdm", scene_file, {**TINY, "steps": 1}, tmp_path / "runs" / "one")
    explorer = page("sim-coast-town", run="one", tabs=(2,))
    assert explorer.run == ""
    assert "not" in explorer.train.runner.player.text.object or "open that scene" in explorer.train.runner.player.text.object
    assert "trained" not in explorer.scores


@pytest.mark.parametrize("name", ["local-rx", "crd"])
def test_a_finished_run_of_a_detector_is_picked_up_after_reopening(page, scene_file, tmp_path, name):
    root, title = tmp_path / "runs", ANOMALY[name].title
    execution.execute(name, scene_file, {"inner": 3, "outer": 9}, root / "20260101-other-settings")
    explorer = page(scene_file, tabs=(1,))
    assert name not in explorer.scores  # not the map that the button computes
    assert title not in explorer.compare.verdict.object
    explorer.close()
    result = execution.execute(name, scene_file, {}, root / "20260102-finished").result
    (root / "20260103-damaged").mkdir()
    again = page(scene_file, tabs=(1,))
    assert set(again.scores) == {"rx", "ridge-rx", "pca-rx", name}
    np.testing.assert_allclose(again.scores[name], result["score"])
    assert again.compare.maps[name].panel.visible
    assert not again.compare.buttons[name].visible
    assert title in again.compare.verdict.object
    again.open("sim-coast-town")
    assert name not in again.scores  # of another scene


def test_a_detector_that_is_computed_on_request_says_with_which_settings_and_how_long(shared):
    compare = shared.compare
    for name, settings in {
        "local-rx": "inner window 5, outer 19",
        "crd": "inner window 7, outer 15",
        "kifd": "500 trees, 300 kernel components",
        "auto-ad": "500 training steps",
    }.items():
        text = compare._waiting[name].object
        assert settings in text
        assert "for 100 × 100 pixels, in a separate process" in text
        assert compare.buttons[name].visible
        assert compare._waiting[name].visible
    assert list(compare.chosen.options.values()) == list(compare.maps)
    assert not any(compare.buttons[name].visible for name in ("rx", "ridge-rx", "pca-rx"))


def test_a_run_that_is_not_there_says_so(page, scene_file):
    explorer = page(scene_file, run="gone", tabs=(2,))
    assert "There is no run" in explorer.train.runner.player.text.object
    assert explorer.run == ""


def test_a_run_cannot_be_read_from_outside_the_runs_folder(page, scene_file, tmp_path):
    execution.execute("bsdm", scene_file, {**TINY, "steps": 1}, tmp_path / "elsewhere" / "one")
    explorer = page(scene_file, run="../elsewhere/one", tabs=(2,))
    assert "is not the name of a run" in explorer.train.runner.player.text.object


def test_a_killed_run_shows_why_and_can_be_resumed(page, scene_file, tmp_path):
    folder = tmp_path / "runs" / "one"
    trace = execution.start("bsdm", scene_file, {**TINY, "steps": 50}, folder)
    for _ in range(4):
        next(trace)
    about = json.loads((folder / "run.json").read_text())
    explorer = page(scene_file, run="one", tab=2)
    assert "Running" in explorer.train.runner.player.text.object
    (folder / "run.json").write_text(json.dumps(about | {"pid": 2**22 + 1, "pid_start": "0"}))  # as after kill -9
    explorer.poll()
    assert "Killed" in explorer.train.runner.player.text.object
    assert "without an error message" in explorer.train.runner.player.text.object
    assert explorer.train.runner.player.resume.visible
    (folder / "run.json").write_text(json.dumps(about))
    trace.close()


@pytest.mark.process
def test_training_in_its_own_process_moves_the_page_and_stops(page, scene_file, tmp_path):
    """A real child process, followed by polling as the timer would."""
    import time

    explorer = page(scene_file, tabs=(2,))
    explorer.tab = 2
    explorer.train.runner.form.set({**TINY, "steps": 5000})
    explorer.train.runner.start()
    folder = tmp_path / "runs" / explorer.run
    deadline = time.monotonic() + 120
    seen = []
    while time.monotonic() < deadline and len(seen) < 3:
        explorer.poll()
        points = len(explorer.train.loss.sources["loss"].data["x"])
        if points and (not seen or points > seen[-1]):
            seen.append(points)
        time.sleep(0.2)
    assert len(seen) == 3, (explorer.train.runner.live.status, explorer.train.runner.live.error)
    assert "untrained" in explorer.scores
    assert explorer.train.runner.player.stop.visible
    explorer.train.runner.ask("stop")
    while time.monotonic() < deadline and explorer.train.runner.live.status not in runs.FINAL:
        time.sleep(0.2)
    explorer.poll()
    for child in execution._children:
        child.wait(30)
    assert runs.read(folder)["status"] == "stopped"
    assert explorer.train.runner.player.resume.visible
    assert explorer.run in explorer.train.runner.earlier.options.values()


def test_settings_that_cannot_be_are_not_launched(page, scene_file, tmp_path):
    explorer = page(scene_file, tabs=(2,))
    explorer.train.runner.form.widgets["pixels"].value = "many"
    explorer.train.runner.start()
    assert explorer.train.runner.live is None
    assert not list((tmp_path / "runs").glob("*bsdm*"))


def test_a_scene_in_memory_is_given_to_a_launched_process_as_a_file(page, small_scene):
    explorer = page(small_scene.load())
    written = explorer.source.open()
    np.testing.assert_array_equal(written["hsi"], small_scene["hsi"])
    np.testing.assert_array_equal(written["truth"], small_scene["truth"])
    assert written.attrs["simulated"]


def test_explorer_shows_in_a_notebook_cell(scene_file):
    import workbench

    made = workbench.explorer(scene_file)
    shown = made.panel()
    assert made.tabs in shown.select()
    for mode in ("light", "dark"):  # the theme of a served page, and the rule for icons that a cell lacks
        assert shown.theme_config[mode]["palette"] == THEME[mode]["palette"]
        assert "Material Icons" in shown.theme_config[mode]["components"]["MuiIcon"]["styleOverrides"]["root"]["fontFamily"]
    made.close()


def test_a_cell_loads_panel_and_has_the_font_of_the_icons(scene_file, monkeypatch):
    import workbench

    loaded, shown = [], []
    monkeypatch.setattr("workbench.pages.frame.notebook._in_notebook", lambda: True)
    monkeypatch.setattr("panel.extension._loaded", False)
    monkeypatch.setattr("panel.extension.__new__", lambda cls, *names, **options: loaded.append(options))
    monkeypatch.setattr("IPython.display.display", lambda html: shown.append(html.data))
    made = workbench.explorer(scene_file)
    assert loaded == [{"inline": True}]  # nothing comes from the network
    made._repr_mimebundle_()
    assert len(shown) == 1
    assert shown[0].startswith('<style>@font-face { font-family: "Material Icons"; src: url(data:font/woff2;base64,d09GMg')
    made.close()


def test_in_a_notebook_the_link_is_the_address_of_the_served_page(scene_file, small_scene):
    import workbench
    from workbench.resources import folder

    made = workbench.explorer("sim-coast-town")
    assert made._told.value.startswith("http://localhost:5006/anomaly?scene=sim-coast-town")
    made.tab = 1
    assert "tab=1" in made._told.value
    made.close()
    given = workbench.explorer(small_scene.load())
    assert "in memory" in given._told.value  # no address has this scene
    given.close()
    pages = (workbench.change, workbench.coresets, workbench.gradients, workbench.watch, workbench.browse_runs)
    for make in pages:
        assert (folder("dashboards") / f"{make.__module__.split('.')[2]}.py").exists()


def test_a_scene_of_several_chips_is_refused_with_the_fix(page, small_scene):
    explorer = page(xr.concat([small_scene.load(), small_scene.load()], "sample"))
    assert "Choose one image" in explorer.alert.object


def test_views_know_no_methods(importing):
    """The two halves of the house meet in the page only."""
    views = ("image", "spectra", "maps", "decide", "curves", "steps", "form", "player", "save")
    (modules,) = importing("import " + ", ".join(f"workbench.views.{name}" for name in views))
    assert "workbench.views.save" in modules
    assert not [m for m in modules if m.startswith(("workbench.methods", "workbench.metrics", "workbench.data", "torch"))]

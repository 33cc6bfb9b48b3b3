"""The page that watches any method: which scenes it offers, what it says where one does not fit, and what its address holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench import execution
from workbench.event import drain
from workbench.methods import METHODS, load
from workbench.pages.watch import Watch
from workbench.runs.watch import Live


@pytest.fixture
def page(tmp_path: Path):  # noqa: ANN201
    made = Watch("sim-coast-town", root=tmp_path / "runs", method="rx")
    yield made
    made.close()


def test_it_offers_every_method_and_the_scenes_that_fit(page: Watch) -> None:
    assert list(page.methods.options.values()) == list(METHODS)
    assert "sim-coast-town" in page.choice.options.values()
    assert "sim-change-town" not in page.choice.options.values()
    page.methods.value = "arcdnet"
    assert page.method == "arcdnet"
    assert page.scene.startswith("sim-change-")  # the first that the method can use
    assert "sim-coast-town" not in page.choice.options.values()
    assert set(page.runner.form.widgets) == set(load("arcdnet").Config.model_fields)


def test_a_scene_that_both_methods_can_use_stays_open(page: Watch) -> None:
    before = page.data
    page.methods.value = "pca-rx"
    assert page.data is before
    assert page.runner.method == "pca-rx"
    assert not page.runner.player.start.disabled


def test_a_scene_that_does_not_fit_is_told_and_cannot_be_started(page: Watch) -> None:
    page.open("digits")
    assert page.runner.player.start.disabled
    assert "rx needs &#x27;hsi&#x27; (band, y, x)" in page.invitation.object
    page.open("sim-coast-town")
    assert not page.runner.player.start.disabled


def test_a_pair_is_opened_from_two_files(page: Watch, tmp_path: Path) -> None:
    for n, date in enumerate(("before", "after")):
        image = np.random.default_rng(n).integers(0, 255, (40, 50, 3), np.uint8)
        Image.fromarray(image).save(tmp_path / f"{date}.png")
    page.methods.value = "arcdnet"
    page.path.value, page.after_path.value = str(tmp_path / "before.png"), str(tmp_path / "after.png")
    page.opener.clicks += 1
    assert page.alert.object == ""
    assert set(page.data.data_vars) >= {"before", "after"}
    assert page.after == str(tmp_path / "after.png")


def test_small_settings_are_those_of_the_method(page: Watch) -> None:
    page.methods.value = "bsdm"
    page.quick.clicks += 1
    assert page.runner.form.overrides == load("bsdm").SMOKE


def test_a_run_is_found_by_its_settings_and_drawn(page: Watch) -> None:
    page.methods.value = "pca-rx"
    drain(execution.start("pca-rx", "sim-coast-town", {"components": 7}, page.root / "seven"))
    page.runner.follow("seven")
    assert page.declared.stills[0].view.picture.kind == "map"
    assert page.run == "seven"
    assert any("components 7" in text for text in page.runner.earlier.options)
    page.methods.value = "rx"  # another method: the run is left
    assert page.run == ""
    assert page.outcome.sides[0].view.picture is None


def test_an_unknown_method_in_the_address_is_told(tmp_path: Path) -> None:
    page = Watch(root=tmp_path, method="rxx")
    assert page.method == next(iter(METHODS))
    assert "There is no method" in page.alert.object
    page.close()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_scene_of_the_catalogue(name: str, tmp_path: Path) -> None:
    page = Watch(root=tmp_path, method=name)
    assert page.scene in page.choice.options.values()
    assert not page.runner.player.start.disabled
    page.close()


def test_live_is_what_declared_wants() -> None:
    assert {"history", "frames"} <= set(vars(Live("nowhere")))

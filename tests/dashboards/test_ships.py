"""A run of SAR-Net on the page that watches any method: scenes that are offered, and boxes on the right image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from workbench.data.synth_ships import small
from workbench.execution import execute
from workbench.methods.sarnet import SHOWS, SMOKE
from workbench.pages.watch import Watch
from workbench.runs.watch import Live
from workbench.views.declared import Declared


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory):  # noqa: ANN201
    scene, folder = small(seed=0).compute(), tmp_path_factory.mktemp("ships") / "run"
    settings = {**SMOKE, "steps": 3, "rivals": [], "threshold": 0.005, "most": 20}
    return scene, folder, execute("sarnet", scene, settings, folder).result


def test_the_page_offers_chips_with_boxes_simulated_ones_first(tmp_path: Path) -> None:
    page = Watch("sim-coast-town", root=tmp_path / "runs", method="rx")
    page.methods.value = "sarnet"
    assert page.scene == "sim-ships"
    assert not page.runner.player.start.disabled
    offered = set(page.choice.options.values())
    assert "hrsid-24" in offered
    assert not {"digits", "sim-coast-town", "eurosat-rgb-200"} & offered
    page.close()


def test_boxes_during_the_run_and_at_its_end_are_on_their_image(ran) -> None:  # noqa: ANN001
    scene, folder, result = ran
    live = Live(folder)
    live.poll()
    drawn = Declared(SHOWS)
    drawn.scene = scene
    drawn.take(live)
    boxes = drawn.stills[0]
    shown = boxes.view.picture
    sample = live.frame("chip").attrs["sample"]
    assert shown.kind == "boxes"
    assert shown.image.attrs["sample"] == shown.array.attrs["sample"] == sample
    true = shown.array.values[shown.label.values == 1]
    np.testing.assert_array_equal(true, scene["box"].values[scene["box_sample"].values == sample])
    assert shown.label.attrs["names"] == ["ship", "true"]
    drawn.end(result)
    ended, tested = boxes.view.picture, result["chip"].attrs["sample"]
    assert ended.title == f"detections of SAR-Net in the test images, image {tested}"
    assert ended.image is result["chip"] or ended.image.attrs["sample"] == tested
    owner = result["box_sample"].values
    assert set(owner) > {tested}
    np.testing.assert_array_equal(ended.array.values, result["box"].values[owner == tested])

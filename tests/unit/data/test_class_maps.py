"""Truth files that are maps of classes: the key `classes`, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from workbench.config import override
from workbench.data.catalog import open_scene
from workbench.data.sensor_patches import patches_of
from workbench.errors import InputError
from workbench.methods.mdfl import SMOKE, Config

RANDOM = np.random.default_rng(0)
CLASSES = RANDOM.integers(0, 4, (20, 24)).astype(np.uint8)


@pytest.fixture
def cube(tmp_path):
    path = tmp_path / "cube.npy"
    np.save(path, RANDOM.random((20, 24, 3)).astype(np.float32))
    return path


def truth(tmp_path, values) -> str:
    np.save(tmp_path / "classes.npy", values)
    return str(tmp_path / "classes.npy")


def test_classes_stay_apart_if_the_key_says_so(cube, tmp_path):
    scene = open_scene(cube, truth=truth(tmp_path, CLASSES), keys={"classes": "grass; road;water"})
    np.testing.assert_array_equal(scene["truth"].values, np.where(CLASSES > 0, CLASSES.astype(int), -1))
    assert scene["truth"].attrs["names"] == ["not labelled", "grass", "road", "water"]
    assert "a map of 3 classes" in scene.attrs["notes"]
    assert "anomalous_pixels" not in scene.attrs
    numbered = open_scene(cube, truth=truth(tmp_path, CLASSES), keys={"classes": "numbered"})
    assert numbered["truth"].attrs["names"][1:] == ["class 1", "class 2", "class 3"]
    found = patches_of(scene, override(Config(), {**SMOKE, "split": "class"}), who="mdfl")
    assert found.names == ["grass", "road", "water"]


@pytest.mark.parametrize(
    "values", [CLASSES, np.stack([n == CLASSES for n in (1, 2, 3)]).astype(np.uint8) * 200], ids=["numbers", "colours"]
)
def test_without_the_key_land_cover_is_refused_and_not_learnt_as_one_class(cube, tmp_path, values):
    scene = open_scene(cube, truth=truth(tmp_path, values))
    assert set(np.unique(scene["truth"])) == {0, 1}
    with pytest.raises(InputError, match="could learn one class only.*--key classes=numbered"):
        patches_of(scene, override(Config(), {**SMOKE, "split": "class"}), who="mdfl")


def test_a_map_in_the_file_of_the_scene(tmp_path):
    path = tmp_path / "both.mat"
    savemat(path, {"data": RANDOM.random((20, 24, 3)), "gt": CLASSES})
    scene = open_scene(path, keys={"truth": "gt", "classes": "numbered"})
    np.testing.assert_array_equal(scene["truth"].values, np.where(CLASSES > 0, CLASSES.astype(int), -1))


@pytest.mark.parametrize(
    ("values", "names", "says"),
    [
        (CLASSES, "grass;road", "names 2 classes, grass; road; .* holds numbers up to 3"),
        (CLASSES, "grass;;road", "Name them all"),
        (CLASSES * 0.5, "numbered", "holds fractions, such as [01].5; classes are whole numbers"),
        (CLASSES[:, :20], "numbered", "20 x 20|20 × 20"),
        (CLASSES.astype(float) * 5000, "numbered", "hardly a map of classes"),
        (RANDOM.integers(0, 255, (3, 20, 24)).astype(np.uint8), "numbered", "has colours"),
    ],
)
def test_what_is_no_map_of_classes(cube, tmp_path, values, names, says):
    with pytest.raises(InputError, match=says):
        open_scene(cube, truth=truth(tmp_path, values), keys={"classes": names})


def test_255_and_missing_values_are_not_labelled(cube, tmp_path):
    values = CLASSES.astype(float)
    values[0, :3] = 255
    values[1, :3] = np.nan
    values[2, :3] = -1
    scene = open_scene(cube, truth=truth(tmp_path, values), keys={"classes": "numbered"})
    assert (scene["truth"].values[:3, :3] == -1).all()
    assert int(scene["truth"].max()) == 3


def test_the_key_needs_a_truth(cube):
    with pytest.raises(InputError, match="give its file with --truth"):
        open_scene(cube, keys={"classes": "numbered"})

"""The entries of hyperspectral cubes: classes, wavelengths, and files without a mirror."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.data.test_catalog import write
from workbench.data.catalog import describe_entry, entries, open_scene, read_folder
from workbench.errors import InputError
from workbench.scene import describe


def test_indian_pines_has_its_classes(real_data):
    """Pixels of each class as published (10,249 in all); what is not labelled is -1, never a background."""
    scene = open_scene("indian-pines")
    truth = scene["truth"].values
    counts = [46, 1428, 830, 237, 483, 730, 28, 478, 20, 972, 2455, 593, 205, 1265, 386, 93]
    assert [int((truth == c).sum()) for c in range(1, 17)] == counts
    assert int((truth == -1).sum()) == truth.size - 10249
    assert scene["truth"].attrs["names"][1] == "Alfalfa"
    assert len(scene["truth"].attrs["names"]) == 17
    assert (float(scene["wavelength"][0]), float(scene["wavelength"][-1])) == (400.02, 2498.96)
    assert (float(scene["hsi"].min()), float(scene["hsi"].max())) == (955, 9604)
    raw = np.load(real_data / "hsi_cubes/indian-pines/Indian_pines_corrected.npy")
    np.testing.assert_array_equal(scene["hsi"].transpose("y", "x", "band"), raw)
    assert "16 classes, 10249 labelled pixels" in describe_entry("indian-pines")
    assert "truth: 16 classes on 21025 pixels, 10249 labelled" in describe(scene)
    assert "truth" not in open_scene("indian-pines", keys={"truth": "none"})
    own = open_scene("indian-pines", truth=real_data / "hsi_cubes/indian-pines/Indian_pines_gt.npy")
    assert own.attrs["anomalous_pixels"] == 10249  # a mask of the user's is read as a mask


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"classes": ["a", "b"]}, "classes need a truth file"),
        ({"wavelengths": [400.0, 500.0]}, "one number for each band"),
    ],
)
def test_classes_and_wavelengths_must_fit(tmp_path, changes, says):
    write(tmp_path, **changes)
    with pytest.raises(ValueError, match=says):
        read_folder(tmp_path)


def test_an_absent_file_without_a_mirror_says_where_it_is(tmp_path, monkeypatch):
    monkeypatch.delenv("WORKBENCH_DATA", raising=False)
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"indian-pines is not on this machine.*package tensorly 0\.10\.0"):
        open_scene("indian-pines")
    assert "package tensorly" in describe_entry("indian-pines")


def test_tiles_of_potsdam_have_their_land_cover(real_data):
    """12 tiles of EnMAP; the labelled pixels of all, and of each class of one, as rasterio reads them."""
    names = [n.id for n in entries() if n.id.startswith("enmap-potsdam-")]
    scenes = {n: open_scene(n) for n in names}
    assert sum(int((s["truth"] > 0).sum()) for s in scenes.values()) == 3495
    one = scenes["enmap-potsdam-128-128"]["truth"]
    assert [int((one == c).sum()) for c in range(7)] == [0, 14, 7, 93, 76, 2, 207]
    assert one.attrs["names"][6] == "water"
    assert not scenes["enmap-potsdam-128-0"]["good"].values.all()

"""Layouts of published sets of several sensors. The sets are not here: the files are made as their publishers describe them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from workbench.config import override
from workbench.data.catalog import open_scene
from workbench.data.fusion_sets import AUGSBURG, HOUSTON, MUUFL, TRENTO, parts_of
from workbench.data.sensor_patches import patches_of
from workbench.errors import InputError
from workbench.methods.mdfl import SMOKE, Config

RANDOM = np.random.default_rng(0)


def put(folder: Path, **arrays: np.ndarray) -> Path:
    """One MATLAB file for each array, with the array under the name of the file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        savemat(folder / f"{name}.mat", {name: values})
    return folder


def labels(rows: int, columns: int, classes: int) -> np.ndarray:
    """A map of all classes with a third of the pixels unlabelled."""
    return np.where(RANDOM.random((rows, columns)) < 0.3, 0, RANDOM.integers(1, classes + 1, (rows, columns))).astype(
        np.uint8
    )


def halves(whole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    train = whole.copy()
    train[:, whole.shape[1] // 2 :] = 0
    return train, whole - train


def cube(rows: int, columns: int, bands: int = 3) -> np.ndarray:
    return RANDOM.random((rows, columns, bands)).astype(np.float32)


def test_houston_in_four_files(tmp_path):
    """IEEE GRSS 2013 as it is passed on: HSI, LiDAR, TRLabel, TSLabel of 349 x 1905 pixels, 15 classes, a fixed split."""
    whole = labels(349, 1905, 15)
    train, test = halves(whole)
    values = cube(349, 1905, 2)
    scene = open_scene(put(tmp_path / "Houston2013", HSI=values, LiDAR=values[..., 0] * 30, TRLabel=train, TSLabel=test))
    assert scene["hsi"].dims == ("band", "y", "x")
    np.testing.assert_array_equal(scene["hsi"].values[1], values[..., 1])
    np.testing.assert_array_equal(scene["lidar"].values[0], values[..., 0] * 30)
    np.testing.assert_array_equal(scene["truth"].values, np.where(whole > 0, whole.astype(int), -1))
    assert scene["truth"].attrs["names"] == ["not labelled", *HOUSTON]
    np.testing.assert_array_equal(scene["split"].values, np.where(train > 0, 0, np.where(test > 0, 1, -1)))
    assert "taken for Houston 2013 by its size" in scene.attrs["notes"]
    assert "Debes" in scene.attrs["citation"]
    assert len(scene.attrs["sha256"]) == 64


def test_trento_in_three_files(tmp_path):
    """The first copy: Italy_hsi, Italy_lidar with two returns, allgrd with six classes; no split."""
    whole = labels(166, 600, 6)
    folder = put(tmp_path / "Trento", Italy_hsi=cube(166, 600), Italy_lidar=cube(166, 600, 2), allgrd=whole)
    scene = open_scene(folder)
    assert scene["lidar"].sizes["lidar_band"] == 2
    assert scene["truth"].attrs["names"][1:] == list(TRENTO)
    assert "split" not in scene.coords


def test_muufl_with_training_and_testing_maps(tmp_path):
    train, test = halves(labels(325, 220, 11))
    scene = open_scene(put(tmp_path / "m", HSI=cube(325, 220), LiDAR=cube(325, 220, 2), muufl_tr=train, muufl_ts=test))
    assert scene["truth"].attrs["names"][1:] == list(MUUFL)


def test_augsburg_has_radar_features_of_which_some_are_no_intensity(tmp_path):
    """Four channels: two intensities, and the real and imaginary part of a covariance, which are negative in places."""
    train, test = halves(labels(332, 485, 7))
    radar = np.concatenate([cube(332, 485, 2), cube(332, 485, 2) - 0.5], 2)
    folder = put(
        tmp_path / "HS-SAR-DSM Augsburg", data_HS_LR=cube(332, 485), data_SAR_HR=radar, data_DSM=cube(332, 485)[..., 0],
        TrainImage=train, TestImage=test,
    )  # fmt: skip
    scene = open_scene(folder)
    np.testing.assert_array_equal(scene["sar"].values, radar[..., :2].transpose(2, 0, 1))
    assert "the channels 3, 4 have negative values and were left out" in scene.attrs["notes"]
    assert scene["truth"].attrs["names"][1:] == list(AUGSBURG)


def test_another_size_has_numbered_classes_and_files_of_matlab_7_3(tmp_path):
    train, test = halves(labels(12, 20, 3))
    folder = put(tmp_path / "own", TRLabel=train, TSLabel=test)
    values = cube(12, 20, 4)
    with h5py.File(folder / "HSI.mat", "w", userblock_size=512) as file:
        made = file.create_dataset("HSI", data=values.T)  # MATLAB's axes are reversed
        made.attrs["MATLAB_class"] = np.bytes_("single")
    with open(folder / "HSI.mat", "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    scene = open_scene(folder)
    np.testing.assert_array_equal(scene["hsi"].values, values.transpose(2, 0, 1))
    assert scene["truth"].attrs["names"] == ["not labelled", "class 1", "class 2", "class 3"]
    assert "lidar" not in scene


def test_the_published_split_is_used_with_a_guard(tmp_path):
    train, test = halves(labels(40, 60, 3))
    folder = put(tmp_path / "own", HSI=cube(40, 60), LiDAR=cube(40, 60)[..., 0], TRLabel=train, TSLabel=test)
    found = patches_of(open_scene(folder), override(Config(), SMOKE), who="mdfl")
    assert found.split == "the split of the scene"
    columns = found.place[:, 2]
    assert columns[found.test].min() == 30
    assert columns[found.train].max() <= 30 - 9
    assert found.names == ["class 1", "class 2", "class 3"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"LiDAR": cube(11, 20)[..., 0]}, r"LiDAR.mat has .*11.*, the cube .*12"),
        ({"TSLabel": np.full((12, 20), 1.5)}, "holds fractions, such as 1.5; classes are whole numbers"),
        ({"TSLabel": np.full((12, 20), 2)}, "have one class in TRLabel.mat and another in TSLabel.mat"),
        ({"TSLabel": labels(12, 21, 3)}, "TSLabel.*12 x 21|12 × 21"),
    ],
)
def test_files_that_do_not_belong_together(tmp_path, change, says):
    whole = labels(12, 20, 3)
    train, test = halves(np.where(whole == 2, 1, whole))
    arrays = {"HSI": cube(12, 20), "LiDAR": cube(12, 20)[..., 0], "TRLabel": train, "TSLabel": test}
    with pytest.raises(InputError, match=says):
        open_scene(put(tmp_path / "s", **{**arrays, **change}))


def test_only_a_folder_with_cube_and_labels_has_the_layout(tmp_path):
    assert parts_of(put(tmp_path / "a", HSI=cube(4, 5))) == {}
    assert parts_of(put(tmp_path / "b", TRLabel=labels(4, 5, 2), TSLabel=labels(4, 5, 2))) == {}
    assert set(parts_of(put(tmp_path / "c", HSI=cube(4, 5), gt=labels(4, 5, 2)))) == {"hsi", "truth"}
    assert parts_of(tmp_path / "c" / "HSI.mat") == {}

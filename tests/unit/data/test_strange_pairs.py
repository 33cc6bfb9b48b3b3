"""Pairs as other tools write them: times of different precision, bands by name, decibels, inverted labels, lists that overlap."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from workbench.data.catalog import open_scene
from workbench.data.pairs import open_pair
from workbench.errors import InputError

RNG = np.random.default_rng(4)


def tif(path, values=None, names=(), **tags):
    values = RNG.integers(0, 255, (3, 8, 9)).astype("u1") if values is None else values
    bands, rows, columns = values.shape
    about = {"count": bands, "height": rows, "width": columns, "dtype": values.dtype, "transform": Affine(9, 0, 9, 0, -9, 9)}
    with rasterio.open(path, "w", driver="GTiff", **about) as file:
        file.write(values)
        file.update_tags(**tags)
        for i, name in enumerate(names, 1):
            file.set_band_description(i, name)
    return path


def pair(folder, one, two, **how):
    return open_pair(tif(folder / "a.tif", **one), tif(folder / "b.tif", **two), **how)


def test_a_day_is_not_before_a_time_of_the_same_day(tmp_path):
    later, day = {"ACQUISITIONDATETIME": "2000-03-17T02:30:00"}, {"ACQUISITIONDATETIME": "2000-03-17"}
    assert pair(tmp_path, later, day)["after"].attrs["time"] == "2000-03-17"
    with pytest.raises(InputError, match="swapped"):
        pair(tmp_path, later, {"ACQUISITIONDATETIME": "2000-03-16"})
    with pytest.raises(InputError, match="swapped"):
        pair(tmp_path, later, {"ACQUISITIONDATETIME": "2000-03-17T02:29:00"})


def test_bands_in_another_order_by_name_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"another order .* gdal_translate -b 3 -b 2 -b 1"):
        pair(tmp_path, {"names": ("Red", "Green", "Blue")}, {"names": ("blue", "green", "red")})
    assert "have other names" in pair(tmp_path, {"names": ("B4", "B3", "B2")}, {"names": ("B4", "B3", "SCL")}).attrs["notes"]
    for two in (("B4", "B3", "B2"), ("B4", "", ""), ("2020_1", "2020_2", "2020_3")):
        assert "names" not in pair(tmp_path, {"names": ("B4", "B3", "B2")}, {"names": two}).attrs["notes"]


def test_decibels_are_no_intensity(tmp_path):
    linear = RNG.gamma(4, 0.02, (1, 8, 9)).astype("f4")
    with pytest.raises(InputError, match=r"b.tif has 100% negative values, .* convert it to intensity"):
        pair(tmp_path, {"values": linear}, {"values": 10 * np.log10(linear)}, keys={"modality": "sar"})
    assert pair(tmp_path, {"values": linear}, {"values": linear * 2}, keys={"modality": "sar"}).attrs["modality"] == "sar"


@pytest.mark.parametrize(("changed", "told"), [(5, True), (4, False)])
def test_a_label_that_is_mostly_changed_is_told(tmp_path, changed, told):
    mask = np.zeros((8, 9), "u1")
    mask[:changed] = 255
    Image.fromarray(mask).save(tmp_path / "g.png")
    notes = pair(tmp_path, {}, {}, truth=tmp_path / "g.png").attrs["notes"]
    assert ("more than half is changed" in notes) == told


def test_a_pair_in_two_lists_is_told(tmp_path):
    for folder in ("A", "B", "list"):
        (tmp_path / folder).mkdir()
    for name in ("1", "2"):
        for folder in ("A", "B"):
            Image.fromarray(RNG.integers(0, 255, (8, 9, 3)).astype("u1")).save(tmp_path / folder / f"{name}.png")
    (tmp_path / "list" / "train.txt").write_text("1.png\n2.png\n2.png\n")
    (tmp_path / "list" / "test.txt").write_text("2.png\n")
    scene = open_scene(tmp_path)
    assert scene["split"].values.tolist() == ["train", "test"]
    assert "1 pairs stand in the lists of two parts; they count for one only (2: test)" in scene.attrs["notes"]
    (tmp_path / "list" / "train.txt").write_text("1.png\n")
    assert "two parts" not in open_scene(tmp_path).attrs["notes"]

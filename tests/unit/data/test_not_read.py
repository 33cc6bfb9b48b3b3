"""Files that no reader uses, and positions that contradict the one that is taken, are told: shortly, and never for a whole data folder."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from workbench.data.catalog import open_scene
from workbench.data.pairs import open_pair
from workbench.data.readers.files import Look, same_name

CUBE = np.random.default_rng(3).integers(1, 4000, (4, 6, 5)).astype("u2")
MAP = Affine(10, 0, 500000, 0, -10, 5000000)
HEADER = "ENVI\nsamples = 5\nlines = 6\nbands = 4\ndata type = 12\ninterleave = bsq\nbyte order = 0\n"


def tif(path, values=CUBE, crs="EPSG:32633", transform=MAP):
    path.parent.mkdir(parents=True, exist_ok=True)
    bands, rows, columns = values.shape
    how = {"count": bands, "height": rows, "width": columns, "dtype": values.dtype, "transform": transform}
    with rasterio.open(path, "w", driver="GTiff", crs=crs, **how) as file:
        file.write(values)
    return path


def notes(path, **how):
    return str(open_scene(path, **how).attrs["notes"])


def picture(path, size=(6, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3)).astype("u1")).save(path)


def test_files_of_the_same_name(tmp_path):
    tif(tmp_path / "a.tif")
    assert "not read" not in notes(tmp_path / "a.tif")
    for name in ("b.csv", "ab.txt", ".a.swp", "a.tif.ovr", "a.tif.md5", "a.msk.txt"):
        (tmp_path / name).write_text("x")
    assert notes(tmp_path / "a.tif").endswith("1 file of the same name beside it is not read: a.msk.txt")
    for name in ("a.prj", "A.csv", "a.tif.json"):
        (tmp_path / name).write_text("x")
    assert "4 files of the same name beside it are not read: A.csv, a.msk.txt, a.prj and 1 more" in notes(tmp_path / "a.tif")


@pytest.mark.parametrize("given", ["a.dat", "a.hdr"])
def test_the_files_of_an_envi_image_belong_to_it(tmp_path, given):
    (tmp_path / "a.dat").write_bytes(CUBE.tobytes())
    (tmp_path / "a.hdr").write_text(HEADER)
    assert "not read" not in notes(tmp_path / given)
    (tmp_path / "a.sta").write_text("x")
    assert "beside it is not read: a.sta" in notes(tmp_path / given)


def test_a_header_beside_a_file_that_needs_none(tmp_path):
    np.save(tmp_path / "a.npy", CUBE)
    (tmp_path / "a.hdr").write_text(HEADER)
    assert "beside it is not read: a.hdr" in notes(tmp_path / "a.npy")


def test_a_truth_and_another_sensor_of_the_same_name_are_read(tmp_path):
    tif(tmp_path / "a.tif")
    tif(tmp_path / "a.dsm.tif", np.ones((1, 6, 5), "f4"))
    np.save(tmp_path / "a.npy", np.eye(6, 5))
    used = {"truth": tmp_path / "a.npy", "beside": {"lidar": tmp_path / "a.dsm.tif"}}
    assert "not read" not in notes(tmp_path / "a.tif", **used)
    assert "is not read: a.dsm.tif" in notes(tmp_path / "a.tif", truth=used["truth"])


def test_a_crowded_folder_is_not_looked_through(tmp_path, monkeypatch):
    tif(tmp_path / "a.tif")
    for i in range(12):
        (tmp_path / f"a.{i}").write_text("x")
    with Look(tmp_path / "a.tif") as look:
        assert len(same_name(look)) == 12
    monkeypatch.setattr("workbench.data.readers.files._LISTED", 10)
    with Look(tmp_path / "a.tif") as look:
        assert same_name(look) == []


def test_lists_and_tables_of_chips(tmp_path):
    for name in "ab":
        picture(tmp_path / name / "0.png")
    for name in ("README.md", "LICENSE", "a/.DS_Store", "a/Thumbs.db"):
        (tmp_path / name).write_text("x")
    assert "not read" not in notes(tmp_path)
    (tmp_path / "train.txt").write_text("a/0.png")
    (tmp_path / "a" / "labels.csv").write_text("x")
    assert f"2 files of {tmp_path.name} are not read: labels.csv, train.txt" in notes(tmp_path)


def test_lists_and_tables_of_pairs_and_boxes(tmp_path):
    for date in "AB":
        for i in range(2):
            picture(tmp_path / "p" / date / f"{i}.png")
    (tmp_path / "p" / "train.txt").write_text("0\n1\n")
    (tmp_path / "p" / "dates.json").write_text("{}")
    assert "1 file of p is not read: dates.json" in notes(tmp_path / "p")
    picture(tmp_path / "v" / "JPEGImages" / "0.jpg")
    for name in ("Annotations", "ImageSets/Main"):
        (tmp_path / "v" / name).mkdir(parents=True)
    (tmp_path / "v/Annotations/0.xml").write_text(
        "<annotation><filename>0.jpg</filename><object><name>ship</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax>"
        "</bndbox></object></annotation>"
    )
    assert "not read" not in notes(tmp_path / "v")
    (tmp_path / "v/ImageSets/Main/train.txt").write_text("0")  # the lists of VOC are the split
    assert "not read" not in notes(tmp_path / "v")
    (tmp_path / "v/ImageSets/Main/ship_train.txt").write_text("0  1")
    assert "1 file of v is not read: ship_train.txt" in notes(tmp_path / "v")


def test_a_world_file_that_contradicts_the_tiff(tmp_path):
    tif(tmp_path / "a.tif")
    (tmp_path / "a.tfw").write_text("10\n0\n0\n-10\n500005\n4999995\n")
    assert notes(tmp_path / "a.tif") == ""
    (tmp_path / "a.tfw").write_text("10\n0\n0\n-10\n600005\n4999995\n")
    assert "a.tfw names another position (600005, 4999995) than the TIFF itself" in notes(tmp_path / "a.tif")
    (tmp_path / "a.tfw").write_text("ten\n")
    assert "a.tfw beside the TIFF is not a world file" in notes(tmp_path / "a.tif")


def test_a_header_with_another_map_than_the_tiff(tmp_path):
    tif(tmp_path / "a.tif")
    place = "map info = {{UTM, 1, 1, {}, 5000000, 10, 10, 33, North, WGS-84}}\n"
    (tmp_path / "a.hdr").write_text(HEADER + place.format(500000))
    assert "elsewhere" not in notes(tmp_path / "a.tif")
    (tmp_path / "a.hdr").write_text(HEADER + place.format(600000))
    assert "the map of a.hdr lies elsewhere than that of the TIFF, which was taken" in notes(tmp_path / "a.tif")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_coordinate_system_without_a_position(tmp_path):
    """Pixels are counted; they are not metres of a map."""
    tif(tmp_path / "a.tif", transform=None)
    scene = open_scene(tmp_path / "a.tif")
    assert list(scene["x"].values) == [0, 1, 2, 3, 4]
    assert "spatial_ref" not in scene.coords
    assert "names a coordinate system but no position" in scene.attrs["notes"]
    tif(tmp_path / "b.tif", CUBE + 1, transform=None)
    pair = open_pair(tmp_path / "a.tif", tmp_path / "b.tif")
    assert "spatial_ref" not in pair.coords

"""Label maps and masks as other tools write them: palettes, one band per class, lossy compression, sparse arrays, no background."""

import numpy as np
import pytest
import rasterio
import scipy.io
import scipy.sparse
from affine import Affine
from PIL import Image

from workbench.data.catalog import open_scene
from workbench.data.readers import matlab5
from workbench.errors import InputError

CUBE = np.random.default_rng(3).integers(100, 4000, (4, 20, 22)).astype("u2")
CLASSES = np.zeros((20, 22), "u1")
CLASSES[3, 4:8] = 1
CLASSES[8:10, 2:5] = 2
VOID = np.where(np.arange(20)[:, None] >= 15, 255, CLASSES).astype("u1")
VOC = [(0, 0, 0), (128, 0, 0), (0, 128, 0)] + [(0, 0, 0)] * 252 + [(224, 224, 192)]


def tif(path, values, **how):
    bands, rows, columns = values.shape
    about = {"count": bands, "height": rows, "width": columns, "dtype": values.dtype, "transform": Affine(9, 0, 9, 0, -9, 9)}
    with rasterio.open(path, "w", driver="GTiff", **about, **how) as file:
        file.write(values)
    return path


def read(folder, truth, **keys):
    scene = open_scene(tif(folder / "cube.tif", CUBE), truth=truth, keys=keys)
    return scene["truth"].values, scene.attrs["notes"]


def palette(path, values, colours):
    image = Image.fromarray(values).convert("P")
    image.putpalette([level for colour in colours for level in colour])
    image.putdata(values.ravel().tolist())
    image.save(path)
    return path


def test_the_numbers_of_a_coloured_palette_are_the_labels(tmp_path):
    labels, notes = read(tmp_path, palette(tmp_path / "g.png", VOID, VOC))
    np.testing.assert_array_equal(labels, np.where(VOID == 255, -1, CLASSES > 0))
    assert "numbers of its palette were taken, not the colours" in notes
    maps, _ = read(tmp_path, tmp_path / "g.png", classes="numbered")
    np.testing.assert_array_equal(maps, np.where((CLASSES > 0) & (VOID < 255), CLASSES.astype(int), -1))


@pytest.mark.parametrize(
    ("colours", "marked"),
    [
        ([(0, 0, 100), (255, 0, 0), (0, 255, 0)], CLASSES > 0),  # a coloured background
        ([(255, 0, 0), (0, 0, 0), (0, 255, 0)], CLASSES != 1),  # sorted by a program: black is background
        ([(0, 0, 0), (255, 255, 255), (255, 255, 255)], CLASSES > 0),
    ],
)
def test_palettes_with_other_backgrounds(tmp_path, colours, marked):
    np.testing.assert_array_equal(read(tmp_path, palette(tmp_path / "g.png", CLASSES, colours))[0], marked)


def test_one_band_for_each_class_is_no_grey_picture(tmp_path):
    bands = np.stack([CLASSES == 1, CLASSES == 2, CLASSES == 7]).astype("u1")
    np.testing.assert_array_equal(read(tmp_path, tif(tmp_path / "g.tif", bands))[0], CLASSES > 0)


def test_lossy_black_and_white_with_few_grey_levels(tmp_path):
    Image.fromarray(((CLASSES > 0) * 255).astype("u1")).save(tmp_path / "g.jpg", quality=60)
    labels, notes = read(tmp_path, tmp_path / "g.jpg")
    np.testing.assert_array_equal(labels, CLASSES > 0)
    assert "lossy black and white" in notes


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (CLASSES.astype("u1") + 1, "no pixel is background"),
        (np.where(CLASSES > 0, 1, -1).astype("i2"), "if -1 means background, write 0 instead"),
        (np.where(CLASSES > 0, 0.8, 0.02).astype("f4"), "holds fractions, from 0.02 to 0.8"),
        ((CLASSES == 0).astype("u1"), "more than half is marked: is it inverted"),
    ],
)
def test_truths_that_are_hardly_meant_so_are_told(tmp_path, values, told):
    assert told in read(tmp_path, tif(tmp_path / "g.tif", values[None]))[1]


def test_an_ordinary_truth_raises_no_alarm(tmp_path):
    notes = read(tmp_path, tif(tmp_path / "g.tif", CLASSES[None]))[1]
    assert not any(word in notes for word in ("fractions", "half", "background", "palette"))


@pytest.mark.parametrize("kind", [float, bool])
@pytest.mark.parametrize("apart", [False, True])
def test_sparse_truth_of_matlab(tmp_path, kind, apart):
    sparse = scipy.sparse.csc_matrix((CLASSES > 0).astype(kind))
    arrays = {"data": CUBE.transpose(1, 2, 0), **({} if apart else {"gt": sparse})}
    scipy.io.savemat(tmp_path / "a.mat", arrays, do_compression=True)
    scipy.io.savemat(tmp_path / "t.mat", {"gt": sparse})
    scene = open_scene(tmp_path / "a.mat", truth=tmp_path / "t.mat" if apart else None)
    np.testing.assert_array_equal(scene["truth"], CLASSES > 0)


def test_a_damaged_sparse_array_is_refused():
    flags = np.array([6, 8, 5, 0, 5, 8, 2, 2, 1, 1], "<u4").tobytes() + b"a".ljust(8, b"\0")
    parts = [np.array([5, 4, 9, 0], "<u4"), np.array([5, 12, 0, 1, 1, 0], "<u4"), np.array([9, 8, 0, 0], "<u4")]
    data = flags + b"".join(p.tobytes() for p in parts)  # the row 9 of 2
    with pytest.raises(matlab5.Damaged, match="do not fit its size"):
        matlab5._array(data, matlab5.Variable("a", (2, 2), "", False, 0, len(data), False, "<"))


def test_matlab_4_text_and_sparse_groups_are_named(tmp_path):
    scipy.io.savemat(tmp_path / "v4.mat", {"gt": CLASSES.astype(float)}, format="4")
    with pytest.raises(InputError, match="MATLAB version 4: save it with save -v7"):
        read(tmp_path, tmp_path / "v4.mat")
    scipy.io.savemat(tmp_path / "a.mat", {"data": CUBE.transpose(1, 2, 0), "wavelength": ["400 nm", "500 nm"]})
    assert "wavelengths ignored: 'wavelength' is text" in open_scene(tmp_path / "a.mat").attrs["notes"]


def test_a_sparse_truth_of_matlab_73_is_told(tmp_path):
    import h5py

    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        file["data"] = CUBE.transpose(0, 2, 1)
        file["data"].attrs["MATLAB_class"] = np.bytes_("uint16")
        group = file.create_group("gt")
        group.attrs["MATLAB_sparse"] = np.uint64(20)
        group["data"], group["ir"], group["jc"] = [1.0], [3], np.arange(23).clip(0, 1)
    assert "'gt' is sparse" in open_scene(tmp_path / "a.mat").attrs["notes"]


def test_classes_that_may_count_from_0_are_told(tmp_path):
    counted = tif(tmp_path / "g.tif", (CLASSES.astype("i2") - 1)[None])
    assert "pixels with 0 are not labelled: if 0 is the first class" in read(tmp_path, counted, classes="numbered")[1]
    ordinary = tif(tmp_path / "h.tif", CLASSES[None])
    assert "first class" in read(tmp_path, ordinary, classes="a;b;c")[1]
    assert "first class" not in read(tmp_path, ordinary, classes="a;b")[1]
    assert "first class" not in read(tmp_path, ordinary, classes="numbered")[1]


def test_the_names_of_an_envi_classification(tmp_path):
    (tmp_path / "g.img").write_bytes(CLASSES.tobytes())
    head = "ENVI\nsamples = 22\nlines = 20\nbands = 1\ndata type = 1\ninterleave = bsq\nfile type = ENVI Classification\n"
    (tmp_path / "g.hdr").write_text(head + "class names = {Unclassified,\n grass, road}\n")
    for name in ("g.hdr", "g.img"):
        scene = open_scene(tif(tmp_path / "cube.tif", CUBE), truth=tmp_path / name, keys={"classes": "numbered"})
        assert scene["truth"].attrs["names"] == ["not labelled", "grass", "road"]

"""Chips from folders, zips and tables that the tests write themselves; and the real collections where they are."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import xarray as xr
from PIL import Image

from tests.elsewhere import sent
from tests.unit.data.conftest import paint
from workbench.data import chips
from workbench.data.chips import (
    digits,
    open_chips,
    open_pixels,
)
from workbench.errors import InputError


def pack(root: Path, to: Path) -> Path:
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        for p in sorted(root.rglob("*.png")):
            archive.write(p, p.relative_to(root).as_posix())
    return to


# --- opening ----------------------------------------------------------------------------------------------------------


def test_folder(collection):
    scene = open_chips(collection)
    assert scene["image"].dims == ("sample", "band", "y", "x")
    assert scene["image"].shape == (8, 3, 4, 5)
    assert scene["image"].dtype == np.float32
    assert scene["sample"].values.tolist()[:2] == ["test/forest/0.png", "test/forest/1.png"]  # the same on every machine
    assert scene["label"].attrs["names"] == ["forest", "river"]
    assert scene["label"].values.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert scene["split"].values.tolist() == ["test"] * 4 + ["train"] * 4
    # red 30 of 255 in the third of four folders painted
    np.testing.assert_allclose(
        scene["image"].sel(sample="test/forest/0.png")[:, 0, 0], np.array([30, 0, 225]) / 255, rtol=1e-6
    )


def test_reading_waits_until_asked(collection, monkeypatch):
    read = []
    decode = chips.decode
    monkeypatch.setattr(chips, "decode", lambda name, *rest: read.append(name) or decode(name, *rest))
    monkeypatch.setattr(chips, "CHUNK", 2)
    scene = open_chips(collection)
    assert read == ["test/forest/0.png"]  # for the size
    scene["image"][4:6].load()
    assert sorted(read[1:]) == ["train/forest/0.png", "train/forest/1.png"]


def test_zip_is_the_folder(collection, tmp_path):
    unpacked, packed = open_chips(collection), open_chips(pack(collection, tmp_path / "set.zip"))
    xr.testing.assert_equal(packed.load(), unpacked.load())
    assert packed.attrs["sha256"] == unpacked.attrs["sha256"]


def test_several_collections(collection, tmp_path):
    whole = open_chips(collection).load()
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        (collection / part).rename(tmp_path / part / part)
    both = open_chips([tmp_path / "train", pack(tmp_path / "test", tmp_path / "test.zip")])
    xr.testing.assert_equal(both.load(), whole)
    with pytest.raises(InputError, match="in two of the given"):
        open_chips([tmp_path / "test", tmp_path / "test.zip"])


def test_listing_hash_is_that_of_sha256sum(collection):
    paths = sorted(p.relative_to(collection).as_posix() for p in collection.rglob("*.png"))
    listing = "".join(f"{hashlib.sha256((collection / p).read_bytes()).hexdigest()}  {p}\n" for p in paths)
    scene = open_chips(collection)
    assert scene.attrs["sha256"] == hashlib.sha256(listing.encode()).hexdigest()
    open_chips(collection, verify=scene.attrs["sha256"])
    paint(collection / "train" / "river" / "0.png", 99)
    with pytest.raises(InputError, match="not the collection of the catalogue"):
        open_chips(collection, verify=scene.attrs["sha256"])


def test_no_split_without_folders_that_say_so(tmp_path):
    for i, name in enumerate("ab"):
        paint(tmp_path / "2750" / name / "1.png", i)
    scene = open_chips(tmp_path)
    assert "split" not in scene.coords
    assert scene["label"].attrs["names"] == ["a", "b"]


def test_grey_and_deep_and_mixed_modes(tmp_path):
    paint(tmp_path / "a" / "1.png", 51, mode="L")
    paint(tmp_path / "b" / "1.png", 102, mode="RGB", size=(5, 4))
    scene = open_chips(tmp_path)
    assert scene["image"].shape == (2, 1, 4, 5)  # as the first
    np.testing.assert_allclose(scene["image"][0, 0, 0, 0], 0.2, rtol=1e-6)
    assert float(scene["image"].max()) <= 1
    deep = tmp_path / "deep"
    for name in "ab":
        (deep / name).mkdir(parents=True)
        Image.fromarray(np.full((4, 5), 13107, np.uint16)).save(deep / name / "1.png")
    np.testing.assert_allclose(open_chips(deep)["image"], np.full((2, 1, 4, 5), 0.2), rtol=1e-6)


def test_scene_can_be_sent_to_another_process(collection, tmp_path):
    for path in (collection, pack(collection, tmp_path / "set.zip")):
        scene = open_chips(path)
        xr.testing.assert_equal(sent(scene).load(), scene.load())


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_layouts_that_are_none(tmp_path):
    with pytest.raises(InputError, match="no folder or zip"):
        open_chips(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no images"):
        open_chips(tmp_path / "empty")
    paint(tmp_path / "flat" / "1.png", 0)
    with pytest.raises(InputError, match="not in a class folder"):
        open_chips(tmp_path / "flat")
    paint(tmp_path / "split" / "train" / "1.png", 0)
    with pytest.raises(InputError, match="not in a class folder"):
        open_chips(tmp_path / "split")
    paint(tmp_path / "one" / "river" / "1.png", 0)
    with pytest.raises(InputError, match="one class only"):
        open_chips(tmp_path / "one")


def test_an_image_of_another_size_is_named(collection):
    paint(collection / "train" / "river" / "1.png", 0, size=(6, 4))
    scene = open_chips(collection)
    with pytest.raises(InputError, match=r"train/river/1.png has 4 x 6 pixels, but test/forest/0.png has 4 x 5"):
        scene.load()


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_a_damaged_image_is_named(collection, content):
    path = collection / "train" / "river" / "1.png"
    path.write_bytes(path.read_bytes()[:50] if content is None else content)
    with pytest.raises(InputError, match=r"train/river/1.png cannot be read"):
        open_chips(collection).load()


def test_a_giant_image_is_not_decoded(collection, monkeypatch):
    monkeypatch.setattr(chips, "MAX_PIXELS", 19)
    with pytest.raises(InputError, match="at most 19"):
        open_chips(collection)


@pytest.mark.parametrize("name", ["../a/1.png", "/a/1.png", "a/../../1.png", "C:/a/1.png", "..\\a\\1.png"])
def test_zip_that_leaves_its_folder(tmp_path, name):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/0.png", b"x")
        archive.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(InputError, match="leaves the folder"):
        open_chips(path)


def test_zip_bombs(tmp_path, monkeypatch):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.png", bytes(2**21))
    with pytest.raises(InputError, match="times its size"):
        open_chips(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.png", bytes(1000))
    monkeypatch.setattr(chips, "MAX_TOTAL", 999)
    with pytest.raises(InputError, match="GiB"):
        open_chips(path)
    monkeypatch.setattr(chips, "MAX_MEMBER", 999)
    with pytest.raises(InputError, match="unpacks to"):
        open_chips(path)


def test_zips_that_are_none(tmp_path, collection):
    path = tmp_path / "set.zip"
    path.write_bytes(b"PK no zip")
    with pytest.raises(InputError, match="cannot be read as a zip"):
        open_chips(path)
    whole = pack(collection, path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read as a zip"):
        open_chips(path)
    path.write_bytes(whole.replace(b"IDAT", b"XXXX").replace(whole[60:80], bytes(20), 1))
    with pytest.raises(InputError, match="cannot be read"):
        open_chips(path).load()


def test_zip_links_and_secrets(tmp_path):
    path = tmp_path / "link.zip"
    link = zipfile.ZipInfo("a/1.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, b"/etc/hostname")
    with pytest.raises(InputError, match="is a link"):
        open_chips(path)
    secret = zipfile.ZipInfo("a/1.png")
    secret.orig_filename, secret.flag_bits = "a/1.png", 1
    assert chips._dangerous(secret) == "is encrypted"


# --- tables, digits ---------------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"X": np.arange(12.0).reshape(4, 3)})
    scipy.io.savemat(tmp_path / "y.mat", {"Y": np.array([[3], [1], [3], [1]], np.uint8)})
    return tmp_path


def test_pixels(table):
    scene = open_pixels(table / "x.mat", table / "y.mat", names=["grass", "trees", "water"])
    assert scene["hsi"].shape == (4, 3, 1, 1)
    assert scene["hsi"].values[1, :, 0, 0].tolist() == [3, 4, 5]
    assert scene["label"].values.tolist() == [1, 0, 1, 0]
    assert scene["label"].attrs["names"] == ["grass", "water"]
    assert scene["sample"].values[0] == "pixel-00000"


def test_tables_that_are_none(table):
    x, y = table / "x.mat", table / "y.mat"
    with pytest.raises(InputError, match="no file"):
        open_pixels(table / "z.mat", y)
    with pytest.raises(InputError, match="has no array 'Q'; it has X"):
        open_pixels(x, y, keys=("Q", None))
    x.write_bytes(x.read_bytes()[:60])
    with pytest.raises(InputError, match="cannot be read as MATLAB"):
        open_pixels(x, y)
    scipy.io.savemat(x, {"X": np.zeros((5, 3))})
    with pytest.raises(InputError, match="for the 4 labels"):
        open_pixels(x, y)
    scipy.io.savemat(x, {"X": np.zeros((4, 3)), "Z": np.zeros(1)})
    with pytest.raises(InputError, match="holds X, Z; name"):
        open_pixels(x, y)
    scipy.io.savemat(y, {"Y": np.array([0, 1, 1, 1])})
    with pytest.raises(InputError, match="from 1"):
        open_pixels(x, y, keys=("X", None))


def test_digits_are_real_and_the_same_everywhere():
    scene = digits()
    assert scene["image"].shape == (1797, 1, 8, 8)
    assert float(scene["image"].max()) == 1
    # the counts of the classes that scikit-learn's documentation gives as about 180 each
    assert np.bincount(scene["label"]).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert not scene.attrs["simulated"]

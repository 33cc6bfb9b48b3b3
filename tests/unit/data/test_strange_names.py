"""Files as other people name, save and link them: text, headers, suffixes, links, hidden files, folders."""

import io
import zipfile

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from workbench.data.boxes import layouts
from workbench.data.catalog import open_scene
from workbench.data.pair_sets import roles_of, sets_in
from workbench.data.readers import text
from workbench.data.readers.files import kind_of
from workbench.errors import InputError

RNG = np.random.default_rng(5)
CUBE = RNG.integers(1, 4000, (4, 5, 6)).astype("<u2")
HEADER = "ENVI\ndescription = {Flug 3, 12°C}\nsamples = 6\nlines = 5\nbands = 4\ndata type = 12\ninterleave = bsq\nbyte order = 0\nwavelength units = µm\nwavelength = {0.45, 0.55,\n 0.65, 0.85}\n"  # noqa: E501


def png(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


# --- text -------------------------------------------------------------------------------------------------------------


MARKS = [
    (b"\xef\xbb\xbf", "utf-8"),
    (b"", "utf-8"),
    (b"", "latin-1"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
]


@pytest.mark.parametrize(("mark", "encoding"), MARKS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("suffix", [".hdr", ".HDR", ".txt"])
def test_a_header_in_any_encoding_and_with_any_line_ends(tmp_path, mark, encoding, end, suffix):
    (tmp_path / "f.dat").write_bytes(CUBE.tobytes())
    header = tmp_path / f"f{suffix}"
    header.write_bytes(mark + HEADER.replace("\n", end).encode(encoding))
    scene = open_scene(header)
    np.testing.assert_array_equal(scene["hsi"].values, CUBE)
    np.testing.assert_allclose(scene["wavelength"], [450, 550, 650, 850])


def test_a_wrong_byte_names_file_and_line():
    with pytest.raises(InputError, match=r"train\.txt is not text in UTF-8: byte 8 \(line 3\) is 0xff"):
        text.decode(b"a\r\nbb\r\nx\xff", "train.txt")
    with pytest.raises(InputError, match=r"line 2.* is 0x00"):
        text.decode(b"one\nt\0wo", "a.txt")
    assert text.decode("ä\u2028b\n".encode(), "a") == "ä\u2028b\n"


# --- ENVI names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".hyspex", ".cube", ".rfl", ".ref", ".Dat", ".BIL", ".lan", ".001", ".v2.rfl"])
@pytest.mark.parametrize("given", ["header", "data"])
def test_any_suffix_of_the_data_file(tmp_path, suffix, given):
    data = tmp_path / f"scene_SWIR{suffix}"
    data.write_bytes(CUBE.tobytes())
    header = tmp_path / ("scene_SWIR.hdr" if suffix != ".v2.rfl" else "scene_SWIR.v2.hdr")
    header.write_text(HEADER, encoding="utf-8")
    (tmp_path / "scene_SWIR.txt").write_text("notes of the flight")
    (tmp_path / "scene_SWIR.jpg").write_bytes(b"a quicklook")
    np.testing.assert_array_equal(open_scene(header if given == "header" else data)["hsi"].values, CUBE)


def test_two_files_that_fit_a_header_are_told_and_none_is_listed(tmp_path):
    for name in ("f.dat", "f.img"):
        (tmp_path / name).write_bytes(CUBE.tobytes())
    (tmp_path / "f.hdr").write_text(HEADER, encoding="utf-8")
    assert "f.img would fit the header too" in open_scene(tmp_path / "f.hdr").attrs["notes"]
    other = tmp_path / "g"
    other.mkdir()
    (other / "f.hdr").write_text(HEADER, encoding="utf-8")
    (other / "f.rfl").write_bytes(b"short")
    with pytest.raises(InputError, match=r"found: f\.rfl \(5 bytes\)"):
        open_scene(other / "f.hdr")


def test_links_behave_as_copies(tmp_path):
    store, link = tmp_path / "store", tmp_path / "link"
    store.mkdir()
    link.mkdir()
    place = {"crs": "EPSG:32632", "transform": Affine(10, 0, 4e5, 0, -10, 5e6)}
    with rasterio.open(store / "k1.tif", "w", driver="GTiff", height=20, width=20, count=3, dtype="uint16", **place) as file:
        file.write(RNG.integers(1, 4000, (3, 20, 20)).astype("u2"))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(store / "k1.tif", "r+") as file:
        file.write_mask(np.arange(400).reshape(20, 20) > 80)
    (store / "k2").write_bytes(CUBE.tobytes())
    (store / "k3").write_text(HEADER, encoding="utf-8")
    (link / "a.tif").symlink_to(store / "k1.tif")  # its mask lies beside the target only
    (link / "f.dat").symlink_to(store / "k2")
    (link / "f.hdr").symlink_to(store / "k3")
    assert (store / "k1.tif.msk").exists()
    assert np.isnan(open_scene(link / "a.tif")["hsi"].values).sum() == 3 * 81
    for name in ("f.hdr", "f.dat"):
        np.testing.assert_array_equal(open_scene(link / name)["hsi"].values, CUBE)


def test_an_envi_header_beside_a_tiff(tmp_path):
    values = RNG.random((4, 10, 10)).astype("f4")
    place = {"crs": "EPSG:32611", "transform": Affine(5, 0, 4e5, 0, -5, 4e6)}
    with rasterio.open(
        tmp_path / "rfl.tif", "w", driver="GTiff", height=10, width=10, count=4, dtype="float32", **place
    ) as file:
        file.write(values)
    header = "ENVI\nsamples = 10\nlines = 10\nbands = 4\ndata type = 4\ninterleave = bsq\nwavelength units = nm\nwavelength = {450, 550, 650, 850}\nfwhm = {5,5,5,6}\nbbl = {1,1,0,1}\n"  # noqa: E501
    (tmp_path / "rfl.hdr").write_text(header)
    for name in ("rfl.tif", "rfl.hdr"):
        scene = open_scene(tmp_path / name)
        np.testing.assert_allclose(scene["hsi"].values, values)
        np.testing.assert_allclose(scene["fwhm"], [5, 5, 5, 6])
        assert scene["good"].values.tolist() == [True, True, False, True]
        assert "taken from rfl.hdr beside the TIFF" in scene.attrs["notes"]
    (tmp_path / "rfl.hdr").write_text(header.replace("lines = 10", "lines = 11"))
    scene = open_scene(tmp_path / "rfl.tif")
    assert "wavelength" not in scene.coords
    assert "rfl.hdr beside rfl.tif was not read: it describes 4 x 11 x 10" in scene.attrs["notes"]


@pytest.mark.parametrize(
    ("info", "epsg", "note"),
    [
        ("Geographic Lat/Lon, 1, 1, -117.5, 37.5, 3e-4, 3e-4, North America 1927, units=Degrees", 4267, ""),
        ("UTM, 1, 1, 480000, 4150000, 20, 20, 11, North, North America 1927, units=Meters", 26711, ""),
        ("UTM, 1, 1, 480000, 4150000, 20, 20, 33, North, ETRS89, units=Meters", 25833, ""),
        ("UTM, 1, 1, 480000, 4150000, 20, 20, 33, South, WGS-84, units=Meters", 32733, ""),
        (
            "UTM, 1, 1, 480000, 4150000, 20, 20, 33, North, Mars 2000, units=Meters",
            None,
            "datum 'Mars 2000', which is not known",
        ),
        ("UTM, 1, 1, 480000, 4150000, 20, 20, 33, North, WGS-84, units=Feet", None, "'feet' as the unit"),
        ("Geographic Lat/Lon, 1, 1, -117.5, 37.5, 3e-4, 3e-4", 4326, "names no datum; WGS-84 was taken"),
    ],
)
def test_the_datum_of_map_info(tmp_path, info, epsg, note):
    (tmp_path / "f").write_bytes(CUBE.tobytes())
    (tmp_path / "f.hdr").write_text(HEADER + f"map info = {{{info}}}\n", encoding="utf-8")
    scene = open_scene(tmp_path / "f.hdr")
    crs = scene.rio.crs if "spatial_ref" in scene.coords else None
    assert (None if crs is None else crs.to_epsg()) == epsg
    assert note in scene.attrs["notes"]


def test_map_info_and_wkt_that_contradict_each_other(tmp_path):
    import pyproj

    (tmp_path / "f").write_bytes(CUBE.tobytes())
    wkt = pyproj.CRS.from_epsg(26711).to_wkt("WKT1_ESRI")
    info = "map info = {UTM, 1, 1, 480000, 4150000, 20, 20, 11, North, WGS-84, units=Meters}\n"
    (tmp_path / "f.hdr").write_text(HEADER + info + f"coordinate system string = {{{wkt}}}\n", encoding="utf-8")
    scene = open_scene(tmp_path / "f.hdr")
    assert "contradict each other" in scene.attrs["notes"]
    assert scene.rio.crs.to_epsg() == 26711


# --- folders ----------------------------------------------------------------------------------------------------------


def chip(values=None):
    file = io.BytesIO()
    Image.fromarray(RNG.integers(0, 255, (8, 8, 3), dtype=np.uint8) if values is None else values).save(file, "PNG")
    return file.getvalue()


def test_hidden_files_are_no_chips(tmp_path):
    junk = {
        ".ipynb_checkpoints/0.png": chip(),
        "field/._0.png": b"junk",
        "field/Thumbs.db": b"junk",
        "__MACOSX/field/._0.png": b"junk",
    }
    good = {f"{c}/{i}.png": chip() for c in ("field", "wood") for i in range(2)}
    for name, content in {**good, **junk}.items():
        (tmp_path / "c" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "c" / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as file:
        for name, content in {**good, **junk}.items():
            file.writestr(name, content)
    for name in ("c", "c.zip"):
        scene = open_scene(tmp_path / name)
        assert (scene.sizes["sample"], scene["label"].attrs["names"]) == (4, ["field", "wood"])
        assert np.isfinite(scene["image"].values).all()


@pytest.mark.parametrize(
    "names",
    [("Image1", "Image2", "label"), ("T1", "T2", "GT_CD"), ("img_A", "img_B", "masks"), ("2012", "2016", "change_label"),
     ("pre_event", "post_event", "gt"), ("A", "B", "ref"), ("T0", "T1", "label")],
)  # fmt: skip
def test_names_of_the_folders_of_a_set(tmp_path, names):
    for role, name in zip(("before", "after", "truth"), names, strict=True):
        for i in range(3):
            mask = np.zeros((16, 16), np.uint8)
            mask[2:5, 2:5] = 255
            png(
                tmp_path / "s" / name / f"{i}.png",
                mask if role == "truth" else RNG.integers(0, 255, (16, 16, 3), dtype=np.uint8),
            )
    roles = sets_in(tmp_path / "s")[""]
    assert [roles[r].name for r in ("before", "after", "truth")] == list(names)
    assert int((open_scene(tmp_path / "s")["truth"] == 1).sum()) == 27


def test_folders_beside_the_dates_are_told(tmp_path):
    for name in ("im1", "im2", "label1", "label2", "edge"):
        png(tmp_path / "s" / name / "0.png", RNG.integers(0, 255, (16, 16, 3), dtype=np.uint8))
    assert roles_of(tmp_path / "s")[1] == ["edge", "label1", "label2"]
    scene = open_scene(tmp_path / "s")
    assert "truth" not in scene
    assert "not read: edge, label1, label2" in scene.attrs["notes"]


def test_images_and_masks_are_not_two_classes(tmp_path):
    for i in range(3):
        png(tmp_path / "s" / "images" / f"{i}.png", RNG.integers(0, 255, (16, 16, 3), dtype=np.uint8))
        png(tmp_path / "s" / "segm" / f"{i}.png", np.where(np.eye(16) > 0, 255, 0).astype(np.uint8))
    with pytest.raises(
        InputError, match=r"is not a collection of class folders.*found: images \(3 files\), segm \(3 files\)"
    ):
        open_scene(tmp_path / "s")


def test_lists_that_name_only_some_pairs_are_told(tmp_path):
    for name in ("A", "B"):
        for i in range(3):
            png(tmp_path / "s" / name / f"{i}.png", RNG.integers(0, 255, (16, 16, 3), dtype=np.uint8))
    (tmp_path / "s" / "list").mkdir()
    (tmp_path / "s" / "list" / "train.txt").write_bytes(b"\xef\xbb\xbf0.png\r\n1.png\r\n")
    scene = open_scene(tmp_path / "s")
    assert "split" not in scene.coords
    assert "train.txt name 2 of the 3 pairs" in scene.attrs["notes"]


@pytest.mark.parametrize(
    "root",
    [
        "<annotation verified='yes'>",
        "<!-- " + "long " * 2000 + "--><annotation\n>",
        "<?xml version='1.0' encoding='utf-8'?>\n<annotation a='1' b='2'>",
    ],
)
def test_the_root_of_an_annotation_decides(tmp_path, root):
    png(tmp_path / "s" / "JPEGImages" / "0.png", np.full((40, 50), 60, np.uint8))
    box = "<bndbox><xmin>5</xmin><ymin>6</ymin><xmax>20</xmax><ymax>18</ymax></bndbox>"
    xml = f"{root}<filename>0.png</filename><object><name>ship</name>{box}</object></annotation>"
    (tmp_path / "s" / "Annotations").mkdir()
    (tmp_path / "s" / "Annotations" / "._0.xml").write_bytes(b"\0\5\x16\7")
    (tmp_path / "s" / "Annotations" / "0.xml").write_text(xml)
    assert layouts(tmp_path / "s") == {"Annotations": "voc"}
    np.testing.assert_allclose(open_scene(tmp_path / "s")["box"], [[4, 5, 20, 18]])


def test_first_bytes_decide_the_kind():
    assert kind_of(b"BM" + bytes(20)) == "BMP"
    assert kind_of(b"BMraw pixels of a scene") == ""

"""Legal but unusual ENVI headers and TIFFs, rebuilt from bug reports of other tools: the right value, or a note or message."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from workbench.data.catalog import open_scene
from workbench.data.readers.lists import numbers_of
from workbench.errors import InputError

RNG = np.random.default_rng(8)
CUBE = RNG.integers(100, 4000, (3, 6, 5)).astype("<u2")
WAVES = "wavelength = {400, 500, 600}\nwavelength units = nm\n"
DECIBELS = RNG.normal(-12, 3, (3, 6, 5)).astype("f4")


def envi(folder, fields, values=CUBE):
    bands, rows, columns = values.shape
    (folder / "f.img").write_bytes(values.tobytes())
    head = f"ENVI\nsamples = {columns}\nlines = {rows}\nbands = {bands}\ndata type = 12\ninterleave = bsq\nbyte order = 0\n"
    (folder / "f.hdr").write_text(head + fields)
    return open_scene(folder / "f.hdr")


def tif(path, values, names=(), tags=None, **how):
    bands, rows, columns = values.shape
    about = {"count": bands, "height": rows, "width": columns, "dtype": values.dtype, "transform": Affine(9, 0, 9, 0, -9, 9)}
    with rasterio.open(path, "w", driver="GTiff", **about, **how) as file:
        file.write(values)
        file.update_tags(**(tags or {}))
        for i, name in enumerate(names, 1):
            file.set_band_description(i, name)
    return path


@pytest.mark.parametrize(
    ("unit", "values", "expected"),
    [
        ("GHz", "300000, 400000, 500000", [999.308, 749.481, 599.585]),
        ("MHz", "300000000, 400000000, 500000000", [999.308, 749.481, 599.585]),
        ("Millimeters", "0.0004, 0.0005, 0.0006", [400, 500, 600]),
        ("Meters", "4e-7, 5e-7, 6e-7", [400, 500, 600]),
        ("Angstroms", "4000, 5000, 6000", [400, 500, 600]),
    ],
)
def test_every_unit_of_envi(tmp_path, unit, values, expected):
    scene = envi(tmp_path, f"wavelength = {{{values}}}\nwavelength units = {unit}\n")
    np.testing.assert_allclose(scene["wavelength"], expected, rtol=1e-5)
    assert f"converted from {unit}" in scene.attrs["notes"]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("wavelength = {400,5, 500,5, 600,25}", [400.5, 500.5, 600.25]),
        ("wavelength = {400,5; 500,5; 600,25}", [400.5, 500.5, 600.25]),
        ("wavelength = {400\n500\n600}", [400, 500, 600]),
        ("wavelength = {400 nm, 500 nm, 600 nm}", [400, 500, 600]),
        ("wavelengths = {400, 500, 600}", [400, 500, 600]),
    ],
)
def test_wavelengths_as_other_programs_write_them(tmp_path, field, expected):
    scene = envi(tmp_path, f"{field}\nwavelength units = nm\n")
    np.testing.assert_allclose(scene["wavelength"], expected)
    assert ("decimal commas" in scene.attrs["notes"]) == ("5, 500" in field or ";" in field)
    assert ("field 'wavelengths'" in scene.attrs["notes"]) == field.startswith("wavelengths")


def test_lists_with_other_words_are_refused():
    for words in ("a, b", "1, 2; 3, 4, 5; 6"):
        with pytest.raises(ValueError, match=r"convert|commas"):
            numbers_of(words)


def test_bad_bands_as_words_and_widths_without_wavelengths(tmp_path):
    scene = envi(tmp_path, "bbl = {True, False, True}\nfwhm = {5, 5, 5}\n")
    assert scene["good"].values.tolist() == [True, False, True]
    assert "fwhm ignored: the header has no wavelengths" in scene.attrs["notes"]


@pytest.mark.parametrize(
    ("info", "x", "y", "told"),
    [
        ("Geographic Lat/Lon, 1,0, 1,0, 11,5, 47,5, 0,001, 0,001, WGS-84", 11.5005, 47.4995, "read with decimal commas"),
        ("UTM, 1,000, 1,000, 500000,0, 5200000,0, 30,0, 30,0, 33, North, WGS-84", 500015, 5199985, "decimal commas"),
        ("Geographic Lat/Lon, 1, 1, 11,5, 47,5, 0,001, 0,001, WGS-84", 0, 0, "10 numbers where 6 are expected"),
        ("UTM, 1, 1, 500000, 6200000, 30, 30, -56, South, WGS-84", 500015, 6199985, ""),
        ("UTM, 1, 1, 500000, 6200000, 30, 30, -56, North, WGS-84", 0, 0, "zone -56, which is south"),
    ],
)
def test_maps_of_other_countries(tmp_path, info, x, y, told):
    scene = envi(tmp_path, f"{WAVES}map info = {{{info}}}\n")
    assert (float(scene["x"][0]), float(scene["y"][0])) == pytest.approx((x, y))
    assert told in scene.attrs["notes"]
    if "South" in info:
        assert scene.rio.crs.to_epsg() == 32756


def test_bytes_between_lines_are_refused(tmp_path):
    with pytest.raises(InputError, match="other bytes stand between the lines"):
        envi(tmp_path, "major frame offsets = {8, 8}\n")
    assert envi(tmp_path, "major frame offsets = {0, 0}\n").sizes["band"] == 3


def test_a_missing_value_that_the_type_cannot_hold_is_told(tmp_path):
    values = CUBE.copy()
    values[:, 2, :2] = 55537  # -9999 in two bytes
    scene = envi(tmp_path, "data ignore value = -9999\n", values)
    assert "cannot occur in uint16; if they hold 55537, say so: key nodata=55537" in scene.attrs["notes"]
    said = open_scene(tmp_path / "f.hdr", keys={"nodata": "55537"})
    assert int(said["hsi"].isnull().sum()) == 6
    assert "cannot occur" not in envi(tmp_path, "data ignore value = 0\n").attrs["notes"]


@pytest.mark.parametrize("how", [{"nbits": 12}, {"bigtiff": "YES"}, {"interleave": "band", "compress": "lzw"}])
def test_legal_tiffs_are_no_damaged_ones(tmp_path, how):
    values = RNG.integers(0, 4000, (4, 40, 50)).astype("u2")
    np.testing.assert_array_equal(open_scene(tif(tmp_path / "a.tif", values, **how))["hsi"], values)


def test_a_truncated_tiff_of_12_bits_is_refused(tmp_path):
    path = tif(tmp_path / "a.tif", RNG.integers(0, 4000, (4, 40, 50)).astype("u2"), nbits=12)
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(InputError, match="truncated"):
        open_scene(path)


@pytest.mark.parametrize(
    "how",
    [
        {"names": [f"Band {i} ({w} Nanometers)" for i, w in enumerate((400.5, 500.5, 600.5))]},
        {"tags": {"wavelengths": "{400.5, 500.5, 600.5}", "wavelength_units": "nm"}},
    ],
)
def test_wavelengths_in_names_of_bands_and_in_one_tag(tmp_path, how):
    scene = open_scene(tif(tmp_path / "a.tif", CUBE, **how))
    np.testing.assert_allclose(scene["wavelength"], [400.5, 500.5, 600.5])
    assert "wavelengths from the" in scene.attrs["notes"]


def test_pages_behind_the_first_are_told(tmp_path):
    colour = [Image.fromarray(RNG.integers(0, 255, (6, 5, 3)).astype("u1")) for _ in range(3)]
    colour[0].save(tmp_path / "c.tif", save_all=True, append_images=colour[1:])
    assert "3 pages, of which only the first is read" in open_scene(tmp_path / "c.tif").attrs["notes"]
    grey = [Image.fromarray(band) for band in CUBE]
    grey[0].save(tmp_path / "g.tif", save_all=True, append_images=grey[1:])
    with pytest.raises(InputError, match="3 pages, of which only the first"):
        open_scene(tmp_path / "g.tif")
    assert "pages" not in open_scene(tif(tmp_path / "one.tif", CUBE)).attrs["notes"]


@pytest.mark.parametrize("third", ["angle", "VV/VH", "VV_VH_ratio"])
def test_bands_beside_backscatter_are_no_intensity(tmp_path, third):
    scene = open_scene(tif(tmp_path / "a.tif", DECIBELS, ("VV", "VH", third)))
    assert scene["polarization"].values.tolist() == ["VV", "VH"]
    np.testing.assert_allclose(scene["sar"], 10 ** (DECIBELS[:2] / 10), rtol=1e-5)
    assert f"{third} left out" in scene.attrs["notes"]


def test_the_logarithm_of_zero_is_missing(tmp_path):
    values = DECIBELS[:1].copy()
    values[0, 0] = -np.inf
    scene = open_scene(tif(tmp_path / "a.tif", values, ("VV",)))
    assert int(scene["sar"].isnull().sum()) == 5
    assert "infinite, as the logarithm of 0 is; they are missing" in scene.attrs["notes"]


def test_fill_in_some_bands_is_told(tmp_path):
    values = RNG.integers(100, 4000, (6, 8, 9)).astype("i2")
    values[:2, 3, :5] = -9999
    values[4] = 0
    notes = open_scene(tif(tmp_path / "a.tif", values)).attrs["notes"]
    assert "5 sampled pixels hold -9999 in some bands" in notes
    assert "bands that hold one value only in the sampled rows (counted from 0): 4 (0)" in notes
    values[:, 3, :5], values[4] = -9999, values[5]
    notes = open_scene(tif(tmp_path / "b.tif", values)).attrs["notes"]
    assert "hold -9999 in all bands" in notes
    assert "some bands" not in notes
    assert "one value only" not in notes

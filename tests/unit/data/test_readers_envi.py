"""ENVI pairs written here in the documented layout: text header, flat binary, three interleaves."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.data.checks import check_cube
from workbench.data.formats import open_file
from workbench.data.readers.envi_header import parse
from workbench.errors import InputError

BANDS, ROWS, COLUMNS = 4, 3, 5
# value = 100 band + 10 row + column, so every value says where it belongs
CUBE = np.fromfunction(lambda b, y, x: 100 * b + 10 * y + x, (BANDS, ROWS, COLUMNS))
TO_FILE = {"bsq": (0, 1, 2), "bil": (1, 0, 2), "bip": (1, 2, 0)}


def write(folder, cube=CUBE, interleave="bsq", dtype="<i2", code=2, name="flight", suffix="", before=b"", **fields):
    """Write an ENVI pair; returns the header. `fields` replace or add header lines (None leaves one out)."""
    lines = {
        "samples": cube.shape[2],
        "lines": cube.shape[1],
        "bands": cube.shape[0],
        "header offset": len(before),
        "file type": "ENVI Standard",
        "data type": code,
        "interleave": interleave,
        "byte order": 0,
        **{k.replace("_", " "): v for k, v in fields.items()},
    }
    header = folder / f"{name}.hdr"
    header.write_text("ENVI\n" + "".join(f"{k} = {v}\n" for k, v in lines.items() if v is not None))
    order = TO_FILE.get(str(interleave).lower(), (0, 1, 2))
    (folder / f"{name}{suffix}").write_bytes(before + cube.transpose(order).astype(dtype).tobytes())
    return header


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip", "BIL"])
@pytest.mark.parametrize("given", ["flight.hdr", "flight.dat"])
def test_interleave_and_name(tmp_path, interleave, given):
    write(tmp_path, interleave=interleave, suffix=".dat")
    scene = open_file(tmp_path / given)
    assert scene["hsi"].dims == ("band", "y", "x")
    assert scene["hsi"].dtype == np.float32
    assert scene["hsi"].chunks is not None
    np.testing.assert_array_equal(scene["hsi"], CUBE)
    assert float(scene["hsi"][3, 2, 4]) == 324
    assert list(scene["x"].values) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("header", ["flight.hdr", "flight.HDR", "flight.dat.hdr"])
def test_header_beside_data(tmp_path, header):
    write(tmp_path, suffix=".dat").rename(tmp_path / header)
    np.testing.assert_array_equal(open_file(tmp_path / "flight.dat")["hsi"], CUBE)
    np.testing.assert_array_equal(open_file(tmp_path / header)["hsi"], CUBE)


@pytest.mark.parametrize(
    ("code", "dtype"),
    [(1, "u1"), (2, "<i2"), (3, "<i4"), (4, "<f4"), (5, "<f8"), (12, "<u2"), (13, "<u4"), (14, "<i8"), (15, "<u8")],
)
def test_every_real_data_type(tmp_path, code, dtype):
    cube = CUBE[:2]  # at most 124, so that it fits one byte
    np.testing.assert_array_equal(open_file(write(tmp_path, cube, dtype=dtype, code=code))["hsi"], cube)


def test_byte_order_and_header_offset(tmp_path):
    header = write(tmp_path, dtype=">i2", byte_order=1, before=b"seven b")
    np.testing.assert_array_equal(open_file(header)["hsi"], CUBE)


def test_pixels_are_read_when_asked_for(tmp_path):
    header = write(tmp_path)
    scene = open_file(header)
    changed = CUBE.copy()
    changed[0, 0, 0] = 77
    write(tmp_path, changed)  # the same size
    assert float(scene["hsi"][0, 0, 0]) == 77
    (tmp_path / "flight").write_bytes(b"short")
    with pytest.raises(InputError, match="shortened"):
        check_cube(scene)


def test_scale_ignore_value_and_bad_bands(tmp_path):
    cube = CUBE.copy()
    cube[:, 1, 2] = -9999
    cube[2] = -9999
    header = write(
        tmp_path, cube, data_ignore_value=-9999, reflectance_scale_factor=1000, bbl="{1, 1, 0, 1}", interleave="bip"
    )
    scene = open_file(header)
    assert np.isnan(scene["hsi"][:, 1, 2]).all()
    assert float(scene["hsi"][3, 2, 4]) == np.float32(0.324)  # 324 / 1000
    assert int(scene["hsi"].isnull().sum()) == 15 + 3  # band 2 whole, one pixel of the three others
    assert list(scene["good"].values) == [True, True, False, True]
    assert "scale factor 1000" in scene.attrs["notes"]
    assert "1 of 4 bands are marked bad" in scene.attrs["notes"]
    check_cube(scene)  # the empty band is marked bad


def test_ignore_value_that_the_dtype_cannot_hold(tmp_path):
    header = write(tmp_path, dtype="<u2", code=12, data_ignore_value=-9999)
    np.testing.assert_array_equal(open_file(header)["hsi"], CUBE)


@pytest.mark.parametrize(
    ("unit", "values", "nm", "told"),
    [
        ("Nanometers", [400, 500, 600, 700], [400, 500, 600, 700], False),
        ("Micrometers", [0.4, 0.5, 0.6, 0.7], [400, 500, 600, 700], False),
        ("um", [0.4, 0.5, 1.6, 2.4], [400, 500, 1600, 2400], False),
        ("Unknown", [426.8, 437, 900, 2400], [426.8, 437, 900, 2400], True),
        (None, [0.4, 0.5, 0.6, 0.7], [400, 500, 600, 700], True),
        ("Micrometers", [400, 500, 600, 700], [400, 500, 600, 700], True),  # the header contradicts itself
    ],
)
def test_wavelength_units(tmp_path, unit, values, nm, told):
    header = write(tmp_path, wavelength="{\n " + ",\n ".join(map(str, values)) + "}", wavelength_units=unit)
    scene = open_file(header)
    np.testing.assert_allclose(scene["wavelength"], nm)
    assert scene["wavelength"].attrs["units"] == "nm"
    assert ("wavelengths taken as" in scene.attrs["notes"]) == told


@pytest.mark.parametrize(
    "wavelength", ["{400, 500, 600}", "{a, b, c, d}", "{1, 2, 3, 4000}", "{0, 0, 0, 0}", "{nan, 1, 1, 1}"]
)
def test_wavelengths_that_cannot_be_are_left_out_and_told(tmp_path, wavelength):
    scene = open_file(write(tmp_path, wavelength=wavelength))
    assert "wavelength" not in scene.coords
    assert "wavelength" in scene.attrs["notes"]
    assert "ignored" in scene.attrs["notes"]


def test_fwhm_goes_with_the_unit(tmp_path):
    header = write(
        tmp_path, wavelength="{0.4, 0.5, 0.6, 0.7}", fwhm="{0.01, 0.01, 0.02, 0.02}", wavelength_units="Micrometers"
    )
    np.testing.assert_allclose(open_file(header)["fwhm"], [10, 10, 20, 20])


def test_map_info(tmp_path):
    # upper left corner of the first pixel at (500000, 4000000), 2 m pixels: centres from 500001 and 3999999
    header = write(tmp_path, map_info="{UTM, 1.0, 1.0, 500000, 4000000, 2.0, 2.0, 33, North, WGS-84, units=Meters}")
    scene = open_file(header)
    assert list(scene["x"].values) == [500001, 500003, 500005, 500007, 500009]
    assert list(scene["y"].values) == [3999999, 3999997, 3999995]
    assert scene.rio.crs.to_epsg() == 32633


def test_turned_map_is_told(tmp_path):
    header = write(tmp_path, map_info="{UTM, 1, 1, 500000, 4000000, 2, 2, 33, North, WGS-84, units=Meters, rotation=12.5}")
    scene = open_file(header)
    assert list(scene["x"].values) == [0, 1, 2, 3, 4]
    assert "rotation" in scene.attrs["notes"]


def test_longer_file_is_told(tmp_path):
    header = write(tmp_path)
    with (tmp_path / "flight").open("ab") as file:
        file.write(b"more")
    assert "4 bytes longer" in open_file(header).attrs["notes"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"lines": 4}, "120 bytes, but its header promises 160"),  # 4 x 3 x 5 x 2 = 120; one line more is 160
        ({"samples": 10**14}, "promises"),
        ({"samples": "9" * 5000}, "samples = '9999"),
        ({"bands": -4}, "bands = '-4' must be a whole number of at least 1"),
        ({"bands": "four"}, "bands = 'four'"),
        ({"lines": 0}, "lines = '0'"),
        ({"samples": "5.0"}, "samples = '5.0'"),
        ({"lines": None}, "has no 'lines'"),
        ({"header_offset": -2}, "header offset"),
        ({"header_offset": 10}, "promises 130"),
        ({"data_type": 7}, "data type = 7"),
        ({"data_type": "abc"}, "data type = 'abc'"),
        ({"byte_order": 2}, "byte order = '2'"),
        ({"interleave": "tile"}, "interleave = 'tile'"),
        ({"interleave": None}, "interleave = 'missing'"),
        ({"file_compression": 1}, "compressed"),
        ({"file_type": "ENVI Spectral Library"}, "spectral library"),
        ({"reflectance_scale_factor": 0}, "above 0"),
        ({"reflectance_scale_factor": "ten"}, "'ten' is not a number"),
        ({"data_ignore_value": "none"}, "'none' is not a number"),
        ({"data_file": "../../secret"}, "only a file in the folder of the header"),
        ({"data_file": "/etc/passwd"}, "only a file in the folder of the header"),
        ({"data_file": "..\\secret"}, "only a file in the folder of the header"),
        ({"data_file": ".."}, "only a file in the folder of the header"),
    ],
)
def test_headers_that_lie(tmp_path, fields, says):
    header = write(tmp_path, **fields)
    with pytest.raises(InputError, match=says.replace("(", r"\(")) as error:
        open_file(header)
    assert str(error.value).endswith((".", "it."))


def test_complex_and_single_band(tmp_path):
    with pytest.raises(InputError, match="complex"):
        open_file(write(tmp_path, CUBE + 1j, dtype="<c8", code=6))
    with pytest.raises(InputError, match="1 x 3 x 5"):
        open_file(write(tmp_path, CUBE[:1], name="grey"))


def test_partner_missing(tmp_path):
    header = write(tmp_path)
    (tmp_path / "flight").unlink()
    with pytest.raises(InputError, match="header without its data"):
        open_file(header)
    write(tmp_path).unlink()
    with pytest.raises(InputError, match=r"no header flight.hdr"):
        open_file(tmp_path / "flight")


def test_not_an_envi_header(tmp_path):
    (tmp_path / "esri.hdr").write_text("BYTEORDER I\nNROWS 3\n")
    with pytest.raises(InputError, match="does not begin with the word ENVI"):
        open_file(tmp_path / "esri.hdr")


def test_keys_make_no_sense(tmp_path):
    with pytest.raises(InputError, match="one unnamed cube"):
        open_file(write(tmp_path), keys={"cube": "data"})


def test_same_coordinates_as_gdal(tmp_path):
    """GDAL's ENVI driver is the independent reader: same pixels, same map."""
    import rasterio

    header = write(
        tmp_path,
        interleave="bil",
        map_info="{UTM, 2.0, 3.0, 500000, 4000000, 2.0, 2.5, 33, North, WGS-84, units=Meters}",
    )
    scene = open_file(header)
    with rasterio.open(tmp_path / "flight") as peer:
        np.testing.assert_array_equal(scene["hsi"], peer.read())
        assert peer.xy(0, 0) == (float(scene["x"][0]), float(scene["y"][0]))
        assert peer.xy(2, 4) == (float(scene["x"][4]), float(scene["y"][2]))


def test_headers_that_would_take_for_ever(tmp_path):
    """Time grows with the length of a header, not with its square: these took minutes and hours with patterns."""
    import time

    for text in (
        "ENVI\n" + " " * 200_000 + "x\n",
        "ENVI\n" + "\n" * 200_000,
        "ENVI\n" + "a = {\n" * 100_000,
        "ENVI\n" + "a={" * 90_000,
    ):
        (tmp_path / "a.hdr").write_text(text)
        begin = time.process_time()
        parse(tmp_path / "a.hdr")
        assert time.process_time() - begin < 2


def test_braces_and_comments(tmp_path):
    (tmp_path / "a.hdr").write_text(
        "ENVI\n{x} = 6\n; samples = 9\n  Band  Names = { a = b,\n ; no\n c }  more\nsamples=3\nopen = { never closed\nlines = 4 ;\n = 5\n"
    )
    assert parse(tmp_path / "a.hdr") == {
        "band names": "a = b,\n c",
        "samples": "3",
        "open": "never closed",
        "lines": "4 ;",
    }


@pytest.mark.parametrize("zone", ["99", "²", "0", "x", ""])
def test_zones_that_are_none(tmp_path, zone):
    np.zeros((3, 2, 2), "u1").tofile(tmp_path / "a.raw")
    (tmp_path / "a.raw.hdr").write_text(
        "ENVI\nsamples = 2\nlines = 2\nbands = 3\ndata type = 1\ninterleave = bsq\nbyte order = 0\n"
        f"map info = {{UTM, 1, 1, 500000, 4100000, 30, 30, {zone}, North, WGS-84}}\n"
    )
    scene = open_file(tmp_path / "a.raw")
    assert "spatial_ref" not in scene.coords
    assert "map info ignored" in scene.attrs["notes"]


@pytest.mark.parametrize("line", ["samples = 4", "data ignore value = 3", "Reflectance Scale Factor = 100"])
def test_a_field_that_stands_twice_with_two_values(tmp_path, line):
    (tmp_path / "a.dat").write_bytes(np.arange(60, dtype="u2").tobytes())
    head = "ENVI\nsamples = 5\nlines = 4\nbands = 3\ndata type = 12\ninterleave = bsq\nbyte order = 0\n"
    head += "data ignore value = 7\nreflectance scale factor = 10\n"
    (tmp_path / "a.hdr").write_text(head + "samples = 5\nband names = {a, b, c}\nband names = {d, e, f}\n")
    open_file(tmp_path / "a.hdr")
    (tmp_path / "a.hdr").write_text(head + line)
    with pytest.raises(InputError, match=f"states '{line.split(' =')[0].lower()}' twice"):
        open_file(tmp_path / "a.hdr")

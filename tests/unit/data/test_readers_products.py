"""Products in their published layouts: generated files (`products.py`), because no real ones could be had, except NEON's."""

import h5py
import numpy as np
import pytest
import rasterio
import xarray as xr

from tests.elsewhere import sent
from tests.unit.data import products
from workbench.data.formats import cube_file, open_file
from workbench.errors import InputError


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_emit_as_it_was_flown(tmp_path, rng):
    told = products.emit(tmp_path / "EMIT_L2A_RFL.nc", rng)
    scene = open_file(tmp_path / "EMIT_L2A_RFL.nc")
    expected = np.where(told["cube"] == -9999, np.nan, told["cube"]).transpose(2, 0, 1)
    np.testing.assert_array_equal(scene["hsi"], expected)
    np.testing.assert_allclose(scene["wavelength"], products.WAVE)
    assert scene["good"].values.tolist() == [True, True, True, False, True]
    np.testing.assert_array_equal(scene["latitude"], told["lat"])
    np.testing.assert_array_equal(scene["longitude"], told["lon"])
    assert scene["hsi"].chunks == ((5,), (9,), (7,))
    assert "ortho=True" in scene.attrs["notes"]
    assert scene.attrs["title"].startswith("EMIT L2A")


def test_emit_on_its_map(tmp_path, rng, monkeypatch):
    told = products.emit(tmp_path / "EMIT_L2A_RFL.nc", rng)
    monkeypatch.setattr("workbench.data.readers.emit._TILE", 4)  # several lookups over a grid of 12 x 10
    scene = open_file(tmp_path / "EMIT_L2A_RFL.nc", ortho=True)
    expected = np.full((5, 12, 10), np.nan, "f4")
    for y in range(12):
        for x in range(10):
            if told["glt_y"][y, x]:
                spectrum = told["cube"][told["glt_y"][y, x] - 1, told["glt_x"][y, x] - 1]
                expected[:, y, x] = np.nan if spectrum[0] == -9999 else spectrum
    np.testing.assert_array_equal(scene["hsi"], expected)
    assert scene.rio.crs.to_epsg() == 4326
    np.testing.assert_allclose(scene["x"][:2], [-115.9 + 0.00027, -115.9 + 0.00081])
    np.testing.assert_allclose(scene["y"][:2], [33.4 - 0.00027, 33.4 - 0.00081])
    np.testing.assert_array_equal(scene["hsi"][2, 3:9, 1:7], expected[2, 3:9, 1:7])


def test_emit_lookup_that_lies(tmp_path, rng):
    products.emit(tmp_path / "bad.nc", rng)
    with h5py.File(tmp_path / "bad.nc", "r+") as file:
        file["location/glt_x"][0, 0] = 400
        file["location/glt_y"][0, 0] = 1
    with pytest.raises(InputError, match="points outside the 9 x 7 pixels"):
        open_file(tmp_path / "bad.nc", ortho=True)["hsi"].load()
    with h5py.File(tmp_path / "bad.nc", "r+") as file:
        del file.attrs["geotransform"]
    with pytest.raises(InputError, match="no usable geotransform"):
        open_file(tmp_path / "bad.nc", ortho=True)
    with pytest.raises(InputError, match="no cube 'hsi'; it has reflectance"):
        open_file(tmp_path / "bad.nc", keys={"cube": "hsi"})


def test_prisma(tmp_path, rng):
    told = products.prisma(tmp_path / "PRS_L2D_STD.he5", rng)
    scene = open_file(tmp_path / "PRS_L2D_STD.he5")
    assert scene["wavelength"].values.tolist() == [500, 700, 940, 950, 1600, 2400]
    assert scene["fwhm"].values.tolist() == [10, 11, 9, 12, 9, 9]
    vnir, swir = told["vnir"] * (1.2 / 65535), 0.1 + told["swir"] * (0.8 / 65535)
    joined = [vnir[:, 3], vnir[:, 2], swir[:, 2], vnir[:, 1], swir[:, 1], swir[:, 0]]
    expected = np.stack(joined)
    expected[:, 0, 0] = np.nan
    np.testing.assert_allclose(scene["hsi"], expected, rtol=1e-5)
    assert scene["hsi"].values[3, 3, 4] == 0  # dark, not missing
    np.testing.assert_allclose(scene["hsi"][::2, 1:4, 3], expected[::2, 1:4, 3], rtol=1e-5)
    assert scene.rio.crs.to_epsg() == 32633
    np.testing.assert_allclose(scene["x"], 500015 + 30 * np.arange(8))  # corners are centres of pixels
    np.testing.assert_allclose(scene["y"], 4600000 - 30 * np.arange(6))
    assert "overlap from 940 to 950 nm" in scene.attrs["notes"]
    assert "1 bands of the VNIR cube are empty" in scene.attrs["notes"]


def test_prisma_without_angles_takes_zero_as_missing(tmp_path, rng):
    products.prisma(tmp_path / "a.he5", rng)
    with h5py.File(tmp_path / "a.he5", "r+") as file:
        del file["HDFEOS/SWATHS/PRS_L2D_HCO/Geometric Fields"]
        del file.attrs["List_Cw_Swir_Flags"]
    scene = open_file(tmp_path / "a.he5")
    assert np.isnan(scene["hsi"].values[:, 0, 0]).all()
    assert np.isnan(scene["hsi"].values[3, 3, 4])
    assert "DN 0 is taken as missing" in scene.attrs["notes"]
    with h5py.File(tmp_path / "a.he5", "r+") as file:
        del file.attrs["L2ScaleVnirMax"]
    with pytest.raises(InputError, match="no number 'L2ScaleVnirMax'"):
        open_file(tmp_path / "a.he5")


@pytest.mark.parametrize("ask", ["folder", "image", "metadata"])
def test_enmap(tmp_path, rng, ask):
    cube = products.enmap(tmp_path / "L2A", rng)
    image, meta = (next((tmp_path / "L2A").glob(f"*{end}")) for end in (".TIF", ".XML"))
    scene = open_file({"folder": tmp_path / "L2A", "image": image, "metadata": meta}[ask])
    expected = cube * np.float32(0.0001)
    expected[3] = np.nan
    np.testing.assert_allclose(scene["hsi"], expected, rtol=1e-6)
    np.testing.assert_allclose(scene["wavelength"], products.WAVE)
    assert (scene["fwhm"] == 7.5).all()
    assert scene["good"].values.tolist() == [True, True, True, False, True]
    assert scene.rio.crs.to_epsg() == 32633
    assert scene["x"].values[0] == 366015
    assert cube_file(tmp_path / "L2A") == image


def test_desis(tmp_path, rng):
    cube = products.desis(tmp_path / "L2A", rng)
    scene = open_file(tmp_path / "L2A")
    expected = cube * 0.0001 + 0.01 * np.arange(5)[:, None, None]
    expected[:, 2, 2] = np.nan
    np.testing.assert_allclose(scene["hsi"], expected, rtol=1e-5, atol=1e-7)
    assert scene["wavelength"].values.tolist() == [400, 450, 600, 800, 1000]
    assert (scene["fwhm"] == 3.5).all()
    assert "DESIS product" in scene.attrs["notes"]


def test_product_whose_metadata_is_not_its_own(tmp_path, rng):
    products.desis(tmp_path / "L2A", rng)
    meta = next((tmp_path / "L2A").glob("*.xml"))
    text = meta.read_text()
    first = text.index("<band>")
    meta.write_text(text[:first] + text[text.index("</band>", first) + 7 :])
    with pytest.raises(InputError, match="describes 4 bands, but .* has 5"):
        open_file(tmp_path / "L2A")
    meta.write_text(text.replace("0.0001", "much", 1))
    with pytest.raises(InputError, match="not a number of the expected type"):
        open_file(tmp_path / "L2A")
    meta.write_text("<!DOCTYPE a [<!ENTITY b 'c'>]>" + text.removeprefix("<?xml version='1.0'?>"))
    with pytest.raises(InputError, match="DOCTYPE"):
        open_file(tmp_path / "L2A")


def test_neon(tmp_path, rng):
    cube = products.neon(tmp_path / "tile.h5", rng)
    scene = open_file(tmp_path / "tile.h5")
    expected = np.where(cube == -9999, np.nan, cube / 10000).transpose(2, 0, 1)
    np.testing.assert_allclose(scene["hsi"], expected, rtol=1e-6)
    assert scene["good"].values.tolist() == [True, True, True, False, True]
    assert scene["x"].values[:2].tolist() == [257000.5, 257001.5]
    assert scene["y"].values[:2].tolist() == [4111999.5, 4111998.5]
    assert scene.rio.crs.to_epsg() == 32611
    assert scene.rio.transform().c == 257000


def test_pixels_are_read_window_by_window(tmp_path, rng, monkeypatch):
    from workbench.data.readers.hdf5 import Hdf5Pixels

    products.neon(tmp_path / "tile.h5", rng)
    read, asked = Hdf5Pixels.__getitem__, []
    monkeypatch.setattr(Hdf5Pixels, "__getitem__", lambda self, window: asked.append(window) or read(self, window))
    lazy = open_file(tmp_path / "tile.h5", chunks=None)
    assert lazy["hsi"].chunks is None
    assert len(asked) == 1  # some rows, to look for undeclared fill; of a large file every so many
    asked.clear()
    lazy["hsi"][2, ::3, 1].load()
    assert asked == [(slice(2, 3, 1), slice(0, 6, 3), slice(1, 2, 1))]
    asked.clear()
    lazy = open_file(tmp_path / "tile.h5")
    asked.clear()
    lazy["hsi"][2].load()  # of a dask array too: one band, not a block
    assert asked == [(slice(2, 3, 1), slice(0, 6, 1), slice(0, 8, 1))]
    assert open_file(tmp_path / "tile.h5", chunks={"y": 4, "band": 2})["hsi"].chunks == ((2, 2, 1), (4, 2), (8,))
    with pytest.raises(InputError, match="must be 'auto', None"):
        open_file(tmp_path / "tile.h5", chunks={"z": 3})


@pytest.mark.parametrize("ask", ["emit", "prisma", "neon", "enmap"])
def test_a_lazy_scene_is_sent_small_and_reads_elsewhere(tmp_path, rng, ask):
    getattr(products, ask)(tmp_path / "a.h5", rng)
    scene = open_file(tmp_path / "a.h5")
    np.testing.assert_array_equal(sent(scene["hsi"].data, most=7999).compute(), scene["hsi"].values)


def test_files_that_point_elsewhere(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["cube"] = np.zeros((4, 5, 6), "f4")
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["a/cube"] = h5py.ExternalLink("secret.h5", "cube")
    with pytest.raises(InputError, match=r"a/cube is a link into the file 'secret.h5'"):
        open_file(tmp_path / "link.h5")
    with h5py.File(tmp_path / "outside.h5", "w") as file:
        file.create_dataset("cube", (4, 5, 6), "f4", external=[("secret.h5", 0, 480)])
    with pytest.raises(InputError, match="keeps its values in other files"):
        open_file(tmp_path / "outside.h5")
    layout = h5py.VirtualLayout((4, 5, 6), "f4")
    layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "cube", (4, 5, 6))
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("cube", layout)
    with pytest.raises(InputError, match="keeps its values in other files"):
        open_file(tmp_path / "virtual.h5")


def test_sizes_that_a_file_cannot_hold(tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("cube", (100, 100_000, 100_000), "f4", chunks=(1, 100, 100))
    with pytest.raises(InputError, match=r"promises 4000000000000 bytes .* only 0 are stored"):
        open_file(tmp_path / "huge.h5")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_the_engine_is_registered_and_opens_without_dask(tmp_path, rng):
    import tomllib
    from importlib import import_module
    from pathlib import Path

    from xarray.backends import BackendEntrypoint

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    module, name = project["entry-points"]["xarray.backends"]["workbench"].split(":")
    engine = getattr(import_module(module), name)
    assert issubclass(engine, BackendEntrypoint)

    products.neon(tmp_path / "tile.h5", rng)
    scene = xr.open_dataset(tmp_path / "tile.h5", engine=engine)
    assert scene["hsi"].chunks is None
    xr.testing.assert_identical(scene.load(), open_file(tmp_path / "tile.h5").load())
    blocked = xr.open_dataset(tmp_path / "tile.h5", engine=engine, chunks={})
    assert blocked["hsi"].chunks == ((5,), (6,), (8,))
    products.emit(tmp_path / "emit.nc", rng)
    flown = xr.open_dataset(tmp_path / "emit.nc", engine=engine, drop_variables="latitude", keys={"cube": "reflectance"})
    assert "latitude" not in flown.coords
    assert xr.open_dataset(tmp_path / "emit.nc", engine=engine, ortho=True).sizes["y"] == 12
    with rasterio.open(tmp_path / "s.tif", "w", driver="GTiff", count=1, height=4, width=5, dtype="float32") as file:
        file.write(np.full((1, 4, 5), -10, "f4"))
        file.set_band_description(1, "VV")
    radar = xr.open_dataset(tmp_path / "s.tif", engine=engine, keys={"scale": "db"})
    np.testing.assert_allclose(radar["sar"], 0.1, rtol=1e-6)
    with pytest.raises(InputError, match="not an EMIT file"):
        xr.open_dataset(tmp_path / "tile.h5", engine=engine, ortho=True)


def test_the_engine_claims_only_what_no_other_opens(tmp_path, rng):
    from workbench.data.engine import Engine

    products.neon(tmp_path / "tile.h5", rng)
    products.enmap(tmp_path / "L2A", rng)
    (tmp_path / "a.hdr").write_text("ENVI\nsamples = 1\n")
    (tmp_path / "b.hdr").write_text("something else")
    claims = {p.name: Engine().guess_can_open(p) for p in sorted(tmp_path.iterdir())}
    assert claims == {"L2A": True, "a.hdr": True, "b.hdr": False, "tile.h5": False}
    assert not Engine().guess_can_open(str(tmp_path / "absent.hdr"))
    assert not Engine().guess_can_open(b"bytes")


@pytest.mark.parametrize("bands", [[3, 0, 1], [2], [], slice(None, None, -2), 4])
@pytest.mark.parametrize("rows", [[4, 1], slice(1, None, 2), 3, slice(4, 1, -1), []])
def test_lazy_indexing_is_numpys(tmp_path, rng, bands, rows):
    products.neon(tmp_path / "tile.h5", rng)
    lazy, whole = (open_file(tmp_path / "tile.h5", chunks=c)["hsi"] for c in (None, {}))
    at = {"band": bands, "y": rows, "x": slice(1, 7, 3)}
    np.testing.assert_array_equal(lazy.isel(at), whole.load().isel(at))

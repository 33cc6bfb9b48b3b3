"""HDF5, NetCDF and Zarr as other tools write them, and heights in other units: the right value, or a note."""

import h5py
import numcodecs
import numpy as np
import pytest
import rasterio
import xarray as xr
import zarr
from affine import Affine

from workbench.data.catalog import open_scene
from workbench.errors import InputError

RNG = np.random.default_rng(6)
CUBE = RNG.integers(1, 900, (4, 6, 7)).astype("i2")
MAP = Affine(30, 0, 500000, 0, -30, 5200000)


def hdf5(path, values=CUBE, **attrs):
    with h5py.File(path, "w") as file:
        file["cube"] = values
        file["cube"].attrs.update(attrs)
    return open_scene(path, keys={"axes": "band,y,x"})


def tif(path, values, unit="", crs="EPSG:32633"):
    bands, rows, columns = values.shape
    about = {"count": bands, "height": rows, "width": columns, "dtype": values.dtype, "transform": MAP, "crs": crs}
    with rasterio.open(path, "w", driver="GTiff", **about) as file:
        file.write(values)
        file.units = [unit] * bands
    return path


def netcdf(path, rows, **how):
    coords = {"lat": rows, "lon": np.linspace(5, 8, 7)}
    xr.Dataset({"v": (("level", "lat", "lon"), CUBE.astype("f4"))}, coords, **how).to_netcdf(path, engine="h5netcdf")
    return open_scene(path)


def test_numbers_that_stand_as_text(tmp_path):
    values = CUBE.copy()
    values[:, 2, 2] = -9999
    scene = hdf5(tmp_path / "a.h5", values, _FillValue="-9999", scale_factor="0.01", add_offset="1")
    expected = np.where(values == -9999, np.nan, values * 0.01 + 1)
    np.testing.assert_allclose(scene["hsi"], expected, rtol=1e-6)
    assert "fillvalue_as_text = none" in hdf5(tmp_path / "b.h5", _FillValue="none").attrs["notes"]


def test_a_scale_for_each_band_is_told(tmp_path):
    scene = hdf5(tmp_path / "a.h5", scale_factor=np.array([0.1, 0.2, 0.3, 0.4]))
    np.testing.assert_array_equal(scene["hsi"], CUBE)
    assert "not applied: scale_factors = 0.1, 0.2" in scene.attrs["notes"]


def test_a_fill_value_beyond_the_type_is_told(tmp_path):
    notes = hdf5(tmp_path / "a.h5", CUBE.astype("u2"), _FillValue=-9999).attrs["notes"]
    assert "-9999 for missing pixels cannot occur in uint16" in notes
    assert "cannot" not in hdf5(tmp_path / "b.h5", _FillValue=np.int16(-1), _Unsigned="true").attrs["notes"]


def test_undeclared_fill_of_an_array_without_blocks_is_told(tmp_path):
    values = CUBE.copy()
    values[:, 1, :4] = -9999
    assert "hold -9999 in all bands" in hdf5(tmp_path / "a.h5", values).attrs["notes"]


def test_an_axis_that_is_left_over_is_told(tmp_path):
    scene = netcdf(tmp_path / "a.nc", np.linspace(50, 48, 6))
    assert "the axis 'level' was taken as the bands, because the others are 'lat' and 'lon'" in scene.attrs["notes"]


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_rows_that_are_not_evenly_spaced_have_no_map(tmp_path, kind):
    def placed(rows):
        path = tmp_path / f"{rows[3]}.nc"
        coords = {"lat": np.asarray(rows, kind), "lon": np.linspace(5, 5.002, 7).astype(kind)}
        data = xr.Dataset({"v": (("band", "lat", "lon"), CUBE.astype("f4"))}, coords)
        data.rio.write_crs(4326).to_netcdf(path, engine="h5netcdf")
        return open_scene(path)

    import rioxarray  # noqa: F401  (gives data.rio)

    even = placed(50 - np.arange(6) * 0.0003)
    assert even.rio.crs is not None
    uneven = placed([50, 49.9997, 49.9994, 49.9985, 49.9982, 49.9979])
    assert "spatial_ref" not in uneven.coords
    assert "the rows are not evenly spaced" in uneven.attrs["notes"]
    np.testing.assert_allclose(uneven["y"][3], 49.9985, rtol=1e-6)


@pytest.mark.parametrize(("version", "fill", "gone"), [(2, 0, 0), (3, 0, 0), (2, 1000, 4), (3, 1000, 4)])
def test_the_fill_value_of_zarr_is_missing_unless_it_is_0(tmp_path, version, fill, gone):
    values = CUBE.copy()
    values[:, 3, 3] = fill
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    names = {"dimension_names": ("band", "y", "x")} if version == 3 else {}
    array = group.create_array("cube", shape=values.shape, dtype=values.dtype, chunks=(4, 3, 7), fill_value=fill, **names)
    array[:] = values
    array.attrs["_ARRAY_DIMENSIONS"] = ["band", "y", "x"]
    scene = open_scene(tmp_path / "a.zarr")
    assert int(scene["hsi"].isnull().sum()) == gone
    assert ("stored values of 1000 of 'cube' are missing" in scene.attrs["notes"]) == bool(gone)


@pytest.mark.parametrize(
    ("unit", "crs", "factor"),
    [
        ("ft", "EPSG:32633", 0.3048),
        ("US survey foot", "EPSG:32633", 1200 / 3937),
        ("cm", "EPSG:32633", 0.01),
        ("metre", "EPSG:32633", 1),
        ("", "EPSG:32633+5703", 1),  # NAVD88 height
        ("", "EPSG:32633+6360", 1200 / 3937),  # the same in feet
    ],
)
def test_heights_are_metres(tmp_path, unit, crs, factor):
    heights = RNG.random((1, 6, 7)).astype("f4")
    scene = tif(tmp_path / "a.tif", CUBE)
    scene = open_scene(scene, beside={"lidar": tif(tmp_path / "h.tif", heights, unit, crs)})
    np.testing.assert_allclose(scene["lidar"], heights * factor, rtol=1e-5)
    assert ("converted to metres" in scene.attrs["notes"]) == (factor != 1)


def test_undeclared_fill_of_heights_is_told_and_can_be_named(tmp_path):
    heights = RNG.random((1, 6, 7)).astype("f4")
    heights[0, 2, :4] = -9999
    path, scene = tif(tmp_path / "h.tif", heights, "fathom"), tif(tmp_path / "a.tif", CUBE)
    told = open_scene(scene, beside={"lidar": path}).attrs["notes"]
    assert "key lidar.nodata=-9999" in told
    assert "unit 'fathom' is not known" in told
    named = open_scene(scene, beside={"lidar": path}, keys={"lidar.nodata": "-9999"})
    assert int(named["lidar"].isnull().sum()) == 4
    with pytest.raises(InputError, match=r"lidar.nodata and lidar.alpha; leave lidar.scale out"):
        open_scene(scene, beside={"lidar": path}, keys={"lidar.scale": "db"})


def test_a_truth_stored_from_south_to_north_is_named(tmp_path):
    mask = np.zeros((1, 6, 7), "u1")
    about = {"count": 1, "height": 6, "width": 7, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(tmp_path / "g.tif", "w", transform=Affine(30, 0, 500000, 0, 30, 5199820), **about) as file:
        file.write(mask)
    with pytest.raises(InputError, match="one is stored from north to south, the other from south to north"):
        open_scene(tif(tmp_path / "a.tif", CUBE), truth=tmp_path / "g.tif")


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("packed", ["blosc", "zstd"])
def test_a_block_of_zarr_that_was_cut_is_refused(tmp_path, version, packed):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=version)
    names = {"dimension_names": ("band", "y", "x")} if version == 3 else {}
    codecs = {
        (2, "blosc"): numcodecs.Blosc(),
        (2, "zstd"): numcodecs.Zstd(),
        (3, "blosc"): zarr.codecs.BloscCodec(),
        (3, "zstd"): zarr.codecs.ZstdCodec(),
    }
    array = group.create_array(
        "cube", shape=CUBE.shape, dtype="f4", chunks=(4, 3, 7), compressors=codecs[version, packed], **names
    )
    array[:] = RNG.random(CUBE.shape)
    array.attrs["_ARRAY_DIMENSIONS"] = ["band", "y", "x"]
    open_scene(tmp_path / "a.zarr")["hsi"].load()
    block = tmp_path / "a.zarr" / "cube" / ("0.0.0" if version == 2 else "c/0/0/0")
    whole = block.read_bytes()
    for length in (4, 20, len(whole) // 2, len(whole) - 1):
        block.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cannot be read|cannot be opened"):
            open_scene(tmp_path / "a.zarr")["hsi"].load()
    if packed == "blosc":  # its second word is the length of what it holds: the library would ask for as much memory
        block.write_bytes(whole[:4] + (2**31 - 17).to_bytes(4, "little") + whole[8:])
        with pytest.raises(InputError, match="a block of this array has 336"):
            open_scene(tmp_path / "a.zarr")["hsi"].load()


def test_coordinates_near_the_largest_number_are_no_warning(tmp_path):
    about = {"count": 4, "height": 6, "width": 7, "dtype": "float32", "crs": "EPSG:32633"}
    with rasterio.open(tmp_path / "g.tif", "w", transform=Affine(2e294, 0, 1e294, 0, -30, 5199820), **about) as file:
        file.write(CUBE)
    assert open_scene(tmp_path / "g.tif")["hsi"].shape == (4, 6, 7)

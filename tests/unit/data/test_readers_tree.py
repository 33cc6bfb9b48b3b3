"""HDF5 and NetCDF files whose cube, wavelengths, coordinates and map are in different groups; layouts from their documentation."""

import h5py
import numpy as np
import pyproj
import pytest

from workbench.data.catalog import open_scene
from workbench.errors import InputError

RNG = np.random.default_rng(6)
EMPTY = "This is a netCDF dimension but not a netCDF variable.  %9d"


def dims(file, **sizes):
    for name, size in sizes.items():
        file.create_dataset(name, (size,), "f4").make_scale(EMPTY % size)


def variable(group, name, values, axes, **attrs):
    made = group.create_dataset(name, data=values)
    root = group.file
    for i, axis in enumerate(axes):
        made.dims[i].attach_scale(root[axis])
    for key, value in attrs.items():
        made.attrs[key] = value
    return made


@pytest.mark.parametrize("lines", [9, 12, 20])  # 12: as many as bands; 20: as many as the longer list of bands
def test_pace_oci_level_2(tmp_path, lines):
    """Cube in `geophysical_data`, its wavelengths in `sensor_band_parameters` beside a longer list, place in `navigation_data`."""
    cube = RNG.random((lines, 7, 12)).astype("f4")
    cube[0, 0] = -32767
    wave = np.linspace(402, 711, 12)
    with h5py.File(tmp_path / "PACE_OCI.L2.OC_AOP.nc", "w") as file:
        dims(file, number_of_lines=lines, pixels_per_line=7, wavelength_3d=12, number_of_bands=20)
        rrs = variable(
            file.create_group("geophysical_data"), "Rrs", cube, ("number_of_lines", "pixels_per_line", "wavelength_3d")
        )
        rrs.attrs["_FillValue"] = np.float32(-32767)
        variable(file["geophysical_data"], "l2_flags", np.zeros((lines, 7), "i4"), ("number_of_lines", "pixels_per_line"))
        bands = file.create_group("sensor_band_parameters")
        variable(bands, "wavelength_3d", wave, ("wavelength_3d",), units="nm")
        variable(bands, "wavelength", np.linspace(315, 2260, 20), ("number_of_bands",), units="nm")
        for name, start in (("latitude", 50.0), ("longitude", 8.0)):
            place = np.full((lines, 7), start, "f4")
            variable(file.require_group("navigation_data"), name, place, ("number_of_lines", "pixels_per_line"))
    scene = open_scene(tmp_path / "PACE_OCI.L2.OC_AOP.nc")
    want = np.where(cube == -32767, np.nan, cube).transpose(2, 0, 1)
    np.testing.assert_array_equal(scene["hsi"].values, want)
    np.testing.assert_allclose(scene["wavelength"], wave)
    assert scene["latitude"].dims == ("y", "x")
    assert float(scene["longitude"][3, 3]) == 8


def test_pace_oci_level_1b_by_key(tmp_path):
    """Three cubes (bands first), each with wavelengths on its own dimension."""
    cube = RNG.random((5, 8, 6)).astype("f4")
    with h5py.File(tmp_path / "a.nc", "w") as file:
        dims(file, blue_bands=5, red_bands=8, number_of_scans=8, ccd_pixels=6)
        for name, axis in (("rhot_blue", "blue_bands"), ("rhot_red", "red_bands")):
            size = file[axis].shape[0]
            values = cube if name == "rhot_blue" else RNG.random((size, 8, 6)).astype("f4")
            variable(file.require_group("observation_data"), name, values, (axis, "number_of_scans", "ccd_pixels"))
            wave = np.linspace(310, 600, size) if axis == "blue_bands" else np.linspace(600, 900, size)
            variable(
                file.require_group("sensor_band_parameters"),
                name.replace("rhot_", "") + "_wavelength",
                wave,
                (axis,),
                units="nm",
            )
    with pytest.raises(InputError, match="cube=observation_data/rhot_blue"):
        open_scene(tmp_path / "a.nc")
    scene = open_scene(tmp_path / "a.nc", keys={"cube": "observation_data/rhot_blue"})
    np.testing.assert_array_equal(scene["hsi"].values, cube)
    np.testing.assert_allclose(scene["wavelength"], np.linspace(310, 600, 5))
    red = open_scene(tmp_path / "a.nc", keys={"cube": "observation_data/rhot_red"})
    np.testing.assert_allclose(red["wavelength"], np.linspace(600, 900, 8))


def test_aviris_3(tmp_path):
    """Cube and wavelengths in the group `reflectance`, northing, easting and the grid mapping in the root."""
    cube = RNG.random((4, 6, 5)).astype("f4")
    with h5py.File(tmp_path / "AV3_RFL_ORT.nc", "w") as file:
        for name, values in (("northing", 4e6 - 3.0 * np.arange(6)), ("easting", 3e5 + 3.0 * np.arange(5))):
            file[name] = values
            file[name].make_scale(name)
        file["transverse_mercator"] = np.bytes_("")
        file["transverse_mercator"].attrs["grid_mapping_name"] = "transverse_mercator"
        file["transverse_mercator"].attrs["crs_wkt"] = pyproj.CRS.from_epsg(32611).to_wkt()
        group = file.create_group("reflectance")
        group["wavelength"] = np.array([450.0, 550, 650, 2200])
        group["wavelength"].make_scale("wavelength")
        group["wavelength"].attrs["units"] = "nm"
        group["fwhm"] = np.array([7.0, 7, 8, 9])
        group["fwhm"].dims[0].attach_scale(group["wavelength"])
        group["reflectance"] = cube
        for i, scale in enumerate((group["wavelength"], file["northing"], file["easting"])):
            group["reflectance"].dims[i].attach_scale(scale)
        group["reflectance"].attrs["grid_mapping"] = "transverse_mercator"
    scene = open_scene(tmp_path / "AV3_RFL_ORT.nc")
    np.testing.assert_array_equal(scene["hsi"].values, cube)
    np.testing.assert_allclose(scene["wavelength"], [450, 550, 650, 2200])
    np.testing.assert_allclose(scene["fwhm"], [7, 7, 8, 9])
    assert scene.rio.crs.to_epsg() == 32611
    np.testing.assert_allclose(scene["y"], 4e6 - 3.0 * np.arange(6))
    np.testing.assert_allclose(scene["x"], 3e5 + 3.0 * np.arange(5))


def mercator(file, rows, columns):
    """The root of an AVIRIS-5 file: northing, easting, and a grid mapping with GDAL's GeoTransform."""
    for name, values in (("northing", 4e6 - 3.0 * np.arange(rows)), ("easting", 3e5 + 3.0 * np.arange(columns))):
        file[name] = values
        file[name].make_scale(name)
    file["transverse_mercator"] = np.bytes_("")
    about = {"grid_mapping_name": "transverse_mercator", "GeoTransform": "299998.5 3.0 0.0 4000001.5 0.0 -3.0 "}
    file["transverse_mercator"].attrs.update(about, crs_wkt=pyproj.CRS.from_epsg(32611).to_wkt())


def test_aviris_5_reflectance(tmp_path):
    """Level 2A is on its map, with groups for water vapour and aerosol beside the reflectance."""
    cube = RNG.random((4, 6, 5)).astype("f4")
    cube[:, 0, 0] = -9999
    with h5py.File(tmp_path / "AV5_L2A_OE_RFL_ORT.nc", "w") as file:
        mercator(file, 6, 5)
        group = file.create_group("reflectance")
        group["wavelength"] = np.array([450.0, 550, 650, 2200])
        group["wavelength"].make_scale("wavelength")
        group["wavelength"].attrs["units"] = "nm"
        group["fwhm"] = np.array([7.0, 7, 8, 9])
        group["fwhm"].dims[0].attach_scale(group["wavelength"])
        group["reflectance"] = cube
        group["reflectance"].attrs.update({"_FillValue": np.float32(-9999), "grid_mapping": "transverse_mercator"})
        for i, scale in enumerate((group["wavelength"], file["northing"], file["easting"])):
            group["reflectance"].dims[i].attach_scale(scale)
        for name in ("water_vapor", "aerosol_optical_thickness"):
            variable(file.create_group(name), name, RNG.random((6, 5)), ("northing", "easting"))
    scene = open_scene(tmp_path / "AV5_L2A_OE_RFL_ORT.nc")
    np.testing.assert_array_equal(scene["hsi"].values, np.where(cube == -9999, np.nan, cube))
    np.testing.assert_allclose(scene["wavelength"], [450, 550, 650, 2200])
    np.testing.assert_allclose(scene["fwhm"], [7, 7, 8, 9])
    assert scene.rio.crs.to_epsg() == 32611
    np.testing.assert_allclose(scene["y"], 4e6 - 3.0 * np.arange(6))
    assert "truth" not in scene


@pytest.mark.parametrize("numbered", [True, False])
def test_aviris_5_radiance_is_not_on_the_map_of_its_file(tmp_path, numbered):
    """Level 1B is in lines and samples of the swath; northing, easting and the map in its root are those of a lookup table."""
    cube = RNG.random((4, 6, 5)).astype("f4")
    with h5py.File(tmp_path / "AV5_L1B_RDN.nc", "w") as file:
        mercator(file, 9, 8)
        dims(file, wavelength=4)
        if numbered:
            file["lines"], file["samples"] = np.arange(6.0), np.arange(5.0)
            file["lines"].make_scale("lines")
            file["samples"].make_scale("samples")
        else:
            dims(file, lines=6, samples=5)
        variable(file.create_group("radiance"), "radiance", cube, ("wavelength", "lines", "samples"))
        variable(file["radiance"], "wavelength", np.array([450.0, 550, 650, 2200]), ("wavelength",), units="nm")
        for name in ("sample", "line"):
            group = file.require_group("geolocation_lookup_table")
            variable(group, name, np.ones((9, 8), "i4"), ("northing", "easting"))
    scene = open_scene(tmp_path / "AV5_L1B_RDN.nc")
    np.testing.assert_array_equal(scene["hsi"].values, cube)
    np.testing.assert_allclose(scene["wavelength"], [450, 550, 650, 2200])
    assert "spatial_ref" not in scene.coords
    assert list(scene["x"].values) == [0, 1, 2, 3, 4]
    assert "its lookup table (geolocation_lookup_table) is not applied" in scene.attrs["notes"]


def test_coordinates_from_the_transform_of_the_grid_mapping(tmp_path):
    with h5py.File(tmp_path / "a.nc", "w") as file:
        mercator(file, 2, 2)
        file["cube"] = RNG.random((4, 6, 5))
        file["cube"].attrs["grid_mapping"] = "transverse_mercator"
    scene = open_scene(tmp_path / "a.nc")
    np.testing.assert_allclose(scene["y"], 4e6 - 3.0 * np.arange(6))
    np.testing.assert_allclose(scene["x"], 3e5 + 3.0 * np.arange(5))
    assert scene.rio.crs.to_epsg() == 32611


def test_tanager(tmp_path):
    """HDF-EOS: bands first, wavelengths in attributes of the cube, pixels outside the swath in `nodata_pixels`."""
    cube = RNG.random((4, 6, 5)).astype("f4")
    hidden = np.zeros((6, 5), "u1")
    hidden[:, 0] = 1
    with h5py.File(tmp_path / "basic_radiance.h5", "w") as file:
        data = file.create_group("HDFEOS/SWATHS/HYP/Data Fields")
        data["toa_radiance"] = cube
        data["toa_radiance"].attrs["wavelengths"] = np.array([450.0, 550, 650, 2200])
        data["toa_radiance"].attrs["fwhm"] = np.array([5.0, 5, 5, 6])
        data["nodata_pixels"] = hidden
        place = file.create_group("HDFEOS/SWATHS/HYP/Geolocation Fields")
        place["Latitude"], place["Longitude"] = np.full((6, 5), 50.0), np.full((6, 5), 8.0)
    scene = open_scene(tmp_path / "basic_radiance.h5")
    np.testing.assert_array_equal(scene["hsi"].values, np.where(hidden, np.nan, cube))
    np.testing.assert_allclose(scene["wavelength"], [450, 550, 650, 2200])
    np.testing.assert_allclose(scene["fwhm"], [5, 5, 5, 6])
    assert float(scene["latitude"][0, 0]) == 50
    assert "nodata_pixels is not 0" in scene.attrs["notes"]


def test_prisma_level_1_by_key(tmp_path):
    """Two cubes (lines, bands, samples); the list of wavelengths of each is an attribute of the root."""
    with h5py.File(tmp_path / "PRS_L1.he5", "w") as file:
        fields = file.create_group("HDFEOS/SWATHS/PRS_L1_HCO/Data Fields")
        vnir = RNG.integers(1, 9000, (6, 4, 5)).astype("u2")
        fields["VNIR_Cube"], fields["SWIR_Cube"] = vnir, RNG.integers(1, 9000, (6, 7, 5)).astype("u2")
        file.attrs["List_Cw_Vnir"] = np.array([450.0, 550, 650, 750], "f4")
        file.attrs["List_Cw_Swir"] = np.linspace(1000, 2400, 7).astype("f4")
    scene = open_scene(tmp_path / "PRS_L1.he5", keys={"cube": "HDFEOS/SWATHS/PRS_L1_HCO/Data Fields/VNIR_Cube"})
    np.testing.assert_array_equal(scene["hsi"].values, vnir.transpose(1, 0, 2))
    np.testing.assert_allclose(scene["wavelength"], [450, 550, 650, 750])


def test_the_order_of_axes_that_nothing_names(tmp_path):
    cube = RNG.random((6, 7, 8)).astype("f4")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = cube
    scene = open_scene(tmp_path / "a.h5")
    assert "If the bands come last, say axes=y,x,band" in scene.attrs["notes"]
    last = open_scene(tmp_path / "a.h5", keys={"axes": "y,x,band"})
    np.testing.assert_array_equal(last["hsi"].values, cube.transpose(2, 0, 1))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["cube"] = cube
        file["quality"] = np.zeros((6, 7), "u1")  # a 2-D array leaves only the last axis for the bands
    scene = open_scene(tmp_path / "b.h5", keys={"truth": "none"})
    np.testing.assert_array_equal(scene["hsi"].values, cube.transpose(2, 0, 1))
    assert "say axes" not in scene.attrs["notes"]


def test_attributes_that_are_not_applied_are_told(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"] = RNG.integers(1, 9000, (4, 6, 5)).astype("i2")
        file["cube"].attrs["Scale_Factor"] = 10000.0
        file["cube"].attrs["Data_Ignore_Value"] = -9999.0
    notes = open_scene(tmp_path / "a.h5").attrs["notes"]
    assert "not applied: Data_Ignore_Value = -9999.0, Scale_Factor = 10000.0" in notes


def test_attributes_of_groups_and_valid_ranges_are_told(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("product/data")
        group["cube"] = RNG.integers(1, 9000, (4, 6, 5)).astype("i2")
        group["cube"].attrs["valid_range"] = np.array([0, 10000], "i2")
        file["product"].attrs["_FillValue"] = -9999
    notes = open_scene(tmp_path / "a.h5").attrs["notes"]
    assert "valid_range = 0, 10000, _FillValue = -9999 (of a group)" in notes


@pytest.mark.parametrize(
    ("dtype", "fill", "missing"), [("i2", -9999, True), ("f4", 1e20, True), ("u1", 255, False), ("i2", -32767, False)]
)
def test_the_fill_value_with_which_an_array_was_made(tmp_path, dtype, fill, missing):
    """HDF5 keeps it without any attribute; bytes use all values, and netCDF sets some values by itself."""
    cube = RNG.integers(1, 200, (4, 6, 5)).astype(dtype)
    cube[:, 2, 3] = fill
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("cube", data=cube, fillvalue=fill)
    scene = open_scene(tmp_path / "a.h5")
    want = cube.astype("f4")
    want[:, 2, 3] = np.nan if missing else fill
    np.testing.assert_array_equal(scene["hsi"].values, want)
    assert ("the fill value with which" in scene.attrs["notes"]) == missing


def test_a_mask_of_valid_pixels_is_not_taken_as_truth(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cube"], file["mask"] = RNG.random((4, 6, 5)), np.ones((6, 5), "u1")
    scene = open_scene(tmp_path / "a.h5")
    assert "truth" not in scene
    assert "'mask' marks more than half" in scene.attrs["notes"]
    assert int(open_scene(tmp_path / "a.h5", keys={"truth": "mask"})["truth"].sum()) == 30

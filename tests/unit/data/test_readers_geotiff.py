"""GeoTIFFs written here by rasterio with the tags that GDAL and the EnMAP-Box use."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from workbench.data.checks import check_cube
from workbench.data.formats import open_file
from workbench.errors import InputError

CUBE = np.fromfunction(lambda b, y, x: 100 * b + 10 * y + x, (4, 3, 5))


def write(path, cube=CUBE, dtype="int16", band_tags=(), imagery=(), scales=None, **profile):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rasterio warns when writing without a map; reading must stay silent
        profile = {"driver": "GTiff", "count": len(cube), "height": cube.shape[1], "width": cube.shape[2], **profile}
        with rasterio.open(path, "w", dtype=dtype, **profile) as file:
            file.write(cube.astype(dtype))
            for band, tags in enumerate(band_tags, 1):
                file.update_tags(band, **tags)
            for band, tags in enumerate(imagery, 1):
                file.update_tags(band, ns="IMAGERY", **tags)
            if scales is not None:
                file.scales = scales
    return path


def test_plain(tmp_path):
    scene = open_file(write(tmp_path / "a.tif"))
    assert scene["hsi"].dims == ("band", "y", "x")
    assert scene["hsi"].dtype == np.float32
    assert scene["hsi"].chunks is not None
    np.testing.assert_array_equal(scene["hsi"], CUBE)
    assert list(scene["x"].values) == [0, 1, 2, 3, 4]
    assert list(scene["y"].values) == [0, 1, 2]
    assert "spatial_ref" not in scene.coords


def test_tags_nodata_scale_and_map(tmp_path):
    cube = CUBE.copy()
    cube[2] = -32768
    cube[0, 0, 0] = -32768
    tags = [
        {"wavelength": w, "fwhm": "0.01", "bbl": b, "wavelength_units": "Micrometers"}
        for w, b in [("0.45", "1"), ("0.55", "1"), ("1.40", "0"), ("2.20", "1")]
    ]
    path = write(
        tmp_path / "a.tif", cube, band_tags=tags, nodata=-32768, crs="EPSG:32633",
        transform=Affine(30, 0, 500000, 0, -30, 4000000), scales=[0.001] * 4,
    )  # fmt: skip
    scene = open_file(path)
    np.testing.assert_allclose(scene["wavelength"], [450, 550, 1400, 2200])
    np.testing.assert_allclose(scene["fwhm"], [10] * 4)
    assert list(scene["good"].values) == [True, True, False, True]
    assert int(scene["hsi"].isnull().sum()) == 16  # band 2 (15 pixels) and one pixel of band 0
    np.testing.assert_allclose(float(scene["hsi"][3, 2, 4]), 0.324, rtol=1e-6)
    assert "scale 0.001" in scene.attrs["notes"]
    # 30 m pixels from the corner (500000, 4000000): first centre 15 m in
    assert (float(scene["x"][0]), float(scene["y"][0])) == (500015, 3999985)
    assert scene.rio.crs.to_epsg() == 32633
    check_cube(scene)  # the empty band is marked bad


def test_imagery_domain(tmp_path):
    path = write(tmp_path / "a.tif", imagery=[{"CENTRAL_WAVELENGTH_UM": f"0.{n}"} for n in (4, 5, 6, 7)])
    np.testing.assert_allclose(open_file(path)["wavelength"], [400, 500, 600, 700])


def test_turned_image_counts_pixels(tmp_path):
    path = write(tmp_path / "a.tif", crs="EPSG:32633", transform=Affine(1, 0.5, 10, 0.5, -1, 20))
    scene = open_file(path)
    assert list(scene["x"].values) == [0, 1, 2, 3, 4]
    assert "turned against its map" in scene.attrs["notes"]


def test_tiled_and_compressed(tmp_path):
    cube = np.random.default_rng(0).integers(0, 1000, (3, 40, 50))
    path = write(tmp_path / "cog.tiff", cube, tiled=True, blockxsize=16, blockysize=16, compress="deflate")
    np.testing.assert_array_equal(open_file(path)["hsi"], cube)


def test_refused(tmp_path):
    with pytest.raises(InputError, match="1 x 3 x 5"):
        open_file(write(tmp_path / "grey.tif", CUBE[:1]))
    with pytest.raises(InputError, match="complex"):
        open_file(write(tmp_path / "slc.tif", CUBE + 1j, dtype="complex64"))
    with pytest.raises(InputError, match="one unnamed cube"):
        open_file(write(tmp_path / "a.tif"), keys={"truth": "mask"})


@pytest.mark.parametrize("keep", [8, 100, 0.5, 0.9])
def test_truncated(tmp_path, keep):
    path = write(tmp_path / "a.tif", np.random.default_rng(0).normal(size=(4, 50, 50)), dtype="float32")
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if keep > 1 else int(len(whole) * keep)])
    with pytest.raises(InputError, match="truncated"):
        open_file(path)


def test_other_gdal_formats_do_not_slip_in(tmp_path):
    """A text file that GDAL would follow to any other file or address is no GeoTIFF, neither as cube nor as truth."""
    cube = write(tmp_path / "a.tif")
    write(tmp_path / "mask.tif", CUBE[:1])
    vrt = tmp_path / "follow.tif"
    vrt.write_text(
        '<VRTDataset rasterXSize="5" rasterYSize="3"><VRTRasterBand dataType="Int16" band="1"><SimpleSource>'
        f"<SourceFilename>{tmp_path / 'mask.tif'}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(InputError, match="in no format that can be read"):
        open_file(vrt)
    assert "truth" in open_file(cube, truth=tmp_path / "mask.tif")
    with pytest.raises(InputError, match="in no format that can be read"):
        open_file(cube, truth=vrt)


def test_a_header_beside_that_is_a_link_out_of_the_served_folders_is_refused(tmp_path, monkeypatch):
    served = tmp_path / "served"
    served.mkdir()
    write(served / "a.tif")
    (tmp_path / "private.hdr").write_text("ENVI\nbands = 3\nlines = 4\nsamples = 5\n")
    (served / "a.hdr").symlink_to(tmp_path / "private.hdr")
    open_file(served / "a.tif")
    monkeypatch.setenv("WORKBENCH_ROOTS", str(served))
    with pytest.raises(InputError, match="not in a folder from which this server opens files"):
        open_file(served / "a.tif")

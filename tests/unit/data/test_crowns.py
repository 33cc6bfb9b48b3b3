"""Plots as images of four bands with crowns as boxes."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.data.catalog import describe_entry, open_scene
from workbench.data.crowns import crown_images
from workbench.errors import InputError


def raster(path, values, step):
    """A GeoTIFF whose top left corner is (100, 220)."""
    rasterio = pytest.importorskip("rasterio")
    place = rasterio.Affine(step, 0, 100, 0, -step, 220)
    how = {
        "driver": "GTiff",
        "count": len(values),
        "height": values.shape[1],
        "width": values.shape[2],
        "dtype": values.dtype,
    }
    with rasterio.open(path, "w", transform=place, crs="EPSG:32617", **how) as file:
        file.write(values)
    return path


@pytest.fixture
def plot(tmp_path):
    """Colour of 20 x 20 pixels of half a metre, and a cube of 3 bands and 10 x 10 pixels of a metre."""
    colour = np.full((3, 20, 20), 51, np.uint8)
    cube = np.zeros((3, 10, 10), np.int16)
    cube[1, 2, 4] = 5000
    return raster(tmp_path / "rgb.tif", colour, 0.5), raster(tmp_path / "hsi.tif", cube, 1.0)


def test_boxes_are_in_pixels_of_the_colour_image_and_the_cube_gives_the_fourth_band(plot):
    crowns = [
        ("A", np.array([104.0, 217.0, 105.0, 218.0])),  # the bright pixel of the cube
        ("B", np.array([108.0, 215.0, 112.0, 219.0])),  # half of it is beyond the plot
        ("A", np.array([109.9, 215.0, 112.0, 219.0])),  # nearly all is
        ("A", np.array([300.0, 215.0, 312.0, 219.0])),
    ]
    scene = crown_images({"one": plot}, crowns, 2)
    assert scene["image"].shape == (1, 4, 20, 20)
    np.testing.assert_allclose(scene["image"].values[0, :3], 0.2)
    assert scene["box"].values.tolist() == [[8, 4, 10, 6], [16, 2, 20, 10]]
    x0, y0, x1, y1 = scene["box"].values[0].astype(int)
    near = scene["image"].values[0, 3]
    assert (near[y0:y1, x0:x1] == 0.5).all()
    assert near.sum() == pytest.approx(2.0)
    assert "1 crowns reach beyond their plot and were cut at its border; 1 with less than 30% inside" in scene.attrs["notes"]


def test_rasters_that_do_not_fit_are_told(plot, tmp_path):
    with pytest.raises(InputError, match=r"hsi\.tif has 3 bands of .*; needed are 9"):
        crown_images({"one": plot}, [], 9)
    other = raster(tmp_path / "small.tif", np.zeros((3, 5, 5), np.int16), 1.0)
    with pytest.raises(InputError, match=r"small\.tif has 3 bands of"):
        crown_images({"one": (plot[0], other)}, [], 1)


@pytest.mark.long
def test_all_crowns_of_idtrees(real_data):
    pytest.importorskip("pyogrio")
    scene = open_scene("idtrees-crowns")
    assert {**scene.sizes} == {"sample": 61, "band": 4, "y": 200, "x": 200, "object": 901, "edge": 4}
    image, box = scene["image"].values, scene["box"].values
    assert image.min() >= 0
    assert image.max() <= 1
    assert (box[:, 2:] > box[:, :2]).all()
    blocks = image[:, 3].reshape(61, 20, 10, 20, 10)
    assert (blocks == blocks[:, :, :1, :, :1]).all()  # pixels of a metre
    assert "61 images of four bands with 901 crowns" in describe_entry("idtrees-crowns")

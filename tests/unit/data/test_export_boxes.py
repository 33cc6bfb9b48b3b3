"""Boxes as files: read back with pyogrio, csv and the reader of COCO; sizes in metres against numbers known by hand."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import rioxarray  # noqa: F401  registers .rio
import xarray as xr
from PIL import Image

from workbench.data.boxes import open_folder
from workbench.data.export_boxes import outlines, write_boxes, write_coco
from workbench.errors import InputError


@pytest.fixture
def found():
    box = np.array([[2, 3, 12, 7], [20, 1, 24, 31]], np.float32)
    values = {
        "box": (("object", "edge"), box),
        "box_score": ("object", np.array([0.25, 0.75])),
        "box_label": ("object", np.array([1, 0]), {"names": ["ship", "pier"]}),
    }
    return xr.Dataset(values, {"edge": ["x0", "y0", "x1", "y1"]})


def on_map():
    """Pixels of 10 x 20 m in UTM 32 N; the top left corner is at 500000, 5000000."""
    image = xr.DataArray(np.zeros((40, 50)), dims=("y", "x"))
    image = image.assign_coords(y=5e6 - 10 - 20.0 * np.arange(40), x=5e5 + 5 + 10.0 * np.arange(50))
    return image.rio.write_crs("EPSG:32632")


def test_boxes_in_pixels_by_falling_score(found):
    made = outlines(found)
    assert made["crs"] is None
    first, second = made["features"]
    assert first["properties"] == {
        "class": "ship", "score": 0.75, "x0": 20, "y0": 1, "x1": 24, "y1": 31, "width_m": None, "height_m": None,
    }  # fmt: skip
    assert second["properties"]["class"] == "pier"
    assert second["geometry"]["coordinates"] == [[[2, 7], [12, 7], [12, 3], [2, 3], [2, 7]]]


def test_boxes_on_a_map_have_map_coordinates_and_metres(found):
    made = outlines(found, on_map())
    first = made["features"][0]
    x, y = np.array(first["geometry"]["coordinates"][0]).T
    assert (x.min(), x.max()) == (500200, 500240)
    assert (y.min(), y.max()) == (5e6 - 20 * 31, 5e6 - 20)
    assert first["properties"]["width_m"] == pytest.approx(40, rel=1e-3)  # the scale of UTM is 0.9996 here
    assert first["properties"]["height_m"] == pytest.approx(600, rel=1e-3)


def test_files_are_read_back(found, tmp_path):
    pyogrio = pytest.importorskip("pyogrio")
    made = outlines(found, on_map())
    meta, _, geometry, columns = pyogrio.raw.read(write_boxes(made, tmp_path / "ships.gpkg"))
    assert meta["crs"] == "EPSG:32632"
    assert len(geometry) == 2
    table = dict(zip(meta["fields"], columns, strict=True))
    assert table["class"].tolist() == ["ship", "pier"]
    assert table["score"].tolist() == [0.75, 0.25]
    assert pyogrio.list_layers(tmp_path / "ships.gpkg")[0][0] == "boxes"
    features = json.loads(write_boxes(made, tmp_path / "ships.geojson").read_text())["features"]
    longitude, latitude = features[0]["geometry"]["coordinates"][0][0]
    assert longitude == pytest.approx(9.0, abs=0.01)
    assert latitude == pytest.approx(45.15, abs=0.02)
    with write_boxes(made, tmp_path / "ships.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["class"] for r in rows] == ["ship", "pier"]
    assert float(rows[0]["x1"]) == 24
    with write_boxes(outlines(found.isel(object=slice(0))), tmp_path / "none.csv").open() as file:
        assert file.read().startswith("class,score")


def test_coco_opens_again_beside_its_images(found, tmp_path):
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((40, 50), np.uint8)).save(tmp_path / name)
    found["box_sample"] = ("object", np.array(["b.png", "a.png"]))
    write_coco(found, tmp_path / "found.json")
    scene = open_folder(tmp_path)
    assert scene["box_sample"].values.tolist() == ["a.png", "b.png"]
    np.testing.assert_array_equal(scene["box"].values, found["box"].values[[1, 0]])
    assert [scene["box_label"].attrs["names"][n] for n in scene["box_label"].values] == ["ship", "pier"]
    assert json.loads((tmp_path / "found.json").read_text())["annotations"][0]["score"] == 0.25


def test_what_cannot_be_exported_is_told(found, tmp_path):
    with pytest.raises(InputError, match="this dataset has box_score"):
        outlines(found[["box_score"]])
    several = found.assign(box_sample=("object", np.array(["a", "b"])))
    assert outlines(several)["features"][0]["properties"]["image"] == "b"
    with pytest.raises(InputError, match="of several images"):
        outlines(several, on_map())
    for write, target in ((write_boxes, outlines(found)), (write_coco, found)):
        with pytest.raises(InputError, match="Cannot write"):
            write(target, tmp_path / "no" / ("x.csv" if write is write_boxes else "x.json"))
    with pytest.raises(InputError, match="name the file ships-pixels.geojson"):
        write_boxes(outlines(found), tmp_path / "ships.geojson")
    with pytest.raises(InputError, match=r"\.geojson or \.gpkg"):
        write_boxes(outlines(found), tmp_path / "ships.shp")

"""Detection in one scene of any size: blocks and seams, missing pixels, memory, and the command line with land and a map."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  registers .rio
import torch
import xarray as xr

from tests.unit.data import safe_product
from tests.unit.methods.bright import Bright
from workbench import execution
from workbench.cli import app
from workbench.data.export_boxes import outlines
from workbench.data.synth_ships import small
from workbench.errors import InputError
from workbench.methods.sarnet import SMOKE, Config, Trained, detect, scenes
from workbench.methods.sarnet.tiles import detect_all
from workbench.parts.sarnet_network import SARNet

CONFIG = Config(crop=64, margin=32, transform="linear", threshold=0.5)
BRIGHT = Trained(Bright(), CONFIG, ["ship"], 0.5)  # type: ignore[arg-type]


def sea(high: int, wide: int, every: int = 5) -> np.ndarray:
    """(1, y, x): dark, with bright cells of 8 pixels at all places beside the seams of tiles."""
    image = np.zeros((1, high, wide), np.float32)
    for i in range(1, high // 8 - 1, every):
        for j in range(1, wide // 8 - 1, every):
            image[0, 8 * i : 8 * i + 8, 8 * j : 8 * j + 8] = 1
    return image


@pytest.mark.parametrize("chunks", [None, {"y": 100, "x": 70}, {"y": 33, "x": 400}])
def test_ships_at_the_seams_of_blocks_are_found_once(monkeypatch, chunks):
    monkeypatch.setattr(scenes, "BLOCK", 2)
    values = sea(208, 336)
    image = xr.DataArray(values, dims=("band", "y", "x"))
    seen = []
    found = detect(
        BRIGHT, image if chunks is None else image.chunk(chunks), progress=lambda done, total: seen.append((done, total))
    )
    (whole,) = detect_all(Bright(), [((208, 336), lambda r, c: torch.from_numpy(values[:, r, c]))], CONFIG)  # type: ignore[arg-type]
    expected = sorted([8 * j - 8, 8 * i - 8, 8 * j + 16, 8 * i + 16] for i in range(1, 25, 5) for j in range(1, 41, 5))
    assert sorted(found["box"].values.round().astype(int).tolist()) == expected
    assert sorted(whole.box.round().int().tolist()) == expected
    assert seen[-1] == (len(seen), len(seen))
    assert len(seen) == 3 * 5


def test_the_boxes_do_not_depend_on_how_tiles_are_dealt_into_tasks(monkeypatch):
    """Chains of overlapping ships across the borders: whether the last one remains depends on the first."""
    cells = np.random.default_rng(4).random((24, 80), np.float32)
    image = xr.DataArray(np.kron(cells, np.ones((8, 8), np.float32))[None], dims=("band", "y", "x"))
    trained = Trained(Bright(), CONFIG.model_copy(update={"overlap": 0.15}), ["ship"], 0.5)  # type: ignore[arg-type]
    made = []
    for block in (1, 2, 8):
        monkeypatch.setattr(scenes, "BLOCK", block)
        made.append(detect(trained, image))
    assert made[0].sizes["object"] > 50
    xr.testing.assert_identical(made[0], made[1])
    xr.testing.assert_identical(made[0], made[2])


def test_where_pixels_are_missing_nothing_is_found():
    values = sea(128, 256)
    values[:, :, 100:] = np.nan
    found = detect(BRIGHT, xr.DataArray(values, dims=("band", "y", "x")))
    middle = (found["box"].values[:, 0] + found["box"].values[:, 2]) / 2
    assert len(middle) > 0
    assert middle.max() < 100
    nothing = detect(BRIGHT, xr.DataArray(np.full((1, 70, 80), np.nan, np.float32), dims=("band", "y", "x")))
    assert nothing["box"].shape == (0, 4)


def test_the_best_are_kept_and_all_by_default():
    image = xr.DataArray(sea(400, 1600, every=3), dims=("band", "y", "x"))
    found = detect(BRIGHT, image)
    assert found.sizes["object"] > BRIGHT.config.most  # a scene is not an image of a benchmark
    assert detect(BRIGHT, image, most=7).sizes["object"] == 7


def test_a_cluster_finds_the_same(monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(scenes, "BLOCK", 2)
    torch.manual_seed(0)
    trained = Trained(SARNet(1, 2).eval(), Config(crop=64, margin=32), ["ship"], 0.0005)
    image = xr.DataArray(np.random.default_rng(0).random((1, 96, 130), np.float32), dims=("band", "y", "x")).chunk(y=50)
    here = detect(trained, image, most=50)
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None):
        there = detect(trained, image, most=50)
    xr.testing.assert_allclose(here, there)


@pytest.mark.process
@pytest.mark.long
def test_a_scene_of_4096_pixels_a_side_takes_less_than_one_and_a_half_gigabytes():
    lines = [
        "import numpy as np, dask.array as da, xarray as xr",
        "from tests.peak import peak",
        "from workbench.methods.sarnet import Config, Trained, detect",
        "from workbench.parts.sarnet_network import SARNet",
        "def block(block_info=None):",
        "    at = block_info[None]['array-location']",
        "    shape = [b - a for a, b in at]",
        "    return np.random.default_rng(at[1][0] * 7919 + at[2][0]).gamma(1, 0.02, shape).clip(0, 1).astype(np.float32)",
        "values = da.map_blocks(block, chunks=((1,), (512,) * 8, (512,) * 8), dtype=np.float32, meta=np.empty((0, 0, 0), np.float32))",
        "trained = Trained(SARNet(1, 2).eval(), Config(crop=256, margin=16), ['ship'], 0.5)",
        "found = detect(trained, xr.DataArray(values, dims=('band', 'y', 'x')))",
        "print(peak() / 1024)",
    ]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.5


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A finished run of a tiny network."""
    folder = tmp_path_factory.mktemp("detecting") / "run"
    execution.execute("sarnet", small(seed=0).compute(), {**SMOKE, "rivals": [], "controls": False}, folder)
    return folder


@pytest.fixture(scope="module")
def scene_file(tmp_path_factory):
    """Amplitude of speckled sea on a map: 200 x 160 pixels of 10 m in UTM 32 N."""
    path = tmp_path_factory.mktemp("scene") / "sea_amplitude_VV.tif"
    values = np.random.default_rng(3).gamma(2, 0.1, (200, 160)).astype(np.float32)
    where = rasterio.Affine(10, 0, 500000, 0, -10, 5000000)
    with rasterio.open(
        path, "w", driver="GTiff", height=200, width=160, count=1, dtype="float32", crs=32632, transform=where
    ) as f:
        f.write(values, 1)
    return path


def call(*words):
    from typer.testing import CliRunner

    return CliRunner().invoke(app, [str(w) for w in words], catch_exceptions=True)


def half(path, crs="EPSG:4326"):
    """A land polygon, with a hole, over the eastern half of the scene."""
    pyogrio = pytest.importorskip("pyogrio")
    from pyproj import Transformer

    from workbench.data.export import _wkb

    def ring(x0, y0, x1, y1):
        x, y = np.array([x0, x1, x1, x0, x0]), np.array([y0, y0, y1, y1, y0])
        return np.stack(Transformer.from_crs(32632, crs, always_xy=True).transform(x, y), 1).tolist()

    rings = [ring(500800, 4990000, 510000, 5010000), ring(501200, 4998600, 501400, 4999400)]
    geometry = np.array([_wkb(rings)], dtype=object)
    pyogrio.raw.write(path, geometry, [], [], driver="GPKG", geometry_type="Polygon", crs=crs)
    return path


def test_a_scene_on_a_map_becomes_boxes_with_metres_and_none_on_land(run_folder, scene_file, tmp_path):
    pytest.importorskip("pyogrio")
    words = ["detect", run_folder, scene_file, tmp_path / "all.gpkg", tmp_path / "all.csv", tmp_path / "all.json"]
    words += ["--threshold", 0.001, "--decibels", "-40,10", "--quiet", "--json", "--key", "scale=amplitude"]
    done = call(*words)
    assert done.exit_code == 0, done.output + str(done.exception)
    count = json.loads(done.stdout)["objects"]
    assert count > 3
    import pyogrio

    meta, _, _, columns = pyogrio.raw.read(tmp_path / "all.gpkg")
    table = dict(zip(meta["fields"], columns, strict=True))
    assert len(table["score"]) == count
    assert meta["crs"] == "EPSG:32632"
    assert table["width_m"] == pytest.approx(10 * (table["x1"] - table["x0"]), rel=2e-3)
    assert len(json.loads((tmp_path / "all.json").read_text())["annotations"]) == count
    land = half(tmp_path / "land.gpkg")
    done = call(*words[:3], tmp_path / "sea.gpkg", "--land", land, *words[6:])
    assert done.exit_code == 0, done.output + str(done.exception)
    _, _, _, columns = pyogrio.raw.read(tmp_path / "sea.gpkg")
    kept = dict(zip(meta["fields"], columns, strict=True))
    x, y = (table["x0"] + table["x1"]) / 2, (table["y0"] + table["y1"]) / 2
    hole = (x >= 120) & (x <= 140) & (y >= 60) & (y <= 140)
    wanted = (x < 80) | hole
    assert len(kept["score"]) == wanted.sum() < count
    assert sorted(kept["score"]) == sorted(table["score"][wanted])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["boxes.txt"], "Boxes are written as .gpkg"),
        (["nowhere/boxes.csv"], "There is no folder nowhere"),
        (["boxes.csv", "--decibels", "5"], "--decibels takes LOW,HIGH"),
        (["boxes.csv", "--land", "none.gpkg"], "cannot be read"),
    ],
)
def test_what_cannot_be_written_or_read_is_told_before_computing(
    run_folder, scene_file, words, message, tmp_path, monkeypatch
):
    pytest.importorskip("pyogrio")
    monkeypatch.chdir(tmp_path)
    done = call("detect", run_folder, scene_file, *words, "--key", "scale=amplitude")
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception)


def test_a_scene_without_intensity_is_refused(run_folder):
    with pytest.raises(InputError, match="needs `sar`"):
        execution.detect(run_folder, "sim-coast-town", [])
    with pytest.raises(InputError, match="as many images: use `workbench run sarnet"):
        execution.detect(run_folder, small(seed=0), [])


def test_a_sentinel_1_scene_is_placed_by_its_control_points():
    """Degrees that grow linearly with line and sample: boxes are where these lines say, half a pixel off the centres."""
    line, sample = (v.ravel() for v in np.meshgrid([0, 100, 200], [0, 150, 300], indexing="ij"))
    scene = xr.Dataset(
        {"sar": (("sar_band", "y", "x"), np.ones((1, 200, 300), np.float32))},
        {
            "y": np.arange(200), "x": np.arange(300), "gcp_line": ("gcp", line), "gcp_sample": ("gcp", sample),
            "gcp_longitude": ("gcp", 8 + 1e-4 * sample), "gcp_latitude": ("gcp", 54 - 1e-4 * line),
        },
    )  # fmt: skip
    found = xr.Dataset({"box": (("object", "edge"), np.array([[20, 40, 30, 60]], np.float32))})
    made = outlines(found, scene["sar"], scene)
    x, y = np.array(made["features"][0]["geometry"]["coordinates"][0]).T
    assert not made["in_pixels"]
    assert (x.min(), x.max()) == pytest.approx((8 + 19.5e-4, 8 + 29.5e-4), abs=1e-9)
    assert (y.min(), y.max()) == pytest.approx((54 - 59.5e-4, 54 - 39.5e-4), abs=1e-9)
    sizes = made["features"][0]["properties"]
    assert sizes["width_m"] == pytest.approx(1e-3 * 111320 * np.cos(np.radians(54)), rel=5e-3)
    assert sizes["height_m"] == pytest.approx(2e-3 * 111300, rel=5e-3)
    assert outlines(found, scene["sar"])["in_pixels"]  # without the points, columns and rows


def test_a_safe_folder_becomes_boxes_on_the_map_and_none_on_land(run_folder, tmp_path, monkeypatch):
    """A made-up GRD product, two polarizations: calibrated, cut into windows, placed by its geolocation grid, land left out."""
    pyogrio = pytest.importorskip("pyogrio")
    from pyproj import Geod

    from workbench.data.export import _wkb

    cells = [
        (2, 3),
        (2, 30),
        (9, 17),
        (15, 5),
        (16, 34),
        (20, 20),
    ]  # row and column, in cells of 8 pixels; beside seams of tiles
    echo = np.full((184, 320), 10.0)  # -20 dB at a gain of 100
    for i, j in cells:
        echo[8 * i : 8 * i + 8, 8 * j : 8 * j + 8] = 178  # 5 dB
    echo[:, 312:] = 0  # no data: beyond the swath
    folder = safe_product.write(tmp_path, {"VV": echo, "VH": echo}, gain=lambda line, sample: 100.0)
    monkeypatch.setattr(scenes, "BLOCK", 2)
    monkeypatch.setattr(scenes, "load_network", lambda folder: BRIGHT)
    words = ["detect", run_folder, folder, tmp_path / "all.gpkg", tmp_path / "all.csv", "--quiet", "--json"]
    done = call(*words)
    assert done.exit_code == 0, done.output + str(done.exception)
    assert json.loads(done.stdout)["objects"] == len(cells)
    meta, _, geometry, columns = pyogrio.raw.read(tmp_path / "all.gpkg")
    table = dict(zip(meta["fields"], columns, strict=True))
    assert meta["crs"] == "EPSG:4326"
    corner = np.stack([table["y0"], table["x0"]], 1).round().astype(int)
    assert sorted(corner.tolist()) == [[8 * i - 8, 8 * j - 8] for i, j in cells]
    for n, one in enumerate(geometry):  # the grid of the product: latitude 47 - 0.001 line, longitude 12 - 0.002 sample
        ring = np.frombuffer(one, "<f8", 10, 13).reshape(5, 2)
        assert ring.max(0) == pytest.approx(
            [12 - 0.002 * (table["x0"][n] - 0.5), 47 - 0.001 * (table["y0"][n] - 0.5)], abs=1e-6
        )
        assert ring.min(0) == pytest.approx(
            [12 - 0.002 * (table["x1"][n] - 0.5), 47 - 0.001 * (table["y1"][n] - 0.5)], abs=1e-6
        )
        south = 47 - 0.001 * (table["y1"][n] - 0.5)
        wide = Geod(ellps="WGS84").line_length([12.0, 12 - 0.048], [south, south])
        assert table["width_m"][n] == pytest.approx(wide, rel=1e-3)
        assert table["height_m"][n] == pytest.approx(24 * 0.001 * 111170, rel=2e-3)
    west, east = 12 - 0.002 * 320, 12 - 0.002 * 130  # all but the columns below 130
    land = np.array([[west, 46], [east, 46], [east, 48], [west, 48], [west, 46]])
    pyogrio.raw.write(
        tmp_path / "land.gpkg",
        np.array([_wkb([land.tolist()])], dtype=object),
        [],
        [],
        driver="GPKG",
        geometry_type="Polygon",
        crs="EPSG:4326",
    )
    done = call(*words[:3], tmp_path / "sea.geojson", "--land", tmp_path / "land.gpkg", "--quiet")
    assert done.exit_code == 0, done.output + str(done.exception)
    kept = json.loads((tmp_path / "sea.geojson").read_text())["features"]
    assert sorted(f["properties"]["x0"] for f in kept) == pytest.approx(
        [8 * j - 8 for i, j in cells if 8 * j + 4 < 130], abs=0.01
    )


def test_what_two_bursts_show_is_found_once_and_where_its_time_says(run_folder, tmp_path, monkeypatch):
    """Two bursts of 64 lines, of which 16 overlap on the ground: line 64 is where line 48 is."""
    values = np.full((128, 128), 10.0 + 0j)  # -20 dB at a gain of 100
    for line, sample in ((16, 24), (48, 64), (64, 64), (96, 88)):  # the second and the third are one ship
        values[line : line + 8, sample : sample + 8] = 178
    about = {"kind": "SLC", "swath": "IW1", "bursts": 2, "apart": 48 * safe_product.INTERVAL}
    folder = safe_product.write(tmp_path, {"VV": values}, gain=lambda line, sample: 100.0, **about)
    monkeypatch.setattr(scenes, "load_network", lambda folder: BRIGHT)
    done = call("detect", run_folder, folder, tmp_path / "a.geojson", "--quiet")
    assert done.exit_code == 0, done.output + str(done.exception)
    made = json.loads((tmp_path / "a.geojson").read_text())["features"]
    rows = sorted((f["properties"]["y0"], max(y for _, y in f["geometry"]["coordinates"][0])) for f in made)
    assert [y for y, _ in rows] == pytest.approx([8, 40, 88], abs=0.01)
    assert [y for _, y in rows] == pytest.approx([47 - 0.001 * n for n in (7.5, 39.5, 88 - 16 - 0.5)], abs=1e-5)


@pytest.mark.long
def test_a_real_sentinel_1_image_in_decibel(run_folder, real_data, tmp_path):
    """Mouths of the Rhône, 217 x 268 pixels of 20 m in UTM 31 N, dB with nodata -99: the boxes lie on its map, with sizes in metres."""
    pyogrio = pytest.importorskip("pyogrio")
    path = next((real_data / "sar_geotiff" / "sentinel1-grd-vv-db-utm31").glob("*.tif"))
    done = call(
        "detect", run_folder, path, tmp_path / "a.gpkg", tmp_path / "a.geojson", "--threshold", 0.001, "--quiet", "--json"
    )
    assert done.exit_code == 0, done.output + str(done.exception)
    count = json.loads(done.stdout)["objects"]
    assert count > 3
    meta, _, _, columns = pyogrio.raw.read(tmp_path / "a.gpkg")
    table = dict(zip(meta["fields"], columns, strict=True))
    assert meta["crs"] == "EPSG:32631"
    assert table["width_m"] == pytest.approx(20 * (table["x1"] - table["x0"]), rel=3e-3)
    with rasterio.open(path) as file:
        known = file.read(1) != -99
        west, south, east, north = file.bounds
    y, x = (((table[f"{a}0"] + table[f"{a}1"]) / 2).astype(int) for a in "yx")
    assert known[y, x].all()
    corners = pyogrio.raw.read(tmp_path / "a.gpkg", bbox=(west, south, east, north))
    assert len(corners[3][0]) == count  # all overlap the image on the map
    places = [f["geometry"]["coordinates"][0][0] for f in json.loads((tmp_path / "a.geojson").read_text())["features"]]
    assert all(4.48 < longitude < 4.56 and 43.56 < latitude < 43.62 for longitude, latitude in places)

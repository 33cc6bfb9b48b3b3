"""Every hyperspectral file of the data folder opens by a name of the catalogue; and how a scene is read does not change RX."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from workbench.baselines.anomaly import rx
from workbench.data.catalog import entries, open_scene
from workbench.data.convert import convert
from workbench.metrics.anomaly import auc

CUBES = [e for e in entries() if e.kind == "hyperspectral"]
SCENES = [e for e in CUBES if e.reference is not None]
BESIDE = (".hdr", ".bmp")  # headers and masks of cubes


def test_every_file_is_in_the_catalogue(real_data):
    listed = {f.path for e in CUBES for f in e.files}
    found = {
        str(p.relative_to(real_data))
        for kind in ("hsi_anomaly", "hsi_cubes")
        for p in (real_data / kind).rglob("*")
        if p.is_file()
    }
    assert {p for p in found - listed if "/labels/" not in p and not p.endswith("README.md")} == set()
    assert {p for p in listed if p.startswith("hsi_") and not p.endswith(BESIDE)} <= found


@pytest.mark.parametrize("entry", CUBES, ids=lambda e: e.id)
def test_it_opens_by_name(entry, real_data):
    scene = open_scene(entry.id, chunks=None)
    assert scene["hsi"].shape == (entry.shape.band, entry.shape.y, entry.shape.x)
    assert scene["hsi"].dtype == np.float32
    good = scene["good"].values if "good" in scene.coords else np.ones(entry.shape.band, bool)
    pixel = scene["hsi"][:, entry.shape.y // 2, entry.shape.x // 2].values
    assert np.isfinite(pixel[good]).all()
    whole = open_scene(entry.id)
    assert whole["hsi"].chunks is not None
    np.testing.assert_array_equal(whole["hsi"][:, entry.shape.y // 2, entry.shape.x // 2], pixel)


@pytest.mark.long
@pytest.mark.parametrize("entry", SCENES, ids=lambda e: e.id)
def test_rx_is_the_same_however_it_is_read(entry, real_data, tmp_path):
    stored = convert(entry.id, tmp_path / "a.zarr", chunks={"band": 37, "y": 13, "x": 29})
    ways: dict[str, xr.Dataset] = {
        "eagerly": open_scene(entry.id).load(),
        "in odd chunks": open_scene(entry.id, chunks={"band": 50, "y": 17, "x": 23}),
        "from Zarr": open_scene(stored),
        "without dask": open_scene(entry.id, chunks=None),
    }
    for way, scene in ways.items():
        found = float(auc(rx(scene["hsi"]), scene["truth"]))
        assert found == pytest.approx(entry.reference.rx_auc, abs=1e-4), way

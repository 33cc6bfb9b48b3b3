"""The entries of labelled chips: what they say of themselves is what their files hold."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from workbench.data.entries import Chips
from workbench.errors import InputError
from workbench.resources import folder


def chip_entries() -> list[Chips]:
    found = []
    for path in sorted(folder("data_catalog").rglob("*.yml")):
        held = yaml.safe_load(path.read_text(encoding="utf-8"))
        found += [
            Chips.model_validate({**held.get("defaults", {}), **e}) for e in held["entries"] if e.get("kind") == "chips"
        ]
    return found


def test_entries_are_there():
    assert {e.id for e in chip_entries()} == {
        "digits",
        "eurosat-rgb-200",
        "nwpu-resisc-12",
        "mstar-10",
        "cifar10-6000",
        "houston2013-pixels",
        "houston2013-lidar",
        "houston2013-lidar-test",
        "houston2013-lidar-windows",
        "houston2013-two-sensors",
        "ucmerced-9",
    }


@pytest.mark.parametrize("entry", [e for e in chip_entries() if e.layout != "digits"], ids=lambda e: e.id)
def test_real_collections(entry, real_data):
    scene = entry.open()  # verifies the SHA-256 of the listing
    name = entry.variable if entry.layout == "pixels" else "image"
    assert scene.sizes["sample"] == entry.samples
    assert scene["label"].attrs["names"] == entry.classes
    assert np.isin(np.arange(len(entry.classes)), scene["label"]).all()
    some = scene[name][:: max(1, entry.samples // 8)].values
    assert np.isfinite(some).all()
    assert 0 <= some.min() < some.max() <= 1
    assert scene.attrs["citation"]
    if entry.id == "nwpu-resisc-12":
        assert (scene["split"] == "train").sum() == 720
    for part in entry.files:
        path = real_data / part.path
        size = path.stat().st_size if path.is_file() else sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
        assert size == part.bytes


def test_the_middle_of_a_lidar_window_is_its_pixel(real_data):
    found = {e.id: e for e in chip_entries()}
    window = found["houston2013-lidar-windows"].open()["lidar"]
    assert window.dims == ("sample", "lidar_band", "y", "x")
    np.testing.assert_array_equal(window[:, :, 3, 3].values, found["houston2013-lidar"].open()["lidar"][:, :, 0, 0].values)


def test_absent_collection_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    entry = next(e for e in chip_entries() if e.id == "eurosat-rgb-200")
    with pytest.raises(InputError, match=r"zenodo.*WORKBENCH_DATA"):
        entry.open()


def test_embedded_entry_needs_no_files(monkeypatch):
    monkeypatch.delenv("WORKBENCH_DATA", raising=False)
    scene = next(e for e in chip_entries() if e.id == "digits").open()
    assert scene.attrs["licence"] == "CC BY 4.0"
    assert scene.sizes["sample"] == 1797


@pytest.mark.parametrize(
    "change",
    [
        {"layout": "zip"},
        {"listing_sha256": "0" * 64},
        {"folders": ["x"]},
        {"files": [{"path": "../x", "bytes": 1}]},
        {"colour": 1},
    ],
)
def test_entries_that_cannot_be(change):
    good = next(e for e in chip_entries() if e.id == "digits").model_dump()
    with pytest.raises(ValueError, match="validation error"):
        Chips.model_validate({**good, **change})

"""Spoiled SAR products and annotations: each ends in a result or in InputError, never in another exception, a hang or a flood of memory.

Sentinel-1 GRD and SLC (generated products that follow the specification), SAR GeoTIFF, VOC, COCO, merged XML, DOTA, masks.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.properties.fuzzing import CASES, limited, overwrite, reworded, spoiled, spoiling
from tests.unit.data import safe_product
from tests.unit.data.test_boxes import folder as boxes_folder
from tests.unit.data.test_boxes import picture
from tests.unit.data.test_readers_sar import intensity, write
from workbench.data.catalog import open_scene
from workbench.errors import InputError

# rasterio's logger cannot decode messages of GDAL that quote bytes of a damaged file; it says so on standard error and goes on
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

TEXT = (".xml", ".safe", ".json", ".txt")


def grd(parent: Path) -> Path:
    dn = np.random.default_rng(0).integers(1, 900, (24, 30))
    return _lines(safe_product.write(parent, {"VV": dn, "VH": dn}, noise=lambda line, sample: 50.0 + line, name="a.SAFE"))


def slc(parent: Path) -> Path:
    values = np.random.default_rng(0).integers(-90, 90, (24, 30)) * (1 + 1j)
    return _lines(safe_product.write(parent, {"VV": values}, kind="SLC", swath="IW1", bursts=3, invalid=1, name="a.SAFE"))


def _lines(product: Path) -> Path:
    """Annotations with an element on each line, so that a fault hits one element."""
    for path in (*product.rglob("*.xml"), product / "manifest.safe"):
        path.write_text(path.read_text().replace("><", ">\n<"))
    return product


def geotiff(parent: Path) -> Path:
    return write(
        parent / "s1_vv.tif", 10 * np.log10(intensity(2, (20, 24))), nodata=-99, crs="EPSG:32631", descriptions=["VV", "VH"]
    )


def _boxes(layout: str):
    def make(parent: Path) -> Path:
        root = boxes_folder(parent, layout)
        picture(root / "images" / "b.png", (20, 10), box=None)
        return root

    return make


FORMATS = {
    "grd": (grd, 50),
    "slc": (slc, 50),
    "geotiff": (geotiff, 60),
    **{layout: (_boxes(layout), 40) for layout in ("voc-one", "merged", "coco", "dota", "masks")},
}


def _spoil(path: Path, rng: random.Random) -> None:
    files = sorted(p for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file())
    texts = [p for p in files if p.suffix in TEXT]
    target = rng.choice(texts if texts and rng.random() < 0.7 else files)
    if target.suffix in TEXT and rng.random() < 0.7:
        overwrite(target, reworded(target.read_text(), rng).encode())
    else:
        overwrite(target, spoiled(target.read_bytes(), rng)[0])


def _case(path: Path, keys: dict[str, str]) -> str:
    with limited():
        try:
            scene = open_scene(path, keys=keys)
            for name in ("sar", "slc", "image"):
                if name in scene:
                    few = {d: slice(0, n, max(1, n // 8)) for d, n in scene[name].sizes.items()}
                    values = scene[name].isel(few).values
                    assert values.dtype == scene[name].dtype
            if "box" in scene and scene.sizes["object"]:
                edges = scene["box"].values
                assert np.isfinite(edges).all()
                assert (edges[:, :2] < edges[:, 2:]).all()
                assert edges.min() >= 0
                assert set(scene["box_sample"].values) <= set(scene["sample"].values)
                assert scene["box_label"].max() < len(scene["box_label"].attrs["names"])
        except InputError:
            return "refused"
    return "read"


def _run(name: str, tmp_path: Path, cases: int) -> Counter[str]:
    good = tmp_path / "good"
    good.mkdir()
    made = FORMATS[name][0](good)
    assert _case(made, {}) == "read"
    ends: Counter[str] = Counter()

    for number in range(cases):
        with spoiling(name, number) as rng:
            case = tmp_path / "case"
            if case.exists():
                shutil.rmtree(case)
            shutil.copytree(good, case)
            path = case / made.relative_to(good)
            _spoil(path, rng)
            keys = {"noise": "remove"} if name == "grd" and rng.random() < 0.5 else {}
            ends[_case(path, keys)] += 1
    return ends


@pytest.mark.parametrize("name", FORMATS)
def test_spoiled(name, tmp_path):
    ends = _run(name, tmp_path, CASES or FORMATS[name][1])
    assert ends["refused"] > 0.1 * ends.total(), ends  # else nothing was spoiled

"""The entries of SAR rasters and of images with boxes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.data.test_catalog import PART, SHA, write
from workbench.data import catalog
from workbench.data.catalog import open_scene, read_folder
from workbench.errors import InputError


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "sar", "files": [{**PART, "role": "truth"}]}, "needs one sar file"),
        ({"kind": "sar", "files": [{**PART, "role": "product"}]}, "manifest"),
        ({"kind": "boxes", "folder": "one", "files": [PART], "samples": 1, "listing_sha256": SHA}, "without a list"),
        ({"kind": "boxes", "folder": "two", "files": [PART], "samples": 1}, "be in the folder"),
        ({"kind": "boxes", "folder": "one", "files": [{**PART, "path": "../x"}], "samples": 1}, "relative path"),
    ],
)
def test_wrong_entries_of_sar_and_boxes(tmp_path, changes, says):
    write(tmp_path, **{"shape": None, "files": None, **changes})
    with pytest.raises(ValueError, match=says):
        read_folder(tmp_path)


def test_damaged_files_of_an_entry_are_not_opened(tmp_path, monkeypatch, real_data):
    """A file with another checksum, where the files have a mirror and where they have none."""
    import shutil

    for name in ("dota-2", "ssdd-2", "hrsid-24"):
        entry = catalog._by_id()[name]
        shutil.copytree(real_data / entry.folder, tmp_path / entry.folder)
        damaged = next(p for p in sorted((tmp_path / entry.folder).rglob("*")) if p.suffix in (".png", ".jpg"))
        damaged.chmod(0o600)
        damaged.write_bytes(damaged.read_bytes() + b" ")
        monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path))
        with pytest.raises(InputError, match="SHA-256"):
            open_scene(name)


def test_joined_chips_have_all_boxes_with_one_class(real_data):
    scene = open_scene("hrsid-27")
    assert dict(scene.sizes) == {"sample": 27, "band": 3, "y": 800, "x": 800, "object": 180, "edge": 4}
    assert scene["box_label"].attrs["names"] == ["ship"]
    assert scene.attrs["id"] == "hrsid-27"
    for name in ("hrsid-24", "hrsid-masks-1", "hrsid-masks-2"):
        part = open_scene(name)
        here = np.isin(scene["box_sample"].values, part["sample"].values)
        np.testing.assert_array_equal(scene["box"].values[here], part["box"].values)
        one = str(part["sample"].values[-1])
        np.testing.assert_array_equal(scene["image"].sel(sample=one), part["image"].sel(sample=one))
    with pytest.raises(InputError, match="leave truth and key out"):
        open_scene("hrsid-27", truth="x.png")


def test_chips_that_cannot_be_joined_are_refused():
    from workbench.data.boxes import joined
    from workbench.data.synth_ships import small

    first = small(seed=0).assign_attrs(sha256="a")
    with pytest.raises(InputError, match="have an image 'chip-000'"):
        joined([first, first], "ship")
    with pytest.raises(InputError, match="the same bands and size"):
        joined([first, first.isel(y=slice(32))], "ship")


def test_boxes_of_two_more_chips_come_from_the_ids_of_their_masks(real_data):
    scene = open_scene("hrsid-masks-2")
    assert scene["image"].sizes == {"sample": 2, "band": 3, "y": 800, "x": 800}
    names, counts = np.unique(scene["box_sample"], return_counts=True)
    assert [n[:5] for n in names] == ["P0119", "P0135"]
    assert counts.tolist() == [122, 6]
    size = np.stack([scene["box"][:, 2] - scene["box"][:, 0], scene["box"][:, 3] - scene["box"][:, 1]], 1)
    medians = [np.median(size[scene["box_sample"].values == n], 0).tolist() for n in names]
    assert medians == [[14, 16], [90, 34]]

"""Boxes of COCO outlines: the extent of polygons and of masks as run lengths."""

import json

import numpy as np
import pytest
from PIL import Image

from workbench.data.catalog import open_scene
from workbench.data.rle import box_of
from workbench.errors import InputError

RNG = np.random.default_rng(9)


def counts(mask):
    """Run lengths of a mask, column by column, beginning with 0."""
    flat = np.concatenate([[0], mask.flatten(order="F"), [2]])
    edges = np.flatnonzero(np.diff(flat.astype(int)))
    runs = np.diff(np.concatenate([[0], edges])).tolist()
    return runs


def packed(runs):
    """The text of the COCO API for these run lengths."""
    text = ""
    for i, run in enumerate(runs):
        value = run - runs[i - 2] if i > 2 else run
        while True:
            five = value & 31
            value >>= 5
            more = not ((value == 0 and not five & 16) or (value == -1 and five & 16))
            text += chr((five | 32 * more) + 48)
            if not more:
                break
    return text


@pytest.mark.parametrize("seed", range(12))
def test_run_lengths_against_the_mask(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((30, 40), np.uint8)
    for _ in range(rng.integers(1, 4)):
        y, x = rng.integers(0, 28), rng.integers(0, 38)
        mask[y : y + rng.integers(1, 30), x : x + rng.integers(1, 12)] = 1
    rows, columns = np.nonzero(mask)
    want = (columns.min(), rows.min(), columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min())
    runs = counts(mask)
    assert sum(runs) == mask.size
    assert box_of({"counts": runs, "size": [30, 40]}, None, "a.json") == want
    assert box_of({"counts": packed(runs), "size": [30, 40]}, None, "a.json") == want
    assert box_of({"counts": runs}, (40, 30), "a.json") == want


def test_polygons():
    assert box_of([[10, 5, 20, 5, 20, 12, 10, 12]], None, "a") == (10, 5, 10, 7)
    assert box_of([[10, 5, 20, 5, 20, 12], [1, 2, 3, 4, 5, 30.5]], None, "a") == (1, 2, 19, 28.5)


@pytest.mark.parametrize(
    "outline",
    [
        *([], [[1, 2, 3]], [["a", 1, 2, 3]], [[float("nan")] * 6], {"size": [2, 2]}, {"counts": [0, 1]}),
        *({"counts": c, "size": [2, 2]} for c in ([5], [4], "~~", [-1, 2])),
        {"counts": [0, 1], "size": [2**20, 2**20]},
    ],
)
def test_outlines_that_are_refused(outline):
    with pytest.raises(InputError, match=r"a\.json has neither a box nor an outline"):
        box_of(outline, None, "a.json")


def test_a_coco_file_without_boxes(tmp_path):
    (tmp_path / "s" / "images").mkdir(parents=True)
    Image.fromarray(np.full((30, 40), 9, np.uint8)).save(tmp_path / "s" / "images" / "a.png")
    mask = np.zeros((30, 40), np.uint8)
    mask[2:6, 3:8] = 1
    content = {
        "licenses": [{"id": i, "name": "x" * 100} for i in range(200)],  # a long head
        "categories": [{"id": 1, "name": "ship"}],
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "iscrowd": 1,
                "segmentation": {"counts": counts(mask), "size": [30, 40]},
            },
            {"id": 2, "image_id": 1, "category_id": 1, "segmentation": [[10, 5, 20, 5, 20, 12, 10, 12]]},
        ],
    }
    (tmp_path / "s" / "instances.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(content).encode())
    scene = open_scene(tmp_path / "s")
    assert sorted(scene["box"].values.tolist()) == [[3, 2, 8, 6], [10, 5, 20, 12]]
    assert "2 objects have no box" in scene.attrs["notes"]

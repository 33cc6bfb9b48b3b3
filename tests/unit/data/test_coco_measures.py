"""COCO boxes that contradict their outlines, their images, or the unit of pixels; folders with annotations in an unknown layout."""

import json

import numpy as np
import pytest
from PIL import Image

from workbench.data.catalog import open_scene
from workbench.errors import InputError

SQUARE = [[2, 3, 7, 3, 7, 9, 2, 9]]  # of the box 2, 3, 5, 6
RUNS = {"counts": [43, 6, 14, 6, 14, 6, 14, 6, 14, 6, 271], "size": [20, 20]}  # the same as run lengths


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((20, 20, 3), "u1")).save(path)


def coco(folder, *annotations):
    picture(folder / "a.png")
    rows = [{"id": i, "image_id": 1, "category_id": 1, **a} for i, a in enumerate(annotations)]
    images, categories = [{"id": 1, "file_name": "a.png", "width": 20, "height": 20}], [{"id": 1, "name": "ship"}]
    (folder / "boxes.json").write_text(json.dumps({"images": images, "annotations": rows, "categories": categories}))
    return folder


@pytest.mark.parametrize("outline", [SQUARE, RUNS])
@pytest.mark.parametrize("box", [None, [], [0, 0, 0, 0], [5, 5, 0, 3]])
def test_an_outline_replaces_a_box_without_area(tmp_path, outline, box):
    scene = open_scene(coco(tmp_path, {"bbox": box, "segmentation": outline}))
    assert scene["box"].values.tolist() == [[2, 3, 7, 9]]
    assert "1 objects have no box" in scene.attrs["notes"]


@pytest.mark.parametrize("outline", [SQUARE, RUNS])
def test_a_box_that_is_not_that_of_its_outline_is_told(tmp_path, outline):
    scene = open_scene(
        coco(tmp_path, {"bbox": [2, 3, 7, 9], "segmentation": outline}, {"bbox": [2, 3, 5, 6], "segmentation": outline})
    )
    assert scene["box"].values.tolist() == [[2, 3, 9, 12], [2, 3, 7, 9]]
    assert "1 boxes are not those of their outlines" in scene.attrs["notes"]


def test_corners_instead_of_sizes_are_told(tmp_path):
    notes = open_scene(coco(tmp_path, {"bbox": [2, 3, 18, 19]}, {"bbox": [10, 10, 19, 20]})).attrs["notes"]
    assert "2 of 2 boxes reach beyond their image, and all would fit as left, top, right, bottom" in notes
    assert "would fit" not in open_scene(coco(tmp_path, {"bbox": [2, 3, 5, 6]}, {"bbox": [18, 18, 4, 4]})).attrs["notes"]


def test_fractions_of_the_image_are_refused(tmp_path):
    with pytest.raises(InputError, match="run up to 0.6: they are fractions of the image"):
        open_scene(coco(tmp_path, {"bbox": [0.1, 0.2, 0.3, 0.4]}))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"counts": RUNS["counts"], "size": [20, 30]}, "has 20 x 30 pixels, its image 20 x 20"),
        ({"counts": [43, 6], "size": [20, 20]}, "neither a box nor an outline that can be read"),
    ],
)
def test_run_lengths_of_another_size(tmp_path, mask, message):
    with pytest.raises(InputError, match=message):
        open_scene(coco(tmp_path, {"segmentation": mask}))


@pytest.mark.parametrize("below", ["images", "images/train"])
def test_text_files_of_yolo_are_not_chips_of_classes(tmp_path, below):
    for i in range(3):
        picture(tmp_path / below / f"{i}.png")
        labels = tmp_path / below.replace("images", "labels")
        labels.mkdir(parents=True, exist_ok=True)
        (labels / f"{i}.txt").write_text("0 .5 .5 .2 .2")
    with pytest.raises(InputError, match="3 of its 3 images have a file of their own name .*YOLO"):
        open_scene(tmp_path)


def test_a_few_texts_beside_chips_are_only_told(tmp_path):
    for name in "ab":
        for i in range(3):
            picture(tmp_path / name / f"{name}{i}.png")
    (tmp_path / "a" / "a0.txt").write_text("x")
    assert "1 file of" in open_scene(tmp_path).attrs["notes"]

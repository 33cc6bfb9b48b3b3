"""Annotations and class folders as other tools write them: wrong names of images, flags in words, boxes listed twice."""

import json

import numpy as np
import pytest
from PIL import Image

from workbench.data.catalog import open_scene
from workbench.errors import InputError

BOX = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 3, 5, 6]}


def picture(path, orientation=None, size=(20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3)).astype("u1")).save(path, exif=exif.tobytes())
    return path


def coco(folder, boxes, categories=({"id": 1, "name": "ship"},), image="a.png", name="a.png"):
    picture(folder / image)
    content = {"images": [{"id": 1, "file_name": name, "width": 30, "height": 20}], "annotations": boxes}
    (folder / "x.json").write_text(json.dumps({**content, "categories": list(categories)}))
    return open_scene(folder)


def voc(folder, *flags, filename="a.png"):
    picture(folder / "JPEGImages" / "a.png")
    (folder / "Annotations").mkdir()
    objects = "".join(
        f"<object><name>ship</name>{flag}<bndbox><xmin>{i + 2}</xmin><ymin>3</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
        for i, flag in enumerate(flags)
    )
    text = f"<annotation><filename>{filename}</filename>{objects}</annotation>"
    (folder / "Annotations" / "a.xml").write_text(text)
    return open_scene(folder)


def notes(scene):
    return scene.attrs["notes"]


@pytest.mark.parametrize(
    ("word", "difficult"),
    [("0", False), ("1", True), ("False", False), ("True", True), ("Unspecified", False), ("n", False), ("", False)],
)
def test_words_for_difficult(tmp_path, word, difficult):
    assert voc(tmp_path, f"<difficult>{word}</difficult>")["box_difficult"].values.tolist() == [difficult]


def test_difficult_is_kept_where_some_objects_do_not_state_it(tmp_path):
    scene = voc(tmp_path, "<difficult>1</difficult>", "")
    assert scene["box_difficult"].values.tolist() == [True, False]
    assert "1 of 2 boxes do not say whether they are difficult" in notes(scene)


@pytest.mark.parametrize("filename", ["a.jpg", "image.jpg", "C:\\data\\a.bmp"])
def test_an_annotation_finds_its_image_by_its_own_name(tmp_path, filename):
    scene = voc(tmp_path, "", filename=filename)
    assert scene["box_sample"].values.tolist() == ["JPEGImages/a.png"]
    assert f"({filename!r}: JPEGImages/a.png)" in notes(scene)


def test_an_image_that_another_annotation_names_is_not_taken(tmp_path):
    voc(tmp_path, "")
    (tmp_path / "Annotations" / "b.xml").write_text("<annotation><filename>a.jpg</filename></annotation>")
    scene = open_scene(tmp_path)
    assert scene.sizes["sample"] == 1
    assert "1 of 2 annotated images are not in the folder" in notes(scene)


def test_coco_images_of_another_suffix(tmp_path):
    scene = coco(tmp_path, [BOX], image="a.jpg")
    assert scene["box"].values.tolist() == [[2, 3, 7, 9]]
    assert "'a.png': a.jpg" in notes(scene)


def test_boxes_that_stand_twice_are_told(tmp_path):
    scene = coco(tmp_path, [BOX, {**BOX, "id": 2}, {**BOX, "id": 3, "bbox": [3, 3, 5, 6]}])
    assert scene.sizes["object"] == 3
    assert "1 boxes stand twice" in notes(scene)


def test_categories_with_one_number_or_one_name(tmp_path):
    two = [{"id": 1, "name": "ship"}, {"id": 1, "name": "car"}]
    with pytest.raises(InputError, match="category 1 twice: ship and car"):
        coco(tmp_path, [BOX], two)
    scene = coco(tmp_path, [BOX], [{"id": 1, "name": "ship"}, {"id": 2, "name": "ship"}])
    assert "several categories are named ship" in notes(scene)


def test_boxes_to_ignore_are_difficult(tmp_path):
    scene = coco(tmp_path, [{**BOX, "ignore": 1}, {**BOX, "id": 2, "bbox": [3, 3, 5, 6]}])
    assert scene["box_difficult"].values.tolist() == [True, False]
    assert "1 boxes are to be ignored" in notes(scene)


def test_photographs_to_be_shown_turned_are_told(tmp_path):
    picture(tmp_path / "a.jpg", orientation=6)
    scene = coco(tmp_path, [BOX], image="b.jpg", name="a.jpg")
    assert "1 pictures say that they are to be shown turned (EXIF orientation, such as a.jpg)" in notes(scene)
    picture(tmp_path / "a.jpg", orientation=1)
    assert "EXIF" not in notes(open_scene(tmp_path))
    for name in ("cat/1.jpg", "dog/1.jpg"):
        picture(tmp_path / "chips" / name, orientation=8)
    assert "2 pictures say" in notes(open_scene(tmp_path / "chips"))


def test_heads_of_dota_with_spaces(tmp_path):
    picture(tmp_path / "images" / "a.png")
    (tmp_path / "labelTxt").mkdir()
    (tmp_path / "labelTxt" / "a.txt").write_text("imagesource: Google Earth\ngsd: 0.3\n2 3 8 3 8 9 2 9 ship 0\n")
    assert open_scene(tmp_path)["gsd"].values.tolist() == [0.3]


def test_folders_of_one_name_inside_classes_are_refused(tmp_path):
    for name in ("cat/2019/1.png", "cat/2020/1.png", "dog/2019/1.png", "dog/2020/1.png"):
        picture(tmp_path / name)
    with pytest.raises(InputError, match=r"folder 2019 stands in several others \(cat, dog\)"):
        open_scene(tmp_path)


def test_classes_in_folders_of_folders_and_capital_letters_are_told(tmp_path):
    for name in ("train/cat/wild/1.png", "train/dog/Tame/1.png", "test/dog/tame/1.png"):
        picture(tmp_path / name)
    scene = open_scene(tmp_path)
    assert scene["label"].attrs["names"] == ["Tame", "tame", "wild"]
    assert "innermost folders; these stand in cat, dog" in notes(scene)
    assert "differ only in capital letters: Tame, tame" in notes(scene)


def test_a_chip_of_many_bands_is_not_called_damaged(tmp_path):
    import rasterio
    from affine import Affine

    for name in ("Forest", "River"):
        (tmp_path / name).mkdir()
        about = {"count": 13, "height": 8, "width": 8, "dtype": "uint16", "transform": Affine(9, 0, 9, 0, -9, 9)}
        with rasterio.open(tmp_path / name / "1.tif", "w", driver="GTiff", **about) as file:
            file.write(np.ones((13, 8, 8), "u2"))
    with pytest.raises(InputError, match="more than four bands"):
        open_scene(tmp_path)

"""Chips with boxes: every format finds the same pixels, sizes may differ, and strangers' annotations cannot do harm."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench.data import boxes
from workbench.data.catalog import open_scene
from workbench.errors import InputError

# a bright rectangle in columns 5 to 24 and rows 10 to 19: half-open 5, 10, 25, 20
RECTANGLE = [5.0, 10.0, 25.0, 20.0]


def picture(path: Path, size=(40, 30), box=RECTANGLE, mode="L"):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((size[1], size[0]), np.uint8)
    if box is not None:
        x0, y0, x1, y1 = map(int, box)
        values[y0:y1, x0:x1] = 255
    Image.fromarray(values).convert(mode).save(path)


def voc(name, corners, size=(40, 30), label="ship"):
    edges = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    return (
        f"<annotation><filename>{name}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size><object><name>"
        f"{label}</name><difficult>1</difficult><bndbox>{edges}</bndbox></object></annotation>"
    )


def coco(images, annotations, categories=({"id": 7, "name": "ship"},)):
    return json.dumps({"images": images, "annotations": annotations, "categories": list(categories)})


def folder(tmp_path, layout):
    """The rectangle in one image, annotated in that layout."""
    root = tmp_path / layout
    picture(root / "images" / "a.png")
    if layout.startswith("voc"):
        (root / "Annotations").mkdir()
        corners = (6, 11, 25, 20) if layout == "voc-one" else (5, 10, 24, 19)
        (root / "Annotations" / "a.xml").write_text(voc("a.png", corners))
    elif layout == "merged":
        (root / "all.xml").write_text(
            f"<annotations>{voc('a.png', (6, 11, 25, 20))}{voc('gone.png', (1, 1, 2, 2))}</annotations>"
        )
    elif layout == "coco":
        image = {"id": 1, "file_name": "a.png", "width": 40, "height": 30}
        (root / "b.json").write_text(coco([image], [{"image_id": 1, "category_id": 7, "bbox": [5, 10, 20, 10]}]))
    elif layout == "dota":
        (root / "labelTxt").mkdir()
        (root / "labelTxt" / "a.txt").write_text("imagesource:X\ngsd:0.5\n5 10 25 10 25 20 5 20 ship 1\n")
    elif layout == "vedai":
        picture(root / "images" / "00000007_co.png")
        picture(root / "images" / "00000007_ir.png")
        (root / "images" / "a.png").unlink()
        (root / "annotation512.txt").write_text("00000007 15 15 0.0 6 26 26 6 11 11 21 21 23 1 0\n")
    elif layout == "masks":
        mask = np.zeros((30, 40, 3), np.uint8)
        mask[10:20, 5:25] = (3, 0, 7)
        Image.fromarray(mask).save(root / "images" / "a_instance_id_RGB.png")
    return root


def test_the_background_of_a_mask_without_black_is_its_most_frequent_colour(tmp_path):
    mask = np.full((30, 40, 3), (9, 9, 9), np.uint8)
    mask[10:20, 5:25], mask[2:4, 30:33] = (3, 0, 7), (3, 0, 8)
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(mask).save(tmp_path / "a_instance_id_RGB.png")
    assert boxes.open_folder(tmp_path)["box"].values.tolist() == [[5, 10, 25, 20], [30, 2, 33, 4]]


LAYOUTS = ("voc-one", "voc-zero", "merged", "coco", "dota", "vedai", "masks")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_format_finds_the_same_pixels(tmp_path, layout):
    keys = {"convention": "zero-based"} if layout == "voc-zero" else {}
    scene = boxes.open_folder(folder(tmp_path, layout), keys=keys)
    assert scene["box"].values.tolist() == [RECTANGLE]
    x0, y0, x1, y1 = scene["box"].values[0].astype(int)
    image = scene["image"].sel(sample=scene["box_sample"].values[0]).values[0]
    assert (image[y0:y1, x0:x1] == 1).all()
    assert image.sum() == (y1 - y0) * (x1 - x0)  # and nothing bright is outside
    assert scene["box_label"].attrs["names"] == [{"masks": "object", "vedai": "boat"}.get(layout, "ship")]
    assert scene["box"].dims == ("object", "edge")
    if layout in ("voc-one", "merged", "dota"):
        assert scene["box_difficult"].values.tolist() == [True]
    if layout == "vedai":
        assert scene["image"].shape == (1, 4, 30, 40)  # colour and near infrared
        assert scene["box_sample"].values.tolist() == ["images/00000007"]
        assert scene["box_corners"].values.tolist() == [[[5, 10], [25, 10], [25, 20], [5, 20]]]
    if layout == "dota":
        assert scene["box_corners"].values.tolist() == [[[5, 10], [25, 10], [25, 20], [5, 20]]]
        assert scene["gsd"].values.tolist() == [0.5]
    if layout == "merged":
        assert "1 of 2 annotated images are not in the folder" in scene.attrs["notes"]


@pytest.mark.parametrize(
    ("corners", "want", "why"),
    [
        ((0, 10, 24, 19), [0, 10, 25, 20], "zero-based first and last pixels (a corner is at 0)"),
        ((6, 11, 40, 20), [5, 10, 40, 20], "one-based first and last pixels (one is at the full width)"),
        ((6, 11, 25, 20), [5, 10, 25, 20], "one-based first and last pixels (as VOC does)"),
        ((0, 11, 40, 20), [0, 10, 40, 20], "one-based"),  # contradicts itself: cut at the border
    ],
)
def test_where_voc_counts_from_is_told_by_the_annotations(tmp_path, corners, want, why):
    root = folder(tmp_path, "voc-one")
    (root / "Annotations" / "a.xml").write_text(voc("a.png", corners))
    scene = boxes.open_folder(root)
    assert scene["box"].values.tolist() == [want]
    assert why in scene.attrs["notes"]


def test_chips_of_different_sizes_are_padded_with_nan(tmp_path):
    picture(tmp_path / "a.png", (40, 30))
    picture(tmp_path / "b.jpg", (60, 20), box=None, mode="RGB")
    images = [{"id": i, "file_name": n} for i, n in enumerate(("a.png", "b.jpg"))]
    (tmp_path / "c.json").write_text(coco(images, [{"image_id": 0, "category_id": 7, "bbox": [30, 10, 20, 10]}]))
    scene = boxes.open_folder(tmp_path)
    assert scene["image"].shape == (2, 3, 30, 60)  # colour wins
    assert scene["image"].chunks[0] == (1, 1)
    assert scene["height"].values.tolist() == [30, 20]
    assert scene["width"].values.tolist() == [40, 60]
    values = scene["image"].values
    assert np.isnan(values[0, :, :, 40:]).all()
    assert np.isnan(values[1, :, 20:]).all()
    assert np.isfinite(values).sum() == 3 * (40 * 30 + 60 * 20)
    assert scene["box"].values.tolist() == [[30, 10, 40, 20]]
    assert "1 boxes reached beyond" in scene.attrs["notes"]
    one = boxes.chip(scene, "b.jpg")
    assert one["image"].shape == (3, 20, 60)
    assert one.sizes["object"] == 0
    assert boxes.chip(scene, "a.png")["image"].isnull().sum() == 0
    with pytest.raises(InputError, match=r"Did you mean 'a\.png'"):
        boxes.chip(scene, "a.pgn")


def test_boxes_outside_their_image_and_without_area_are_left_out_and_told(tmp_path):
    picture(tmp_path / "a.png")
    boxes_of = [[5, 10, 20, 10], [5, 10, 0, 10], [5, 10, 20, 0], [40, 0, 5, 5], [-9, 3, 9, 4], [38, 28, 9, 9]]
    rows = [{"image_id": 0, "category_id": 7, "bbox": b} for b in boxes_of]
    (tmp_path / "c.json").write_text(coco([{"id": 0, "file_name": "a.png"}], rows))
    scene = boxes.open_folder(tmp_path)
    assert scene["box"].values.tolist() == [RECTANGLE, [38, 28, 40, 30]]
    assert "4 boxes without area inside their image were left out" in scene.attrs["notes"]
    assert "1 boxes reached beyond their image and were cut" in scene.attrs["notes"]


def test_lists_of_a_voc_set_are_its_split(tmp_path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    for name in ("000001", "000002", "000003"):
        picture(tmp_path / "JPEGImages" / f"{name}.png")
        (tmp_path / "Annotations" / f"{name}.xml").write_text(voc(f"{name}.png", (6, 11, 25, 20)))
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("000001\n000003\n")
    assert "split" not in boxes.open_folder(tmp_path).coords
    assert "name 2 of the 3 images" in boxes.open_folder(tmp_path).attrs["notes"]
    (tmp_path / "ImageSets" / "Main" / "test.txt").write_text("000002\n000009\n")
    scene = boxes.open_folder(tmp_path)
    assert scene["split"].values.tolist() == ["train", "test", "train"]
    assert scene.attrs["notes"].count("txt") == 0  # the lists are read
    assert "the lists name 1 images that are not in the folder" in scene.attrs["notes"]


def test_images_without_boxes_are_samples_too(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    images = [{"id": i, "file_name": n} for i, n in enumerate(("a.png", "b.png"))]
    (tmp_path / "c.json").write_text(coco(images, []))
    scene = boxes.open_folder(tmp_path)
    assert scene.sizes["sample"] == 2
    assert scene["box"].shape == (0, 4)


def test_images_of_8_and_16_bits_are_told(tmp_path):
    picture(tmp_path / "a.png")
    deep = np.full((30, 40), 4000, np.uint16)
    Image.fromarray(deep).save(tmp_path / "b.png")
    images = [{"id": i, "file_name": n} for i, n in enumerate(("a.png", "b.png"))]
    (tmp_path / "c.json").write_text(coco(images, []))
    scene = boxes.open_folder(tmp_path)
    assert "1 of 2 images have 16 bits and are divided by 65535" in scene.attrs["notes"]
    assert float(scene["image"].sel(sample="b.png").max()) == pytest.approx(4000 / 65535)
    (tmp_path / "a.png").unlink()
    (tmp_path / "c.json").write_text(coco(images[1:], []))
    assert "16 bits" not in boxes.open_folder(tmp_path).attrs["notes"]  # all of one depth


def test_two_dates_of_one_name_are_two_images_or_refused(tmp_path):
    for year in ("2019", "2020"):
        (tmp_path / year).mkdir()
        picture(tmp_path / year / "port.png")
    named = [{"id": i, "file_name": f"{year}/port.png"} for i, year in enumerate(("2019", "2020"))]
    box = {"image_id": 1, "category_id": 7, "bbox": [3, 4, 5, 6]}
    (tmp_path / "c.json").write_text(coco(named, [box]))
    scene = boxes.open_folder(tmp_path)
    assert scene["sample"].values.tolist() == ["2019/port.png", "2020/port.png"]
    assert scene["box_sample"].values.tolist() == ["2020/port.png"]
    (tmp_path / "c.json").write_text(coco([{"id": 0, "file_name": "port.png"}], []))
    with pytest.raises(InputError, match="port.png"):
        boxes.open_folder(tmp_path)


def test_parts_of_a_sample_are_stacked(tmp_path):
    for name in ("1_co", "1_ir", "2_co", "2_ir"):
        picture(tmp_path / f"{name}.png", mode="RGB")
    scene = boxes.open_images(tmp_path, {"_co": 3, "_ir": 1})
    assert scene["image"].shape == (2, 4, 30, 40)
    assert scene["sample"].values.tolist() == ["1", "2"]
    (tmp_path / "2_ir.png").unlink()
    with pytest.raises(InputError, match="2 of .* lacks _ir"):
        boxes.open_images(tmp_path, {"_co": 3, "_ir": 1})


@pytest.mark.parametrize(
    ("layout", "content", "why"),
    [
        ("voc-one", voc("a.png", (9, 11, 5, 20)), "before its first"),
        ("voc-one", voc("a.png", ("x", 11, 5, 20)), "not a number"),
        ("voc-one", voc("a.png", ("1e999", 11, 5, 20)), "not a number"),
        ("voc-one", "<annotation><filename>a.png</filename><object/></annotation>", "bndbox"),
        ("voc-one", "<!DOCTYPE a [<!ENTITY b 'c'>]><annotation>&b;</annotation>", "document type"),
        (
            "coco",
            '{"images": [{"id": 1, "file_name": "../../../etc/passwd"}], "categories": [], "annotations": []}',
            "None of the 1 images",
        ),
        ("coco", '{"images": [], "annotations": 3, "categories": []}', "not a COCO file"),
        ("coco", '{"images": [1], "annotations": [], "categories": []}', "not a COCO file"),
        ("coco", '{"images": [' + "[" * 100_000, "not valid JSON"),
        ("coco", coco([{"id": 1}], []), "no file_name"),
        ("coco", coco([{"id": 1, "file_name": "a.png"}] * 2, []), "twice"),
        ("coco", coco([{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "images/a.png"}], []), "twice"),
        (
            "coco",
            coco([{"id": 1, "file_name": "a.png"}], [{"image_id": 2, "category_id": 7, "bbox": [1, 1, 1, 1]}]),
            "not list",
        ),
        (
            "coco",
            coco([{"id": 1, "file_name": "a.png"}], [{"image_id": 1, "category_id": 8, "bbox": [1, 1, 1, 1]}]),
            "category",
        ),
        (
            "coco",
            coco([{"id": 1, "file_name": "a.png"}], [{"image_id": 1, "category_id": 7, "bbox": [1, 1, 1]}]),
            "four numbers",
        ),
        (
            "coco",
            coco([{"id": 1, "file_name": "a.png"}], [{"image_id": 1, "category_id": 7, "bbox": [1, 1, -1, 1]}]),
            "negative",
        ),
        (
            "coco",
            '{"images": [{"id": 1, "file_name": "a.png"}], "categories": [{"id": 7, "name": "s"}], "annotations": '
            '[{"image_id": 1, "category_id": 7, "bbox": [NaN, 1, 1, 1]}]}',
            "four numbers",
        ),
        ("dota", "1 2 3 4 5 6 7 ship 0", "four corners"),
        ("dota", "1 2 3 4 5 6 7 8 ship x", "four corners"),
        ("dota", "1 2 3 4 5 6 7 nan ship 0", "four corners"),
        ("dota", "1 2 3 4 5 6 7 8 ship 0\n1 2 3 ship", r"Line 2 of a\.txt is not four corners"),
        ("vedai", "\n7 15 15 0.0 6 26 26 6 11 11 21 21 23 1", r"Line 2 of annotation512\.txt is not the 15 numbers"),
        ("vedai", "7 15 15 0.0 6 26 26 6 11 11 21 nan 23 1 0", r"Line 1 of annotation512\.txt"),
        ("vedai", "7 15 15 0.0 6 26 26 6 11 11 21 21 2.5 1 0", r"Line 1 of annotation512\.txt"),
    ],
)
def test_malformed_annotations_are_refused(tmp_path, layout, content, why):
    root = folder(tmp_path, layout)
    target = next(
        p for pattern in ("Annotations/*.xml", "*.json", "labelTxt/*.txt", "annotation512.txt") for p in root.glob(pattern)
    )
    target.write_text(content)
    with pytest.raises(InputError, match=why):
        boxes.open_folder(root)


def test_a_list_of_vedai_names_images_by_number_and_keeps_unknown_classes(tmp_path):
    root = folder(tmp_path, "vedai")
    rows = [
        "7 15 15 0.0 6 26 26 6 11 11 21 21 31 1 0",
        "00000007 5 5 0.5 2 8 8 2 3 3 7 7 77 1 1",
        "8 5 5 0.5 2 8 8 2 3 3 7 7 1 1 1",
    ]
    (root / "annotation512.txt").write_text("\n".join(rows))
    scene = boxes.open_folder(root)
    assert scene["box_label"].attrs["names"] == ["class 77", "plane"]
    assert scene.sizes["object"] == 2
    assert "1 of 2 annotated images are not in the folder" in scene.attrs["notes"]
    (root / "images" / "00000007_ir.png").unlink()
    assert boxes.open_folder(root)["image"].shape[1] == 3
    picture(root / "images" / "00000008_ir.png")
    with pytest.raises(InputError, match=r"00000007.*lacks _ir|00000008.*lacks _co"):
        boxes.open_folder(root)


def test_what_is_asked_wrongly(tmp_path):
    root = folder(tmp_path, "voc-one")
    for keys, why in (
        ({"annotation": "x"}, "Did you mean 'annotations'"),
        ({"annotations": "coco.json"}, "it has Annotations"),
        ({"convention": "two-based"}, "one-based or zero-based"),
    ):
        with pytest.raises(InputError, match=why):
            boxes.open_folder(root, keys=keys)
    with pytest.raises(InputError, match="leave truth out"):
        boxes.open_folder(root, truth="x.png")
    with pytest.raises(InputError, match="no annotations"):
        boxes.open_folder(tmp_path / "nowhere")


def test_a_damaged_image_is_named(tmp_path):
    root = folder(tmp_path, "coco")
    content = (root / "images" / "a.png").read_bytes()
    (root / "images" / "a.png").write_bytes(content[:60])
    scene = boxes.open_folder(root)
    with pytest.raises(InputError, match=r"images/a\.png cannot be read"):
        scene["image"].compute()


def test_class_folders_are_still_chips_and_boxes_win_where_there_are_some(tmp_path):
    for name in ("sea/1.png", "sea/2.png", "land/1.png"):
        picture(tmp_path / "chips" / name)
    assert not boxes.sees(tmp_path / "chips")
    assert "label" in open_scene(tmp_path / "chips")
    assert "box" in open_scene(folder(tmp_path, "coco"))
    assert open_scene(folder(tmp_path, "dota")).attrs["sha256"]


@pytest.mark.parametrize("layout", ["dota", "masks", "merged"])
def test_boxes_become_zarr(tmp_path, layout):
    from workbench.data.convert import convert

    scene = open_scene(folder(tmp_path, layout))
    again = open_scene(convert(tmp_path / layout, tmp_path / "a.zarr"))
    assert set(again.data_vars) == set(scene.data_vars)
    for name in (*scene.data_vars, *scene.coords):
        np.testing.assert_array_equal(again[name].values, scene[name].values, err_msg=str(name))
    assert again["box_label"].attrs == scene["box_label"].attrs


# --- real ---------------------------------------------------------------------------------------------------------------


def test_hrsid_boxes_are_the_extent_of_the_ship_masks(real_data):
    """An independent truth for COCO's half-open edges: the published boxes of chips and the ship masks published beside them."""
    from scipy.ndimage import find_objects, label

    scene = open_scene("hrsid-24")
    checked = 0
    for name in scene["sample"].values:
        mask = np.asarray(
            Image.open(real_data / "sar_detection/hrsid/masks" / Path(str(name)).with_suffix(".png").name).convert("L")
        )
        parts = label(mask > 0, np.ones((3, 3)))[0]
        extent = {(s[1].start, s[0].start, s[1].stop, s[0].stop) for s in find_objects(parts)}
        own = {tuple(b.astype(int)) for b in scene["box"].values[scene["box_sample"].values == name]}
        checked += len(own & extent)
    assert checked >= 41  # of 44; ships that touch in the mask make one part


def test_ssdd_voc_and_coco_agree_within_a_pixel(real_data):
    voc_, coco_ = open_scene("ssdd-2"), open_scene("ssdd-2-coco")
    assert voc_["box_sample"].values.tolist() == coco_["box_sample"].values.tolist()
    assert np.abs(voc_["box"].values - coco_["box"].values).max() <= 1
    assert (voc_["box"].values[:, :2] <= coco_["box"].values[:, :2]).all()  # whole pixels hold the exact outline
    assert (voc_["box"].values[:, 2:] >= coco_["box"].values[:, 2:]).all()


@pytest.mark.parametrize(
    ("name", "samples", "objects", "size"),
    [("sar-aircraft-6", 6, 19, (1500, 1500)), ("hrsid-masks-1", 1, 8, (800, 800)), ("dota-2", 2, 65, (557, 712))],
)
def test_real_collections(real_data, name, samples, objects, size):
    scene = open_scene(name)
    assert (scene.sizes["sample"], scene.sizes["object"]) == (samples, objects)
    assert scene["image"].shape[2:] == size
    values = scene["image"].values
    own = (scene["height"] * scene["width"]).values
    assert np.isfinite(values[:, 0]).sum(axis=(1, 2)).tolist() == own.tolist()
    edges = scene["box"].values
    assert (edges[:, :2] < edges[:, 2:]).all()
    if name == "sar-aircraft-6":  # strong echoes lie in the boxes, more than in the same boxes mirrored left to right
        ids, echo = scene["sample"].values.tolist(), []
        for (x0, y0, x1, y1), sample in zip(edges.astype(int), scene["box_sample"].values, strict=True):
            image, wide = values[ids.index(sample), 0], int(scene["width"].sel(sample=sample))
            echo.append([np.percentile(image[y0:y1, x], 95) for x in (slice(x0, x1), slice(wide - x1, wide - x0))])
        true, mirrored = np.mean(echo, 0)
        assert true > 1.2 * mirrored


def test_vedai_and_floods(real_data):
    assert open_scene("vedai-512-3")["image"].shape == (3, 4, 512, 512)
    scene = open_scene("sen1floods11-spain")
    water = scene["sar"].where(scene["truth"] == 1).mean(("y", "x"), skipna=True)
    land = scene["sar"].where(scene["truth"] == 0).mean(("y", "x"), skipna=True)
    assert (land > 4 * water).all()  # water is dark in both polarizations
    assert 0 < float(scene["image"].mean()) < 1
    assert scene["polarization"].values.tolist() == ["VV", "VH"]
    assert str(scene.rio.crs) == "EPSG:4326"

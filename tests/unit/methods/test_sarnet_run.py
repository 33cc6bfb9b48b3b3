"""Runs of SAR-Net on tiny simulated chips: resuming, applying weights, splits, crops, tiles, and input that cannot be used."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image
from safetensors.torch import save_file

from tests.driving import played
from tests.unit.methods.bright import Bright
from workbench.config import override
from workbench.data.boxed_images import Crops, entered, images_of, padded
from workbench.data.catalog import open_scene
from workbench.data.synth_ships import small
from workbench.errors import InputError
from workbench.event import drain
from workbench.execution import execute
from workbench.methods.sarnet import SMOKE, Config, Trained, as_amplitude, detect, load_network, run
from workbench.methods.sarnet.result import _cfar, reads_of
from workbench.methods.sarnet.tiles import detect_all, starts
from workbench.metrics.image_boxes import found_boxes
from workbench.parts.sarnet_network import SARNet
from workbench.parts.seeding import Seeded

QUICK = override(Config(), {**SMOKE, "rivals": []})


@pytest.fixture(scope="module")
def ships():
    return small(seed=0).compute()


def other(scene: xr.Dataset, **variables) -> xr.Dataset:
    """A copy of the scene with other values of these variables."""
    return scene.copy().assign({n: scene[n].copy(data=v) for n, v in variables.items()})


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("after", [2, 8])
def test_a_stopped_run_continues_to_the_same_numbers(ships, after):
    config = override(QUICK, {"rivals": ["plain"], "steps": 5})
    whole, expected = played(run(ships, config))
    trace = run(ships, config)
    state = list(islice(trace, after + 1))[-1].state()
    trace.close()
    rest, outcome = played(run(ships, config, state))
    assert [e.step for e in rest] == [e.step for e in whole[after + 1 :]]
    for a, b in zip(rest, whole[after + 1 :], strict=True):
        assert a.scalars == b.scalars
        for name in a.arrays:
            xr.testing.assert_identical(a.arrays[name], b.arrays[name])
    xr.testing.assert_identical(outcome.result, expected.result)
    for name, tensors in outcome.weights.items():
        assert all(torch.equal(v, expected.weights[name][k]) for k, v in tensors.items())


def test_a_checkpoint_of_other_chips_or_settings_is_refused(ships):
    trace = run(ships, QUICK)
    state = list(islice(trace, 3))[-1].state()
    trace.close()
    with pytest.raises(InputError, match="other data"):
        next(run(small(seed=1), QUICK, state))
    with pytest.raises(InputError, match="lr=0.002 there and 0.01 here"):
        next(run(ships, override(QUICK, {"lr": 0.01}), state))


@pytest.mark.long
def test_arms_differ_and_share_their_crops(ships):
    outcome = drain(run(ships, override(QUICK, {"rivals": ["plain", "wide", "ucm", "dam"], "steps": 2})))
    count = {n: float(outcome.result[n]) for n in outcome.result if n.startswith("parameters")}
    assert count["parameters_plain"] < count["parameters_dam"] < count["parameters_ucm"] < count["parameters"]
    assert set(outcome.weights) == {"sarnet", "settings", "plain", "wide", "ucm", "dam"}
    assert list(outcome.result["detector"].values)[:5] == ["sarnet", "plain", "wide", "ucm", "dam"]
    assert {"ap50_shuffled_gates", "ap50_random_boxes", "ap50_ca_cfar", "ap50_os_cfar"} <= set(outcome.result.data_vars)
    without = drain(run(ships, override(QUICK, {"steps": 2, "controls": False})))
    assert not [n for n in without.result if "shuffled" in str(n) or "random" in str(n)]


@pytest.mark.long
def test_a_folder_of_a_run_gives_the_network_back(ships, tmp_path):
    outcome = execute("sarnet", ships, {**SMOKE, "rivals": [], "threshold": 0.01}, tmp_path / "run")
    trained = load_network(tmp_path / "run")
    assert trained.names == ["ship"]
    images = images_of(ships, trained.config)
    again = found_boxes(
        images, list(images.test), detect_all(trained.network, reads_of(images, list(images.test)), trained.config)
    )
    assert trained.operating == float(outcome.result["operating_threshold"])
    kept = again.score >= trained.operating
    np.testing.assert_array_equal(again.box[kept], outcome.result["box"].values)
    np.testing.assert_array_equal(again.score[kept], outcome.result["box_score"].values)
    assert kept.sum() > 0
    applied = drain(run(ships, override(QUICK, {"weights": str(tmp_path / "run"), "threshold": 0.01})))
    assert set(applied.result["box_sample"].values) > set(outcome.result["box_sample"].values)  # all images are scored
    assert applied.result.attrs["split"] == "18 images for testing"
    assert outcome.result.attrs["split"] == "10 images for training, 2 images for validation, 6 images for testing"
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="no network of sarnet"):
        load_network(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="has not finished"):
        load_network(tmp_path)


@pytest.mark.long
def test_it_learns_a_few_chips_by_heart(ships):
    """A short version of the overfit gate; the whole one is in tests/acceptance."""
    config = override(QUICK, {"steps": 60, "width": 4, "lr": 0.01, "augment": ["flip"]})
    first, last = [], []
    for event in islice(run(ships, config), 61):
        (first if event.step < 10 else last).append(event.scalars.get("loss", np.nan))
    assert np.nanmean(last[-10:]) < 0.7 * np.nanmean(first)


def test_cfar_does_not_take_missing_pixels_for_dark_sea(ships):
    """Nothing but even sea and missing pixels: with zeros in their place the sea beside them would be twice as bright as its ring."""
    values = np.full(ships["image"].shape, 0.2, np.float32)
    values[..., 20:] = np.nan
    images = images_of(other(ships, image=values), QUICK)
    assert np.isnan(images.holed(0)[:, 20:]).all()
    assert not images.amplitude(0)[:, :, 20:].any()
    (found, _), _ = _cfar("ca_cfar", images, [int(n) for n in images.test], QUICK)
    assert len(found.box) == 0
    whole = images_of(ships, QUICK)
    np.testing.assert_array_equal(whole.holed(1), whole.amplitude(1)[0])


def test_several_classes_are_scored_apart(ships):
    label = np.arange(ships.sizes["object"]) % 2
    scene = other(ships, box_label=label)
    scene["box_label"].attrs["names"] = ["ship", "boat"]
    result = drain(run(scene, override(QUICK, {"steps": 2, "threshold": 0.005}))).result
    assert result["ap50_by_class"].dims == ("class",)
    assert list(result["class"].values) == ["ship", "boat"]
    assert set(result["box_label"].values) <= {0, 1}
    assert result["box_label"].attrs["names"] == ["ship", "boat"]


AIRCRAFT = ["A220", "A320/321", "A330", "ARJ21", "Boeing737", "Boeing787", "other"]


def aircraft(root: Path) -> Path:
    """A folder in the layout of SAR-AIRcraft-1.0: VOC, lists of the split, seven classes; speckle, not SAR."""
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    draw = np.random.default_rng(0)
    for n in range(7):
        image, objects = draw.gamma(2, 20, (64, 80)).clip(0, 255).astype(np.uint8), ""
        for k in (n, n + 3):
            x, y = 4 + 36 * (k != n), 6 + 5 * n
            image[y : y + 12, x : x + 24] = 250
            edges = f"<xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + 24}</xmax><ymax>{y + 12}</ymax>"
            objects += f"<object><name>{AIRCRAFT[k % 7]}</name><bndbox>{edges}</bndbox></object>"
        Image.fromarray(image).save(root / "JPEGImages" / f"000{n}.jpg")
        size = "<size><width>80</width><height>64</height><depth>1</depth></size>"
        text = f"<annotation><filename>000{n}.jpg</filename>{size}{objects}</annotation>"
        (root / "Annotations" / f"000{n}.xml").write_text(text)
    (root / "ImageSets" / "Main" / "train.txt").write_text("".join(f"000{n}\n" for n in range(5)))
    (root / "ImageSets" / "Main" / "test.txt").write_text("0005\n0006\n")
    return root


@pytest.mark.long
def test_sar_aircraft_by_its_path_trains_with_its_seven_classes(tmp_path, ships):
    scene = open_scene(aircraft(tmp_path / "SAR-AIRcraft-1.0"))
    assert scene["box_label"].attrs["names"] == AIRCRAFT
    assert scene["split"].values.tolist() == ["train"] * 5 + ["test"] * 2
    outcome = execute("sarnet", scene, {**SMOKE, "rivals": [], "controls": False, "threshold": 0.001}, tmp_path / "run")
    assert outcome.result.attrs["split"].endswith("2 images for testing")
    assert list(outcome.result["class"].values) == AIRCRAFT
    trained = load_network(tmp_path / "run")
    assert trained.names == AIRCRAFT
    levels = trained.network(torch.zeros(1, 1, 64, 64)).levels
    assert [x.shape[1] for x in levels] == [4 + 7] * 3
    with pytest.raises(InputError, match=r"knows the classes A220, .*; this scene has ship"):
        next(run(ships, override(QUICK, {"weights": str(tmp_path / "run")})))


@pytest.mark.long
def test_a_network_of_one_class_is_not_scored_on_several(ships, tmp_path):
    execute("sarnet", ships, {**SMOKE, "rivals": [], "controls": False, "steps": 1}, tmp_path / "run")
    two = other(ships, box_label=np.arange(ships.sizes["object"]) % 2)
    two["box_label"].attrs["names"] = ["boat", "ship"]
    with pytest.raises(InputError, match="knows the classes ship; this scene has boat, ship"):
        next(run(two, override(QUICK, {"weights": str(tmp_path / "run")})))


# --- split, crops -----------------------------------------------------------------------------------------------------


def test_no_image_is_in_two_parts_and_folds_cover_all(ships):
    plain = ships.drop_vars("split")
    tested = []
    for fold in range(3):
        images = images_of(plain, override(QUICK, {"folds": 3, "fold": fold}))
        assert sorted([*images.train, *images.val, *images.test]) == list(range(18))
        tested += list(images.test)
    assert sorted(tested) == list(range(18))
    named = images_of(plain, override(QUICK, {"test": ["chip-003", "chip-010"]}))
    assert list(named.test) == [3, 10]
    watching = images_of(plain, override(QUICK, {"test": ["chip-003"], "val": ["chip-005"]}))
    assert (list(watching.val), list(watching.test)) == ([5], [3])
    assert len(watching.train) == 16
    with pytest.raises(InputError, match="'chip-003' is in val and for testing"):
        images_of(plain, override(QUICK, {"test": ["chip-003"], "val": ["chip-003"]}))
    own = images_of(ships, QUICK)
    assert list(own.test) == list(range(12, 18))
    with pytest.raises(InputError, match="fold=3 of folds=3"):
        images_of(plain, override(QUICK, {"folds": 3, "fold": 3}))
    with pytest.raises(InputError, match="not in this scene"):
        images_of(plain, override(QUICK, {"test": ["chip-999"]}))


@pytest.mark.parametrize("augment", [[], ["flip"], ["transpose"], ["flip", "transpose"]])
def test_boxes_move_with_their_pixels(ships, augment):
    """Every ship is painted with its own value; after the crop its box must enclose just that value."""
    painted = np.zeros(ships["image"].shape, np.float32)
    keep = []
    for n, (box, name) in enumerate(zip(ships["box"].values.astype(int), ships["box_sample"].values, strict=True)):
        at = list(ships["sample"].values).index(name)
        x0, y0, x1, y1 = box
        if not painted[at, 0, max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1].any():
            painted[at, 0, y0:y1, x0:x1] = 0.2 + 0.01 * n
            keep.append(n)
    scene = other(ships, image=painted).isel(object=keep)
    config = override(QUICK, {"augment": augment, "transform": "linear", "crop": 32})
    crops = Crops(images_of(scene, config), config)
    seen = 0
    with Seeded(1):
        for _ in range(12):
            batch = crops.draw()
            for x, boxes in zip(batch.x, batch.boxes, strict=True):
                for x0, y0, x1, y1 in boxes.int().tolist():
                    inside = x[0, y0:y1, x0:x1]
                    assert inside.min() == inside.max() > 0
                    around = torch.nonzero(x[0] == inside.max())
                    assert around.amin(0).tolist() == [y0, x0]
                    assert (around.amax(0) + 1).tolist() == [y1, x1]
                    seen += 1
    assert seen > 20


@pytest.mark.parametrize("crop", [96, 224])
def test_what_reflection_adds_around_a_small_image_has_its_boxes(ships, crop):
    """A crop larger than its image shows ships again in the mirror; without boxes they were learnt as background."""
    painted = np.zeros(ships["image"].shape, np.float32)
    for (x0, y0, x1, y1), name in zip(ships["box"].values.astype(int), ships["box_sample"].values, strict=True):
        painted[list(ships["sample"].values).index(name), 0, y0:y1, x0:x1] = 1
    whole = (ships["box"].values == ships["box"].values.astype(int)).all(1)
    assert whole.all()
    config = override(QUICK, {"augment": [], "transform": "linear", "crop": crop})
    assert crop > painted.shape[-1]
    crops = Crops(images_of(other(ships, image=painted), config), config)
    more = 0
    with Seeded(1):
        for _ in range(6):
            batch = crops.draw()
            for x, boxes, labels in zip(batch.x, batch.boxes, batch.labels, strict=True):
                covered = torch.zeros_like(x[0])
                for x0, y0, x1, y1 in boxes.int().tolist():
                    covered[y0:y1, x0:x1] = 1
                own = x[0, : painted.shape[-2], : painted.shape[-1]]
                more += int((x.sum() > own.sum()).item())
                # a box is kept if its middle is seen: no more than halves of ships at the far border are without one
                inner = slice(0, crop - 16)
                assert torch.equal(covered[inner, inner], x[0, inner, inner])
                assert len(labels) == len(boxes)
    assert more > 0


def test_speckle_and_gain_keep_the_boxes_and_change_the_pixels(ships):
    plain = override(QUICK, {"augment": []})
    for augment in ("speckle", "gain"):
        config, changed = override(QUICK, {"augment": [augment]}), 0
        for seed in range(6):
            with Seeded(seed):
                before = Crops(images_of(ships, plain), plain)._one()
            with Seeded(seed):
                after = Crops(images_of(ships, config), config)._one()
            assert torch.equal(before[1], after[1])
            changed += not torch.equal(before[0], after[0])
        assert changed >= (2 if augment == "speckle" else 6)  # speckle is added to every second crop


def test_padding_reflects_and_the_logarithm_is_that_of_8_bits():
    x = torch.arange(6.0).reshape(1, 2, 3) / 255
    grown = padded(x, 7)
    assert grown.shape == (1, 7, 7)
    assert torch.equal(grown[:, :2, :3], x)
    assert set(grown.unique().tolist()) == set(x.unique().tolist())
    assert padded(torch.ones(1, 1, 1), 4).shape == (1, 4, 4)
    assert float(entered(torch.tensor(1.0), Config())) == pytest.approx(1)
    assert float(entered(torch.tensor(0.0), Config())) == 0


# --- tiles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(40, 304), (128, 128), (336, 208)])
def test_ships_at_seams_are_found_once_and_whole(size):
    assert starts(300, 128, 48) == [0, 80, 160, 172]
    assert starts(100, 128, 48) == [0]
    image = torch.zeros(1, *size)
    high, wide = size
    apart = [
        (i, j) for i in range(1, high // 8 - 1, 5) for j in range(1, wide // 8 - 1, 5)
    ]  # at all places beside the seams
    for i, j in apart:
        image[0, 8 * i : 8 * i + 8, 8 * j : 8 * j + 8] = 1
    config = Config(crop=128, margin=48, transform="linear")
    (found,) = detect_all(Bright(), [((high, wide), lambda rows, columns: image[:, rows, columns])], config)
    expected = sorted([8 * j - 8, 8 * i - 8, 8 * j + 16, 8 * i + 16] for i, j in apart)
    sure = found.box[found.score > 0.9]
    assert sorted(sure.round().int().tolist()) == expected
    assert len(expected) >= 8


def test_boxes_do_not_depend_on_how_many_tiles_are_suppressed_at_once(monkeypatch):
    image = torch.zeros(1, 300, 200)
    image[0, 8:16, 120:128] = image[0, 240:248, 40:48] = 1
    reads = [
        ((300, 200), lambda rows, columns: image[:, rows, columns]),
        ((64, 64), lambda rows, columns: image[:, :64, :64]),
    ]
    monkeypatch.setattr("workbench.methods.sarnet.tiles.AT_ONCE", 2)
    config, found = Config(crop=64, margin=32, transform="linear"), []
    for held in (2, 5, 1000):
        monkeypatch.setattr("workbench.methods.sarnet.tiles.HELD", held)
        found.append(detect_all(Bright(), reads, config))
    assert [len(one.box) for one in found[0]] == [2, 0]
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(tuple(a), tuple(b), rtol=0, atol=0)


def test_a_large_lazy_image_is_read_tile_by_tile(ships):
    torch.manual_seed(0)
    trained = Trained(SARNet(1, 2).eval(), QUICK, ["ship"], operating=0.01)
    image = xr.DataArray(np.random.default_rng(0).random((3, 150, 170), np.float32), dims=("band", "y", "x"))
    found, lazy = detect(trained, image), detect(trained, image.chunk(y=64, x=50))
    xr.testing.assert_identical(found, lazy)
    assert found["box"].dims == ("object", "edge")
    assert len(detect(trained, image, most=5)["box"]) == 5
    scores = found["box_score"].values  # many scores of an untrained network are equal
    above = scores > scores.mean()
    assert 0 < above.sum() < above.size
    few = detect(trained, image, threshold=float(scores.mean()))
    np.testing.assert_array_equal(few["box"], found["box"][above])
    with pytest.raises(InputError, match="one image"):
        detect(trained, image[0])
    with pytest.raises(InputError, match=r"amplitudes in \[0, 1\]"):
        detect(trained, image * 255)


def test_intensity_in_decibels_becomes_the_input_of_the_network():
    sar = xr.DataArray(np.array([[[1e-4, 1e-2, 1.0, 1e2, np.nan]]], np.float32), dims=("sar_band", "y", "x"))
    image = as_amplitude(sar, -30, 10)
    assert image.dims == ("band", "y", "x")
    seen = entered(torch.from_numpy(image.values), Config()).flatten().tolist()
    assert seen == pytest.approx([0, 0.25, 0.75, 1, np.nan], abs=1e-5, nan_ok=True)
    lazy = as_amplitude(sar.chunk(x=2), -30, 10)
    assert lazy.chunks is not None
    xr.testing.assert_allclose(lazy, image)
    for wrong in (sar.rename(sar_band="band"), sar.astype(complex)):
        with pytest.raises(InputError, match="intensity with the dim sar_band"):
            as_amplitude(wrong)


# --- input that cannot be used ----------------------------------------------------------------------------------------


def test_an_image_without_ships_is_a_valid_negative(ships):
    keep = ships["box_sample"].values != "chip-001"
    images = images_of(ships.isel(object=keep), QUICK)
    assert images.box[1].shape == (0, 4)
    outcome = drain(run(ships.isel(object=keep), QUICK))
    assert np.isfinite(float(outcome.result["ap50"]))


def test_missing_pixels_and_true_sizes(ships):
    image = ships["image"].values.copy()
    image[:, :, 60:] = np.nan
    small_boxes = ships["box"].values.copy()
    small_boxes[:, [1, 3]] = np.clip(small_boxes[:, [1, 3]], 0, 60)
    keep = small_boxes[:, 3] > small_boxes[:, 1]
    scene = other(ships, image=image, box=small_boxes).isel(object=keep)
    scene = scene.assign_coords(height=("sample", np.full(18, 60)), width=("sample", np.full(18, 64)))
    images = images_of(scene, QUICK)
    assert images.amplitude(0).shape == (1, 60, 64)
    assert np.isfinite(float(drain(run(scene, QUICK)).result["ap50"]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: other(s, box=s["box"].values + 60), r"reaches beyond its image; \d+ boxes do"),
        (lambda s: other(s, box=np.repeat(s["box"].values[:, :2], 2, 1)[:, [0, 2, 1, 3]]), "has no area"),
        (lambda s: other(s, box=s["box"].values * np.nan), "reaches beyond its image"),
        (lambda s: other(s, box_label=s["box_label"].values + 1), "1 classes have names"),
        (
            lambda s: other(s, box_sample=np.array(["x"] * s.sizes["object"])),
            "images that this scene does not have, such as 'x'",
        ),
        (lambda s: other(s, image=s["image"].values * 255), r"amplitudes in \[0, 1\]"),
        (lambda s: s.assign_coords(sample=["a"] * 18), "Two images of this scene are called 'a'"),
        (lambda s: s.isel(object=slice(0, 0)), "0 boxes for training and 0 for testing"),
        (lambda s: s.isel(sample=0), "one image without samples"),
        (lambda s: s.drop_vars("box"), "sarnet needs 'box'"),
    ],
)
def test_input_that_cannot_be_used_is_refused_before_the_first_event(ships, spoil, message):
    with pytest.raises(InputError, match=message):
        next(run(spoil(ships), QUICK))

"""Samples: several modalities row by row, splits that stay apart, and scaling that never sees a test sample."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from workbench.data.samples import Samples, Sampling, reduced, standardisation, standardisation_float32, take_samples
from workbench.data.splits import apart, by_block, by_class, by_image
from workbench.errors import InputError


def place(*shape: int) -> xr.Dataset:
    """A simulated place: cube of 4 bands and height of 1 on one grid. Every value of the cube is 1000 row + column + band / 10,
    the height is the negative of that without the band; truth has three classes in stripes, and is unlabelled in row 0.

    shape: (y, x), or (sample, y, x) for several images, in which the number of the image counts a million.
    """
    *several, height, width = shape
    row, column = np.mgrid[:height, :width]
    number = (1000 * row + column)[None] + 1_000_000 * np.arange(several[0] if several else 1)[:, None, None]
    cube = number[:, None] + np.arange(4)[:, None, None] / 10
    truth = np.broadcast_to(np.where(row == 0, -1, column // 4 % 3 + 1), number.shape)
    dims = ("sample",) if several else ()
    pick = slice(None) if several else 0
    scene = xr.Dataset(
        {
            "hsi": ((*dims, "band", "y", "x"), cube[pick].astype(np.float64)),
            "lidar": ((*dims, "lidar_band", "y", "x"), -number[:, None][pick].astype(np.float64)),
            "truth": ((*dims, "y", "x"), truth[pick].astype(np.int16), {"names": ["", "water", "grass", "roof"]}),
        },
        attrs={"id": "place", "simulated": "numbered pixels"},
    )
    return scene.assign_coords(sample=[f"plot-{i}" for i in range(several[0])]) if several else scene


def chips(n=60, classes=3) -> xr.Dataset:
    """Simulated chips with radar of another size beside each; the values of both tell the chip's number."""
    label = np.arange(n) % classes
    number = np.arange(n, dtype=np.float32)[:, None, None, None]
    return xr.Dataset(
        {
            "image": (("sample", "band", "y", "x"), np.broadcast_to(number, (n, 3, 8, 8)).copy()),
            "sar": (("sample", "sar_band", "sar_y", "sar_x"), np.broadcast_to(10 ** (number / 10), (n, 2, 4, 4)).copy()),
            "label": ("sample", label, {"names": ["water", "grass", "roof"][:classes]}),
        },
        coords={"sample": [f"chip-{i:02d}" for i in range(n)]},
        attrs={"id": "chips", "simulated": "numbers"},
    )


def least_distance(samples: Samples) -> int:
    """Rows or columns between the nearest training and test pixels of one image."""
    assert samples.position is not None
    where = samples.position if samples.image is None else np.c_[samples.position, 10_000 * samples.image]
    return int(cKDTree(where[samples.train]).query(where[samples.test], p=np.inf)[0].min())


# --- modalities -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("patch", [1, 5])
def test_modalities_of_a_scene_are_row_by_row_the_same_pixels(patch):
    samples = take_samples(place(30, 36), Sampling(("hsi", "lidar"), patch=patch, block=8, scaling="none"))
    assert samples.values["hsi"].shape[1:] == (4, patch, patch)
    assert samples.values["lidar"].shape[1:] == (1, patch, patch)
    torch.testing.assert_close(samples.values["hsi"][:, 0], -samples.values["lidar"][:, 0])
    middle = samples.values["lidar"][:, 0, patch // 2, patch // 2].numpy()
    np.testing.assert_array_equal(-middle, samples.position @ [1000, 1])
    assert samples.ids[0] == "{},{}".format(*samples.position[0])
    assert samples.kind == "hsi + lidar pixels"


def test_modalities_of_chips_keep_their_sizes_and_their_rows():
    samples = take_samples(chips(), Sampling(("image", "sar"), size=4, scaling="none"))
    assert samples.values["image"].shape == (60, 3, 4, 4)
    assert samples.values["sar"].shape == (60, 2, 4, 4)
    np.testing.assert_allclose(samples.values["image"][:, 0, 0, 0], np.arange(60))
    np.testing.assert_allclose(samples.values["sar"][:, 1, 3, 3], np.arange(60), atol=1e-4)  # in dB


def test_a_pixel_missing_in_one_modality_is_no_sample():
    scene = place(12, 12)
    scene["lidar"][:, 3, 5] = np.nan
    one, both = (take_samples(scene, Sampling(names, split="class")) for names in (("hsi",), ("hsi", "lidar")))
    assert set(one.ids) - set(both.ids) == {"3,5"}


def test_every_modality_is_scaled_over_the_training_samples():
    samples = take_samples(place(30, 36), Sampling(("hsi", "lidar"), patch=3, block=8))
    for values in samples.values.values():
        rows = values[samples.train].double()
        assert rows.mean((0, 2, 3)).abs().max() < 1e-4
        assert rows.std((0, 2, 3), correction=0).sub(1).abs().max() < 1e-4


def test_bad_bands_are_left_out():
    scene = place(12, 12).assign_coords(good=("band", [True, False, True, True]))
    samples = take_samples(scene, Sampling(("hsi", "lidar"), split="class"))
    assert samples.values["hsi"].shape[1] == 3
    assert samples.values["lidar"].shape[1] == 1


def test_the_fingerprint_is_of_all_modalities_and_of_labels():
    how = Sampling(("hsi", "lidar"), split="class")
    marks = {take_samples(place(12, 12), how).fingerprint}
    for name in ("hsi", "lidar", "truth"):
        scene = place(12, 12)
        scene[name][..., 5, 5] = 1
        marks.add(take_samples(scene, how).fingerprint)
    assert len(marks) == 4
    assert take_samples(place(12, 12), Sampling(("hsi", "lidar"), split="class", scaling="none")).fingerprint in marks


# --- splits -----------------------------------------------------------------------------------------------------------


@pytest.mark.long
@given(
    patch=st.sampled_from([1, 3, 5]),
    more=st.integers(0, 2),
    block=st.integers(9, 14),
    seed=st.integers(0, 5),
    images=st.integers(0, 2),
)
def test_no_test_pixel_is_within_the_guard_of_a_training_pixel(patch, more, block, seed, images):
    scene = place(*([images] if images else []), 56, 60)
    how = Sampling(("lidar",), patch=patch, guard=patch + more, block=block, share=0.3, seed=seed, scaling="none")
    samples = take_samples(scene, how)
    assert len(samples.test) > 0
    assert len(samples.train) > 0
    assert least_distance(samples) >= patch + more
    if images == 0:  # patches share no pixel, each of which has a number of its own (mirrored ones past the border, too)
        inside = samples.only.flatten(1).numpy()
        assert not np.intersect1d(inside[samples.train], inside[samples.test]).size


def test_the_guard_leaves_out_no_more_than_it_must():
    """Every labelled pixel that is left out lies within the guard of a test pixel."""
    scene = place(30, 36)
    samples = take_samples(scene, Sampling(("hsi",), guard=4, block=8))
    labelled = np.argwhere(scene["truth"].values > 0)
    used = {tuple(p) for p in samples.position}
    out = np.array([p for p in labelled if tuple(p) not in used])
    assert len(out)
    assert (np.abs(out[:, None] - samples.position[samples.test][None]).max(-1).min(1) < 4).all()


def test_blocks_leave_half_of_every_class_for_training():
    samples = take_samples(place(48, 48), Sampling(("hsi",), block=4, share=0.45))
    tested = np.bincount(samples.label[samples.test])
    total = np.bincount(np.unique(place(48, 48)["truth"].values[1:], return_inverse=True)[1].ravel())
    assert (tested <= total / 2).all()
    assert tested.sum() >= 0.35 * total.sum()


def test_whole_images_are_for_testing():
    samples = take_samples(place(6, 10, 12), Sampling(("hsi", "lidar"), split="image", share=0.3, patch=3, scaling="none"))
    assert len(set(samples.image[samples.test])) == 2
    assert not set(samples.image[samples.test]) & set(samples.image[samples.train])
    assert len(samples.ids) == 6 * 9 * 12  # nothing is left out between images
    place_of = samples.image * 1_000_000 + samples.position @ [1000, 1]
    np.testing.assert_array_equal(-samples.values["lidar"][:, 0, 1, 1].numpy(), place_of.astype(np.float32))
    assert samples.ids[0] == f"plot-{samples.image[0]}/1,0"


def test_images_with_a_split_of_their_own_keep_it():
    scene = place(3, 10, 12).assign_coords(split=("sample", ["train", "val", "train"]))
    samples = take_samples(scene, Sampling(("hsi",)))
    assert set(samples.image[samples.test]) == {1}
    assert set(samples.image[samples.train]) == {0, 2}


def test_a_list_of_test_pixels_has_a_guard():
    samples = take_samples(place(20, 20), Sampling(("hsi",), test=("5,5", "5,6"), patch=3))
    assert samples.ids[samples.test].tolist() == ["5,5", "5,6"]
    assert least_distance(samples) == 3
    assert len(samples.train) == 19 * 20 - 5 * 6


def test_a_list_of_test_chips():
    samples = take_samples(chips(), Sampling(("image",), test=("chip-07", "chip-03")))
    assert samples.test.tolist() == [3, 7]
    assert len(samples.train) == 58
    with pytest.raises(InputError, match=r"1 of the 2 listed test samples are not in this scene \(chip-99\)"):
        take_samples(chips(), Sampling(("image",), test=("chip-07", "chip-99")))


def test_split_by_class_of_pixels_has_no_guard():
    samples = take_samples(place(12, 12), Sampling(("hsi",), split="class", patch=3, share=0.5))
    assert len(samples.ids) == 11 * 12
    assert least_distance(samples) == 1


@given(st.lists(st.integers(0, 4), min_size=2, max_size=80), st.floats(0.05, 0.95), st.sampled_from(["test", "train"]))
def test_split_by_class(labels, share, draw):
    label = np.array(labels)
    train, test = by_class(label, share, 0, draw)
    assert sorted([*train, *test]) == list(range(len(label)))
    for c in np.unique(label):
        n, drawn = int((label == c).sum()), int((label[test if draw == "test" else train] == c).sum())
        assert drawn <= max(n - 1, 0)
        assert abs(drawn - share * n) <= 1


def test_split_by_image_needs_two():
    with pytest.raises(InputError, match="two images or more"):
        take_samples(place(12, 12), Sampling(("hsi",), split="image"))
    train, test = by_image(np.array([4, 4, 9]), 0.01, 0)
    assert len({*train, *test}) == 3
    assert len(test) in (1, 2)


def test_blocks_are_the_seeds_alone_and_no_two_images_share_one():
    where = np.argwhere(np.ones((2, 8, 8), bool))
    label = where.sum(1) % 2
    one, again, other = (by_block(where, label, (2, 8, 8), 4, 0.25, seed) for seed in (0, 0, 3))
    np.testing.assert_array_equal(one, again)
    assert set(one) != set(other)
    assert len(one) == 32  # two of eight blocks, of 16 pixels each


def test_pixels_of_another_image_are_never_near():
    where = np.array([[0, 5, 5], [1, 5, 5], [0, 5, 7]])
    assert apart(where, np.array([1, 2]), np.array([0]), (2, 9, 9), 3).tolist() == [1]
    assert apart(where, np.array([1, 2]), np.array([0]), (2, 9, 9), 2).tolist() == [1, 2]


# --- scaling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["float64", "float32"])
def test_scaling_never_sees_test_samples(scaling):
    """Whatever happens to the test samples, the training samples come out the same to the last bit."""
    scene = place(24, 24)
    how = Sampling(("hsi", "lidar"), block=6, patch=3, scaling=scaling)
    samples = take_samples(scene, how)
    spoilt = scene.copy(deep=True)
    held_out = samples.position[samples.test]
    for name in how.modalities:
        spoilt[name].values[:, held_out[:, 0], held_out[:, 1]] = 1e6
    again = take_samples(spoilt, how)
    for name in how.modalities:
        assert torch.equal(samples.values[name][samples.train], again.values[name][again.train])
        assert not torch.equal(samples.values[name][samples.test], again.values[name][again.test])


def test_missing_values_and_constant_bands_become_zero():
    values = torch.rand(6, 2, 2, 2)
    values[:, 1] = 3.0
    values[0, 0, 0, 0] = float("nan")
    scaled = standardisation(values, np.arange(6))(values)
    assert scaled[0, 0, 0, 0] == 0
    assert (scaled[:, 1] == 0).all()
    assert torch.isfinite(scaled).all()


def test_scaling_in_float32_refuses_missing_values():
    values = torch.rand(6, 2, 2, 2)
    scaled = standardisation_float32(values, np.arange(4))(values)
    torch.testing.assert_close(scaled[:4].std((0, 2, 3)), torch.ones(2))
    values[5, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="finite values"):
        standardisation_float32(values, np.arange(4))


def test_sizes_after_reduction():
    assert reduced((100, 50), 10) == (10, 5)
    assert reduced((100, 10), 10) == (10, 1)
    assert reduced((100, 10), 10, least=4) == (10, 4)
    assert reduced((8, 3), 10, least=4) == (8, 3)  # not larger: as it is


# --- classes ----------------------------------------------------------------------------------------------------------


def test_classes_that_have_a_name_or_those_that_occur():
    scene = chips()
    scene["label"].values[scene["label"].values == 1] = -1
    with pytest.raises(InputError, match="between 0 and 2"):
        take_samples(scene, Sampling(("image",)))
    samples = take_samples(scene, Sampling(("image",), classes="present"))
    assert samples.names == ["water", "roof"]
    assert len(samples.ids) == 40
    assert samples.ids[1] == "chip-02"
    assert samples.label[:2].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("make", "how", "words"),
    [
        (lambda: place(9, 9), {"modalities": ("hsi", "slc")}, "room trains on 'slc'; this scene has hsi, lidar, truth"),
        (lambda: chips(), {"modalities": ("image",), "split": "block"}, "for labelled pixels"),
        (
            lambda: chips().isel(sample=0, drop=True).assign(label=chips()["label"]),
            {"modalities": ("image",)},
            "needs chips",
        ),
        (lambda: place(9, 9).assign(hsi=place(9, 9)["hsi"] * 1j), {"modalities": ("hsi",)}, "complex"),
        (
            lambda: place(9, 9).assign(lidar=(("lidar_band", "v", "u"), np.zeros((1, 4, 4)))),
            {"modalities": ("hsi", "lidar")},
            "room needs lidar on the grid of truth, 9 x 9",
        ),
        (lambda: place(9, 9), {"modalities": ("hsi",), "patch": 4}, "odd"),
        (lambda: place(9, 9), {"modalities": ("hsi",), "patch": 5, "guard": 3}, "overlap; give at least 5"),
        (lambda: place(9, 9), {"modalities": ("hsi",), "test": ("4,4",), "guard": 9}, "no training samples for room"),
    ],
)
def test_scenes_and_settings_that_cannot_be_used(make, how, words):
    with pytest.raises(InputError, match=words):
        take_samples(make(), Sampling(**how), who="room")

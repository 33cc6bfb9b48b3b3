"""CFAR against a slow direct loop over every ring, and its boxes on a drawn image."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.baselines.detection import (
    components,
    factor_of,
    half_widths,
    random_boxes,
    ratio,
    ring_mean,
    ring_quantile,
)
from workbench.errors import InputError


@pytest.fixture
def image():
    values = np.random.default_rng(0).integers(0, 256, (20, 27)).astype(np.float64)
    values[0, 0], values[1, 1] = 0, 255  # the levels of OS-CFAR are then whole numbers
    values[5:8, 9] = np.nan
    return values


def rings(image, guard, train):
    """The valid pixels of every ring, one after another."""
    (gy, gx), (ty, tx) = guard, train
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            around = [
                image[v, u]
                for v in range(max(0, y - ty), min(image.shape[0], y + ty + 1))
                for u in range(max(0, x - tx), min(image.shape[1], x + tx + 1))
                if abs(v - y) > gy or abs(u - x) > gx
            ]
            yield np.sort([v for v in around if np.isfinite(v)])


WINDOWS = [((1, 1), (3, 3)), ((0, 0), (1, 2)), ((2, 3), (6, 4)), ((3, 3), (40, 40))]


@pytest.mark.parametrize(("guard", "train"), WINDOWS)
def test_the_mean_equals_a_direct_loop(image, guard, train):
    expected = np.array([r.mean() for r in rings(image, guard, train)]).reshape(image.shape)
    np.testing.assert_allclose(ring_mean(image, guard, train), expected, rtol=1e-12)


@pytest.mark.parametrize(("guard", "train"), WINDOWS)
@pytest.mark.parametrize("quantile", [0.01, 0.5, 0.75, 1.0])
def test_the_ordered_value_equals_a_direct_loop(image, guard, train, quantile):
    ranks = [r[int(np.ceil(quantile * len(r) - 1e-9)) - 1] for r in rings(image, guard, train)]
    np.testing.assert_array_equal(ring_quantile(image, guard, train, quantile), np.array(ranks).reshape(image.shape))


def test_a_ring_without_pixels_gives_no_level():
    image = np.full((5, 5), np.nan)
    image[2, 2] = 3
    assert np.isnan(ring_mean(image, 1, 2)[2, 2])
    assert np.isnan(ring_quantile(image, 1, 2)[2, 2])
    assert ring_mean(image, 1, 2)[0, 0] == ring_quantile(image, 1, 2)[0, 0] == 3


@pytest.mark.parametrize("name", ["ca_cfar", "os_cfar"])
def test_bright_rectangles_are_found_with_their_boxes(name):
    image = np.ones((60, 80), np.float32)
    image[20:24, 30:42] = 9
    image[50:52, 5:7] = 9  # too small
    box, score = components(ratio(name, image, 12, 20), 3.0)
    assert box.tolist() == [[30, 20, 42, 24]]
    assert 3 < score[0] <= 9


@pytest.mark.parametrize("name", ["ca_cfar", "os_cfar"])
def test_a_pixel_without_clutter_around_it_is_no_detection(name):
    image = np.full((9, 9), 5.0)  # smaller than the guard window: no pixel has a ring
    assert np.isnan(ratio(name, image, 12, 20)).all()
    assert components(ratio(name, image, 12, 20), 2.0)[0].shape == (0, 4)
    dark = np.zeros((60, 60))
    dark[30, 30], dark[0, 0] = 5, np.nan
    found = ratio(name, dark, 2, 6)
    assert found[30, 30] == np.finfo(np.float32).max
    assert np.isnan(found[0, 0])


def test_the_factor_gives_its_rate_on_speckle():
    rng = np.random.default_rng(1)
    speckle = rng.gamma(4, 1 / 4, (400, 400))
    cells = 9 * 9 - 3 * 3
    above = speckle / ring_mean(speckle, 1, 4) > factor_of(1e-2, 4, cells)
    assert above.mean() == pytest.approx(1e-2, rel=0.15)


def test_windows_in_metres_and_wrong_windows():
    assert half_widths(240, (10, 20)) == (24, 12)
    assert half_widths(1, (10, 20)) == (1, 1)
    with pytest.raises(InputError, match="both must be above 0"):
        half_widths(0, (10, 10))
    with pytest.raises(InputError, match="guard from 0 to below"):
        ring_mean(np.ones((9, 9)), 4, 4)
    with pytest.raises(InputError, match="one image"):
        ring_mean(np.ones((2, 9, 9)), 1, 4)
    with pytest.raises(InputError, match="no CFAR 'go_cfar'"):
        ratio("go_cfar", np.ones((9, 9)), 1, 4)


def test_random_boxes_have_the_sizes_and_stay_inside():
    box, image, score = random_boxes(np.array([[4.0, 8.0], [20.0, 3.0]]), {"a": (16, 12), "b": (64, 64)}, 50, seed=0)
    assert len(box) == len(image) == len(score) == 100
    a = box[image == "a"]
    assert a.min() >= 0
    assert a[:, 2].max() <= 12
    assert a[:, 3].max() <= 16
    b = np.round(box[image == "b"][:, 2:] - box[image == "b"][:, :2], 3)
    assert {tuple(v) for v in b.tolist()} == {(4.0, 8.0), (20.0, 3.0)}

"""The simulated places of two sensors: what each sensor can tell, measured with a classifier."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.baselines.fusion import fit
from workbench.data.catalog import open_scene
from workbench.data.synth_sensors import AMPLITUDE, KINDS, make, simulate
from workbench.errors import InputError


def accuracy(scene, sensors, seed, train=20):
    """OA of logistic regression on one half of the image, trained on 20 pixels of each class of the other, 8 pixels away."""
    truth = scene["truth"].values.ravel() - 1
    x = np.concatenate([scene[s].values.reshape(scene[s].shape[0], -1) for s in sensors]).T
    column = np.indices(scene["truth"].shape)[1].ravel()
    left, right = np.flatnonzero(column < 44), np.flatnonzero(column >= 52)
    mine, test = (right, left) if seed % 2 else (left, right)
    draw = np.random.default_rng(seed)
    rows = np.concatenate([draw.choice(mine[truth[mine] == c], train, replace=False) for c in np.unique(truth)])
    model = fit("logistic", x[rows], truth[rows], int(truth.max()) + 1)
    return (model(x[test]).argmax(1) == truth[test]).mean()


def test_neither_sensor_alone_tells_the_eight_classes():
    scene = make("sim-two-sensors")
    for seed in range(3):
        spectra, heights, both = (accuracy(scene, s, seed) for s in (["hsi"], ["lidar"], ["hsi", "lidar"]))
        assert 0.45 <= spectra <= 0.5
        assert 0.17 <= heights <= 0.26
        assert 0.85 <= both <= 0.93
        assert both > max(spectra, heights) + 0.25


def test_pixels_alone_do_not_tell_the_textures():
    """The pairs share spectrum and height; the pair of two heights is told."""
    scene = make("sim-textures")
    hsi, truth = scene["hsi"].values, scene["truth"].values
    assert [k.period for k in KINDS["sim-textures"]] == [2, 4, 2, 4, 0, 0]
    means = np.stack([hsi[:, truth == c].mean(1) for c in range(1, 7)])
    assert np.abs(means[0] - means[1]).max() < 0.005
    assert np.abs(means[2] - means[3]).max() < 0.005
    assert np.abs(means[0] - means[2]).max() > 0.03
    assert float(scene["lidar"].values[:, truth == 6].mean() - scene["lidar"].values[:, truth == 5].mean()) > 5
    spread = [hsi.mean(0)[truth == c].std() for c in range(1, 7)]
    assert min(spread[:4]) > 0.6 * AMPLITUDE
    assert max(spread[4:]) < 0.5 * AMPLITUDE


def test_the_scenes_are_in_the_catalogue_and_do_not_change():
    for name in ("sim-two-sensors", "sim-textures"):
        scene = open_scene(name)
        assert scene.attrs["simulated"]
        assert scene.attrs["id"] == name
        assert float(scene["hsi"].sum()) == float(make(name)["hsi"].sum())
        counts = np.bincount(scene["truth"].values.ravel())[1:]
        assert len(counts) == len(KINDS[name])
        assert counts.min() > 300
    assert not np.array_equal(simulate("sim-textures", 24, seed=1)["truth"], simulate("sim-textures", 24, seed=2)["truth"])
    with pytest.raises(InputError, match="Did you mean 'sim-textures'"):
        make("sim-texture")

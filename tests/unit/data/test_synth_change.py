"""The simulated pairs: the same at every call, hard for what does not learn, and with doubt as large as they say."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from workbench.baselines.change import detect
from workbench.data import synth_change
from workbench.data.catalog import describe_entry, open_scene
from workbench.data.checks import check_pair
from workbench.errors import InputError
from workbench.metrics.change import Confusion, confusion


@pytest.fixture(scope="module")
def town():
    return synth_change.make("sim-change-town").compute()


def test_the_same_at_every_call_and_another_with_another_seed():
    one, again, other = (synth_change.simulate(48, seed=s) for s in (4, 4, 5))
    xr.testing.assert_identical(one.compute(), again.compute())
    assert float(abs(one["before"] - other["before"]).max()) > 0.1


def test_values_are_those_they_were(town):
    """Sums of the embedded pair; loose enough for another processor's last bit. A change of the generator must be meant."""
    assert int(town["truth"].sum()) == pytest.approx(5728, abs=20)
    assert float(town["before"].mean()) == pytest.approx(0.311259, abs=1e-4)
    assert float(town["after"].mean()) == pytest.approx(0.393607, abs=1e-4)


def test_a_scene_with_everything_it_promises(town):
    assert town["before"].dims == ("band", "y", "x")
    assert town["before"].dtype == np.float32
    assert float(town["before"].min()) >= 0
    assert float(town["after"].max()) <= 1
    assert town.attrs["simulated"]
    assert town["before"].attrs["time"] < town["after"].attrs["time"]
    check_pair(town)
    assert "SIMULATED" in describe_entry("sim-change-town")


def test_ambiguity_is_the_expected_residual_of_chance(town):
    chance, truth = town["chance"].values, town["truth"].values
    np.testing.assert_allclose(town["ambiguity"], 2 * chance * (1 - chance), atol=1e-6)
    np.testing.assert_array_equal(truth[chance == 0], 0)
    np.testing.assert_array_equal(truth[chance == 1], 1)
    np.testing.assert_allclose(np.unique(chance), [0, 0.2, 0.5, 1], atol=1e-6)


def test_truth_in_doubtful_zones_is_drawn_with_the_probability_that_is_told():
    """Over eight towns, half of the dug-over earth is changed and a fifth of the roofs under repair."""
    towns = [synth_change.simulate(128, seed=s).compute() for s in range(8)]
    chance = np.concatenate([t["chance"].values.ravel() for t in towns])
    truth = np.concatenate([t["truth"].values.ravel() for t in towns])
    for p in synth_change.DOUBT.values():
        drawn = truth[np.isclose(chance, p)]
        assert len(drawn) > 500
        assert abs(drawn.mean() - p) < 0.12  # the draw is patchy: of about a hundred patches, not of thousands of pixels


def test_it_is_hard_for_what_does_not_learn(town):
    for name in ("cva", "pca_kmeans"):
        assert confusion(detect(name, town)["change"], town["truth"]).f1 < 0.5, name
    assert confusion(town["chance"], town["truth"]).f1 > 0.85  # who knows all that can be known


@pytest.mark.slow
def test_the_embedded_tiles_are_hard_too():
    scene = open_scene("sim-change-tiles")
    test = scene.isel(sample=np.flatnonzero(scene["split"] == "test"))
    for name in ("cva", "pca_kmeans"):
        assert confusion(detect(name, test)["change"], test["truth"]).f1 < 0.5, name
    assert confusion(test["chance"], test["truth"]).f1 > 0.85


def test_without_nuisance_it_is_easy():
    """With hard = 0 nothing but the change differs, so differencing finds nearly all of it."""
    scene = synth_change.simulate(96, seed=2, hard=0)
    settled = scene["truth"].where((scene["chance"] == 0) | (scene["chance"] == 1), -1)
    far = abs(scene["after"] - scene["before"]).max("band") > 0.05
    assert confusion(far.astype(float), settled).recall > 0.8


def test_tiles_split_by_town_and_carry_their_names():
    scene = synth_change.small()
    assert dict(scene["before"].sizes) == {"sample": 24, "band": 3, "y": 32, "x": 32}
    towns = {s: {n[:7] for n in scene["sample"].values[scene["split"].values == s]} for s in ("train", "test")}
    assert not towns["train"] & towns["test"]
    assert len(set(scene["sample"].values)) == 24
    whole = synth_change.simulate(128, seed=0)
    np.testing.assert_array_equal(scene["after"].sel(sample="town-00-032-096"), whole["after"][:, 32:64, 96:128])
    check_pair(scene)


def test_sar_has_speckle_of_its_looks():
    """Away from edges the intensity of one cover has the coefficient of variation 1 / sqrt(looks)."""
    scene = synth_change.simulate(96, seed=1, modality="sar", hard=0, looks=4)
    same = synth_change.simulate(96, seed=1, modality="sar", hard=0, looks=1e6)
    ratio = (scene["before"] / same["before"]).values
    assert ratio.std() == pytest.approx(0.5, rel=0.03)
    assert ratio.mean() == pytest.approx(1, rel=0.02)
    assert scene.attrs["modality"] == "sar"
    assert scene["before"].attrs["kind"] == "sar"


@pytest.mark.parametrize(
    ("given", "says"),
    [({"size": 16}, "size=16"), ({"bands": 9}, "bands=9"), ({"modality": "lidar"}, "lidar"), ({"hard": -1}, "hard=-1")],
)
def test_numbers_that_cannot_be_used(given, says):
    with pytest.raises(InputError, match=says):
        synth_change.simulate(**given)


def test_names_and_tiles_that_cannot_be_used():
    with pytest.raises(InputError, match="Did you mean 'sim-change-town'"):
        synth_change.make("sim-change-twon")
    with pytest.raises(InputError, match="divide"):
        synth_change.tiles(size=100, tile=64)


def test_pooling_is_over_all_tiles():
    scene = synth_change.small()
    each = [confusion(scene["chance"][i], scene["truth"][i]) for i in range(scene.sizes["sample"])]
    assert sum(each, Confusion()) == confusion(scene["chance"], scene["truth"])

"""Rivals of change detection: maps worked out by hand, thresholds against brute force, shapes and counts of the networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from workbench.baselines import change as c
from workbench.data.synth_change import simulate
from workbench.errors import InputError
from workbench.metrics.change import confusion


def image(values, **attrs) -> xr.DataArray:
    values = np.asarray(values, np.float32)
    return xr.DataArray(values, dims=("band", "y", "x"), coords={"y": np.arange(values.shape[1]) * 30.0}, attrs=attrs)


def squares(noise=0.02, seed=0, size=48):
    """A noisy pair in other light, in which a square of 12 pixels changed."""
    rng = np.random.default_rng(seed)
    ground = 0.3 + 0.2 * rng.random((3, size, size))
    after = ground.copy()
    after[:, 10:22, 20:32] = 0.9
    truth = np.zeros((size, size), int)
    truth[10:22, 20:32] = 1
    return image(ground), image(0.7 * after + 0.2 + noise * rng.normal(size=after.shape)), truth


def test_cva_by_hand():
    # before 0 and 2 (mean 1, std 1) -> -1, 1; after 0, 4 -> -1, 1 in band 0: no change; band 1: 5, 5 -> 0, 0 and
    # after 1, 3 -> -1, 1. Lengths 1 and 1.
    score = c.cva(image([[[0, 2]], [[5, 5]]]), image([[[0, 4]], [[1, 3]]]))
    np.testing.assert_allclose(score, [[1, 1]])
    assert score.dims == ("y", "x")
    assert score["y"].values.tolist() == [0.0]


def test_cva_does_not_see_a_uniform_difference_of_light():
    before, _, _ = squares()
    np.testing.assert_allclose(c.cva(before, 0.5 * before + 0.1), 0, atol=1e-5)


def test_log_ratio_by_hand():
    # floor 1: log(4 / 1) and log(2 / 2)
    score = c.log_ratio(image([[[0, 1]]], step=1.0), image([[[3, 1]]], step=1.0))
    np.testing.assert_allclose(score, [[np.log(4), 0]], atol=1e-12)
    with pytest.raises(InputError, match=r"Decibels"):
        c.log_ratio(image([[[-12.0, -3]]]), image([[[-12.0, -3]]]))


def test_log_ratio_is_symmetric_and_blind_to_order():
    rng = np.random.default_rng(0)
    a, b = image(rng.gamma(4, size=(2, 6, 7)), step=0.01), image(rng.gamma(4, size=(2, 6, 7)), step=0.01)
    np.testing.assert_allclose(c.log_ratio(a, b), c.log_ratio(b, a))


@pytest.mark.parametrize("seed", range(5))
def test_otsu_is_the_best_of_all_thresholds(seed):
    """Against brute force over every threshold on the values themselves."""
    rng = np.random.default_rng(seed)
    values = np.r_[rng.normal(0, 1, 400), rng.normal(rng.uniform(3, 8), rng.uniform(0.5, 2), rng.integers(40, 400))]

    def between(t):
        low, high = values[values <= t], values[values > t]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2 if len(low) and len(high) else 0.0

    best = max(between(t) for t in values)
    assert between(c.otsu(values)) > 0.999 * best


def test_otsu_of_two_values_lies_between_them():
    assert 1 < c.otsu(np.array([1.0, 1, 1, 3])) < 3
    assert c.otsu(np.array([2.0, 2, np.nan])) == 2
    with pytest.raises(InputError, match="finite"):
        c.otsu(np.array([np.nan]))


@pytest.mark.parametrize("name", ["cva", "pca_kmeans"])
def test_a_clear_change_is_found(name):
    before, after, truth = squares()
    found = c.RIVALS[name](before, after)
    assert confusion(found["change"], truth).f1 > 0.85
    assert set(np.unique(found["change"])) == {0, 1}
    assert found["change"].dtype == np.float32
    np.testing.assert_array_equal(found["change"] == 1, found["score"] > found.attrs["threshold"])


@pytest.mark.parametrize("name", ["log_ratio", "pca_kmeans"])
def test_a_clear_change_is_found_in_speckle(name):
    before, after, truth = squares(noise=0, size=64)
    rng = np.random.default_rng(1)
    sar = [
        image(i.values[:1] ** 3 * rng.gamma(6, 1 / 6, (1, 64, 64)), kind="sar", step=1e-3)
        for i in (before, (after - 0.2) / 0.7)
    ]
    assert confusion(c.RIVALS[name](*sar)["change"], truth).f1 > 0.8


@pytest.mark.parametrize("name", list(c.RIVALS))
def test_missing_pixels_are_missing_in_the_maps_and_change_nothing_else(name):
    before, after, _ = squares()
    holes = after.values.copy()
    holes[1, :, 40:] = np.nan  # one band of one date
    found = c.RIVALS[name](before, image(holes))
    for v in ("score", "change"):
        assert np.isnan(found[v].values[:, 40:]).all()
        assert np.isfinite(found[v].values[:, :40]).all()
    other = image(np.where(np.isnan(holes), np.nan, before.values), **before.attrs)
    again = c.RIVALS[name](other, image(holes))  # missing on both dates instead
    np.testing.assert_array_equal(found["change"], again["change"])


def test_pca_kmeans_is_the_same_for_the_same_seed_and_refuses_nonsense():
    before, after, _ = squares()
    xr.testing.assert_identical(c.pca_kmeans(before, after, seed=3), c.pca_kmeans(before, after, seed=3))
    with pytest.raises(InputError, match="components"):
        c.pca_kmeans(before, after, block=2, components=5)
    with pytest.raises(InputError, match="smaller block"):
        c.pca_kmeans(before[:, :8, :8], after[:, :8, :8], block=8)


def test_rivals_on_a_set_are_rivals_on_each_pair():
    scenes = [simulate(32, seed=s).drop_vars(["chance", "ambiguity"]) for s in (0, 1)]
    both = xr.concat(scenes, "sample", combine_attrs="override").assign_coords(sample=["a", "b"])
    found = c.detect("cva", both)
    assert found["change"].dims == ("sample", "y", "x")
    assert found["sample"].values.tolist() == ["a", "b"]
    for i, scene in enumerate(scenes):
        np.testing.assert_array_equal(found["change"][i], c.detect("cva", scene)["change"])
    with pytest.raises(InputError, match="Did you mean 'cva'"):
        c.detect("cvaa", both)


def test_two_sizes_and_nothing_known_are_refused():
    before, after, _ = squares()
    with pytest.raises(InputError, match="one size"):
        c.cva(before, after[:, 1:])
    with pytest.raises(InputError, match="both dates"):
        c.cva(before, after * np.nan)


# The paper says 1.35, 1.54 and 1.35 million. Layer by layer for RGB and two classes that is 1350578, 1545986 and 1350146; one
# logit instead of two log-probabilities has 16 * 9 + 1 = 145 parameters fewer.
@pytest.mark.parametrize(("name", "parameters"), [("fc_ef", 1350433), ("fc_siam_conc", 1545841), ("fc_siam_diff", 1350001)])
def test_networks_have_the_published_size(name, parameters):
    assert sum(p.numel() for p in c.NETWORKS[name](3).parameters()) == parameters


@pytest.mark.parametrize("name", list(c.NETWORKS))
@pytest.mark.parametrize("size", [(32, 32), (21, 50), (16, 16)])
def test_networks_take_any_bands_and_size(name, size):
    torch.manual_seed(0)
    network = c.NETWORKS[name](5, width=4).eval()
    before, after = torch.rand(2, 5, *size), torch.rand(2, 5, *size)
    out = network(before, after)
    assert out.shape == (2, 1, *size)
    out.mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_the_siamese_networks_share_one_encoder_and_the_difference_forgets_what_is_equal():
    torch.manual_seed(0)
    network = c.FCSiamDiff(3, width=4).eval()
    image_ = torch.rand(1, 3, 32, 32)
    seen = []
    network.decoder.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    with torch.no_grad():
        network(image_, image_)
    assert len(seen[0]) == 4
    assert all(float(f.abs().max()) == 0 for f in seen[0])


def test_a_network_learns_a_pair():
    """Twenty-five steps on one easy pair halve the loss."""
    torch.manual_seed(0)
    before, after, truth = squares()
    a, b = (torch.from_numpy(i.values)[None] for i in (before, after))
    y = torch.from_numpy(truth).float()[None, None]
    network = c.FCSiamDiff(3, width=8)
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    losses = []
    for _ in range(25):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(a, b), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]

"""The rivals, with numbers worked out by hand."""

import itertools

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.nn import functional as F

from workbench.baselines import coresets as cs
from workbench.errors import InputError
from workbench.parts.dynamics import Recorder, dynamics, score


def on(values) -> xr.DataArray:
    return xr.DataArray(np.asarray(values, float), dims="sample")


def from_p(p, label, **extra) -> xr.Dataset:
    """Dynamics from p of class 0, one row an epoch: two classes."""
    p = np.asarray(p, float)
    return dynamics(np.log(np.stack([p, 1 - p], -1)), label, **extra)


# two samples, label 0 and 1; p of class 0 over four epochs
P = [[0.8, 0.8], [0.4, 0.9], [0.6, 0.7], [0.3, 0.6]]
LABEL = [0, 1]


# --- scores -----------------------------------------------------------------------------------------------------------


def test_el2n():
    # two classes: sqrt 2 (1 - p_label): 1 - p_label = .2, .6 for the first, .8, .9 for the second
    np.testing.assert_allclose(score(from_p(P, LABEL), cs.EL2N(0, 2)), np.sqrt(2) * np.array([0.4, 0.85]), rtol=1e-6)
    np.testing.assert_allclose(score(from_p(P, LABEL), cs.EL2N(3, 4)), np.sqrt(2) * np.array([0.7, 0.6]), rtol=1e-6)
    # three classes: p = (.5, .3, .2), label 1: sqrt(.25 + .49 + .04)
    one = dynamics(np.log([[[0.5, 0.3, 0.2]] * 2]), [1, 0])
    np.testing.assert_allclose(score(one, cs.EL2N(0, 1))[0], np.sqrt(0.78), rtol=1e-6)


def test_grand_of_the_last_layer():
    # ||h|| = 3 and 0: times sqrt 10 and 1
    data = from_p(P, LABEL, feature_norm=[[3, 0]] * 4)
    np.testing.assert_allclose(score(data, cs.GraNd(0, 1)), [np.sqrt(2) * 0.2 * np.sqrt(10), np.sqrt(2) * 0.8], rtol=1e-6)
    with pytest.raises(InputError, match="features=h"):
        score(from_p(P, LABEL), cs.GraNd(0, 1))


def test_grand_of_a_linear_network_is_that_of_the_last_layer():
    torch.manual_seed(0)
    network, x, y = nn.Linear(4, 3), torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    recorder = Recorder(y, 3, {"grand": cs.GraNd(0, 1)})
    recorder(torch.arange(6), network(x), features=x)
    recorder.end_epoch()
    np.testing.assert_allclose(cs.grand(network, x, y), recorder.score("grand"), rtol=1e-5)


def test_grand_of_all_parameters_is_the_norm_of_each_gradient():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3))
    network(torch.randn(8, 1, 5, 5))  # running statistics
    before = {k: v.clone() for k, v in network.state_dict().items()}
    x, y = torch.randn(5, 1, 5, 5), torch.tensor([0, 1, 2, 0, 1])
    found = cs.grand(network, x, y, chunk=2)
    assert network.training
    network.eval()
    for i in range(5):
        network.zero_grad()
        F.cross_entropy(network(x[i : i + 1]), y[i : i + 1]).backward()
        expected = torch.cat([p.grad.flatten() for p in network.parameters()]).norm()
        assert float(found[i]) == pytest.approx(float(expected), rel=1e-5)
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)


def test_forgetting():
    # right, wrong, right, wrong: forgotten twice. always right: never. never right: infinite. wrong, then right: never
    p = np.array([[0.9, 0.9, 0.1, 0.1], [0.2, 0.9, 0.1, 0.9], [0.8, 0.9, 0.1, 0.9], [0.3, 0.9, 0.1, 0.9]])
    found = score(from_p(p, [0, 0, 0, 0]).assign(label=("sample", [0, 0, 0, 0])).pipe(_two_labels), cs.Forgetting())
    assert found.values[:4].tolist() == [2, 0, np.inf, 0]


def _two_labels(data: xr.Dataset) -> xr.Dataset:
    """The same with a fifth sample of the other class, always right."""
    extra = data.isel(sample=[1]).assign_coords(sample=[99])
    extra["logits"] = extra["logits"][..., ::-1]
    extra["label"] = extra["label"] * 0 + 1
    return xr.concat([data, extra], "sample")


def test_never_learned_are_kept_first_not_last():
    found = on([0, np.inf, 2, 1])
    assert cs.select(found, 0.5).values.tolist() == [False, True, True, False]


def test_aum():
    # margins of the label: .6, -.2, .2, -.4 -> mean .05; second: -.6, -.8, -.4, -.2 -> -.5. Hard first: minus
    np.testing.assert_allclose(score(from_p(P, LABEL), cs.AUM()), [-0.05, 0.5], atol=1e-6)
    # of logits: mean of ln(p/(1-p)): ln(4 x 2/3 x 3/2 x 3/7) / 4
    np.testing.assert_allclose(
        score(from_p(P, LABEL), cs.AUM("logit"))[0], -np.log(4 * 2 / 3 * 3 / 2 * 3 / 7) / 4, atol=1e-6
    )


def test_windows():
    # p_label of the first: .8 .4 .6 .3, windows of 2: std |difference| / sqrt 2 = .4, .2, .3 / sqrt 2; means .6, .5, .45
    data = from_p(P, LABEL)
    np.testing.assert_allclose(score(data, cs.DynUnc(2))[0], 0.3 / np.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(score(data, cs.DUAL(2))[0], (0.4 * 0.4 + 0.2 * 0.5 + 0.3 * 0.55) / 3 / np.sqrt(2), rtol=1e-6)


def test_uncertainty_of_the_last_epoch():
    data = from_p(P, LABEL)  # last: .3 and .6
    np.testing.assert_allclose(score(data, cs.Entropy())[0], -(0.3 * np.log(0.3) + 0.7 * np.log(0.7)), rtol=1e-6)
    np.testing.assert_allclose(score(data, cs.Margin()), [1 - 0.4, 1 - 0.2], rtol=1e-6)
    np.testing.assert_allclose(score(data, cs.LeastConfidence()), [0.3, 0.4], rtol=1e-6)


def test_certainty_has_no_entropy():
    sure = dynamics(np.array([[[0.0, 2000.0], [2000.0, 0.0]]]), [0, 1])
    assert score(sure, cs.Entropy()).values.tolist() == [0, 0]


@pytest.mark.parametrize("scorer", [cs.EL2N(0, 5), cs.DynUnc(5), cs.DUAL(5)])
def test_too_few_epochs(scorer):
    with pytest.raises(InputError, match="needs 5 epochs; 4 were recorded"):
        score(from_p(P, LABEL), scorer)


def test_windows_and_epochs_that_are_empty():
    with pytest.raises(InputError, match="empty"):
        cs.EL2N(5, 5)
    with pytest.raises(InputError, match="at least 2"):
        cs.DUAL(1)


def test_one_run_feeds_all():
    recorder = Recorder([0, 1, 0], 2, cs.scorers(J=3, early=2))
    for epoch in range(4):
        h = torch.randn(3, 5, generator=torch.Generator().manual_seed(epoch))
        recorder(torch.arange(3), h[:, :2], features=h)
        recorder.end_epoch()
    found = recorder.scores()
    assert set(found) == {"el2n", "grand", "forgetting", "aum", "dyn_unc", "dual", "entropy", "margin"}
    kept = {
        name: choose(found, 0.7, np.array([0, 1, 0]), 0) for name, choose in cs.selectors([*found, "random", "ccs"]).items()
    }
    assert all(int(k.sum()) == 2 for k in kept.values())
    for name in ("random_balanced", "el2n_balanced"):  # a class of two, a class of one: one of each
        chosen = cs.selectors([name])[name](found, 0.7, np.array([0, 1, 0]), 0).values
        assert chosen.sum() == 2
        assert chosen[1]


# --- selection --------------------------------------------------------------------------------------------------------


def test_budget():
    assert cs.budget(100, 0.29) == 29  # int(0.29 * 100) is 28
    assert cs.budget(3, 0.01) == 1
    assert cs.budget(7, 1) == 7


@pytest.mark.parametrize("keep", [0, -0.1, 1.01, float("nan")])
def test_budget_is_a_share(keep):
    with pytest.raises(InputError, match="above 0 and at most 1"):
        cs.select(on([1, 2, 3]), keep)


def test_highest_are_kept_and_ties_go_by_position():
    assert cs.select(on([0.1, 0.9, 0.5, 0.7]), 0.5).values.tolist() == [False, True, False, True]
    assert cs.select(on([1, 1, 1, 1]), 0.5).values.tolist() == [True, True, False, False]


def test_ties_at_random_are_fair_and_repeatable():
    counts = sum(cs.select(on(np.ones(20)), 0.5, ties=seed).values.astype(int) for seed in range(400))
    assert counts.min() > 150  # each about 200 of 400, spread 10
    assert counts.max() < 250
    np.testing.assert_array_equal(cs.ranking(on(np.ones(20)), ties=3), cs.ranking(on(np.ones(20)), ties=3))
    # only ties are drawn
    assert cs.ranking(on([3, 1, 1, 2]), ties=0)[:2].tolist() == [0, 3]


def test_balance_keeps_every_class_and_its_share():
    labels = np.array([0] * 60 + [1] * 30 + [2] * 10)
    values = on(-np.arange(100.0))  # the plain top 20 is all of class 0
    assert set(labels[cs.select(values, 0.2).values]) == {0}
    kept = cs.select(values, 0.2, labels, balance="class").values
    assert np.bincount(labels[kept]).tolist() == [12, 6, 2]
    # the best of each class
    assert np.flatnonzero(kept).tolist() == [*range(12), *range(60, 66), 90, 91]
    # as few as three: one of each
    assert np.bincount(labels[cs.select(values, 0.03, labels, balance="class").values]).tolist() == [1, 1, 1]


def test_balanced_coresets_are_nested():
    random = np.random.default_rng(0)
    labels, values = random.integers(0, 4, 57), on(random.normal(size=57))
    sets = [set(np.flatnonzero(cs.select(values, k, labels, balance="class"))) for k in np.arange(1, 58) / 57]
    assert [len(s) for s in sets] == list(range(1, 58))
    assert all(a < b for a, b in itertools.pairwise(sets))


def test_scores_that_cannot_be_used():
    with pytest.raises(InputError, match="1 of 3 are not"):
        cs.select(on([1, np.nan, 3]), 0.5)
    with pytest.raises(InputError, match="label of every sample"):
        cs.select(on([1, 2, 3]), 0.5, balance="class")
    with pytest.raises(InputError, match="no balance"):
        cs.select(on([1, 2, 3]), 0.5, np.zeros(3), balance="pixel")
    with pytest.raises(InputError, match="no score 'el2n'"):
        cs.selectors(["el2n"])["el2n"](xr.Dataset({"aum": on([1, 2])}), 0.5, np.zeros(2), 0)


# --- CCS --------------------------------------------------------------------------------------------------------------


def test_ccs_by_hand():
    # hardness 0..1 in 2 strata: three samples below .5, eight above; the hardest two (cutoff 2 of 13) are dropped.
    # budget 8: the small stratum gives its 3 (of 4), the large one 5
    values = on([0.0, 0.1, 0.2] + [0.6 + 0.05 * i for i in range(8)] + [5.0, 9.0])
    kept = cs.ccs(values, 8 / 13, cutoff=2 / 13, strata=2, seed=0).values
    assert kept[:3].all()
    assert kept[3:11].sum() == 5
    assert not kept[11:].any()


def test_ccs_begins_with_the_smallest_stratum():
    # strata of 1, 20 and 20, budget 13: the first gives its 1 (of 4), the others share what is left, 6 and 6
    values = on(np.repeat([0.0, 0.5, 1.0], [1, 20, 20]))
    for seed in range(3):
        kept = cs.ccs(values, 13 / 41, cutoff=0.0, strata=3, seed=seed).values
        assert [int(kept[:1].sum()), int(kept[1:21].sum()), int(kept[21:].sum())] == [1, 6, 6]


def test_ccs_covers_where_top_does_not():
    random = np.random.default_rng(0)
    values = on(np.concatenate([random.uniform(0, 0.5, 900), random.uniform(0.5, 1, 100)]))
    kept = cs.ccs(values, 0.1, cutoff=0.0, seed=1).values
    assert kept.sum() == 100
    assert 40 <= kept[:900].sum() <= 60  # half of the range, half of the budget
    assert not cs.select(values, 0.1).values[:900].any()
    np.testing.assert_array_equal(kept, cs.ccs(values, 0.1, cutoff=0.0, seed=1).values)
    assert (kept != cs.ccs(values, 0.1, cutoff=0.0, seed=2).values).any()


@pytest.mark.parametrize("keep", [0.05, 0.33, 0.9, 1.0])
def test_ccs_meets_the_budget(keep):
    values = on(np.repeat([0.0, 0.3, 1.0], [3, 50, 7]))
    assert int(cs.ccs(values, keep).sum()) == round(60 * keep)


def test_ccs_cutoff():
    assert [cs.ccs_cutoff(k) for k in (0.1, 0.3, 0.7, 0.9)] == [0.4, 0.2, 0, 0]
    with pytest.raises(InputError, match="cutoff"):
        cs.ccs(on([1, 2]), 0.5, cutoff=1.0)


def test_overlap():
    kept = xr.Dataset({"a": on([1, 1, 0, 0]).astype(bool), "b": on([0, 1, 1, 0]).astype(bool)})
    # one shared of three
    np.testing.assert_allclose(cs.jaccard(kept), [[1, 1 / 3], [1 / 3, 1]])

"""The search finds a known optimum, is never worse than the identity, continues after a stop, and does not compute twice."""

from __future__ import annotations

import numpy as np

from workbench.parts.evolution import Cached, Search, affine

SPREAD = np.array([1.0, 2.0, 0.5])


def loss(a, b):
    return float(((np.log(a) - 1) ** 2).sum() + ((b - 0.5) ** 2).sum())


def driven(search, stop=None):
    while not search.done and len(search.history) != stop:
        a, b = search.ask()
        search.tell(a, b, loss(a, b))
    return search


def test_it_improves_and_the_identity_is_in_the_first_population():
    search = driven(Search(SPREAD, 200, population=16, tournament=4, seed=1))
    first = [m.loss for m in search.history[:16]]
    identity = search.history[15]
    assert identity.a.tolist() == [1, 1, 1]
    assert identity.b.tolist() == [0, 0, 0]
    assert search.best.loss <= identity.loss
    assert search.best.loss < np.median(first)
    assert np.mean([m.loss for m in search.queue]) < np.mean(first)


def test_the_oldest_dies_even_if_it_is_the_best():
    search = Search(SPREAD, 100, population=4, tournament=2)
    for n in range(6):
        a, b = search.ask()
        search.tell(a, b, float(n))
    assert [m.loss for m in search.queue] == [2, 3, 4, 5]
    assert search.best.loss == 0


def test_a_member_whose_loss_is_not_a_number_is_never_the_best_or_a_parent():
    search = Search(SPREAD, 100, population=4, tournament=4)
    for value in (float("nan"), 3.0, float("nan"), 5.0):
        search.tell(*search.ask(), value)
    assert search.best.loss == 3
    a, _ = search.ask()
    assert (a == search.history[1].a).sum() >= 2  # a child of the second: one of its three layers is changed


def test_a_short_search_still_has_the_identity():
    search = driven(Search(SPREAD, 3, population=64, tournament=16))
    assert [m.a.tolist() for m in search.history].count([1, 1, 1]) == 1


def test_a_stopped_search_continues_to_the_same_numbers():
    whole = driven(Search(SPREAD, 40, 8, 3, seed=5))
    part = driven(Search(SPREAD, 40, 8, 3, seed=5), stop=23)
    again = Search(SPREAD, 40, 8, 3, seed=5)
    again.load(part.state())
    assert [m.loss for m in driven(again).history] == [m.loss for m in whole.history]


def test_members_that_choose_the_same_are_changed_again_and_a_stopped_search_too():
    """Choices are coarse: whole numbers of the shifts. The identity stays, whoever chose the same before."""
    coarse = lambda a, b: tuple(np.round(b / 2).astype(int))  # noqa: E731
    plain = driven(Search(SPREAD, 30, 8, 3, seed=5))
    again = driven(Search(SPREAD, 30, 8, 3, seed=5, choice=coarse))
    assert [m.loss for m in again.history] == [m.loss for m in plain.history]  # without redraws nothing changes
    different = lambda search: len({coarse(m.a, m.b) for m in search.history})  # noqa: E731
    whole = driven(Search(SPREAD, 30, 8, 3, seed=5, choice=coarse, redraws=50))
    assert different(plain) < 20 < different(whole)
    assert whole.history[7].a.tolist() == [1, 1, 1]
    part = driven(Search(SPREAD, 30, 8, 3, seed=5, choice=coarse, redraws=50), stop=17)
    continued = Search(SPREAD, 30, 8, 3, seed=5, choice=coarse, redraws=50)
    continued.load(part.state())
    assert [m.loss for m in driven(continued).history] == [m.loss for m in whole.history]
    one = driven(Search(SPREAD, 9, 4, 2, choice=lambda a, b: 0, redraws=3))  # nothing else to choose: it ends nevertheless
    assert one.done


def test_the_criterion_is_affine_by_layer():
    found = affine({"x": np.array([1.0, 2]), "y": np.array([3.0])}, ["y", "x"], np.array([2.0, 10]), np.array([1.0, -1]))
    assert {n: v.tolist() for n, v in found.items()} == {"y": [7], "x": [9, 19]}


def test_a_choice_is_scored_once():
    asked = []
    cached = Cached(lambda kept: asked.append(kept) or float(len(asked)))
    same = [np.array([0, 2]), np.array([1])]
    assert [cached(same), cached([k.copy() for k in same]), cached([np.array([0]), np.array([2, 1])])] == [1, 1, 2]
    assert len(asked) == 2

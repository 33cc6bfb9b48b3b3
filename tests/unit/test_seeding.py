"""A private random state: nobody outside can disturb it, and it disturbs nobody."""

import random

import numpy as np
import pytest
import torch

from workbench.parts.seeding import Seeded


def draw():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_same_seed_same_draws_whatever_happens_between():
    a, b = Seeded(7), Seeded(7)
    with a:
        first = draw()
    draw()  # a listener draws from the global state
    with a:
        second = draw()
    with b:
        assert draw() == first
        assert draw() == second
    assert first != second


def test_the_outside_state_is_untouched():
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    expected = draw()
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    with Seeded(5):
        draw()
    assert draw() == expected


def test_state_round_trip_continues_the_sequence(tmp_path):
    a = Seeded(3)
    with a:
        draw()
    torch.save(a.state(), tmp_path / "s.pt")
    with a:
        expected = draw()
    b = Seeded(0)
    b.load(torch.load(tmp_path / "s.pt", weights_only=True))
    with b:
        assert draw() == expected


def test_not_reentrant():
    s = Seeded(0)
    with s, pytest.raises(RuntimeError, match="already entered"):
        s.__enter__()

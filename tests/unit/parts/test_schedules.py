"""The cosine by hand, by torch, and bit for bit as the methods wrote it before they shared it."""

from __future__ import annotations

import math

import pytest
import torch

from workbench.parts.schedules import cosine


def test_it_falls_to_zero_and_not_up_again():
    rates = [cosine(i, 100, 0.1) for i in range(120)]
    assert rates[0] == 0.1
    assert rates[50] == pytest.approx(0.05)
    assert rates[100] == 0 == rates[119]
    assert sorted(rates, reverse=True) == rates


def test_warmup_by_hand():
    """100 steps, 5 of them warm-up: a fifth, ..., the whole; halfway through the cosine a half."""
    assert [cosine(i, 105, 1.0, warmup=5) for i in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert cosine(55, 105, 1.0, warmup=5) == pytest.approx(0.5)


def test_it_is_torchs():
    optimiser = torch.optim.SGD([torch.zeros(1)], lr=1e-2)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 40, 1e-3)
    for done in range(41):
        assert cosine(done, 40, 1e-2, 1e-3) == pytest.approx(theirs.get_last_lr()[0])
        optimiser.step()
        theirs.step()


def test_the_numbers_are_those_of_committed_results():
    """To the last bit: TDDS and BSDM divide before they multiply by pi, RS-DGC after."""
    differ = 0
    for total in (7, 100, 300, 977):
        for done in range(total):
            assert cosine(done, total, 0.02) == 0.02 * (1 + math.cos(math.pi * min(done / total, 1.0))) / 2
            fraction = min(done / total, 1.0)
            assert cosine(done, total, 1e-4, 1e-5) == 1e-5 + (1e-4 - 1e-5) * (1 + math.cos(math.pi * fraction)) / 2
            rise = round(0.05 * total)
            after = 0.05 * 0.5 * (1 + math.cos(math.pi * (done - rise) / max(1, total - rise)))
            expected = 0.05 * (done + 1) / rise if done < rise else after
            assert cosine(done, total, 0.05, warmup=rise, pi_first=True) == expected
            differ += cosine(done, total, 0.05, warmup=rise) != expected
    assert differ  # else `pi_first` would be needless

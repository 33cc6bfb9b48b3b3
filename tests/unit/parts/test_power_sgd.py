"""PowerSGD of a federation: exact where the changes have its rank, errors that wait, bytes by formula, and input that cannot be used."""

from __future__ import annotations

import pytest
import torch

from workbench.errors import InputError
from workbench.parts.power_sgd import PowerSGD
from workbench.parts.rounds import Update, combine

BEGIN = {"w": torch.zeros(12, 10), "b": torch.zeros(12), "small": torch.zeros(2, 2)}


def updates(rank, seed=0, samples=(1.0, 3.0)):
    """Of two clients: changes of this rank that share their rows."""
    draw = torch.Generator().manual_seed(seed)
    left = torch.randn(12, rank, generator=draw)
    made = {}
    for name, count in zip("AB", samples, strict=True):
        state = {n: torch.randn(v.shape, generator=draw) for n, v in BEGIN.items()}
        made[name] = Update({**state, "w": left @ torch.randn(rank, 10, generator=draw)}, count)
    return made


@pytest.mark.parametrize("rank", [1, 2])
def test_changes_of_its_rank_are_averaged_exactly(rank):
    sent = updates(rank)
    exact, low = combine(1, BEGIN, sent, {}), PowerSGD(rank).combine(1, BEGIN, sent, {})
    for name in BEGIN:
        torch.testing.assert_close(low.state[name], exact.state[name], atol=1e-5, rtol=1e-5)
    values = 12 + 4 + rank * (12 + 10)  # vector, small matrix, factors
    assert (low.up, low.down) == (2 * 4 * values, 2 * 4 * values)
    assert exact.up == 2 * 4 * (12 + 4 + 120)


def test_what_one_round_leaves_out_comes_in_the_next():
    """Change and errors add up to what the clients sent: nothing is lost."""
    power, sent = PowerSGD(1), updates(5)
    first = power.combine(1, BEGIN, sent, {})
    exact = combine(1, BEGIN, sent, {}).state["w"].double()
    waiting = 0.25 * power.error["A"]["w"] + 0.75 * power.error["B"]["w"]
    torch.testing.assert_close(first.state["w"].double() + waiting, exact, atol=1e-5, rtol=1e-5)
    assert float((first.state["w"] - exact).norm()) > 0.1 * float(exact.norm())
    state, apart = dict(BEGIN), []
    for number in range(1, 30):  # the clients want to go to the same place in each round
        there = {
            n: Update(
                {k: v if k != "w" else state["w"] + 0.3 * (u.state["w"] - state["w"]) for k, v in u.state.items()}, u.samples
            )
            for n, u in sent.items()
        }
        state = power.combine(number, state, there, {}).state
        apart.append(float((state["w"] - exact).norm() / exact.norm()))
    assert apart[-1] < 0.3 * apart[0]


def test_it_goes_on_from_a_checkpoint_and_leaves_out_what_cannot_be_used():
    one, sent = PowerSGD(1), updates(4)
    one.combine(1, BEGIN, sent, {})
    other = PowerSGD(1)
    other.load(one.state())
    assert torch.equal(one.combine(2, BEGIN, sent, {}).state["w"], other.combine(2, BEGIN, sent, {}).state["w"])
    sent["A"].state["w"][0, 0] = torch.nan
    done = PowerSGD(1).combine(1, BEGIN, sent, {})
    assert list(done.scalars) == ["B"]
    assert "A sends NaN" in done.failures["A"]
    with pytest.raises(InputError, match="rank of PowerSGD is 0"):
        PowerSGD(0)

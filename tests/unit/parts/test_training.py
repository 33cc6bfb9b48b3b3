"""Checkpoints continue to the same numbers, copy what they save, and are refused by another run."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from workbench.config import Settings, override
from workbench.errors import InputError
from workbench.parts.seeding import Seeded
from workbench.parts.training import Checkpoint, about, descend, in_turn, same_run, weights


class Config(Settings):
    lr: float = 0.1
    show_every: int = 1


class Walk:
    """Two networks, their optimisers and a random state, stepped together."""

    def __init__(self, seed: int) -> None:
        self.random = Seeded(seed)
        with self.random:
            self.networks = {"one": nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), "two": nn.Linear(2, 1)}
        self.optimisers = [torch.optim.AdamW(n.parameters(), lr=0.1) for n in self.networks.values()]
        self.checkpoint = Checkpoint(weights=self.networks, optimisers=self.optimisers, random=self.random)

    def step(self) -> float:
        with self.random:
            x = torch.randn(5, 3)
        loss = self.networks["two"](self.networks["one"](x)).square().mean()
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        loss.backward()
        for optimiser in self.optimisers:
            optimiser.step()
        return float(loss.detach())


def test_a_checkpoint_continues_to_the_same_numbers(tmp_path):
    walk = Walk(0)
    for _ in range(3):
        walk.step()
    state = walk.checkpoint.state()
    assert list(state) == ["weights", "optimisers", "random"]
    torch.save({"done": 3, **state}, tmp_path / "checkpoint.pt")
    expected = [walk.step() for _ in range(4)]  # the saved state does not move with it
    other = Walk(1)
    other.checkpoint.load(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    assert [other.step() for _ in range(4)] == expected


def test_a_state_can_be_loaded_again():
    """Training on does not change the state that was loaded."""
    walk = Walk(0)
    walk.step()
    state = walk.checkpoint.state()
    expected = [walk.step() for _ in range(3)]
    for _ in range(2):
        walk.checkpoint.load(state)
        assert [walk.step() for _ in range(3)] == expected


def test_weights_are_a_copy():
    network = nn.Linear(2, 1)
    saved = weights(network)
    before = saved["weight"].clone()
    network.weight.data += 1
    assert torch.equal(saved["weight"], before)


def test_a_checkpoint_with_a_part_too_few_is_refused():
    walk = Walk(0)
    state = walk.checkpoint.state()
    with pytest.raises(ValueError, match="zip"):
        walk.checkpoint.load({**state, "optimisers": state["optimisers"][:1]})
    with pytest.raises(KeyError, match="two"):
        walk.checkpoint.load({**state, "weights": {"one": state["weights"]["one"]}})


def test_only_the_same_run_continues():
    ours = about("a" * 64, Config())
    same_run("tdds", ours, ours)
    same_run("tdds", about("a" * 64, override(Config(), {"show_every": 5})), ours)
    with pytest.raises(InputError, match="tdds belongs to other data: .*hash aaaaaaaaaaaa, then bbbbbbbbbbbb"):
        same_run("tdds", about("b" * 64, Config()), ours)
    with pytest.raises(InputError, match="other settings: lr=0.2 there and 0.1 here"):
        same_run("tdds", about("a" * 64, override(Config(), {"lr": 0.2})), ours)
    same_run("tdds", about("a" * 64, override(Config(), {"lr": 0.2})), ours, without=("lr",))
    with pytest.raises(InputError, match="other settings: seed=None there and 0 here"):
        same_run("tdds", '{"data": "a", "lr": 0.1}', '{"data": "a", "lr": 0.1, "seed": 0}')


def test_a_nested_config_counts():
    theirs, ours = '{"bands": 3, "config": {"lr": 0.1}}', '{"bands": 3, "config": {"lr": 0.2}}'
    same_run("bsdm", ours, ours)
    with pytest.raises(InputError, match="lr=0.1 there and 0.2 here"):
        same_run("bsdm", theirs, ours)


class Sum:
    """A learner that adds what it was begun with, three times."""

    def __init__(self, start: float) -> None:
        self.total, self.done, self.value, self.start = 3, 0, 0.0, start

    def step(self) -> dict[str, float]:
        self.done, self.value = self.done + 1, self.value + self.start
        return {"value": self.value}

    def state(self) -> dict[str, float]:
        return {"done": self.done, "value": self.value}

    def load(self, state: dict[str, float]) -> None:
        self.done, self.value = state["done"], state["value"]


def turns(state=None, identity="{}"):
    """A second learner that needs the first one when it is begun. Returns what was trained, and the steps."""
    made: dict[str, Sum] = {}
    plan = {"one": lambda: Sum(1.0), "two": lambda: Sum(made["one"].value), "three": lambda: Sum(made["two"].value)}
    return made, in_turn("a method", identity, plan, made.__setitem__, state)


def test_learners_are_trained_one_after_another():
    made, steps = turns()
    seen = [(name, learner is made.get(name), numbers["value"], done) for name, learner, numbers, done, _ in steps]
    assert [s[0] for s in seen] == ["one"] * 3 + ["two"] * 3 + ["three"] * 3
    assert not any(s[1] for s in seen)  # `trained` is called after the last step
    assert [s[2] for s in seen] == [1, 2, 3, 3, 6, 9, 9, 18, 27]
    assert [s[3] for s in seen] == [*range(1, 10)]
    assert {name: learner.value for name, learner in made.items()} == {"one": 3, "two": 9, "three": 27}


@pytest.mark.parametrize("stop", range(1, 10))
def test_learners_continue_from_every_step(stop):
    """In the middle of a learner, and after its last step. A state does not change while the training goes on."""
    _, steps = turns()
    state = {turn.done: turn.state() for turn in steps}[stop]
    made, rest = turns(state)
    assert [turn.done for turn in rest] == [*range(stop + 1, 10)]
    assert {name: learner.value for name, learner in made.items()} == {"one": 3, "two": 9, "three": 27}
    with pytest.raises(InputError, match="checkpoint of a method belongs to another scene or other settings"):
        next(turns(state, '{"lr": 1}')[1])


@pytest.mark.parametrize(("clip", "moved"), [(None, [0.6, 0.8]), (1.0, [0.06, 0.08]), (100.0, [0.6, 0.8])])
def test_one_step_down_a_gradient_that_may_be_clipped(clip, moved):
    one, two = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.SGD([{"params": [one]}, {"params": [two]}], lr=9.0)
    for _ in range(2):  # gradients of the step before are forgotten
        before = torch.cat([one, two]).detach()
        descend(optimiser, (6 * one + 8 * two).sum(), 0.1, clip)  # a gradient of length 10
        torch.testing.assert_close(before - torch.cat([one, two]).detach(), torch.tensor(moved))

"""Rounds on Flower in this process: the numbers of the plain loop, and failures that are told."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.errors import InputError
from workbench.parts.federation import fingerprint
from workbench.parts.rounds import Update, rounds

flower = pytest.importorskip("workbench.engines.flower")


class Mean:
    """A client whose training moves the weights halfway to the mean of its numbers, with a little noise of the round."""

    def __init__(self, name, values):
        self.name, self.values = name, np.asarray(values, np.float32)

    def train(self, state, number):
        if not len(self.values):
            raise InputError(f"{self.name} has no samples")
        noise = torch.randn(state["w"].shape, generator=torch.Generator().manual_seed(number))
        new = {"w": (state["w"] + self.values.mean()) / 2 + 1e-3 * noise, "n": state["n"] + 1}
        return Update(new, len(self.values), {"loss": float((state["w"] - self.values.mean()).abs().mean())})


class Broken(Mean):
    def train(self, state, number):
        raise ZeroDivisionError("wrong number")


class Diverged(Mean):
    def train(self, state, number):
        return Update({"w": state["w"] * float("nan"), "n": state["n"]}, 5)


BEGIN = {"w": torch.zeros(3, 2), "n": torch.tensor(0)}


def grid_of(*clients):
    return flower.InProcess({c.name: flower.client_app(lambda context, c=c: c) for c in clients})


def test_flower_in_process_gives_the_weights_of_the_plain_loop():
    clients = [Mean("A", [1, 2, 3]), Mean("B", [10.0])]
    plain = list(rounds(clients, BEGIN, 3))
    through = list(flower.rounds(grid_of(*clients), BEGIN, 3))
    assert [fingerprint(r.state) for r in through] == [fingerprint(r.state) for r in plain]
    assert [r.scalars for r in through] == [r.scalars for r in plain]
    assert [(r.number, r.up, r.down) for r in through] == [(r.number, r.up, r.down) for r in plain]
    assert through[0].up == 2 * (3 * 2 * 4 + 8)
    assert not any(r.failures for r in through)
    assert through[0].state["n"].dtype == torch.int64


def test_failures_are_told_and_the_round_goes_on():
    good, empty = Mean("good", [4.0]), Mean("empty", [])
    (done,) = flower.rounds(grid_of(good, empty, Broken("broken", [1]), Diverged("diverged", [1])), BEGIN, 1)
    (alone,) = rounds([good], BEGIN, 1)
    assert fingerprint(done.state) == fingerprint(alone.state)
    assert done.failures["empty"] == "empty has no samples"
    assert "diverged sends NaN or infinite values in w" in done.failures["diverged"]
    assert [r for n, r in done.failures.items() if n.startswith("node")] == [
        "ZeroDivisionError: wrong number (Flower's code 0)"
    ]
    with pytest.raises(
        InputError, match="Round 1: no client sent weights that can be averaged. empty: empty has no samples"
    ):
        next(flower.rounds(grid_of(empty), BEGIN, 1))


def test_a_node_that_does_not_answer_and_nodes_that_never_come():
    class Silent(flower.InProcess):
        def send_and_receive(self, messages, *, timeout=None):
            return [m for m in super().send_and_receive(messages) if m.metadata.src_node_id != 3]

    clients = [Mean("A", [1.0]), Mean("B", [2.0])]
    grid = Silent({c.name: flower.client_app(lambda context, c=c: c) for c in clients})
    (done,) = flower.rounds(grid, BEGIN, 1, seconds=5)
    assert done.failures == {"node 3": "no answer within 5 s: the node is down, cut off or slow"}
    with pytest.raises(InputError, match=r"2 of 3 nodes are connected after 0\.05 s"):
        next(flower.rounds(grid, BEGIN, 1, seconds=0.05, least=3))


def test_an_error_of_the_link_is_that_of_the_node_that_it_lost():
    from flwr.app import Error, Message

    class Lost(flower.InProcess):
        def send_and_receive(self, messages, *, timeout=None):
            replies = list(super().send_and_receive(messages))
            gone = next(m for m in messages if m.metadata.dst_node_id == 3)
            error = Message(Error(5, "Node Unavailable"), reply_to=gone)
            error.metadata.__dict__["_src_node_id"] = 1
            return [m for m in replies if m.metadata.src_node_id != 3] + [error]

    clients = [Mean("A", [1.0]), Mean("B", [2.0])]
    (done,) = flower.rounds(Lost({c.name: flower.client_app(lambda context, c=c: c) for c in clients}), BEGIN, 1)
    assert done.failures == {"node 3": "Node Unavailable (Flower's code 5)"}
    assert list(done.scalars) == ["A"]


def test_two_nodes_with_one_name_are_told():
    app = flower.client_app(lambda context: Mean("A", [1.0]))
    (done,) = flower.rounds(flower.InProcess({"one": app, "two": app}), BEGIN, 1)
    assert list(done.scalars) == ["A"]
    assert "a second node calls itself 'A'" in done.failures["A, node 3"]


def test_what_is_private_in_flower_is_given_back():
    from flwr.supercore.task_identity import TaskIdentity

    list(flower.rounds(grid_of(Mean("A", [1.0])), BEGIN, 1))
    with pytest.raises(RuntimeError, match="not set"):
        _ = TaskIdentity.run_id


def test_arrays_survive_the_record():
    state = {"a": torch.randn(2, 3), "b": torch.tensor(7), "c": torch.zeros(0, 4), "d": torch.randn(3, 2).T}
    assert fingerprint(flower.state_of(flower.record_of(state))) == fingerprint(state)


def test_bytes_are_named_payload_record_and_object():
    """Each holds what the one before has, and more: a small message is mostly headers, a large one is not."""
    clients = [Mean("A", [1.0]), Mean("B", [2.0])]
    (small,) = flower.rounds(grid_of(*clients), BEGIN, 1)
    assert set(small.counted) == {f"{what} {way}" for what in ("record", "object") for way in ("up", "down")}
    assert small.up < small.counted["record up"] < small.counted["object up"]
    assert small.down < small.counted["record down"] < small.counted["object down"]
    large = flower.RecordDict({"arrays": flower.record_of({"w": torch.zeros(500, 500, dtype=torch.float64)})})
    found = flower.sizes(large)
    assert 2_000_000 < found["record"] < found["object"] < 2_003_000

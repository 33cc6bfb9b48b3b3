"""One step of an optimiser; several trainings one after another; checkpoints, which continue to the same numbers, and only for the same
run; and the network that a run saved.

checkpoint = Checkpoint(network=network, optimiser=optimiser, random=random)
state = {"about": about("my method", fingerprint, config), "done": done, **checkpoint.state()}
...
same_run("my method", state["about"], about)
checkpoint.load(state)

for name, learner, numbers, done, saved in in_turn("my method", about, plan, trained.__setitem__, state):
    yield Event(done, numbers, {}, total, saved)
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from workbench.config import Settings
from workbench.errors import InputError
from workbench.parts.seeding import Seeded


def descend(optimiser: torch.optim.Optimizer, loss: Tensor, rate: float, clip: float | None = None) -> None:
    """One step down the gradient of a loss (0-d). rate: learning rate of all groups. clip: largest norm of the gradient; None: any."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.zero_grad()
    loss.backward()
    if clip is not None:
        torch.nn.utils.clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], clip)
    optimiser.step()


def weights(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the network's state on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def saved_network(source: str | PathLike[str], who: str) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Tensor]]:
    """What a room saved of its network: (state dict, settings, further tensors of the settings by name).

    source: a run folder, or the weights.safetensors of one. who: the name of the room, also that of the network in the file; beside
    it stands `settings/json`, everything needed to rebuild the network.

    Raises InputError for a folder without weights, for another file, and for weights of another room.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(source).expanduser()
    path = path / "weights.safetensors" if path.is_dir() else path
    try:
        flat = load_file(path)
    except FileNotFoundError:
        raise InputError(f"There is no {path}: the run has not finished, or its method saves no weights.") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a .safetensors file ({error}).") from None
    own = {name.removeprefix(f"{who}/"): value for name, value in flat.items() if name.startswith(f"{who}/")}
    extra = {name.removeprefix("settings/"): value for name, value in flat.items() if name.startswith("settings/")}
    if "json" not in extra or not own:
        raise InputError(f"{path} holds no network of {who}; give the folder of a finished {who} run, or its weights file.")
    with rebuilding(source, who):
        about = json.loads(bytes(extra.pop("json").tolist()))
        if not isinstance(about, dict):
            raise TypeError(f"its settings are {type(about).__name__}, not names and values")
        return own, about, extra


@contextmanager
def rebuilding(source: str | PathLike[str], who: str) -> Iterator[None]:
    """While a network is made from its settings and weights: what a damaged file, or one made by hand, does there is an InputError.

    source, who: as for `saved_network`.
    """
    try:
        yield
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RuntimeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"The network of {who} in {source} cannot be made from its settings and weights, which are damaged or belong to another "
            f"version: {reason}. Take the weights of a finished {who} run."
        ) from None


class Checkpoint:
    """The parts of a training that a step changes, each with its own key.

    A part is a network, an optimiser, a `Seeded`, anything else with `state_dict` and `load_state_dict`, or a mapping or
    sequence of such parts. Plain numbers, such as the steps done, are saved by the training itself.
    """

    def __init__(self, **parts: Any) -> None:
        self.parts = parts

    def state(self) -> dict[str, Any]:
        """Copies of the parts' states, networks on the CPU; `load` continues to the same numbers as without interruption."""
        return _saved(self.parts)

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`; other keys are ignored."""
        _loaded(self.parts, state)


def _saved(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {name: _saved(one) for name, one in part.items()}
    if isinstance(part, Sequence):
        return [_saved(one) for one in part]
    if isinstance(part, nn.Module):
        return weights(part)
    return part.state() if isinstance(part, Seeded) else copy.deepcopy(part.state_dict())


def _loaded(part: Any, state: Any) -> None:
    if isinstance(part, Mapping):
        for name, one in part.items():
            _loaded(one, state[name])
    elif isinstance(part, Sequence):
        for one, saved in zip(part, state, strict=True):
            _loaded(one, saved)
    elif isinstance(part, Seeded):
        part.load(state)
    else:
        part.load_state_dict(copy.deepcopy(state))  # an optimiser would share, and change, the tensors of the state


def about(data: str, config: Settings, without: Collection[str] = ("show_every",)) -> str:
    """Identity of a run, as JSON: a fingerprint of the data, and the settings that its numbers depend on."""
    return json.dumps({"data": data, **config.model_dump(mode="json", exclude=set(without))}, sort_keys=True)


def same_run(who: str, saved: str, current: str, without: Collection[str] = ()) -> None:
    """Raise InputError unless `about` of the checkpoint, `saved`, equals that of this run, `current`; both are JSON.

    without: names that may differ. A nested `config` is merged into the top level.
    """
    then, now = _flat(saved), _flat(current)
    different = [name for name in now if then.get(name) != now[name] and name not in without]
    if "data" in different:
        raise InputError(
            f"This checkpoint of {who} belongs to other data: pixels or labels changed between the runs (hash "
            f"{now['data'][:12]}, then {str(then.get('data'))[:12]}). Restore the old data, or start a new run."
        )
    if different:
        message = ", ".join(f"{name}={then.get(name)} there and {now[name]} here" for name in different)
        raise InputError(
            f"This checkpoint of {who} belongs to another scene or other settings: {message}. Continue with those of the checkpoint."
        )


def _flat(text: str) -> dict[str, Any]:
    facts = json.loads(text)
    return facts | facts.pop("config", {})


class Learner(Protocol):
    """A training of `total` steps, of which `done` are done; `load` continues from a `state`."""

    total: int
    done: int

    def step(self) -> dict[str, float]:
        """One step; its numbers by name."""
        ...

    def state(self) -> dict[str, Any]:
        """What `load` needs to go on."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        ...


L = TypeVar("L", bound=Learner)


class Turn(NamedTuple, Generic[L]):
    """One step of one learner. numbers: of its `step`. done: steps of all learners so far. state: for the `Event` of this step."""

    name: str
    learner: L
    numbers: dict[str, float]
    done: int
    state: Callable[[], dict[str, Any]]


def in_turn(
    who: str,
    identity: str,
    plan: Mapping[str, Callable[[], L]],
    trained: Callable[[str, L], object],
    state: Mapping[str, Any] | None = None,
) -> Iterator[Turn[L]]:
    """Train several learners one after another, a step at a time.

    who: the method, for messages. identity: of the run, from `about`. plan: name -> what makes the learner, called when its turn comes.
    trained: called with name and learner before the next one is made, also for those that a `state` finished. state: of an earlier
    step; its run is continued.

    Raises InputError for a state of another run.
    """
    finished: dict[str, Any] = {}
    unfinished = None
    if state is not None:
        same_run(who, state["about"], identity)
        finished, unfinished = dict(state["finished"]), state["going"]
    before = 0
    for name, begin in plan.items():
        learner = begin()
        if name in finished:
            learner.load(finished[name])
        elif unfinished is not None:
            learner.load(unfinished)
            unfinished = None

        def saved(learner: L = learner) -> dict[str, Any]:
            return {"about": identity, "finished": dict(finished), "going": learner.state()}

        while learner.done < learner.total:
            yield Turn(name, learner, learner.step(), before + learner.done, saved)
        finished[name] = learner.state()
        before += learner.total
        trained(name, learner)

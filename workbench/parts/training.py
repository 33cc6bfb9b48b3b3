"""What every training needs besides its steps: checkpoints that continue to the same numbers, and only with the same run.

checkpoint = Checkpoint(network=network, optimiser=optimiser, random=random)
state = {"about": about("my method", fingerprint, config), "done": done, **checkpoint.state()}
...
same_run("my method", state["about"], about)
checkpoint.load(state)
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from workbench.config import Settings
from workbench.errors import InputError
from workbench.parts.seeding import Seeded


def weights(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the network's state on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


class Checkpoint:
    """The parts of a training that a step changes, each under a key of its own.

    A part is a network, an optimiser, a `Seeded`, anything else with `state_dict` and `load_state_dict`, or a mapping or
    sequence of such parts. Plain numbers, such as the steps done, are saved by the training itself beside them.
    """

    def __init__(self, **parts: Any) -> None:
        self.parts = parts

    def state(self) -> dict[str, Any]:
        """Copies of the parts' states, networks on the CPU; `load` continues to the same numbers as without interruption."""
        return _saved(self.parts)

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`; keys of other things are left alone."""
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
        for one, its in zip(part, state, strict=True):
            _loaded(one, its)
    elif isinstance(part, Seeded):
        part.load(state)
    else:
        part.load_state_dict(copy.deepcopy(state))  # an optimiser would go on with the very tensors of the state


def about(data: str, config: Settings, without: Collection[str] = ("show_every",)) -> str:
    """What a checkpoint belongs to, as JSON: a fingerprint of the data, and the settings that the numbers depend on."""
    return json.dumps({"data": data, **config.model_dump(mode="json", exclude=set(without))}, sort_keys=True)


def same_run(who: str, theirs: str, ours: str, without: Collection[str] = ()) -> None:
    """Raise InputError unless a checkpoint made with `theirs` continues a run with `ours`, both JSON as `about` gives it.

    without: names that may differ. A nested `config` counts as part of the whole.
    """
    then, now = _flat(theirs), _flat(ours)
    other = [name for name in now if then.get(name) != now[name] and name not in without]
    if "data" in other:
        raise InputError(
            f"This checkpoint of {who} belongs to other data: pixels or labels changed between the runs (hash "
            f"{now['data'][:12]}, then {str(then.get('data'))[:12]}). Put the old data back, or start anew."
        )
    if other:
        message = ", ".join(f"{name}={then.get(name)} there and {now[name]} here" for name in other)
        raise InputError(
            f"This checkpoint of {who} belongs to another scene or other settings: {message}. Continue with its own."
        )


def _flat(text: str) -> dict[str, Any]:
    facts = json.loads(text)
    return facts | facts.pop("config", {})

"""The apps of a deployed federation: FedAvg or FedProx of a classifier, with the data of each node as its plan says.

The link sends settings and weights; which data a node reads stands in the plan on the node's own machine.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from workbench.config import override
from workbench.engines.deployment import MARK, Plan, read_plan
from workbench.engines.flower import client_app, rounds
from workbench.errors import InputError
from workbench.methods.fedfusion.horizontal import Site
from workbench.methods.fedfusion.network import WINDOW
from workbench.methods.fedfusion.pixels import pixels_of
from workbench.methods.fedfusion.settings import Config
from workbench.parts.federation import State, fingerprint
from workbench.parts.networks import classifier
from workbench.parts.rounds import Round, Update
from workbench.parts.seeding import Seeded
from workbench.parts.training import weights

if TYPE_CHECKING:
    from flwr.app import Context
    from flwr.serverapp import Grid


class NodeSite(Site):
    """A client whose pixels are those of its own scene; it also tells the accuracy of the weights that it got, on its own test pixels."""

    def __init__(self, plan: Plan, name: str, config: Config) -> None:
        pixels = pixels_of(plan.node(name).source().open(), config)
        strange = [n for n in pixels.names if n not in plan.classes]
        if strange:
            raise InputError(
                f"{name} has the classes {', '.join(strange)}, which the plan does not name; it has {', '.join(plan.classes)}."
            )
        number = np.array([plan.classes.index(n) for n in pixels.names])
        centre, order = config.network == "mlp", list(plan.nodes).index(name)
        x, label = pixels.stacked(pixels.train, centre), torch.from_numpy(number[pixels.label[pixels.train]])
        super().__init__(
            name, order, x, label, len(plan.classes), config, config.mu if "fedprox" in config.horizontal else 0.0
        )
        self.test, self.truth = pixels.stacked(pixels.test, centre), number[pixels.label[pixels.test]]

    def train(self, state: State, number: int) -> Update:
        """One round; `oa` is that of the weights before it."""
        made = super().train(state, number)
        found = self.probabilities(state, self.test).argmax(1)
        return Update(made.state, made.samples, {**made.scalars, "oa": float((found == self.truth).mean())})

    def noise_of(self, number: int) -> torch.Generator:
        """Noise that nobody else can draw again."""
        random = torch.Generator()
        random.seed()
        return random


def settings_of(plan: Plan) -> Config:
    """The method's settings in the plan. Raises InputError for one that does not exist or is out of range."""
    return override(Config(), {"horizontal": ["fedavg"], **plan.settings, "rounds": plan.rounds})


def first_weights(plan: Plan) -> dict[str, torch.Tensor]:
    """The weights that the federation begins with."""
    config = settings_of(plan)
    side = 1 if config.network == "mlp" else WINDOW
    with Seeded(config.seed):
        return weights(classifier(config.network, (plan.bands, side, side), len(plan.classes)))


def told(done: Round) -> dict[str, Any]:
    """A round as a message of JSON."""
    return {
        "round": done.number,
        "scalars": {n: dict(s) for n, s in done.scalars.items()},
        "failures": dict(done.failures),
        "up": done.up,
        "down": done.down,
        "sha256": fingerprint(done.state),
    }


def _client(context: Context) -> NodeSite:
    plan = read_plan(str(context.node_config["plan"]))
    return NodeSite(plan, str(context.node_config["name"]), settings_of(plan))


client = client_app(_client)


def serve(grid: Grid, context: Context) -> None:
    """The server app: rounds, each told on a line of its own; the last weights in `weights.safetensors` beside the plan's certificates."""
    from safetensors.torch import save_file

    try:
        plan = read_plan(str(context.run_config["plan"]))
        state: dict[str, torch.Tensor] = first_weights(plan)
        for done in rounds(grid, state, plan.rounds, seconds=plan.seconds, least=plan.least):
            state = done.state
            print(MARK + json.dumps(told(done)), flush=True)
        save_file(state, plan.folder / "weights.safetensors")
        print(MARK + json.dumps({"finished": True, "sha256": fingerprint(state)}), flush=True)
    except InputError as error:
        print(MARK + json.dumps({"error": str(error)}), flush=True)


def _server() -> Any:
    from flwr.serverapp import ServerApp

    app = ServerApp()
    app.main()(serve)
    return app


server = _server()

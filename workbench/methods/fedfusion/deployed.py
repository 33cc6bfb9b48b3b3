"""The apps of a deployed federation: FedAvg or FedProx of a classifier, with the data of each node as its plan says.

The link sends settings and weights; which data a node reads stands in the plan on the node's own machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from workbench.config import override
from workbench.engines.deployment import Plan, read_plan
from workbench.engines.flower import client_app
from workbench.engines.serving import server_app, serving
from workbench.errors import InputError
from workbench.methods.fedfusion.horizontal import Site
from workbench.methods.fedfusion.pixels import pixels_of
from workbench.methods.fedfusion.settings import Config
from workbench.parts.cross_fusion import WINDOW
from workbench.parts.federation import State
from workbench.parts.networks import classifier
from workbench.parts.rounds import Update
from workbench.parts.seeding import Seeded
from workbench.parts.training import weights

if TYPE_CHECKING:
    from flwr.app import Context


class NodeSite(Site):
    """A client whose pixels are those of its own scene; it also tells the accuracy of the weights that it got, on its own test pixels."""

    def __init__(self, plan: Plan, name: str, config: Config) -> None:
        pixels = pixels_of(plan.node(name).source().open(), config)
        number = plan.numbers_of(pixels.names, name)
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


def settings_of(plan: Plan, node: str = "") -> Config:
    """The method's settings in the plan, and those of one node. Raises InputError for one that does not exist or is out of range, and for a
    plan without `bands`."""
    if plan.bands is None:
        raise InputError("The plan has no `bands`: give the number of channels of all sensors together.")
    own = plan.node(node).settings if node else {}
    return override(Config(), {"horizontal": ["fedavg"], **plan.settings, **own, "rounds": plan.rounds})


def prepare(plan: Plan, name: str, progress: Callable[[str, int, int], None] = lambda *_: None) -> str:
    """Open the data of a node, so that what does not fit is told before it starts; what it has, in words.

    progress: is not called; nothing is trained. Raises InputError for data that do not fit.
    """
    site = NodeSite(plan, name, settings_of(plan, name))
    bands = site.x.shape[1]
    if bands != plan.bands:
        raise InputError(
            f"The data of {name} have {bands} channels, the plan says {plan.bands}. All nodes need the same sensors and bands."
        )
    return f"{len(site.label)} training pixels"


def first_weights(plan: Plan) -> dict[str, torch.Tensor]:
    """The weights that the federation begins with."""
    config = settings_of(plan)
    assert plan.bands is not None
    side = 1 if config.network == "mlp" else WINDOW
    with Seeded(config.seed):
        return weights(classifier(config.network, (plan.bands, side, side), len(plan.classes)))


def _client(context: Context) -> NodeSite:
    plan = read_plan(str(context.node_config["plan"]))
    name = str(context.node_config["name"])
    return NodeSite(plan, name, settings_of(plan, name))


client = client_app(_client)


serve = serving(lambda plan, grid: first_weights(plan))
server = server_app(serve)

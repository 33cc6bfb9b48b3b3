"""The same rounds over Flower, in this process: each owner is a node, and what it sends travels in Flower's messages.

    federation = FlowerFederation(patches, config, banks, codec)
    federation.step()                     # the same numbers as `rounds.Federation`

A node that does not answer with its features is away in this round: the other owner learns alone, nothing is averaged, and `missed`
counts it; in the next round it may be back. Needs `pip install 'workbench[federated]'`.

The nodes keep their network between messages, so they live as long as the process. On other machines Flower starts a new process for each
message: there `workbench.methods.feddiff.deployed` exchanges features once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import Tensor

from workbench.data.sensor_patches import Patches
from workbench.engines.flower import InProcess, record_of, state_of
from workbench.errors import InputError
from workbench.methods.feddiff.owners import Bank, Owner
from workbench.methods.feddiff.rounds import Federation
from workbench.methods.feddiff.settings import Config
from workbench.parts import federation
from workbench.parts.federation import Codec

SPLIT, LEARN, TELL, SHARE = "train.split", "train.learn", "query.tell", "train.share"


def owner_app(owner: Owner, codec: Codec) -> ClientApp:
    """The app of a node: four kinds of messages, one for each part of a round."""
    app = ClientApp()

    @app.train("split")
    def split(message: Message, context: object) -> Message:
        told, content = message.content["config"], RecordDict()
        features = owner.begin(torch.tensor(told["rows"]))  # type: ignore[index]
        if not told["away"]:  # type: ignore[index]
            sent = codec.encode(features, int(told["seed"]))  # type: ignore[index, arg-type]
            content["arrays"] = record_of(sent.parts)
            content["config"] = ConfigRecord({"shape": list(sent.shape)})
        return Message(content, reply_to=message)

    @app.train("learn")
    def learn(message: Message, context: object) -> Message:
        told, arrived = message.content["config"], None
        if "arrays" in message.content:
            got = federation.Message(state_of(message.content["arrays"]), tuple(told["shape"]))  # type: ignore[index, arg-type]
            arrived = codec.decode(got)
        loss = owner.learn(arrived, float(told["lr"]))  # type: ignore[index, arg-type]
        return Message(RecordDict({"metrics": MetricRecord({"loss": loss})}), reply_to=message)

    @app.query("tell")
    def tell(message: Message, context: object) -> Message:
        return Message(RecordDict({"arrays": record_of(owner.shared())}), reply_to=message)

    @app.train("share")
    def share(message: Message, context: object) -> Message:
        owner.network.load_state_dict(state_of(message.content["arrays"]), strict=False)  # type: ignore[arg-type]
        return Message(RecordDict(), reply_to=message)

    return app


class FlowerFederation(Federation):
    """`Federation` whose owners are nodes of a grid of Flower."""

    def __init__(self, patches: Patches, config: Config, banks: Bank | None, codec: Codec) -> None:
        super().__init__(patches, config, banks, codec)
        self.names = ["_".join(o.sensors) for o in self.owners]
        self.grid = InProcess({name: owner_app(o, codec) for name, o in zip(self.names, self.owners, strict=True)})
        self.absent: set[int] = set()
        self.reason = ""

    def gather(self, rows: Tensor, away: bool) -> list[federation.Message | None]:
        """What the owners send of these training pixels, in their order; None for one that is away or does not answer."""
        config = ConfigRecord({"rows": rows.tolist(), "away": away, "seed": self.config.seed + self.done})
        answers = self._ask(SPLIT, [RecordDict({"config": config}) for _ in self.owners])
        self.absent = {i for i, a in enumerate(answers) if a is None}
        self.missed += len(self.absent)
        if len(self.absent) == len(answers):
            raise InputError(f"No owner answered in round {self.done + 1}: {self.reason}")
        return [
            None
            if a is None or "arrays" not in a
            else federation.Message(state_of(a["arrays"]), tuple(a["config"]["shape"]))  # type: ignore[index, arg-type]
            for a in answers
        ]

    def teach(self, messages: Sequence[federation.Message | None], lr: float) -> float:
        """Let each owner learn from the message that it got; the mean loss. Raises InputError for an owner that does not answer now."""
        contents: list[RecordDict | None] = []
        for i, message in enumerate(messages):
            if i in self.absent:
                contents.append(None)
                continue
            content = RecordDict({"config": ConfigRecord({"lr": lr})})
            if message is not None:
                content["arrays"] = record_of(message.parts)
                content["config"] = ConfigRecord({"lr": lr, "shape": list(message.shape)})
            contents.append(content)
        return float(np.mean([a["metrics"]["loss"] for a in self._all(LEARN, contents)]))  # type: ignore[index]

    def shared(self) -> list[dict[str, Tensor]]:
        """The shared weights and batch statistics of each owner, by name."""
        return [state_of(a["arrays"]) for a in self._all(TELL, [RecordDict() for _ in self.owners])]  # type: ignore[arg-type]

    def share(self, state: Mapping[str, Tensor]) -> None:
        """Give both owners these shared weights."""
        self._all(SHARE, [RecordDict({"arrays": record_of(state)}) for _ in self.owners])

    def average(self) -> None:
        """As in `Federation`; nothing in a round that an owner missed."""
        if not self.absent:
            super().average()

    def _all(self, kind: str, contents: Sequence[RecordDict | None]) -> list[RecordDict]:
        answers = self._ask(kind, contents)
        asked = zip(self.names, contents, answers, strict=True)
        silent = [name for name, content, a in asked if content is not None and a is None]
        if silent:
            raise InputError(f"{' and '.join(silent)} did not answer {kind!r} in round {self.done + 1}: {self.reason}")
        return [a for a in answers if a is not None]

    def _ask(self, kind: str, contents: Sequence[RecordDict | None]) -> list[RecordDict | None]:
        """The answers of the nodes in their order; None for a node that was not asked, or where there is an error, whose text is then in
        `reason`."""
        nodes = sorted(self.grid.get_node_ids())
        messages = [
            self.grid.create_message(content, kind, node, str(self.done))
            for node, content in zip(nodes, contents, strict=True)
            if content is not None
        ]
        found: dict[int, RecordDict] = {}
        self.reason = "no answer"
        for reply in self.grid.send_and_receive(messages=messages):
            if reply.has_error():
                self.reason = str(reply.error.reason)
            else:
                found[reply.metadata.src_node_id] = reply.content
        return [found.get(node) for node in nodes]

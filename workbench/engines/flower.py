"""The engine of federations: Flower. The same client app and the same rounds in this process, and on machines.

    app = client_app(lambda node: Site(...))                     # a `workbench.parts.rounds.Client` for a node
    for round in rounds(InProcess({"A": app, "B": app}), state, 30): ...

    @ServerApp().main()                                          # deployed: the same function with the grid of a SuperLink
    def main(grid, context):
        for round in rounds(grid, state, 30): ...

Flower's own FedAvg is not used: it drops failures silently, and sums in another order. Here a node that does not answer, an update that
cannot be averaged, and a client that refuses are failures of the round, with their reason, and the round goes on with the others.

What is not public in Flower is in `_as_task`, in `sizes`, and where `InProcess` gives a message its identifier; the minor version is
pinned. Needs `pip install 'workbench[federated]'`.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from workbench.errors import InputError
from workbench.parts.federation import State
from workbench.parts.rounds import Client, Round, Update, combine

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")

try:
    from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid
except ImportError:
    raise InputError("A federation on Flower needs it: pip install 'workbench[federated]'.") from None

if TYPE_CHECKING:
    from flwr.supercore.run import Run

TRAIN = "train"
SERVER, RUN = 1, 1  # identifiers of the server's node and of the run, in process
ANSWER_SECONDS = 120.0  # how long a round waits for its nodes


def record_of(state: State) -> ArrayRecord:
    """The weights as Flower's record; values and types are kept."""
    return ArrayRecord({name: Array(v.detach().cpu().contiguous().numpy()) for name, v in state.items()})


def state_of(record: ArrayRecord) -> dict[str, Tensor]:
    """The weights of a record. Flower reads arrays without pickle."""
    return {name: torch.from_numpy(np.array(array.numpy())) for name, array in record.items()}


def sizes(content: RecordDict) -> dict[str, int]:
    """Bytes of a message, as Flower counts them.

    record: arrays with their headers and names, and the other records. object: everything serialised, as a tree of objects. The payload
    is below both; what travels on the wire has TLS and polling on top, and lacks objects that the link has already.
    """
    from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

    record = sum(r.count_bytes() for r in content.values())
    return {"record": record, "object": sum(len(o.deflate()) for o in get_all_nested_objects(content).values())}


def client_app(make: Callable[[Context], Client]) -> ClientApp:
    """The app of a node. make: the client of a node from Flower's context; it is called for every message, as a node's process is new each
    time.

    An InputError of the client travels to the server as its reason; other errors are those of Flower.
    """
    app = ClientApp()

    @app.train()
    @responding
    def train(content: RecordDict, given: RecordDict, context: Context) -> dict[str, Any]:
        client = make(context)
        update = client.train(state_of(given["arrays"]), int(given["config"]["round"]))  # type: ignore[index, arg-type]
        content["arrays"] = record_of(update.state)
        content["metrics"] = MetricRecord(
            {"samples": float(update.samples), **{n: float(v) for n, v in update.scalars.items()}}
        )
        return {"name": client.name}

    return app


def responding(
    act: Callable[[RecordDict, RecordDict, Context], dict[str, Any]],
) -> Callable[[Message, Context], Message]:
    """The handler of a kind of message of a client app.

    act: gets the content of the answer, which it fills, that of the message, and Flower's context; what it returns is told beside the
    node's name. Its InputError is the answer that the node refuses, with the reason.
    """

    def handler(message: Message, context: Context) -> Message:
        name, content = str(context.node_config.get("name", "")), RecordDict()
        try:
            content["config"] = ConfigRecord({"name": name, **act(content, message.content, context)})
        except InputError as error:
            content["config"] = ConfigRecord({"name": name, "refused": str(error)})
        return Message(content, reply_to=message)

    return handler


def ask(
    grid: Grid, kind: str, contents: Mapping[int, RecordDict], seconds: float = ANSWER_SECONDS
) -> dict[str, tuple[int, RecordDict]]:
    """Send each node its content, as a message of this kind; name of the node -> its number and its answer.

    Raises InputError for a node that refuses, fails, or does not answer in time, and for two nodes of one name.
    """
    messages = [_message(grid, content, node, "1", kind) for node, content in contents.items()]
    found: dict[str, tuple[int, RecordDict]] = {}
    wrong = []
    for reply in grid.send_and_receive(messages=messages, timeout=seconds):
        node = reply.metadata.src_node_id
        if reply.has_error():
            wrong.append(f"node {node}: {reply.error.reason or 'an error without a reason'}")
            continue
        told: Any = reply.content["config"]
        if "refused" in told:
            wrong.append(str(told["refused"]))
        elif str(told["name"]) in found:
            wrong.append(f"two nodes call themselves {told['name']!r}; give every node its own name")
        else:
            found[str(told["name"])] = node, reply.content
    if wrong or len(found) < len(contents):
        silent = f"{len(contents) - len(found)} of {len(contents)} nodes did not answer within {seconds:g} s"
        raise InputError(f"The message {kind!r}: {'; '.join(dict.fromkeys(wrong)) or silent}.")
    return found


def rounds(
    grid: Grid,
    state: State,
    count: int,
    first: int = 1,
    seconds: float = ANSWER_SECONDS,
    least: int = 1,
) -> Iterator[Round]:
    """`count` rounds over the nodes that are connected at the begin of each, as `workbench.parts.rounds.rounds`.

    first: number of the first round. seconds: how long a round waits for answers. least: nodes that must be there before a round begins.
    Raises InputError where too few nodes come within `seconds`, and where none sends weights
    that can be averaged: never an endless wait.
    """
    known: dict[int, str] = {}  # node -> its name, once it has answered
    for number in range(first, first + count):
        nodes = connected(grid, least, seconds)
        config = ConfigRecord({"round": number})
        messages = [
            _message(grid, RecordDict({"arrays": record_of(state), "config": config}), node, str(number)) for node in nodes
        ]
        updates: dict[str, Update] = {}
        failures: dict[str, str] = {}
        heard, lost = set(), []
        counted = {f"{what} down": size for what, size in sizes(messages[0].content).items()} if messages else {}
        counted = {what: size * len(messages) for what, size in counted.items()}  # all nodes get the same
        for reply in grid.send_and_receive(messages=messages, timeout=seconds):
            node = reply.metadata.src_node_id
            heard.add(node)
            for what, size in sizes(reply.content).items() if not reply.has_error() else ():
                counted[f"{what} up"] = counted.get(f"{what} up", 0) + size
            if reply.has_error():
                reason = f"{reply.error.reason or 'an error without a reason'} (Flower's code {reply.error.code})"
                if node in nodes:
                    failures[known.get(node, f"node {node}")] = reason
                else:  # of the link, about a node that it lost
                    lost.append(reason)
                continue
            told: Any = reply.content["config"]
            name = known[node] = str(told["name"]) or f"node {node}"
            if "refused" in told:
                failures[name] = str(told["refused"])
            elif name in updates:
                failures[f"{name}, node {node}"] = f"a second node calls itself {name!r}; give every node its own name"
            else:
                metrics = {n: float(v) for n, v in reply.content["metrics"].items()}  # type: ignore[arg-type]
                updates[name] = Update(state_of(reply.content["arrays"]), metrics.pop("samples"), metrics)  # type: ignore[arg-type]
        for node in set(nodes) - heard:
            silent = f"no answer within {seconds:g} s: the node is down, cut off or slow"
            failures[known.get(node, f"node {node}")] = "; ".join(dict.fromkeys(lost)) or silent
        done = replace(combine(number, state, updates, failures, len(nodes)), counted=counted)
        state = done.state
        yield done


def _message(grid: Grid, content: RecordDict, node: int, group: str, kind: str = TRAIN) -> Message:
    """A server app makes messages itself (the grid's own way is deprecated); this process is no task of a run."""
    if isinstance(grid, InProcess):
        return grid.create_message(content, kind, node, group)
    return Message(content, node, kind, group_id=group)


def connected(grid: Grid, least: int, seconds: float) -> list[int]:
    """Numbers of the nodes, as soon as there are `least`. Raises InputError where fewer are there after `seconds`."""
    end = time.monotonic() + seconds
    while len(nodes := sorted(grid.get_node_ids())) < least:
        if time.monotonic() > end:
            raise InputError(
                f"{len(nodes)} of {least} nodes are connected after {seconds:g} s. Start the others with `workbench federate node`, and "
                "look at their logs: a wrong address or certificate is told there."
            )
        time.sleep(min(1.0, seconds / 10))
    return nodes


class InProcess(Grid):
    """A grid whose nodes are client apps in this process: no sockets, no further processes; messages are made and answered by Flower.

    apps: name of each node -> its app. An error of an app is that node's answer, as in the deployed mode.
    """

    def __init__(self, apps: Mapping[str, ClientApp]) -> None:
        self.apps = dict(enumerate(apps.values(), 2))
        self.contexts = {
            number: Context(RUN, number, {"name": name, "partition-id": i, "num-partitions": len(apps)}, RecordDict(), {})
            for i, (number, name) in enumerate(zip(self.apps, apps, strict=True))
        }
        self._waiting: dict[str, Message] = {}
        self._number = itertools.count(1)

    @property
    def run(self) -> Run:
        """An empty run."""
        from flwr.supercore.run import Run

        return Run.create_empty(RUN)

    def set_run(self, run: Run) -> None:
        """There is one run only."""

    def get_node_ids(self) -> Iterable[int]:
        """Numbers of the nodes."""
        return list(self.apps)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """A message to a node."""
        with _as_task(SERVER):
            return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Let the nodes answer, one after the other; identifiers of the messages."""
        made = []
        for message in messages:
            name = f"in-process-{next(self._number)}"
            message.metadata.__dict__["_message_id"] = name  # the link sets it elsewhere
            node = message.metadata.dst_node_id
            with _as_task(node):
                try:
                    self._waiting[name] = self.apps[node](message, self.contexts[node])
                except Exception as error:  # what an app raises is an answer of its node in the deployed mode, too
                    self._waiting[name] = Message(Error(0, f"{type(error).__name__}: {error}"), reply_to=message)
            made.append(name)
        return made

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The answers to these messages."""
        return [self._waiting.pop(name) for name in message_ids if name in self._waiting]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send and get all answers."""
        return self.pull_messages(self.push_messages(messages))


@contextmanager
def _as_task(node: int) -> Iterator[None]:
    """Flower makes messages only in a process that is a task of a run; this one is, inside the block. Not public API of Flower."""
    from flwr.supercore.task_identity import TaskIdentity

    names = ("_task_id", "_run_id", "_node_id")
    before = [getattr(TaskIdentity, name) for name in names]
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, RUN, node
    try:
        yield
    finally:
        for name, value in zip(names, before, strict=True):
            setattr(TaskIdentity, name, value)

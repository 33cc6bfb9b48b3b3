"""FedDiff on several machines: each owner prepares at home, features are exchanged once, then the shared weights are averaged in rounds.

`prepare` is called when a node starts. It writes, below the folder of the plan on the node's machine:

    NODE-diffusion.safetensors   the owner's diffusion network; no message reads it
    NODE-home.safetensors        features of its pixels, and their classes: all that the rounds need of it
    NODE-received.safetensors    features of the other owner, when they have come

so that a node whose process is new for each message, or which was killed and started again, goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from workbench.config import override
from workbench.data.sensor_patches import patches_of
from workbench.engines.deployment import Plan, read_plan
from workbench.engines.flower import ask, client_app, connected, record_of, responding, state_of
from workbench.engines.serving import server_app, serving, tell
from workbench.errors import InputError
from workbench.methods.feddiff.once import (
    Fusion,
    Home,
    common,
    fusion,
    messages_of,
    payload_of,
    prepared,
    rebuilt,
    same_pixels,
)
from workbench.methods.feddiff.settings import Config
from workbench.parts.federation import Codec, state_bytes
from workbench.parts.training import about

if TYPE_CHECKING:
    from flwr.app import Context, RecordDict
    from flwr.serverapp import Grid

FEATURES, RECEIVE = "query.features", "train.receive"
OWNERS = 2


def settings_of(plan: Plan, node: str = "") -> Config:
    """The method's settings in the plan, and those of one node. Raises InputError for one that does not exist or is out of range, and
    unless there are two nodes."""
    if len(plan.nodes) != OWNERS:
        raise InputError(f"FedDiff is between two owners; the plan has {len(plan.nodes)} nodes: {', '.join(plan.nodes)}.")
    return override(Config(), {**plan.settings, **(plan.node(node).settings if node else {})})


def prepare(plan: Plan, name: str, progress: Callable[[str, int, int], None] = lambda *_: None) -> str:
    """Train at home what the rounds need, unless an earlier start of this node did; what it did, in words.

    progress: called with what is trained, the step, and the number of steps. Raises InputError for data that do not fit.
    """
    config = settings_of(plan, name)
    patches = patches_of(plan.node(name).source().open(), config, name)
    identity = about(patches.fingerprint, config, without=("codec", "rank", "average_every", "show_every"))
    known = _read(plan, name, "home")
    if known is None or known[1].get("about") != identity:
        number = list(plan.nodes).index(name)
        home, diffusion = prepared(patches, config, number, plan.numbers_of(patches.names, name), progress)
        _write(plan, name, "diffusion", diffusion, {"about": identity})
        _write(plan, name, "home", home.tensors(), {"about": identity})
        done = "its diffusion network is trained"
    else:
        home, done = Home(**known[0]), "its diffusion network was trained before"
    return f"{len(home.label)} training pixels of {', '.join(patches.sensors)}; {done}"


def _path(plan: Plan, name: str, what: str) -> Path:
    return plan.folder / f"{name}-{what}.safetensors"


def _write(plan: Plan, name: str, what: str, tensors: dict[str, Tensor], told: dict[str, str]) -> None:
    from safetensors.torch import save_file

    path = _path(plan, name, what)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    save_file(tensors, new, told)
    new.replace(path)  # a node may be killed at any time


def _read(plan: Plan, name: str, what: str) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Tensors and text of a file of the node; None if there is none. Raises InputError for a damaged one."""
    from safetensors import SafetensorError, safe_open

    path = _path(plan, name, what)
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path} is damaged ({error}). Delete it, and start the node {name} again.") from None


def home_of(plan: Plan, name: str) -> Home:
    """What a node prepared. Raises InputError if it did not."""
    known = _read(plan, name, "home")
    if known is None:
        raise InputError(
            f"{name} has prepared nothing: {_path(plan, name, 'home')} is missing. Start it with `workbench federate node`."
        )
    return Home(**known[0])


# --- the node ---------------------------------------------------------------------------------------------------------


def _here(context: Context) -> tuple[Plan, str]:
    return read_plan(str(context.node_config["plan"])), str(context.node_config["name"])


def _client(context: Context) -> Fusion:
    plan, name = _here(context)
    config, home, received = settings_of(plan), home_of(plan, name), _read(plan, name, "received")
    if received is None:
        raise InputError(f"{name} has not got the features of the other owner; begin the run again.")
    theirs, (names, number) = received[0]["features"], (list(plan.nodes), list(plan.nodes).index(name))
    if theirs.shape != home.features.shape:
        raise InputError(
            f"{name} has other pixels than {names[1 - number]} had when it sent its features; begin the run again."
        )
    return Fusion(name, number, home, theirs, len(plan.classes), config, plan.rounds)


client = client_app(_client)


@client.query("features")
@responding
def features(content: RecordDict, given: RecordDict, context: Context) -> dict[str, Any]:
    """Send the coded features of all training and test pixels."""
    plan, name = _here(context)
    config, home = settings_of(plan), home_of(plan, name)
    codec = Codec(config.codec, config.rank)
    content["arrays"] = record_of(messages_of(home, codec, config.batch))
    content["pixels"] = record_of({"pixels": home.pixels})
    return {"test": payload_of(home, codec, config.batch)[1]}


@client.train("receive")
@responding
def receive(content: RecordDict, given: RecordDict, context: Context) -> dict[str, Any]:
    """Rebuild the features of the other owner, and keep them."""
    plan, name = _here(context)
    config, home, sender = settings_of(plan), home_of(plan, name), str(given["config"]["sender"])  # type: ignore[index]
    parts = state_of(given["arrays"])  # type: ignore[arg-type]
    theirs = rebuilt(parts, home, Codec(config.codec, config.rank), config.batch, sender)
    _write(plan, name, "received", {"features": theirs}, {"sender": sender})
    return {}


# --- the server -------------------------------------------------------------------------------------------------------


def first_weights(plan: Plan) -> dict[str, Tensor]:
    """The weights that the federation begins with."""
    return common(fusion(len(plan.classes), settings_of(plan).seed))


def exchange(plan: Plan, grid: Grid) -> dict[str, Tensor]:
    """Get the features of both owners and pass each on to the other; the weights that the federation begins with.

    Raises InputError where a node is missing, refuses, or has other pixels.
    """
    from flwr.app import ConfigRecord, RecordDict

    nodes = connected(grid, OWNERS, plan.seconds)
    answers = ask(grid, FEATURES, {node: RecordDict() for node in nodes}, plan.seconds)
    strange = sorted({*answers} ^ {*plan.nodes})
    if strange:
        raise InputError(f"The nodes that answer are {', '.join(sorted(answers))}; the plan has {', '.join(plan.nodes)}.")
    same_pixels({name: state_of(answers[name][1]["pixels"])["pixels"] for name in plan.nodes})  # type: ignore[arg-type]
    one, other = plan.nodes
    to, size, test = {}, 0, 0
    for sender, taker in ((one, other), (other, one)):
        arrays = answers[sender][1]["arrays"]
        to[answers[taker][0]] = RecordDict({"arrays": arrays, "config": ConfigRecord({"sender": sender})})
        size += state_bytes(state_of(arrays))  # type: ignore[arg-type]
        test += int(answers[sender][1]["config"]["test"])  # type: ignore[index, arg-type]
    ask(grid, RECEIVE, to, plan.seconds)
    tell({"exchanged": "features of all training and test pixels", "up": size, "down": size, "test": 2 * test})
    return first_weights(plan)


serve = serving(exchange)
server = server_app(serve)

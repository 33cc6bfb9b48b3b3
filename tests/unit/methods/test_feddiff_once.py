"""FedDiff with features exchanged once: the same arrays by calls, over Flower in this process, and deployed with TLS."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.unit.engines.test_deployment import free_port, kill_in_a_message, running
from workbench.config import override
from workbench.data.sensor_patches import patches_of
from workbench.data.synth_sensors import simulate
from workbench.engines.deployment import MARK, Plan, make_certificates, messages, node_command, read_plan, start, write_app
from workbench.errors import InputError
from workbench.methods.feddiff import SMOKE, Config
from workbench.methods.feddiff.once import common, fusion, messages_of, parties, payload_of, prepared, rebuilt, same_pixels
from workbench.parts.federation import Codec, fingerprint, state_bytes
from workbench.parts.rounds import rounds

CLASSES = [f"spectrum {s}, {h}" for s in (1, 2, 3, 4) for h in ("low", "high")]
QUICK = {name: value for name, value in SMOKE.items() if name not in ("rivals", "pooled")} | {
    "split": "class",
    "average_every": 2,
}


def home_of(scene, number, **changes):
    sensor = ("hsi", "lidar")[number]
    config = override(Config(), {**QUICK, "sensors": [sensor], **changes})
    patches = patches_of(scene, config)
    return prepared(patches, config, number, np.array([CLASSES.index(n) for n in patches.names]))


@pytest.fixture(scope="module")
def scene():
    return simulate("sim-two-sensors", 28, bands=6, seed=3)


@pytest.fixture(scope="module")
def homes(scene):
    return {name: home_of(scene, i)[0] for i, name in enumerate(("north", "south"))}


def test_exact_messages_bring_the_features_and_low_rank_nearly(homes):
    home = homes["north"]
    for kind, close in (("dense", 0.0), ("low_rank", 0.5)):
        codec = Codec(kind, 12)
        sent = messages_of(home, codec, 8)
        there = rebuilt(sent, home, codec, 8, "north")
        assert there.shape == home.features.shape
        assert float((there - home.features).norm() / home.features.norm()) <= close
        assert sum(payload_of(home, codec, 8)) == state_bytes(sent)
    exact, few = Codec("dense"), replace(home, features=home.features[:-9])
    with pytest.raises(InputError, match="features of north are not those of"):
        rebuilt(messages_of(few, exact, 8), home, exact, 8, "north")
    sent["0.scores"][0, 0] = torch.nan
    with pytest.raises(InputError, match="of north hold NaN"):
        rebuilt(sent, home, codec, 8, "north")


@pytest.mark.long
def test_a_round_depends_on_weights_and_number_only_and_lowers_the_loss(homes):
    config = override(Config(), {**QUICK, "average_every": 10})
    state = common(fusion(len(CLASSES), 0))
    one, other = (parties(homes, len(CLASSES), config, 3) for _ in range(2))
    once, again = list(rounds(one, state, 3)), list(rounds(other, state, 3))
    assert [fingerprint(r.state) for r in once] == [fingerprint(r.state) for r in again]
    assert fingerprint(one[0].train(state, 2).state) == fingerprint(other[0].train(state, 2).state)
    assert once[-1].scalars["north"]["loss"] < once[0].scalars["north"]["loss"]
    assert set(state) == set(once[0].state)
    assert not any(name.split(".")[2] in ("raw", "deep") for name in state if name.startswith("branches"))


def test_owners_with_other_pixels_or_several_sensors_are_refused(scene, homes):
    other = home_of(scene, 1, seed=5)[0]
    with pytest.raises(InputError, match="north and south have other training or test pixels"):
        same_pixels({"north": homes["north"].pixels, "south": other.pixels})
    config = override(Config(), QUICK)
    with pytest.raises(InputError, match="has one sensor; this one has hsi, lidar"):
        prepared(patches_of(scene, config), config, 0, np.arange(8))


# --- apps -------------------------------------------------------------------------------------------------------------

flower = pytest.importorskip("workbench.engines.flower")


def plan_in(folder, **changes) -> Plan:
    """A plan of two owners in a file; small enough to train in seconds."""
    nodes = {
        name: {"scene": "sim-two-sensors", "port": free_port(), "settings": {"sensors": [sensor]}}
        for name, sensor in (("north", "hsi"), ("south", "lidar"))
    }
    values = {"method": "feddiff", "port": free_port(), "rounds": 2, "least": 1, "classes": CLASSES, "nodes": nodes}
    path = folder / "plan.yml"
    path.write_text(json.dumps({**values, "settings": {**QUICK, "split": "halves"}, **changes}))
    return read_plan(path)


def plainly(plan):
    """The rounds by calls, from what the nodes prepared."""
    from workbench.methods.feddiff import deployed

    homes = {name: deployed.home_of(plan, name) for name in plan.nodes}
    clients = parties(homes, len(plan.classes), deployed.settings_of(plan), plan.rounds)
    return list(rounds(clients, deployed.first_weights(plan), plan.rounds))


def lines(text):
    return [json.loads(line.removeprefix(MARK)) for line in text.splitlines() if line.startswith(MARK)]


def served(plan, nodes, capsys):
    """What the server app tells, with its nodes in this process."""
    from workbench.methods.feddiff import deployed

    grid = flower.InProcess(dict.fromkeys(nodes, deployed.client))
    for context in grid.contexts.values():
        context.node_config["plan"] = str(plan.folder.parent / "plan.yml")
        context.run_config = {"plan": str(plan.folder.parent / "plan.yml")}
    deployed.serve(grid, next(iter(grid.contexts.values())))
    return lines(capsys.readouterr().out)


@pytest.mark.long
def test_the_apps_in_this_process_give_the_plain_rounds(tmp_path, capsys):
    from workbench.methods.feddiff import deployed

    plan = plan_in(tmp_path)
    assert "north has prepared nothing" in served(plan, plan.nodes, capsys)[-1]["error"]
    said = [deployed.prepare(plan, name) for name in plan.nodes]
    assert "training pixels of hsi; its diffusion network is trained" in said[0]
    assert "was trained before" in deployed.prepare(plan, "south")
    before = {p.name: p.read_bytes() for p in plan.folder.glob("*-diffusion.safetensors")}
    told = served(plan, plan.nodes, capsys)
    plain = plainly(plan)
    assert [m["sha256"] for m in told[1:]] == [fingerprint(r.state) for r in plain] + [fingerprint(plain[-1].state)]
    sizes = [payload_of(deployed.home_of(plan, name), Codec("low_rank", 4), 8) for name in plan.nodes]
    assert told[0]["up"] == told[0]["down"] == sum(map(sum, sizes))
    assert told[0]["test"] == 2 * sum(test for _, test in sizes)
    assert before == {p.name: p.read_bytes() for p in plan.folder.glob("*-diffusion.safetensors")}
    assert len(before) == 2
    plan_in(tmp_path, seconds=0.1)
    assert "1 of 2 nodes are connected" in served(plan, ["north"], capsys)[-1]["error"]


@contextlib.contextmanager
def owners(plan):
    """Link and nodes with TLS, prepared; how the run is started."""
    from workbench.methods.feddiff import deployed

    for name in plan.nodes:
        deployed.prepare(plan, name)
    make_certificates(plan)
    place, path = "workbench.methods.feddiff.deployed", str(plan.folder.parent / "plan.yml")
    write_app(plan.folder / "app", f"{place}:client", f"{place}:server", {"plan": ""})
    with running(plan, lambda _: {"plan": path}) as (nodes, stack, env):
        yield nodes, stack, env, lambda: messages(plan, plan.folder / "app", {"plan": path}, 500)


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_deployed_with_tls_gives_the_arrays_of_the_plain_rounds(tmp_path):
    plan = plan_in(tmp_path)
    with owners(plan) as (*_, begin):
        told = list(begin())
    plain = plainly(plan)
    print(told)
    assert [m["sha256"] for m in told[1:]] == [fingerprint(r.state) for r in plain] + [fingerprint(plain[-1].state)]
    assert [sorted(m["scalars"]) for m in told[1:-1]] == [["north", "south"]] * 2
    assert not any(m["failures"] for m in told[1:-1])


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_owner_killed_in_a_round_goes_on_with_the_features_that_it_kept(tmp_path):
    """Its diffusion network and both features are files on its machine, so it needs no second exchange."""
    plan = plan_in(tmp_path, rounds=12, seconds=150)
    with owners(plan) as (nodes, stack, env, begin):
        seen, helpers = [], []

        def kill():
            (plan.folder / "south.log").write_text("")
            kill_in_a_message(plan, "south", nodes["south"])
            time.sleep(75)  # until the link notices, it refuses a second node with this key
            command = node_command(plan, "south", {"plan": str(tmp_path / "plan.yml")})
            stack.enter_context(start(command, plan.folder / "south2.log", env))

        for message in begin():
            seen.append(message)
            if message.get("round") == 1:
                helpers.append(threading.Thread(target=kill))
                helpers[0].start()
            if len(seen) > 4 and "round" in message and len(message["scalars"]) == 2 and len(seen[3]["scalars"]) < 2:
                break  # it is back
        helpers[0].join(120)
    print([(m.get("round"), sorted(m.get("scalars", ())), m.get("failures")) for m in seen])
    partly = [m for m in seen if "round" in m and len(m["scalars"]) == 1]
    assert partly
    assert all(list(m["scalars"]) == ["north"] for m in partly)
    assert "south" in str(partly[0]["failures"])
    assert sorted(seen[-1]["scalars"]) == ["north", "south"]
    assert seen[-1]["round"] > partly[-1]["round"]


def test_a_plan_of_three_owners_is_refused(tmp_path):
    from workbench.methods.feddiff import deployed

    node = {"scene": "sim-two-sensors"}
    with pytest.raises(InputError, match="FedDiff is between two owners; the plan has 3 nodes"):
        deployed.settings_of(plan_in(tmp_path, nodes={"a": node, "b": node, "c": node}))

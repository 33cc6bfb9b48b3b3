"""`workbench federate`: what is told before anything starts; and its apps, in this process, beside the plain loop."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tests.unit.engines.test_deployment import free_port
from workbench.engines.deployment import MARK, read_plan
from workbench.errors import InputError
from workbench.federate import app
from workbench.parts.federation import fingerprint
from workbench.parts.rounds import rounds

flower = pytest.importorskip("workbench.engines.flower")

CLASSES = [f"spectrum {s}, {h}" for s in (1, 2, 3, 4) for h in ("low", "high")]


@pytest.fixture
def plan(tmp_path):
    """A plan of two nodes with one simulated scene each, in a file."""
    path = tmp_path / "plan.yml"

    def written(**changes):
        nodes = {n: {"scene": "sim-two-sensors", "port": free_port()} for n in "AB"}
        settings = {"split": "halves", "local_steps": 2, "per_class": 10}
        values = {"port": free_port(), "rounds": 2, "classes": CLASSES, "bands": 34, "nodes": nodes, "settings": settings}
        path.write_text(json.dumps({**values, **changes}))
        return path

    return written


def called(*words):
    """Exit code, output, and the InputError if there is one."""
    done = CliRunner().invoke(app, [str(w) for w in words])
    return done.exit_code, done.output, str(done.exception) if isinstance(done.exception, InputError) else ""


def test_what_is_missing_or_wrong_is_told_before_anything_starts(plan):
    path = plan()
    assert "has no link.crt, link.key, ca.crt. Make certificates with `workbench federate certs`" in called("link", path)[2]
    assert "has no ca.crt, A.key" in called("node", path, "A")[2]
    code, output, _ = called("certs", path)
    assert code == 0
    assert "Copy ca.crt and NODE.key" in output
    assert "has certificates already" in called("certs", path)[2]
    assert "no node 'C'; it has A, B" in called("node", path, "C")[2]
    assert "No link answers at 127.0.0.1" in called("node", path, "A")[2]
    assert "No link answers at 127.0.0.1" in called("run", path)[2]


def test_a_node_with_other_bands_or_classes_is_told(plan):
    path = plan(bands=12)
    called("certs", path)
    assert "The data of A have 34 channels, the plan says 12" in called("node", path, "A")[2]
    assert "A has the classes spectrum 4, low" in called("node", plan(classes=[*CLASSES[:6], "water"]), "A")[2]
    assert "no setting 'colour'" in called("run", plan(settings={"colour": "red"}))[2]
    assert "The plan has no `bands`" in called("run", plan(bands=None))[2]
    assert (
        "method is 'feddif'; a federation on several machines has feddiff or fedfusion. Did you mean"
        in called("run", plan(method="feddif"))[2]
    )


@pytest.mark.long
def test_the_deployed_apps_give_the_plain_loop(plan, capsys):
    from workbench.methods.fedfusion import deployed

    path = plan()
    known = read_plan(path)
    grid = flower.InProcess(dict.fromkeys(known.nodes, deployed.client))
    for context in grid.contexts.values():
        context.node_config["plan"] = str(path)
    known.folder.mkdir()
    context = next(iter(grid.contexts.values()))
    context.run_config = {"plan": str(path)}
    deployed.serve(grid, context)
    told = [json.loads(line.removeprefix(MARK)) for line in capsys.readouterr().out.splitlines() if line.startswith(MARK)]
    config = deployed.settings_of(known)
    clients = [deployed.NodeSite(known, n, config) for n in known.nodes]
    plain = list(rounds(clients, deployed.first_weights(known), 2))
    assert [m["sha256"] for m in told] == [fingerprint(r.state) for r in plain] + [fingerprint(plain[-1].state)]
    assert told[0]["scalars"]["A"]["oa"] == plain[0].scalars["A"]["oa"]
    assert (known.folder / "weights.safetensors").is_file()
    assert told[-1]["finished"]

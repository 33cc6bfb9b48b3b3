"""The commands `workbench federate certs | link | node | run`: a federation on several machines, from one plan."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from workbench.engines.deployment import Plan

app = typer.Typer(
    help="Run a federation on several machines: certificates, link, nodes and rounds, from one plan.", no_args_is_help=True
)
PlanArg = Annotated[Path, typer.Argument(metavar="PLAN", help="YAML file; docs/federation.md has an example")]


@app.callback()
def stoppable() -> None:
    """Make a request to end (SIGTERM) the same as Ctrl-C: Flower's processes end with the command."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


@app.command()
def certs(plan: PlanArg) -> None:
    """Make certificates of the link and a key for each node, below the folder of the plan."""
    from workbench.engines.deployment import make_certificates, read_plan

    known = read_plan(plan)
    for path in make_certificates(known):
        typer.echo(str(path))
    typer.echo(
        f"Copy ca.crt and NODE.key of each node, and of no other, to {known.folder} on its machine. ca.key can stay offline."
    )


@app.command()
def link(plan: PlanArg) -> None:
    """Start the link, the server that nodes connect to; it runs until it is stopped (Ctrl-C)."""
    from workbench.engines.deployment import environment, link_command, read_plan, start, watched

    known = read_plan(plan)
    log = known.folder / "link.log"
    with start(link_command(known), log, environment(known)) as process:
        typer.echo(f"The link listens on port {known.port}; its log is {log}. Stop it with Ctrl-C.")
        _until_stopped(lambda: watched(process, log, "The link"))


@app.command()
def node(plan: PlanArg, name: Annotated[str, typer.Argument(metavar="NODE", help="a node of the plan")]) -> None:
    """Start a node on the machine that has its data; it runs until it is stopped (Ctrl-C)."""
    from workbench.engines.deployment import check_link, environment, node_command, read_plan, start, watched

    known = read_plan(plan)
    apps = import_module(place_of(known))
    command = node_command(known, name, {"plan": str(plan.expanduser().resolve())})
    has = apps.prepare(known, name, _progress)  # whether the data fit is told here, not in a log of round 1
    check_link(known)
    log = known.folder / f"{name}.log"
    with start(command, log, environment(known)) as process:
        typer.echo(f"{name} takes part with {has}; its log is {log}. Stop it with Ctrl-C.")
        _until_stopped(lambda: watched(process, log, f"The node {name}"))


@app.command()
def run(
    plan: PlanArg,
    seconds: Annotated[float, typer.Option(min=1, help="how long the whole run may take")] = 3600.0,
) -> None:
    """Run the rounds on the link's machine: one line a round with loss and accuracy of each node, and failures with their reason.

    The lines are also in `rounds.jsonl` of the plan's folder, and the last weights in `weights.safetensors`.
    """
    from workbench.engines.deployment import check_link, messages, read_plan, register, write_app

    known = read_plan(plan)
    place, folder = place_of(known), known.folder
    import_module(place).settings_of(known)
    check_link(known)
    new = register(known)
    if new:
        typer.echo(f"The link now knows the keys of {', '.join(new)}.")
    write_app(folder / "app", f"{place}:client", f"{place}:server", {"plan": ""})
    begin = time.monotonic()
    with open(folder / "rounds.jsonl", "w") as file:
        for told in messages(known, folder / "app", {"plan": str(plan.expanduser().resolve())}, seconds):
            file.write(json.dumps(told) + "\n")
            file.flush()
            if "exchanged" in told:
                sent, test = (told["up"] + told["down"]) / 1e6, told["test"] / 1e6
                typer.echo(
                    f"exchanged once: {told['exchanged']} ({time.monotonic() - begin:.0f} s, {sent:.2f} MB; {test:.2f} of them for tests)"
                )
            if "round" in told:
                numbers = ", ".join(
                    f"{n}: loss {s['loss']:.3f}, OA {s['oa']:.3f}" for n, s in sorted(told["scalars"].items())
                )
                sent = (told["up"] + told["down"]) / 1e6
                typer.echo(
                    f"round {told['round']} of {known.rounds} ({time.monotonic() - begin:.0f} s, {sent:.2f} MB): {numbers}"
                )
                for name, reason in sorted(told["failures"].items()):
                    typer.secho(f"  {name} failed: {reason}", fg=typer.colors.RED, err=True)
    typer.echo(f"Weights: {folder / 'weights.safetensors'}, SHA-256 of the arrays {told['sha256'][:16]}.")


def place_of(plan: Plan) -> str:
    """The module that has the apps of the plan's method: `client` and `server` for Flower, `settings_of` and `prepare` for the commands.

    Raises InputError for a method that does not exist, or has no apps.
    """
    able = sorted(p.parent.name for p in (Path(__file__).parent / "methods").glob("*/deployed.py"))
    if plan.method not in able:
        raise InputError(
            f"The plan's method is {plan.method!r}; a federation on several machines has {' or '.join(able)}."
            f"{did_you_mean(plan.method, able)}"
        )
    return f"workbench.methods.{plan.method}.deployed"


def _progress(what: str, step: int, steps: int) -> None:
    if step in (1, steps) or step % 100 == 0:
        typer.echo(f"{what}: step {step} of {steps}")


def _until_stopped(wait: Callable[[], None]) -> None:
    try:
        wait()
    except KeyboardInterrupt:
        typer.echo("Stopped.")

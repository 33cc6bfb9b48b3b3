"""The server app of a deployed federation, the same for every method: rounds of a plan, each told on a line of its own.

    serve = serving(first)                      # first(plan, grid): the weights that the federation begins with
    server = server_app(serve)                  # what Flower loads

The last weights are `weights.safetensors` beside the plan's certificates.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from workbench.engines.deployment import MARK, Plan, read_plan
from workbench.engines.flower import rounds
from workbench.errors import InputError
from workbench.parts.federation import State, fingerprint
from workbench.parts.rounds import Round

if TYPE_CHECKING:
    from flwr.app import Context
    from flwr.serverapp import Grid, ServerApp

Serve = Callable[["Grid", "Context"], None]


def told(done: Round) -> dict[str, Any]:
    """A round as a message of JSON."""
    return {
        "round": done.number,
        "scalars": {n: dict(s) for n, s in done.scalars.items()},
        "failures": dict(done.failures),
        "up": done.up,
        "down": done.down,
        "counted": dict(done.counted),
        "sha256": fingerprint(done.state),
    }


def tell(message: dict[str, Any]) -> None:
    """Print a message that `workbench.engines.deployment.messages` finds in the log."""
    print(MARK + json.dumps(message), flush=True)


def serving(first: Callable[[Plan, Grid], State]) -> Serve:
    """What the server app does. first: makes the weights that the federation begins with; it may ask the nodes before."""

    def serve(grid: Grid, context: Context) -> None:
        from safetensors.torch import save_file

        try:
            plan = read_plan(str(context.run_config["plan"]))
            state = dict(first(plan, grid))
            for done in rounds(grid, state, plan.rounds, seconds=plan.seconds, least=plan.least):
                state = done.state
                tell(told(done))
            save_file(state, plan.folder / "weights.safetensors")
            tell({"finished": True, "sha256": fingerprint(state)})
        except InputError as error:
            tell({"error": str(error)})

    return serve


def server_app(serve: Serve) -> ServerApp:
    """The app that Flower loads."""
    from flwr.serverapp import ServerApp

    app = ServerApp()
    app.main()(serve)
    return app

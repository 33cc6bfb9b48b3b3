"""The page of the command line: every verb of `workbench` with its arguments and options, from their help texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from docs.generate.settings import cell
from workbench.cli import app


def page() -> str:
    """Markdown of all verbs, in the order of `workbench --help`."""
    group: Any = typer.main.get_command(app)
    lines = [
        "# Command line",
        "",
        "Every verb prints the same with `--help`. A user's mistake ends with exit code 2 and one message.",
        "",
    ]
    for names, command in _verbs(group, ("workbench",)):
        lines += [f"## `{' '.join(names)}`", "", _prose(command.help), ""]
        rows = [_row(p) for p in command.params if p.name != "help" and not p.hidden]
        if rows:
            lines += ["| argument or option | default | what |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _verbs(group: Any, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _verbs(command, (*above, name))
        elif not command.hidden:
            yield (*above, name), command


def _row(parameter: Any) -> str:
    names = [*parameter.opts, *parameter.secondary_opts]
    if parameter.param_type_name == "argument":
        names = [str(parameter.metavar or parameter.name).upper()]
    default = parameter.default
    unset = default is None or default is False or default == [] or callable(default)
    shown = "needed" if parameter.required else "" if unset else f"`{cell(str(default))}`"
    often = "; can be given several times" if parameter.multiple and "repeat" not in (parameter.help or "") else ""
    return f"| {', '.join(f'`{name}`' for name in names)} | {shown} | {_prose(parameter.help)}{often} |"


def _prose(text: str | None) -> str:
    return cell(text or "").replace("<", "&lt;")

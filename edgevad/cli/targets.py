"""edgevad targets: the devices that bundles are made for."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from edgevad.cli._options import Json

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add `targets` to the application."""
    group = typer.Typer(invoke_without_command=True, help="Device profiles: what each target of export can do.")
    group.callback()(targets)
    group.command("show")(show)
    app.add_typer(group, name="targets")


def targets(context: typer.Context, json_output: Json = False) -> None:
    """Device profiles: what each target of export can do."""
    if context.invoked_subcommand is not None:
        return
    from edgevad.targets import load_target, target_names

    found = [load_target(name) for name in target_names()]
    if json_output:
        print(json.dumps({"targets": [target.to_json() for target in found]}))
        return
    from rich.console import Console

    from edgevad.report.targets_view import targets_table

    Console().print(targets_table(found))


def show(
    target: Annotated[
        str,
        typer.Argument(metavar="NAME|PATH", help="A profile's name, or a .toml file of your own.", show_default=False),
    ],
    json_output: Json = False,
) -> None:
    """Everything one profile says, its limits and where each figure comes from."""
    from edgevad.targets import load_target

    found = load_target(target)
    if json_output:
        print(json.dumps(found.to_json()))
        return
    from rich.console import Console

    from edgevad.report.targets_view import target_view

    Console().print(target_view(found))

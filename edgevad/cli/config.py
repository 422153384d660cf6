"""edgevad config: look at the file that says what a vehicle's edgevad is to do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgevad.cli._options import Json

if TYPE_CHECKING:
    from edgevad.service.config import RunConfig

__all__ = ["register"]

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="Configuration in TOML.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add `config` and its sub-commands to the application."""
    group = typer.Typer(help="The file that says what edgevad does in a vehicle: check it, show it, an example.")
    group.command("check")(check)
    group.command("show")(show)
    group.command("example")(example)
    app.add_typer(group, name="config", no_args_is_help=True)


def check(file: FileArgument, json_output: Json = False) -> None:
    """Check every key of FILE; exit code 2 with a line for each problem, or a table of what will be used."""
    from edgevad.service.config import check_config
    from edgevad.service.needs import missing_needs

    config, problems = check_config(file)
    if config is not None:
        lacks = missing_needs(config)
        if json_output:
            print(json.dumps({"ok": True, "config": config.to_json(), "missing_here": lacks}))
            return
        _table(config)
        for line in lacks:
            print(f"Missing on this machine: {line}")
        print("Ready to be used." if not lacks else "Every key is in order.")
        return
    if json_output:
        rows = [{**problem._asdict(), "text": problem.text()} for problem in problems]
        print(json.dumps({"ok": False, "path": str(file), "problems": rows}))
    else:
        for problem in problems:
            print(f"edgevad: {problem.where(file)} {problem.text()}", file=sys.stderr)
    raise typer.Exit(2)


def show(file: FileArgument, json_output: Json = False) -> None:
    """Show what FILE sets, with the defaults of what it does not."""
    from edgevad.service.config import load_config

    config = load_config(file)
    if json_output:
        print(json.dumps(config.to_json()))
    else:
        _table(config)


def example() -> None:
    """Print a configuration with every key, what it means and its default."""
    from edgevad.service.example import example_config

    print(example_config(), end="")


def _table(config: RunConfig) -> None:
    from rich.console import Console

    from edgevad.report.config_view import config_table

    Console().print(config_table(config.to_json()))

"""edgevad activate: make a bundle the one that `edgevad run` uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edgevad.cli._options import Json

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add `activate` to the application."""
    app.command("activate")(activate)


def activate(
    bundle: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE", help="Folder or .edgevad file made by edgevad export.", show_default=False),
    ],
    trial: Annotated[
        bool, typer.Option("--trial/--no-trial", help="Let the service go back by itself where it does harm.")
    ] = True,
    unblock: Annotated[bool, typer.Option("--unblock", help="Run it though it failed on this device before.")] = False,
    why: Annotated[str, typer.Option("--why", help="A sentence that is kept with it.")] = "",
    json_output: Json = False,
) -> None:
    """Make BUNDLE the active one, after it has proved itself on this machine; the old one stays until then.

    A service that runs takes it up between two frames.
    """
    from edgevad.bundle import Slots
    from edgevad.report.build_progress import build_progress

    slots = Slots.of_device()
    with build_progress() as on_build:
        active = slots.activate(bundle, trial=trial, unblock=unblock, why=why, on_build=on_build)
    manifest = active.manifest
    if json_output:
        print(json.dumps({"name": manifest.name, "target": manifest.target, "path": str(active.path)}))
        return
    print(f"Active: {manifest.name} ({manifest.target}, {manifest.precision}) in {active.path}; its self-test passed.")
    current = slots.current
    if current is not None and current.state == "trial":
        print("It is on trial: the service goes back by itself where it does harm. Next: edgevad slots")
    else:
        print("Next: edgevad run --camera 0")

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
    json_output: Json = False,
) -> None:
    """Make BUNDLE the active one, after it has proved itself on this machine; the old one stays until then."""
    from edgevad.bundle import activate as activate_bundle
    from edgevad.report.build_progress import build_progress

    with build_progress() as on_build:
        active = activate_bundle(bundle, on_build=on_build)
    manifest = active.manifest
    if json_output:
        print(json.dumps({"name": manifest.name, "target": manifest.target, "path": str(active.path)}))
        return
    print(f"Active: {manifest.name} ({manifest.target}, {manifest.precision}) in {active.path}; its self-test passed.")
    print("Next: edgevad run --camera 0")

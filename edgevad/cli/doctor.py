"""edgevad doctor: is this machine fit, and if not, what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from edgevad.cli._options import Json

__all__ = ["register"]

# ruff: noqa: UP045 - typer on Python 3.10 reads Optional at run time


def register(app: typer.Typer) -> None:
    """Add `doctor` to the application."""
    app.command("doctor")(doctor)


def doctor(
    config: Annotated[
        Optional[Path], typer.Option("--config", help="Configuration whose needs are looked at.", show_default=False)
    ] = None,
    camera: Annotated[
        Optional[list[str]],
        typer.Option("--camera", help="Camera to open and read from; give it again for more.", show_default=False),
    ] = None,
    json_output: Json = False,
) -> None:
    """Look over this machine: cameras, OpenCV, GPU, bundle, disk, clock, permissions; exit code 1 where one fails."""
    from edgevad.service.doctor import examine

    findings = examine(config, camera or [])
    count = sum(finding.state == "fail" for finding in findings)
    if json_output:
        print(json.dumps({"ok": count == 0, "findings": [finding.to_json() for finding in findings]}))
    else:
        from rich.console import Console

        from edgevad.report.doctor_view import findings_table

        Console().print(findings_table(findings))
    if count:
        raise typer.Exit(1)

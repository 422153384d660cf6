"""edgevad drift: whether the world is still the one the bundle was calibrated on, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Optional

import typer

from edgevad.cli._options import Json

__all__ = ["register"]

# ruff: noqa: UP045 - typer on Python 3.10 reads Optional at run time


def register(app: typer.Typer) -> None:
    """Add `drift` to the application."""
    app.command("drift")(drift)


def drift(
    drives: Annotated[
        Optional[Path],
        typer.Option(help="Folder of the drives.", show_default="drives in edgevad's own folder"),
    ] = None,
    bundle: Annotated[
        Optional[Path],
        typer.Option(help="Bundle to compare with, folder or .edgevad file.", show_default="the active one"),
    ] = None,
    camera: Annotated[
        Optional[list[str]], typer.Option(help="Only this camera; again for more.", show_default="all")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="How many of the last days to look at.")] = 30,
    alpha: Annotated[
        float, typer.Option(help="Chance that anything is ever told of a camera though nothing has drifted.")
    ] = 0.05,
    margin: Annotated[float, typer.Option(help="How far a probability may move from 0.5 before that is drift.")] = 0.15,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure everything anew, and remember nothing.")] = False,
    plot: Annotated[
        Optional[Path], typer.Option(help="Picture to draw (.png): every figure, day by day.", show_default=False)
    ] = None,
    json_output: Json = False,
) -> None:
    """Compare the logged drives with what the bundle was calibrated on: scores, images, memory, day by day.

    Says what it calls for: none, recalibrate, adapt, refit, or clean the lens. Exit code 1 where something is to be
    done.
    """
    from rich.console import Console

    from edgevad.bundle import Bundle, active_bundle
    from edgevad.drives.folder import default_drives_directory
    from edgevad.refit.drift import DriftSpec, drift_of_drives
    from edgevad.refit.place import RefitHome
    from edgevad.report.drift_view import drift_view
    from edgevad.report.progress import frame_progress

    if plot is not None:
        from edgevad.report.drift_plot import plot_drift, require_matplotlib

        require_matplotlib()
    spec = DriftSpec(alpha=alpha, margin=margin, days=days)
    opened = Bundle.open(active_bundle() if bundle is None else bundle)
    with frame_progress("legs", None) as on_leg:
        report = drift_of_drives(
            default_drives_directory() if drives is None else drives,
            opened,
            spec=spec,
            cameras=camera or (),
            cache=None if fresh else RefitHome.of_device().drift,
            on_leg=lambda done, _: on_leg(done),
        )
    if plot is not None:
        plot_drift(report, plot)
    if json_output:
        print(json.dumps(report.to_json(), allow_nan=False))
    else:
        Console().print(drift_view(report, plot))
    if report.advice.what != "none":
        raise typer.Exit(1)

"""edgevad bench: how quick a bundle is on this machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Optional

import typer

from edgevad.cli._options import BackendName, Json

__all__ = ["register"]

# ruff: noqa: UP045 - typer on Python 3.10 reads Optional at run time


def register(app: typer.Typer) -> None:
    """Add `bench` to the application."""
    app.command("bench")(bench)


def bench(
    bundle: Annotated[
        Optional[Path],
        typer.Argument(metavar="[BUNDLE]", help="Folder or .edgevad file.", show_default="the active one"),
    ] = None,
    source: Annotated[
        Optional[str],
        typer.Option(help="Recording whose first frames the cameras show.", show_default="noise"),
    ] = None,
    size: Annotated[str, typer.Option(help="Size of made-up frames.", metavar="WIDTHxHEIGHT")] = "1280x720",
    fps: Annotated[float, typer.Option("--fps", help="Frame rate of each camera, in Hz.")] = 30.0,
    cameras: Annotated[int, typer.Option(help="Cameras that share the engine.")] = 1,
    seconds: Annotated[float, typer.Option(help="How long to measure, in all.")] = 10.0,
    backend: BackendName = None,
    threads: Annotated[Optional[int], typer.Option(help="Threads of one inference.", show_default="1")] = None,
    plot: Annotated[
        Optional[Path], typer.Option(help="Histogram of latencies to draw (.png).", show_default=False)
    ] = None,
    json_output: Json = False,
) -> None:
    """Measure a bundle on this machine: latency from camera to score, frames a second, memory, power."""
    from rich.console import Console

    from edgevad._allocator import keep_freed_memory
    from edgevad.bundle import Bundle, active_bundle
    from edgevad.report.build_progress import build_progress
    from edgevad.report.measurement_view import measurement_view, plot_measurement
    from edgevad.report.plots import require_matplotlib
    from edgevad.runtime.measuring import images_of, made_up_images, measure
    from edgevad.runtime.scorer import Scorer
    from edgevad.sources import open_source

    keep_freed_memory()
    if plot is not None:
        require_matplotlib()
    images = made_up_images(_size_px(size)) if source is None else images_of(open_source(source))
    opened = Bundle.open(active_bundle() if bundle is None else bundle)
    console = Console(stderr=True)
    with build_progress(quiet=json_output) as on_build:
        scorer = Scorer.from_bundle(opened, backend=backend, threads=threads, on_build=on_build)
    with scorer, console.status("measuring") as status:
        found = measure(
            scorer,
            images,
            seconds=seconds,
            cameras=cameras,
            camera_fps_hz=fps,
            budget_s=opened.manifest.device().latency_budget_ms / 1e3,
            on_stage=lambda stage: status.update(f"measuring: {stage}"),
        )
    if plot is not None:
        plot_measurement(found, plot)
    if json_output:
        print(json.dumps({**found.to_json(), "target": opened.manifest.target}))
        return
    Console().print(measurement_view(found, opened.manifest.target))


def _size_px(text: str) -> tuple[int, int]:
    from edgevad.errors import OptionError

    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if match is None or not all(8 <= int(side) <= 16384 for side in match.groups()):
        raise OptionError(f"--size {text}", expected="WIDTHxHEIGHT in pixels, 8 to 16384 each, for example 1280x720")
    return int(match[1]), int(match[2])

"""`edgevad inspect`: what a source holds, before anything is trained on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgevad.sources import Source
    from edgevad.sources.summary import SourceSummary

__all__ = ["inspect", "register"]


def register(app: typer.Typer) -> None:
    app.command("inspect")(inspect)


def inspect(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Camera index, /dev/videoN, rtsp://, GStreamer pipeline, video, image, folder, glob, tub.",
        ),
    ],
    fps_hz: float | None = typer.Option(None, "--fps", help="Frame rate of recordings without a clock of their own."),
    gap_s: float = typer.Option(1.0, "--gap", help="A longer gap between frames starts a new segment, in seconds."),
    include_deleted: bool = typer.Option(False, "--include-deleted", help="Read records a tub marks as deleted, too."),
    max_frames: int | None = typer.Option(None, "--max-frames", min=1, help="Stop after this many frames."),
    seconds: float = typer.Option(3.0, "--seconds", min=0.1, help="How long to watch a live source."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on stdout instead of the table."),
) -> None:
    """Read a source from end to end and say what is in it: frames, sizes, time, segments, and what cannot be read."""
    import json

    from edgevad.sources import open_source

    with open_source(sources, fps_hz=fps_hz, gap_s=gap_s, include_deleted=include_deleted) as source:
        summary = _read(source, max_frames, seconds)
    if as_json:
        typer.echo(json.dumps(summary.to_json(), indent=2))
    else:
        _print_table(summary)


def _read(source: Source, max_frames: int | None, seconds: float) -> SourceSummary:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from edgevad.sources.summary import summarize

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        hints = [hint for hint in (source.frame_count_hint, max_frames) if hint is not None]
        task = progress.add_task("reading", total=min(hints) if hints else None)
        return summarize(
            source, max_frames=max_frames, live_s=seconds, on_frame=lambda count: progress.update(task, completed=count)
        )


def _print_table(summary: SourceSummary) -> None:
    for label, value in summary.rows():
        first, *others = value.split("\n")
        typer.echo(f"{label:<12}{first}")
        for line in others:
            typer.echo(f"{'':<12}{line}")

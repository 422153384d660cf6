"""`edgevad inspect`: what a source holds, before anything is trained on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from edgevad.cli._options import FpsHz, IncludeDeleted, Json, SourcesArgument

if TYPE_CHECKING:
    from edgevad.sources import Source
    from edgevad.sources.summary import SourceSummary

__all__ = ["inspect", "register"]


def register(app: typer.Typer) -> None:
    app.command("inspect")(inspect)


def inspect(
    sources: SourcesArgument,
    fps_hz: FpsHz = None,
    gap_s: float = typer.Option(1.0, "--gap", help="A longer gap between frames starts a new segment, in seconds."),
    include_deleted: IncludeDeleted = False,
    max_frames: int | None = typer.Option(None, "--max-frames", min=1, help="Stop after this many frames."),
    seconds: float = typer.Option(3.0, "--seconds", min=0.1, help="How long to watch a live source."),
    as_json: Json = False,
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
    from edgevad.report.progress import frame_progress
    from edgevad.sources.summary import summarize

    hints = [hint for hint in (source.frame_count_hint, max_frames) if hint is not None]
    with frame_progress("reading", min(hints) if hints else None) as on_frame:
        return summarize(source, max_frames=max_frames, live_s=seconds, on_frame=on_frame)


def _print_table(summary: SourceSummary) -> None:
    for label, value in summary.rows():
        first, *others = value.split("\n")
        typer.echo(f"{label:<12}{first}")
        for line in others:
            typer.echo(f"{'':<12}{line}")

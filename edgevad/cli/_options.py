"""Options that several commands share: one spelling, one help text each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

__all__ = ["AlarmsPerHour", "FpsHz", "IncludeDeleted", "Json", "SourcesArgument", "Window", "WindowLength"]

SourcesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="Video, image, folder, glob, Donkeycar tub, camera index, /dev/videoN, rtsp://, GStreamer pipeline.",
        show_default=False,
    ),
]
FpsHz = Annotated[
    Optional[float],  # noqa: UP045 - typer on Python 3.10 reads this at run time
    typer.Option("--fps", help="Frame rate in Hz of image folders, which do not know theirs.", show_default="10"),
]
IncludeDeleted = Annotated[
    bool, typer.Option("--include-deleted", help="Read records that a Donkeycar tub marks as deleted.")
]
Window = Annotated[str, typer.Option("--window", help="Sliding window: mean, median or ema.")]
WindowLength = Annotated[float, typer.Option("--window-s", help="Length of the sliding window in seconds.")]
AlarmsPerHour = Annotated[
    float, typer.Option("--alarms-per-hour", help="False-alarm budget: events an hour of normal driving may raise.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


def absolute_sources(sources: list[str]) -> tuple[str, ...]:
    """Sources that are paths, made absolute: a recipe must mean the same from another working folder."""
    return tuple(str(Path(s).absolute()) if not s.isdigit() and Path(s).exists() else s for s in sources)

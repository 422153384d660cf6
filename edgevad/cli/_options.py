"""Options that several commands share: one spelling, one help text each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

__all__ = [
    "AlarmsPerHour",
    "BackendName",
    "FpsHz",
    "IncludeDeleted",
    "Json",
    "LayoutName",
    "NewAlarmsPerHour",
    "NewThreshold",
    "NewWindow",
    "NewWindowLength",
    "SourcesArgument",
    "Window",
    "WindowLength",
    "absolute_sources",
    "bytes_of_gigabytes",
]

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
# For commands that take a finished model: what it was calibrated for, unless told otherwise.
NewWindow = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--window", help="Sliding window: mean, median or ema.", show_default="the model's"),
]
NewWindowLength = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option("--window-s", help="Its length in seconds.", show_default="the model's"),
]
NewAlarmsPerHour = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option("--alarms-per-hour", help="False-alarm budget; sets the threshold anew.", show_default="the model's"),
]
NewThreshold = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option("--threshold", help="Anomaly score at which events start.", show_default="the model's"),
]
LayoutName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--layout", help="How the data set is laid out, see docs/datasets.md.", show_default="recognised"),
]
BackendName = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--backend", help="Engine that runs a bundle: onnxruntime, openvino or tensorrt.", show_default="the bundle's"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]


def absolute_sources(sources: list[str]) -> tuple[str, ...]:
    """Paths and globs made absolute: a recipe must mean the same from another working folder."""

    def is_path(source: str) -> bool:
        return not (source.isdigit() or "://" in source or " ! " in source)

    return tuple(str(Path(source).absolute()) if is_path(source) else source for source in sources)


def bytes_of_gigabytes(value: float | None, option: str) -> int | None:
    """None where the option was not given.

    Raises:
        OptionError: it is no size of a disk.
    """
    from edgevad.errors import OptionError

    if value is None:
        return None
    if not 0 <= value <= 1e9:
        raise OptionError(f"{option} {value:g}", expected="gigabytes, from 0 to 1e9")
    return round(value * 1e9)

"""Drift as a table on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgevad.refit.drift import DriftDay, DriftReport

__all__ = ["drift_view"]

_SHOWN = 3


def drift_view(report: DriftReport, plot: Path | None = None) -> RenderableType:
    """A row for each day and camera, and what it calls for."""
    table = Table(title=Text(f"Drift since {report.bundle} was calibrated"), title_justify="left")
    table.add_column("day", no_wrap=True)
    table.add_column("camera")
    table.add_column("driven", justify="right")
    table.add_column("what differs")
    table.add_column("calls for")
    for day in report.days:
        driven = f"{day.comparison.driven_s / 60:.0f} min" + (f" in {day.days} days" if day.days > 1 else "")
        style = "bold" if day.comparison.advice.what != "none" else ""
        table.add_row(day.day, Text(day.camera), driven, Text(_differs(day)), Text(day.comparison.advice.what, style))
    lines: list[RenderableType] = [table]
    for camera, day in report.latest().items():
        lines.append(Text(f"{camera}: {day.comparison.advice.what}: {day.comparison.advice.sentence}."))
    lines += [Text(f"Note: {note}.") for note in report.notes]
    if plot is not None:
        lines.append(Text(f"Drawn: {plot}"))
    return Group(*lines)


def _differs(day: DriftDay) -> str:
    """The figures that differ most, one each."""
    found = sorted(day.comparison.findings, key=lambda one: -abs(one.effect.size))
    names = list(dict.fromkeys(one.figure.name for one in found))
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

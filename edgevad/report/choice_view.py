"""What would be learned from, and why, on the terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from edgevad.refit.observer import RefitObserver
from edgevad.refit.selection import Selection
from edgevad.refit.trust import Trust

__all__ = ["choice_json", "choice_progress", "choice_view"]


def choice_json(selection: Selection, trust: Trust | None) -> dict[str, Any]:
    """The choice in numbers; `trust` is None where nobody was asked."""
    return {
        "frames": len(selection.cache),
        "held_out": int(selection.held_out.sum()),
        "learnable": int(selection.learnable.sum()),
        "in_event": int(selection.in_event.sum()),
        "drives": [drive.to_json() for drive in selection.drives],
        "notes": list(selection.notes),
        "blind_share": selection.blind_share,
        "trust": None if trust is None else trust.to_json(),
    }


def choice_view(selection: Selection, trust: Trust | None) -> RenderableType:
    """A row for each drive, what was left out, and whether what is left is to be trusted."""
    table = Table(title="What would be learned from", title_justify="left")
    table.add_column("drive", no_wrap=True)
    for column in ("day", "cameras", "legs", "frames", "for the gate", "in events", "novelty"):
        table.add_column(column, justify="left" if column in ("day", "cameras") else "right")
    for number, drive in enumerate(selection.drives):
        mine = selection.drive == number
        table.add_row(
            Text(drive.name),
            time.strftime("%Y-%m-%d", time.gmtime(drive.start_ns / 1e9)) if drive.start_ns else "",
            Text("\n".join(drive.cameras)),
            str(len(drive.legs)),
            str(drive.frames),
            str(int((mine & selection.held_out).sum())),
            str(int((mine & selection.in_event).sum())),
            "" if math.isnan(drive.novelty) else f"{drive.novelty:.1f}",
        )
    learnable, held = int(selection.learnable.sum()), int(selection.held_out.sum())
    lines = [f"{learnable} frames to learn from, {held} for the gate."]
    lines += [f"Left out: {note}" for note in selection.notes]
    if trust is not None:
        lines += ["Trusted." if trust.trusted else "Nothing would be learned from this:", *trust.reasons]
    return Group(table, Text("\n".join(lines)))


class _Bar(RefitObserver):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def stage(self, what: str, total: int | None = None) -> None:
        self._progress.start()  # not before: an empty display would leave an empty line above an error
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(what, total=total)

    def advance(self, done: int) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=done)


@contextmanager
def choice_progress() -> Iterator[RefitObserver]:
    """An observer that draws a bar on standard error, where that is a terminal; gone when the block ends."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    try:
        yield _Bar(progress)
    finally:
        progress.stop()

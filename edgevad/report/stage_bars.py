"""Work in stages, a bar each, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

__all__ = ["StageBars", "stage_bars"]


class StageBars:
    """Draws what `ExportObserver` and `RefitObserver` are told."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def stage(self, what: str, total: int | None = None) -> None:
        self._progress.start()  # not before: an empty display would leave an empty line above an error
        self._end()
        self._task = self._progress.add_task(what, total=total)

    def advance(self, done: int) -> None:
        if self._task is not None:
            self._progress.update(self._task, completed=done)

    def note(self, sentence: str) -> None:
        self._progress.console.print(Text(f"edgevad: {sentence}"), soft_wrap=True, highlight=False)

    def _end(self) -> None:
        if self._task is not None:
            done = self._progress.tasks[self._task].completed or 1
            self._progress.update(self._task, total=done, completed=done)
            self._progress.stop_task(self._task)

    def close(self) -> None:
        if self._progress.live.is_started:
            self._end()
            self._progress.stop()


@contextmanager
def stage_bars() -> Iterator[StageBars]:
    """Bars while the block runs."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    bars = StageBars(Progress(*columns, console=Console(stderr=True)))
    try:
        yield bars
    finally:
        bars.close()

"""A progress bar for training, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from edgevad.model.trainer import Trainer
from edgevad.model.training import Observer, Stage

__all__ = ["training_progress"]

LABELS: dict[Stage, str] = {
    "reading": "reading frames",
    "preparing": "looking for what recurs",
    "training": "training",
    "scoring": "scoring",
}


class _Bar(Observer):
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def stage(self, stage: Stage, total: int | None) -> None:
        self._progress.start()  # not before: an empty display would leave an empty line above an error
        if self._task is not None:
            self._progress.update(self._task, total=self._progress.tasks[self._task].completed or 1)
            self._progress.stop_task(self._task)
        self._task = self._progress.add_task(LABELS[stage], total=total, note="")

    def advance(self, done: int, trainer: Trainer | None = None) -> None:
        if self._task is None:
            return
        note = ""
        if trainer is not None and trainer.history.rows:
            last = trainer.history.rows[-1]
            target = "" if last["explained_target"] is None else f" (target {last['explained_target']:.2f})"
            note = f"explained {last['explained']:.2f}{target}, {last['frames_per_s']:.0f} frames/s"
            if trainer.rule.phase == "settling":
                rule = trainer.rule
                end = (rule.rounds - rule.settled + rule.settle) * trainer.config.round_steps
                self._progress.update(self._task, total=end)
                note = "settling, " + note
        self._progress.update(self._task, completed=done, note=note)


@contextmanager
def training_progress() -> Iterator[Observer]:
    """An `Observer` that draws one bar per stage while the block runs."""
    columns = (
        TextColumn("{task.description:24}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    progress = Progress(*columns, console=Console(stderr=True))
    try:
        yield _Bar(progress)
    finally:
        if progress.live.is_started:
            progress.stop()

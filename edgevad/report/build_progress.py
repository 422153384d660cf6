"""What is seen of an engine while it is built, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from edgevad.runtime.engines.options import BuildProgress, BuildStep

__all__ = ["build_progress"]


@contextmanager
def build_progress(*, console: Console | None = None, quiet: bool = False) -> Iterator[BuildProgress]:
    """A bar that appears with the first step and is gone when the block ends.

    It is drawn on `console` (None: stderr) where that is a terminal; elsewhere, as in a service's log, a line tells of
    every phase that is part of no other. `quiet`: neither.
    """
    console = Console(stderr=True) if console is None else console
    if quiet:
        yield lambda step: None
    elif not console.is_terminal:
        yield _Lines(console)
    else:
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
        progress = Progress(*columns, TextColumn("{task.fields[note]}"), console=console, transient=True)
        try:
            yield _Bar(progress)
        finally:
            if progress.live.is_started:
                progress.stop()


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console, self._last = console, ""

    def __call__(self, step: BuildStep) -> None:
        phase = step.phase.split(";")[0]  # what follows counts seconds
        if step.parent is None and phase != self._last:
            self._last = phase
            self._console.print(f"edgevad: {phase}", highlight=False, markup=False, soft_wrap=True)


class _Bar:
    """The outermost phase is the bar, the one at work within it is the note."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def __call__(self, step: BuildStep) -> None:
        if self._task is None:
            self._progress.start()  # not before: an empty display would leave an empty line above an error
            self._task = self._progress.add_task("building the engine", total=None, note="")
        if step.parent is None:
            total = step.total or None
            self._progress.update(self._task, description=step.phase, total=total, completed=step.done, note="")
        else:
            self._progress.update(self._task, note=f"{step.phase} {step.done}/{step.total}")

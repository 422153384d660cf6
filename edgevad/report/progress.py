"""The progress bar of commands that read a recording from end to end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["frame_progress"]


@contextmanager
def frame_progress(what: str, total: int | None, *, console: Console | None = None) -> Iterator[Callable[[int], None]]:
    """A bar that says `what` is done, gone when the block ends; call what it gives with the frames done so far.

    `total` is None where it is unknown. The bar is drawn on `console` (None: stderr), and only on a terminal.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True) if console is None else console
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.update(task, completed=done)

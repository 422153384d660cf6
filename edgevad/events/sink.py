"""What everything that takes the pipeline's results has in common."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from edgevad.events.event import Event

if TYPE_CHECKING:
    from edgevad.runtime.pipeline import Result
    from edgevad.runtime.session import RunSummary

__all__ = ["Sink"]


class Sink:
    """Takes results as they come; a context manager that finishes its output when the run ends.

    `push` and `event` are called from the thread that scores: they must be quick.
    """

    def push(self, result: Result) -> None:
        """Take one frame's result."""

    def event(self, event: Event) -> None:
        """Take one finished event; called after `push` of the frame that showed it to be over."""

    def finish(self, summary: RunSummary) -> None:
        """Take what the run came to, after its last event; also of a run that failed (`RunSummary.error`)."""

    def close(self) -> None:
        """Finish the output. May be called twice."""

    def abandon(self) -> None:
        """End without raising, after an error that must be told instead of one of ours."""
        self.close()

    def __enter__(self) -> Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abandon()

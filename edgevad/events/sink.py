"""What everything that takes the pipeline's results has in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.events.run_info import RunInfo

if TYPE_CHECKING:
    from edgevad.runtime.pipeline import Result
    from edgevad.runtime.session import RunSummary

__all__ = ["Sink"]


class Sink:
    """Takes results as they come; a context manager that finishes its output when the run ends.

    All methods but the constructor are called from one thread, the sink's own (`Dispatcher`), in the order in which
    things happened. Of a recording the run waits for a sink that is slow; with cameras results are dropped and counted
    for it, never events or incidents.

    A method may raise an `EdgevadError`. Of a recording that ends the run; with cameras the sink is reported as failing
    and fed on: it must be able to take up its work again, e.g. when there is space on the disk. A `start` that raised
    is tried again before anything else is called.
    """

    #: What people call it: in messages, counters and incidents.
    name: str = ""
    #: False where `push` has nothing to do: then no frame lies waiting for it.
    wants_results: bool = True
    #: Takes incidents the sink itself has to tell (a broker out of reach), from any thread; set by `Dispatcher`.
    on_incident: Callable[[Incident], None] | None = None

    def figures(self) -> Mapping[str, int]:
        """What the sink counts by itself, a word each; safe in any thread."""
        return {}

    def start(self, run: RunInfo) -> None:
        """Told once, before everything else."""

    def continues(self, run: RunInfo) -> None:
        """The run goes on with another bundle: what begins from now on belongs to `run`, which has an id of its own.

        Events and incidents that began before are over in the run in which they began.
        """

    def push(self, result: Result) -> None:
        """Take one frame's result."""

    def event_began(self, event: Event) -> None:
        """An event has begun and is certain to be recorded; `event`, so far, will come again when it is over.

        Called after `push` of the frame that made it certain.
        """

    def event(self, event: Event) -> None:
        """Take one finished event; called after `push` of the frame that showed it to be over."""

    def incident(self, incident: Incident) -> None:
        """Take an incident when it begins, and once more when it is over."""

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

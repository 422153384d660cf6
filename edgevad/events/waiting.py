"""What waits for a sink, how much of it may, and what became of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Limits", "QueueCounters", "SinkCounters", "WaitingQueue"]


@dataclass(frozen=True)
class Limits:
    """How much may wait for one sink, and for how long.

    Attributes:
        results: results that wait at most; the same frames wait for several sinks, and are there once.
        result_bytes: the same in bytes of images and heatmaps; one result may always wait.
        notes: events and incidents that wait at most.
        retry_s: time between two tries of a `start` that fails.
        stall_s: a call that lasts longer is told as an incident.
        settle_s: a sink works again when it has not failed for this long.
    """

    results: int = 64
    result_bytes: int = 32 << 20
    notes: int = 10_000
    retry_s: float = 5.0
    stall_s: float = 10.0
    settle_s: float = 10.0


@dataclass(frozen=True)
class QueueCounters:
    """What became of what a sink was given: given == handled + dropped + waiting, at any moment.

    Attributes:
        handled: taken by the sink, also where it raised an error (`SinkCounters.failures`).
        waiting: in the queue, or in the sink's hands.
    """

    given: int
    handled: int
    dropped: int
    waiting: int


@dataclass(frozen=True)
class SinkCounters:
    """One sink's state.

    Attributes:
        notes: events that began or ended, and incidents.
        failures: calls that raised.
        is_failing: an incident of it lasts.
        figures: `Sink.figures`.
    """

    results: QueueCounters
    notes: QueueCounters
    failures: int
    is_failing: bool
    figures: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class WaitingQueue:
    """One kind of what waits, oldest first, each with its place in the order of all; its lane's lock guards it."""

    def __init__(self) -> None:
        self.items: deque[tuple[int, Callable[[], None], int]] = deque()
        self.bytes = self.given = self.handled = self.dropped = 0

    def add(self, place: int, call: Callable[[], None], size_bytes: int = 0) -> None:
        self.given += 1
        self.bytes += size_bytes
        self.items.append((place, call, size_bytes))

    def pop(self) -> Callable[[], None]:
        _, call, size_bytes = self.items.popleft()
        self.bytes -= size_bytes
        return call

    def drop_oldest(self) -> None:
        self.pop()
        self.dropped += 1

    def counters(self) -> QueueCounters:
        return QueueCounters(self.given, self.handled, self.dropped, self.given - self.handled - self.dropped)

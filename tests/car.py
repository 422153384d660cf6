"""A service with simulated cameras, in a thread of its own, and a sink that remembers everything."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from simulated import SimulatedCamera, number_of

from edgevad.events import Event, Incident, Sink
from edgevad.runtime.pipeline import Result
from edgevad.runtime.session import RunSummary
from edgevad.service.config import load_config
from edgevad.service.running import ServiceRun

__all__ = ["Car", "Watching"]


class Watching(Sink):
    """Remembers everything, and lets a test wait for it."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.cameras: set[str] = set()
        self.anomalies = 0
        self.incidents: list[Incident] = []
        self.events: list[Event] = []
        self._changed = threading.Condition()

    def push(self, result: Result) -> None:
        with self._changed:
            self.numbers.append(number_of(result.frame.image))
            self.cameras.add(result.frame.source_id)
            self.anomalies += result.is_anomaly
            self._changed.notify_all()

    def incident(self, incident: Incident) -> None:
        with self._changed:
            self.incidents.append(incident)
            self._changed.notify_all()

    def event(self, event: Event) -> None:
        self.events.append(event)

    def wait_for(self, holds: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, 10)


class Car:
    """A service with simulated cameras in a thread of its own."""

    def __init__(self, path: Path, **cameras: SimulatedCamera) -> None:
        self.seen = Watching()
        self.summary: RunSummary | None = None
        self.service = ServiceRun(load_config(path), views=[self.seen])
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with self.service as service:
            self.summary = service.run()

    def __enter__(self) -> Car:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> float:
        """Stop it; how many seconds that took."""
        started_s = time.monotonic()
        self.service.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()
        return time.monotonic() - started_s

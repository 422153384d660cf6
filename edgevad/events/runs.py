"""Which run an event or incident belongs to, where a run goes on with another bundle."""

from __future__ import annotations

from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.events.run_info import RunInfo

__all__ = ["Runs"]


class Runs:
    """What is told twice, when it begins and when it is over, belongs to the run in which it began."""

    def __init__(self) -> None:
        self._now: RunInfo | None = None
        self._open: dict[int | str, RunInfo] = {}

    def start(self, run: RunInfo) -> None:
        """Everything that begins from now on belongs to `run`."""
        self._now = run

    @property
    def now(self) -> RunInfo:
        assert self._now is not None, "start() comes first"
        return self._now

    def of_event(self, event: Event, *, lasts: bool) -> RunInfo:
        return self._of(event.id, lasts)

    def of_incident(self, incident: Incident) -> RunInfo:
        return self._of(incident.id, incident.lasts)

    def _of(self, key: int | str, lasts: bool) -> RunInfo:
        if lasts:
            return self._open.setdefault(key, self.now)
        return self._open.pop(key, self.now)

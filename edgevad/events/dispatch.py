"""All sinks of a run, each with its own queue and thread, so that none can slow the scorer or another one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from edgevad.events.event import Event
from edgevad.events.health import Report
from edgevad.events.incident import Incident
from edgevad.events.lane import Lane
from edgevad.events.run_info import RunInfo
from edgevad.events.sink import Sink
from edgevad.events.waiting import Limits, QueueCounters, SinkCounters

if TYPE_CHECKING:
    from edgevad.runtime.pipeline import Result
    from edgevad.runtime.session import RunSummary

__all__ = ["Dispatcher", "Limits", "QueueCounters", "SinkCounters"]

# A sink that is now quicker, now slower than the scorer must not make memory swing by more.
_OF_RECORDINGS = Limits(result_bytes=8 << 20)
_log = logging.getLogger(__name__)

# Of a run's time to end, the part after which results that still wait are given up for the events behind them.
_HURRY_SHARE = 0.6


class Dispatcher(Sink):
    """Feeds several sinks, each from a thread of its own, in the order in which things happened.

    Of recordings (`lossless`) nothing is dropped: the producer waits for the slowest sink, and the first error of a
    sink is raised by the next call here. With cameras no call waits longer than for a lock and an append: where a sink
    falls behind, its oldest results are dropped and counted, and a failing sink is told as one incident that ends when
    it works again (kind "storage" where it cannot write, else "sink"). Events and incidents are kept whatever results
    do; only when `Limits.notes` of them wait, the oldest are dropped, counted, and that is told.

    The dispatcher closes its sinks, each in its own thread.

    Args:
        sinks: from the start; `replace` changes them. Sinks with the same name are told apart by a number.
        report: takes incidents of sinks, from any thread. They may come back through `incident` like all others.
        close_s: time all sinks together have to end. None means 1.5 s with cameras; for recordings as long as it takes,
            and 10 s after an error.
    """

    name = "dispatcher"

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        lossless: bool,
        report: Report,
        limits: Limits | None = None,
        close_s: float | None = None,
    ) -> None:
        self._is_lossless = lossless
        self._report = report
        self._limits = limits or (_OF_RECORDINGS if lossless else Limits())
        self._close_s = close_s if close_s is not None or lossless else 1.5
        self._run: RunInfo | None = None
        self._lasting: dict[str, Incident] = {}
        self._lanes: list[Lane] = []
        self._leaving: list[Lane] = []
        self._raised: BaseException | None = None
        self._lanes = self._arranged(sinks)

    @property
    def sinks(self) -> tuple[Sink, ...]:
        return tuple(lane.sink for lane in self._lanes)

    def start(self, run: RunInfo) -> None:
        self._run = run
        for lane in self._lanes:
            lane.start(run)

    def continues(self, run: RunInfo) -> None:
        self._run = run
        self._tell(lambda sink: sink.continues(run))

    def push(self, result: Result) -> None:
        for lane in self._lanes:
            lane.push(result)
        self._raise_first()

    def event_began(self, event: Event) -> None:
        self._tell(lambda sink: sink.event_began(event))

    def event(self, event: Event) -> None:
        self._tell(lambda sink: sink.event(event))

    def incident(self, incident: Incident) -> None:
        if incident.lasts:
            self._lasting[incident.id] = incident
        else:
            self._lasting.pop(incident.id, None)
        self._tell(lambda sink: sink.incident(incident))

    def finish(self, summary: RunSummary) -> None:
        """Of recordings: returns when every sink has taken everything, and the summary."""
        for lane in self._lanes:
            lane.finish(summary)
        if self._is_lossless and self._run is not None:
            for lane in self._lanes:
                lane.wait_finished()
        self._raise_first()

    def replace(self, sinks: Sequence[Sink]) -> None:
        """Go on with these: call it between two results, in the thread that pushes them.

        A sink that stays (the same object) keeps what waits for it. One that goes is given what waits for it, and is
        closed; nobody waits for that but the new sinks, which are started when the old ones are closed (they may write
        to the same file) or `close_s` later, and lose no event in between. They are told the incidents that last.
        """
        kept = [lane for lane in self._lanes if any(lane.sink is sink for sink in sinks)]
        for lane in self._lanes:
            if lane not in kept:
                lane.end()
                self._leaving.append(lane)
        self._leaving = [lane for lane in self._leaving if not lane.join(0.0)]
        self._lanes = self._arranged(sinks)
        if self._run is not None:
            for lane in self._lanes:
                if lane not in kept:
                    lane.start(self._run)
                    # What began before its time is over in its time, and it is to know of what.
                    for incident in self._lasting.values():
                        lane.note(partial(lane.sink.incident, incident))

    def counters(self) -> dict[str, SinkCounters]:
        """What became of what each sink was given, by the sink's name; safe in any thread."""
        return {lane.name: lane.counters() for lane in self._lanes}

    def close(self) -> None:
        """Give every sink what waits for it and close it, within `close_s`; what is not done by then is told."""
        error = self._end(self._close_s, abandon=False)
        if error is not None and self._raised is None:
            self._raised = error
            raise error

    def abandon(self) -> None:
        self._end(10.0 if self._close_s is None else self._close_s, abandon=True)

    def _end(self, limit_s: float | None, *, abandon: bool) -> BaseException | None:
        """End every lane; the first error there was."""
        ending = [*self._leaving, *self._lanes]
        self._leaving, self._lanes = [], []
        started_s = time.monotonic()
        for lane in ending:
            lane.end(abandon=abandon)
        if limit_s is not None:
            late = [lane for lane in ending if not lane.join(_left_s(started_s, _HURRY_SHARE * limit_s))]
            for lane in late:
                lane.hurry()
        for lane in ending:
            if not lane.join(None if limit_s is None else _left_s(started_s, limit_s)):
                detail = f"{lane.name} did not come to its end within {limit_s:g} s: {lane.unfinished()}"
                # Often the run is over by now, and nobody takes incidents any more.
                _log.warning("%s", detail)
                self._report(Incident.once("sink", "unfinished", detail))
        return next((lane.error for lane in ending if lane.error is not None), None)

    def _arranged(self, sinks: Sequence[Sink]) -> list[Lane]:
        """A lane for each sink; those that have one keep it."""
        found = {id(lane.sink): lane for lane in self._lanes}
        names = {lane.name for sink in sinks if (lane := found.get(id(sink))) is not None}
        lanes: list[Lane] = []
        for sink in sinks:
            lane = found.get(id(sink))
            if lane is None:
                name = _unused(sink.name or type(sink).__name__, names)
                names.add(name)
                lane = Lane(
                    sink,
                    name,
                    lossless=self._is_lossless,
                    report=self._report,
                    limits=self._limits,
                    after=tuple(self._leaving),
                    patience_s=1.5 if self._close_s is None else self._close_s,
                )
            lanes.append(lane)
        return lanes

    def _tell(self, call: Callable[[Sink], None]) -> None:
        for lane in self._lanes:
            lane.note(lambda sink=lane.sink: call(sink))  # type: ignore[misc]
        self._raise_first()

    def _raise_first(self) -> None:
        """Raise what ended the run, once: whoever ends it then still feeds the other sinks."""
        if self._raised is None:
            self._raised = next((lane.error for lane in self._lanes if lane.error is not None), None)
            if self._raised is not None:
                raise self._raised


def _left_s(started_s: float, limit_s: float) -> float:
    return max(started_s + limit_s - time.monotonic(), 0.0)


def _unused(name: str, taken: set[str]) -> str:
    number = 1
    while (candidate := name if number == 1 else f"{name}#{number}") in taken:
        number += 1
    return candidate

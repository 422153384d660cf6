"""One sink, its queue and its thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edgevad.events.health import Health, Report
from edgevad.events.incident import Incident
from edgevad.events.run_info import RunInfo
from edgevad.events.sink import Sink
from edgevad.events.waiting import Limits, SinkCounters, WaitingQueue

if TYPE_CHECKING:
    from edgevad.runtime.pipeline import Result
    from edgevad.runtime.session import RunSummary

__all__ = ["Lane"]

# How often a thread with nothing to do looks whether an incident is over.
_IDLE_S = 1.0


class Lane:
    """Feeds one sink from one thread. What the producer does here never waits for the sink unless `lossless`.

    Args:
        name: of the sink, one of its kind in its dispatcher.
        report: takes incidents, from any thread.
        after: lanes whose sinks are on their way out; this one starts when they have ended, or `patience_s` later.
    """

    def __init__(
        self,
        sink: Sink,
        name: str,
        *,
        lossless: bool,
        report: Report,
        limits: Limits,
        after: Sequence[Lane] = (),
        patience_s: float = 1.5,
    ) -> None:
        self.sink = sink
        self.name = name
        self.error: BaseException | None = None
        self._is_lossless = lossless
        self._report = report
        self._limits = limits
        self._after = after
        self._patience_s = patience_s
        self._health = Health(name, report, settle_s=limits.settle_s)
        self._changed = threading.Condition()
        self._results, self._notes = WaitingQueue(), WaitingQueue()
        self._place = 0
        self._summary: RunSummary | None = None
        self._finished = self._closing = self._abandoned = self._overflowed = False
        self._busy_since_s: float | None = None
        self._thread = threading.Thread(target=self._work, name=f"edgevad-sink-{name}", daemon=True)
        self._run: RunInfo | None = None
        sink.on_incident = report

    # What the producer calls

    def start(self, run: RunInfo) -> None:
        self._run = run
        self._thread.start()

    def push(self, result: Result) -> None:
        if not self.sink.wants_results:
            return
        size_bytes = result.frame.nbytes + (0 if result.heatmap is None else result.heatmap.nbytes)
        limits, queue = self._limits, self._results
        with self._changed:
            while queue.items and (
                len(queue.items) >= limits.results or queue.bytes + size_bytes > limits.result_bytes
            ):
                if not self._is_lossless:
                    queue.drop_oldest()
                elif self.error is not None:
                    return
                else:
                    self._changed.wait(_IDLE_S)
            self._place += 1
            queue.add(self._place, lambda: self.sink.push(result), size_bytes)
            self._changed.notify_all()
        self._look_for_a_stall()

    def note(self, call: Callable[[], None]) -> None:
        """Queue a call that tells the sink of an event or incident."""
        with self._changed:
            is_full = len(self._notes.items) >= self._limits.notes
            is_news = is_full and not self._overflowed
            if is_full:
                self._notes.drop_oldest()
                self._overflowed = True
            self._place += 1
            self._notes.add(self._place, call)
            self._changed.notify_all()
        if is_news:
            detail = f"{self.name}: {self._limits.notes} events and incidents wait for it; the oldest are dropped"
            self._report(Incident.once("sink", "overflow", detail))

    def finish(self, summary: RunSummary) -> None:
        with self._changed:
            self._summary = summary
            self._changed.notify_all()

    def end(self, *, abandon: bool = False) -> None:
        """Have the sink closed, or abandoned, once everything that waits is done."""
        with self._changed:
            self._closing = True
            self._abandoned = self._abandoned or abandon
            self._changed.notify_all()
        if self._run is None:
            self._conclude()  # never started: there is no thread to do it

    def hurry(self) -> None:
        """Give up the results that wait, so that the events behind them are still told in time."""
        with self._changed:
            while self._results.items:
                self._results.drop_oldest()
            self._changed.notify_all()

    def wait_finished(self) -> None:
        """Until the sink has been told the summary."""
        with self._changed:
            while not self._finished:
                self._changed.wait(_IDLE_S)

    def join(self, timeout_s: float | None) -> bool:
        """Wait for the end of the thread; whether it has ended."""
        if self._thread.ident is None:
            return True  # never started
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def counters(self) -> SinkCounters:
        with self._changed:
            results, notes = self._results.counters(), self._notes.counters()
        health = self._health
        try:
            figures = dict(self.sink.figures())
        except Exception:  # asked for by whoever watches; a plug-in's mistake is not theirs
            figures = {}
        return SinkCounters(results, notes, health.failures, health.is_failing, figures)

    def unfinished(self) -> str:
        """What is lost with a sink that does not come to its end, in words."""
        counters = self.counters()
        return f"{counters.results.waiting} results and {counters.notes.waiting} events or incidents were not written"

    def _look_for_a_stall(self) -> None:
        since_s = self._busy_since_s
        if since_s is not None and time.monotonic() - since_s > self._limits.stall_s and not self._health.is_failing:
            self._health.failed(TimeoutError(f"has not come back for {self._limits.stall_s:g} s"), "stalled")

    # What its own thread does

    def _work(self) -> None:
        self._wait_for_others()
        if self._begin():
            while (queue := self._next()) is not None:
                self._handle_oldest(queue)
        self._conclude()

    def _handle_oldest(self, queue: WaitingQueue) -> None:
        with self._changed:
            if not queue.items:
                return  # given up in a hurry
            call = queue.pop()
            self._changed.notify_all()
        is_fed = self.error is None
        if is_fed:
            self._try(call)
        with self._changed:
            queue.handled += is_fed
            queue.dropped += not is_fed
            self._overflowed = self._overflowed and bool(self._notes.items)

    def _wait_for_others(self) -> None:
        until_s = time.monotonic() + self._patience_s
        for lane in self._after:
            lane.join(max(until_s - time.monotonic(), 0.0))
        self._after = ()

    def _begin(self) -> bool:
        """Start the sink, however long that takes; whether it was."""
        run = self._run
        assert run is not None
        while not self._try(lambda: self.sink.start(run)):
            with self._changed:
                if self._is_lossless:
                    return True  # the error is told, and what comes is counted as dropped
                is_last = self._changed.wait_for(lambda: self._closing, self._limits.retry_s)
            if is_last:
                return self._try(lambda: self.sink.start(run))
        return True

    def _next(self) -> WaitingQueue | None:
        """The queue whose turn it is; None when all is done and the lane is to end."""
        while True:
            with self._changed:
                results, notes = self._results.items, self._notes.items
                if results and not (notes and notes[0][0] < results[0][0]):
                    return self._results
                if notes:
                    return self._notes
                summary = None if self._finished else self._summary
                if summary is None:
                    if self._closing:
                        return None
                    self._changed.wait(_IDLE_S)
            if summary is None:
                self._health.settle()
                continue
            self._try(lambda told=summary: self.sink.finish(told))  # type: ignore[misc]
            with self._changed:
                self._finished = True
                self._changed.notify_all()

    def _conclude(self) -> None:
        if any(queue.items for queue in (self._results, self._notes)):
            detail = f"{self.name} could not be started: {self.unfinished()}"
            self._report(Incident.once("sink", "unfinished", detail))
        if self._abandoned or self.error is not None:
            self._try(self.sink.abandon)
        else:
            self._try(self.sink.close)
        self._health.gone()
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def _try(self, call: Callable[[], None]) -> bool:
        self._busy_since_s = time.monotonic()
        try:
            call()
        except (Exception, SystemExit) as error:  # a plug-in's mistake, too, must not end what watches the road
            if self._is_lossless:
                self.error = self.error or error
            else:
                self._health.failed(error)
            return False
        finally:
            self._busy_since_s = None
        self._health.worked()
        return True

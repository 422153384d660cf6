from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from edgevad.errors import OutputError, SinkError
from edgevad.events import Event, Incident, RunInfo, Sink
from edgevad.events.dispatch import Dispatcher, Limits, SinkCounters
from edgevad.events.health import Health
from edgevad.runtime.pipeline import Result
from edgevad.runtime.session import RunSummary
from edgevad.sources import Frame

RUN = RunInfo("b", "b", "", "cpu", ("cam",), 4.0, True)
SUMMARY = RunSummary(RUN, None)
PATIENCE_S = 20.0


def result(index: int, *, side_px: int = 2) -> Result:
    frame = Frame(np.zeros((side_px, side_px, 3), np.uint8), index, index, "cam")
    return Result(frame, (1.0,), (1.0,), 1.0, 1.0, "detail", False, "normal", None, 0.001, None)


def event(number: int) -> Event:
    return Event(number, 0, 1, 0, 1, 5.0, 0, "detail", "cam", 0)


def incident(cause: str) -> Incident:
    return Incident.once("camera_lost", cause, cause, "cam")


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.002)


class Recording(Sink):
    """Writes down what it is told; waits at `gate` in every push where there is one, and raises where told to."""

    def __init__(self, name: str = "recording", *, gated: bool = False) -> None:
        self.name = name
        self.told: list[Any] = []
        self.gate = threading.Event()
        if not gated:
            self.gate.set()
        self.fail: Exception | None = None
        self.fail_start: Exception | None = None
        self.threads: set[int] = set()

    def _take(self, what: Any) -> None:
        self.threads.add(threading.get_ident())
        assert self.gate.wait(PATIENCE_S)
        if self.fail is not None:
            raise self.fail
        self.told.append(what)

    def start(self, run: RunInfo) -> None:
        self.threads.add(threading.get_ident())
        if self.fail_start is not None:
            raise self.fail_start
        self.told.append("start")

    def push(self, result: Result) -> None:
        self._take(result.frame.index)

    def event_began(self, event: Event) -> None:
        self._take(f"began {event.id}")

    def event(self, event: Event) -> None:
        self._take(f"event {event.id}")

    def incident(self, incident: Incident) -> None:
        self._take(f"incident {incident.cause}")

    def finish(self, summary: RunSummary) -> None:
        self._take("finish")

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.told.append("close")

    def abandon(self) -> None:
        self.told.append("abandon")


@contextmanager
def dispatching(
    *sinks: Sink, lossless: bool = False, told: list[Incident] | None = None, **more: Any
) -> Iterator[Dispatcher]:
    dispatcher = Dispatcher(sinks, lossless=lossless, report=[].append if told is None else told.append, **more)
    dispatcher.start(RUN)
    try:
        yield dispatcher
    finally:
        for sink in sinks:
            if isinstance(sink, Recording):
                sink.gate.set()
        dispatcher.abandon()


@pytest.mark.parametrize("lossless", [True, False])
def test_every_sink_is_told_everything_in_order_from_one_thread_of_its_own(lossless: bool) -> None:
    sinks = [Recording("a"), Recording("b")]
    with dispatching(*sinks, lossless=lossless) as dispatcher:
        for k in range(3):
            dispatcher.push(result(k))
        dispatcher.event_began(event(1))
        dispatcher.push(result(3))
        dispatcher.event(event(1))
        dispatcher.incident(incident("stale"))
        dispatcher.finish(SUMMARY)
        dispatcher.close()
    wanted = ["start", 0, 1, 2, "began 1", 3, "event 1", "incident stale", "finish", "close"]
    assert [sink.told for sink in sinks] == [wanted, wanted]
    assert [len(sink.threads) for sink in sinks] == [1, 1]
    assert len(sinks[0].threads | sinks[1].threads | {threading.get_ident()}) == 3


def test_a_slow_sink_loses_its_oldest_results_counted_and_nothing_else() -> None:
    slow, quick = Recording("slow", gated=True), Recording("quick")
    with dispatching(slow, quick, limits=Limits(results=4)) as dispatcher:
        dispatcher.push(result(0))
        until(lambda: slow.threads and not dispatcher._lanes[0]._results.items)
        dispatcher.event(event(1))
        for k in range(1, 11):
            dispatcher.push(result(k))
            until(lambda k=k: k in quick.told)
        dispatcher.event(event(2))
        counters = dispatcher.counters()
        assert (counters["slow"].results.given, counters["slow"].results.handled) == (11, 0)
        assert (counters["slow"].results.dropped, counters["slow"].results.waiting) == (6, 5)
        assert counters["slow"].notes.waiting == 2
        assert counters["quick"].results.dropped == 0
        slow.gate.set()
        until(lambda: "event 2" in slow.told)
        assert slow.told == ["start", 0, "event 1", 7, 8, 9, 10, "event 2"]
        until(lambda: dispatcher.counters()["slow"].notes.handled == 2)
        assert dispatcher.counters()["slow"].results.handled == 5
        assert quick.told == ["start", 0, "event 1", *range(1, 11), "event 2"]


def test_large_frames_are_bounded_by_their_bytes_and_one_may_always_wait() -> None:
    sink = Recording(gated=True)
    with dispatching(sink, limits=Limits(results=100, result_bytes=3 * 64 * 64 * 3)) as dispatcher:
        dispatcher.push(result(0))
        until(lambda: sink.threads and not dispatcher._lanes[0]._results.items)
        for k in range(1, 6):
            dispatcher.push(result(k, side_px=64))
        assert dispatcher.counters()["recording"].results.waiting == 1 + 3
        dispatcher.push(result(6, side_px=1000))
        assert dispatcher.counters()["recording"].results.waiting == 1 + 1


def test_no_frame_waits_for_a_sink_that_wants_none() -> None:
    sink = Recording(gated=True)
    sink.wants_results = False
    with dispatching(sink) as dispatcher:
        dispatcher.push(result(0))
        assert dispatcher.counters()["recording"].results.given == 0


def test_of_a_recording_the_producer_waits_and_nothing_is_dropped() -> None:
    sink = Recording(gated=True)
    with dispatching(sink, lossless=True, limits=Limits(results=2)) as dispatcher:
        producer = threading.Thread(target=lambda: [dispatcher.push(result(k)) for k in range(20)])
        producer.start()
        until(lambda: dispatcher.counters()["recording"].results.given == 3)
        producer.join(0.05)
        assert producer.is_alive()
        sink.gate.set()
        producer.join(PATIENCE_S)
        dispatcher.finish(SUMMARY)
        assert sink.told == ["start", *range(20), "finish"]
        assert dispatcher.counters()["recording"].results.dropped == 0


def test_of_a_recording_the_first_error_is_raised_once_and_the_others_are_told_the_end() -> None:
    broken, sound = Recording("broken"), Recording("sound")
    with dispatching(broken, sound, lossless=True) as dispatcher:
        dispatcher.push(result(0))
        until(lambda: 0 in broken.told)
        broken.fail = OutputError("the disk is full")
        with pytest.raises(OutputError, match="the disk is full"):  # noqa: PT012
            for k in range(1, 1000):
                dispatcher.push(result(k))
                time.sleep(0.001)
        dispatcher.event(event(1))
        dispatcher.finish(SUMMARY)
        dispatcher.abandon()
    assert sound.told[-3:] == ["event 1", "finish", "abandon"]
    assert "event 1" not in broken.told
    assert broken.told[-1] == "abandon"


@pytest.mark.parametrize("method", ["start", "finish", "close"])
def test_of_a_recording_an_error_in_any_method_is_raised(method: str) -> None:
    sink = Recording()

    def refuse(*_: Any) -> None:
        raise OutputError("the disk is full")

    setattr(sink, method, refuse)
    dispatcher = Dispatcher([sink], lossless=True, report=[].append)
    with pytest.raises(OutputError):  # noqa: PT012
        dispatcher.start(RUN)
        dispatcher.finish(SUMMARY)
        dispatcher.close()
    dispatcher.abandon()


def test_a_sink_that_flaps_is_one_incident_and_fed_on() -> None:
    sink, told = Recording(), list[Incident]()
    with dispatching(sink, told=told, limits=Limits(settle_s=0.3)) as dispatcher:
        for k in range(10):
            sink.fail = SinkError("refused") if k % 2 == 0 else None
            dispatcher.push(result(k))
            until(lambda k=k: dispatcher.counters()["recording"].results.handled == k + 1)
        assert sink.told == ["start", 1, 3, 5, 7, 9]
        assert [(one.kind, one.cause, one.lasts) for one in told] == [("sink", "failing", True)]
        assert dispatcher.counters()["recording"].is_failing
        assert dispatcher.counters()["recording"].failures == 5
        # Nothing more is pushed: that it works is told all the same.
        until(lambda: len(told) == 2)
        assert told[1].id == told[0].id
        assert not told[1].lasts
        assert "works again after 5 failures" in told[1].detail


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (OutputError("the disk is full"), ("storage", "full")),
        (OutputError("cannot be written (permission denied)"), ("storage", "unwritable")),
        (SinkError("refused"), ("sink", "failing")),
        (ZeroDivisionError("a plug-in's mistake"), ("sink", "failing")),
    ],
)
def test_the_kind_of_incident_is_that_of_the_error(error: Exception, wanted: tuple[str, str]) -> None:
    sink, told = Recording("name"), list[Incident]()
    sink.fail = error
    with dispatching(sink, told=told) as dispatcher:
        dispatcher.push(result(0))
        until(lambda: told)
        assert (told[0].kind, told[0].cause) == wanted
        assert told[0].detail.startswith("name: ")
        sink.fail = None
        dispatcher.close()
    # Closed while it lasts: it is over, since nobody looks any more.
    assert [one.id for one in told] == [told[0].id] * 2
    assert not told[1].lasts


def test_a_start_that_fails_is_tried_again_and_no_event_is_lost_meanwhile() -> None:
    sink, told = Recording(), list[Incident]()
    sink.fail_start = OutputError("the disk is full")
    with dispatching(sink, told=told, limits=Limits(retry_s=0.02, settle_s=0.0)) as dispatcher:
        dispatcher.event(event(1))
        until(lambda: dispatcher.counters()["recording"].failures > 2)
        sink.fail_start = None
        until(lambda: sink.told == ["start", "event 1"])
        until(lambda: len(told) == 2)


def test_what_waits_for_a_sink_that_never_started_is_told_at_the_end() -> None:
    sink, told = Recording(), list[Incident]()
    sink.fail_start = SinkError("refused")
    with dispatching(sink, told=told) as dispatcher:
        dispatcher.event(event(1))
        until(lambda: told)
        dispatcher.close()
    assert [one.cause for one in told] == ["failing", "unfinished", "failing"]
    assert "1 events or incidents were not written" in told[1].detail


def test_a_sink_that_hangs_costs_the_others_nothing_and_ends_within_the_limit() -> None:
    hanging, sound, told = Recording("hanging", gated=True), Recording("sound"), list[Incident]()
    with dispatching(hanging, sound, told=told, close_s=0.3, limits=Limits(stall_s=0.05)) as dispatcher:
        dispatcher.push(result(0))
        dispatcher.event(event(1))
        until(lambda: hanging.threads)
        time.sleep(0.1)
        dispatcher.push(result(1))
        assert [(one.cause, one.lasts) for one in told] == [("stalled", True)]
        dispatcher.finish(SUMMARY)
        started_s = time.monotonic()
        dispatcher.close()
        assert time.monotonic() - started_s < 5.0
        assert sound.told == ["start", 0, "event 1", 1, "finish", "close"]
        assert told[-1].cause == "unfinished"
        assert "hanging did not come to its end within 0.3 s" in told[-1].detail


def test_a_sink_that_is_late_gives_up_results_and_tells_every_event() -> None:
    class Slow(Recording):
        def push(self, result: Result) -> None:
            time.sleep(0.1)
            super().push(result)

    sink, told = Slow(), list[Incident]()
    with dispatching(sink, told=told, close_s=1.0) as dispatcher:
        for k in range(60):
            dispatcher.push(result(k))
        dispatcher.event(event(1))
        dispatcher.finish(SUMMARY)
        dispatcher.close()
    assert sink.told[-3:] == ["event 1", "finish", "close"]
    assert len(sink.told) < 40
    assert not told


def test_too_many_events_drop_the_oldest_and_say_so_once() -> None:
    sink, told = Recording(gated=True), list[Incident]()
    with dispatching(sink, told=told, limits=Limits(notes=3)) as dispatcher:
        dispatcher.event(event(0))
        until(lambda: sink.threads and not dispatcher._lanes[0]._notes.items)
        for k in range(1, 7):
            dispatcher.event(event(k))
        assert dispatcher.counters()["recording"].notes.dropped == 3
        assert [one.cause for one in told] == ["overflow"]
        sink.gate.set()
        until(lambda: sink.told == ["start", "event 0", "event 4", "event 5", "event 6"])


def test_sinks_are_replaced_without_losing_what_waits() -> None:
    stays, goes, comes = Recording("stays", gated=True), Recording("goes", gated=True), Recording("comes")
    with dispatching(stays, goes) as dispatcher:
        dispatcher.event(event(1))
        dispatcher.replace([stays, comes])
        assert dispatcher.sinks == (stays, comes)
        dispatcher.event(event(2))
        time.sleep(0.02)
        assert comes.told == []  # the one that goes may still be writing to the same file
        goes.gate.set()
        until(lambda: comes.told == ["start", "event 2"])
        assert goes.told == ["start", "event 1", "close"]
        stays.gate.set()
        until(lambda: stays.told == ["start", "event 1", "event 2"])


def test_a_new_sink_is_told_what_lasts() -> None:
    stays, comes = Recording("stays"), Recording("comes")
    with dispatching(stays) as dispatcher:
        lost = Incident("camera_lost", "stale", "gone", "cam")
        dispatcher.incident(lost)
        dispatcher.incident(Incident("storage", "full", "full").ended())
        dispatcher.incident(incident("changed"))
        dispatcher.replace([stays, comes])
        dispatcher.incident(lost.ended())
        until(lambda: comes.told == ["start", "incident stale", "incident stale"])
        until(lambda: stays.told == ["start", "incident stale", "incident full", "incident changed", "incident stale"])


def test_figures_that_fail_cost_their_sink_its_figures_and_nobody_anything_else() -> None:
    class Broken(Recording):
        def figures(self) -> dict[str, int]:
            raise ZeroDivisionError

    with dispatching(Broken("broken"), Recording("sound")) as dispatcher:
        assert {name: one.figures for name, one in dispatcher.counters().items()} == {"broken": {}, "sound": {}}


def test_a_sink_that_hangs_on_its_way_out_does_not_keep_the_new_one_waiting_for_ever() -> None:
    goes, comes = Recording("goes", gated=True), Recording("comes")
    with dispatching(goes, close_s=0.1) as dispatcher:
        dispatcher.event(event(1))
        until(lambda: goes.threads)
        dispatcher.replace([comes])
        until(lambda: comes.told == ["start"])
        goes.gate.set()


def test_counters_are_exact_at_any_moment_whatever_sinks_do() -> None:
    chance = random.Random(0)

    class Moody(Recording):
        def _take(self, what: Any) -> None:
            if chance.random() < 0.02:
                time.sleep(0.005)
            if chance.random() < 0.2:
                raise SinkError("no mood")
            super()._take(what)

    sinks, wrong = [Moody(name) for name in "abc"], list[SinkCounters]()
    with dispatching(*sinks, limits=Limits(results=3, notes=5)) as dispatcher:
        over = threading.Event()

        def watch() -> None:
            while not over.is_set():
                for counters in dispatcher.counters().values():
                    for queue in (counters.results, counters.notes):
                        # Bounded: what is in the queue, and one in the sink's hands.
                        if queue.given != queue.handled + queue.dropped + queue.waiting or not 0 <= queue.waiting <= 6:
                            wrong.append(counters)

        watcher = threading.Thread(target=watch)
        watcher.start()
        for k in range(3000):
            dispatcher.push(result(k))
            if k % 7 == 0:
                dispatcher.event(event(k))
        until(lambda: not any(one.results.waiting or one.notes.waiting for one in dispatcher.counters().values()))
        over.set()
        watcher.join()
        assert not wrong
        for sink, counters in zip(sinks, dispatcher.counters().values(), strict=True):
            assert (counters.results.given, counters.notes.given) == (3000, 429)
            taken = [what for what in sink.told if isinstance(what, int)]
            assert taken == sorted(set(taken))
            assert len(sink.told) - 1 == counters.results.handled + counters.notes.handled - counters.failures


def test_a_plug_in_that_tries_to_end_the_program_is_a_failing_sink() -> None:
    sink, told = Recording(), list[Incident]()
    sink.fail = SystemExit(1)  # type: ignore[assignment]
    with dispatching(sink, told=told) as dispatcher:
        dispatcher.push(result(0))
        until(lambda: told)
        sink.fail = None
        dispatcher.push(result(1))
        until(lambda: sink.told == ["start", 1])


def test_sinks_of_the_same_name_are_told_apart() -> None:
    with dispatching(Recording("a"), Recording("a"), Sink()) as dispatcher:
        assert set(dispatcher.counters()) == {"a", "a#2", "Sink"}


def test_an_outlet_has_patience_with_a_short_failure() -> None:
    now_s, told = [0.0], list[Incident]()
    health = Health("mqtt", told.append, settle_s=0.0, patience_s=5.0, clock=lambda: now_s[0])
    health.failed(SinkError("no answer"))
    now_s[0] = 4.0
    health.worked()
    health.failed(SinkError("no answer"))
    now_s[0] = 8.0
    health.failed(SinkError("no answer"))
    assert not told
    now_s[0] = 9.0
    health.failed(SinkError("no answer"), "unreachable")
    assert [(one.cause, one.detail) for one in told] == [("unreachable", "mqtt: no answer")]
    health.worked()
    assert not told[-1].lasts

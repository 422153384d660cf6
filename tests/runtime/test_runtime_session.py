from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from tiny import tiny_frames

from edgevad.errors import OutputError, SourceError
from edgevad.events import Event, Sink
from edgevad.runtime.pipeline import Pipeline, Result
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.session import RunSummary, run_session
from edgevad.sources import Frame, Source


class TinySource(Source):
    def __init__(self, count: int, anomalies: range, *, fails: bool = False) -> None:
        super().__init__("tiny", kind="list")
        self._count, self._anomalies, self._fails = count, anomalies, fails

    def _frames(self) -> Generator[Frame, None, None]:
        self._skip_reasons["image cut off"] = 2
        yield from tiny_frames(self._count, anomalies=self._anomalies)
        if self._fails:
            raise SourceError("camera lost")


class Log(Sink):
    def __init__(self) -> None:
        self.rows: list[int | Event] = []

    def push(self, result: Result) -> None:
        self.rows.append(result.frame.index)

    def event(self, event: Event) -> None:
        self.rows.append(event)

    def finish(self, summary: RunSummary) -> None:
        self.summary = summary


class Broken(Sink):
    def event(self, event: Event) -> None:
        raise OutputError("the disk is full")


def session(bundle: Path, source: Source, *sinks: Sink, max_frames: int | None = None) -> RunSummary:
    with Scorer.from_bundle(bundle) as scorer, source:
        pipeline = Pipeline(scorer, source)
        return run_session(pipeline, sinks, sources=["tiny"], alarms_per_hour=1.0, max_frames=max_frames)


def test_the_summary_counts_what_happened(tiny_bundle: Path) -> None:
    log = Log()
    summary = session(tiny_bundle, TinySource(60, range(10, 20)), log)

    value = summary.to_json()
    assert (value["frames"], value["scored"], value["skipped"], value["dropped"]) == (60, 60, 2, 0)
    assert value["skip_reasons"] == {"image cut off": 2}
    assert value["duration_s"] == pytest.approx(5.9)
    assert value["event_count"] == len(value["events"]) == 1
    assert value["latency_ms"]["p50"] <= value["latency_ms"]["p99"] <= value["latency_ms"]["max"]
    # The event is told after the frame that showed it to be over: the first more than 1 s past frame 23.
    [event] = [row for row in log.rows if isinstance(row, Event)]
    assert (event.start_frame, event.end_frame) == (10, 23)
    assert log.rows.index(event) == 35
    assert not summary.interrupted
    assert log.summary is summary
    assert value["error"] is None


def test_threads_take_turns_more_often_while_a_recording_is_scored(tiny_bundle: Path) -> None:
    before_s = sys.getswitchinterval()
    seen: list[float] = []

    class Turns(Sink):
        def push(self, result: Result) -> None:
            seen.append(sys.getswitchinterval())

    session(tiny_bundle, TinySource(20, range(0)), Turns())
    assert seen == pytest.approx([20e-6] * 20)
    assert sys.getswitchinterval() == before_s


def test_the_open_event_is_told_at_the_end(tiny_bundle: Path) -> None:
    log = Log()
    summary = session(tiny_bundle, TinySource(60, range(10, 60)), log, max_frames=30)
    assert summary.frames == 30
    assert log.rows[-1] == summary.events[0]
    assert (summary.events[0].start_frame, summary.events[0].end_frame) == (10, 29)


def test_an_error_still_closes_the_open_event(tiny_bundle: Path) -> None:
    log = Log()
    with pytest.raises(SourceError, match="camera lost"):
        session(tiny_bundle, TinySource(30, range(20, 30), fails=True), log)
    event = log.rows[-1]
    assert isinstance(event, Event)
    assert (event.start_frame, event.end_frame) == (20, 29)


def test_a_failed_run_still_tells_its_summary(tiny_bundle: Path) -> None:
    log = Log()
    with pytest.raises(SourceError, match="camera lost"):
        # A sink that fails at the end costs neither the others theirs, nor hides what ended the run.
        session(tiny_bundle, TinySource(30, range(20, 30), fails=True), Broken(), log)
    value = log.summary.to_json()
    assert value["error"] == "camera lost"
    assert (value["frames"], value["event_count"], value["skipped"]) == (30, 1, 2)
    assert value["elapsed_s"] > 0


def test_a_sink_that_fails_at_the_end_fails_the_run(tiny_bundle: Path) -> None:
    log = Log()
    with pytest.raises(OutputError, match="the disk is full"):
        session(tiny_bundle, TinySource(30, range(20, 30)), Broken(), log)
    assert log.summary.event_count == 1

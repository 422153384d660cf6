"""A whole run: pipeline, sinks, and what came of it."""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from edgevad.errors import EdgevadError
from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.events.run_info import RunInfo
from edgevad.events.sink import Sink
from edgevad.runtime.counters import FrameCounters
from edgevad.runtime.latency import LatencyHistogram
from edgevad.runtime.pipeline import Pipeline, Result

__all__ = ["RunSummary", "run_session"]

# A run may last for months; its summary must not grow all the time. events.jsonl has all of them.
KEPT_EVENTS = 1000
# Threads that want Python's lock are let in after so long (Python: 5 ms). A decoder that waits for it does not decode.
_TURN_S = 20e-6


@dataclass
class RunSummary:
    """What a run came to.

    Attributes:
        run: which run it was, by which bundle, of which sources.
        alarms_per_hour: the false-alarm budget it was set for; None where the threshold was given by hand.
        frames: frames the sources gave; `scored` of them had a score, `faulty` show nothing to judge, the others had no
            earlier frame for motion.
        skipped: frames the sources could not read, and why.
        cameras: what became of every camera's frames; empty for recordings.
        duration_s: recorded time, gaps left out; of cameras that run together their sum.
        elapsed_s: how long the run took.
        event_count: events; the latest 1000 of them are in `events`.
        incident_counts: incidents by kind.
        interrupted: somebody ended the run before its source did.
        error: what ended the run before its time, None where nothing did.
    """

    run: RunInfo
    alarms_per_hour: float | None
    frames: int = 0
    scored: int = 0
    faulty: int = 0
    skipped: int = 0
    skip_reasons: dict[str, int] = field(default_factory=dict)
    cameras: list[FrameCounters] = field(default_factory=list)
    duration_s: float = 0.0
    elapsed_s: float = 0.0
    event_count: int = 0
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    incident_counts: Counter[str] = field(default_factory=Counter)
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    interrupted: bool = False
    error: str | None = None

    @property
    def fps_hz(self) -> float:
        """Frames a second of elapsed time."""
        return self.frames / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def dropped(self) -> int:
        """Frames of cameras that were replaced by a newer one before they could be scored."""
        return sum(camera.dropped for camera in self.cameras)

    def add(self, event: Event) -> None:
        self.event_count += 1
        self.events.append(event)

    def to_json(self) -> dict[str, Any]:
        run = self.run
        return {
            "run_id": run.run_id,
            "bundle": run.bundle,
            "engine": run.engine,
            "sources": list(run.sources),
            "frames": self.frames,
            "scored": self.scored,
            "faulty": self.faulty,
            "skipped": self.skipped,
            "skip_reasons": self.skip_reasons,
            "dropped": self.dropped,
            "cameras": [camera.to_json() for camera in self.cameras],
            "duration_s": round(self.duration_s, 3),
            "elapsed_s": round(self.elapsed_s, 3),
            "fps_hz": round(self.fps_hz, 2),
            "latency_ms": self.latency.to_json(),
            "threshold": run.threshold,
            "alarms_per_hour": self.alarms_per_hour,
            "interrupted": self.interrupted,
            "error": self.error,
            "incidents": dict(self.incident_counts),
            "event_count": self.event_count,
            "events": [event.to_json() for event in self.events],
        }


def run_session(
    pipeline: Pipeline,
    sinks: Sequence[Sink],
    *,
    sources: Sequence[str],
    alarms_per_hour: float | None,
    device: str | None = None,
    started_ns: int | None = None,
    max_frames: int | None = None,
) -> RunSummary:
    """Run `pipeline` to its end, or for `max_frames`, and feed every sink; closing the sinks is up to the caller.

    When a source or the engine fails, the open events are still closed, and the sinks are told them and the summary so
    far, before the error goes on.
    `device` is what this machine is called in messages; None is its name. `started_ns`: when the run began, for a
    recording that was made before; None is now.
    Where the pipeline goes on with another model, the sinks are told a run of its own.
    `Pipeline.stop` (from a signal handler, or a window's q key) ends the run like the end of the source.
    """
    info = _run_info(pipeline, sources, device)
    summary = RunSummary(info if started_ns is None else replace(info, started_ns=started_ns), alarms_per_hour)

    def on_incident(incident: Incident) -> None:
        if incident.is_new:
            summary.incident_counts[incident.kind] += 1
        for sink in sinks:
            sink.incident(incident)

    pipeline.on_incident = on_incident

    def on_replaced() -> None:
        run = _run_info(pipeline, sources, device)
        for sink in sinks:
            sink.continues(run)

    pipeline.on_replaced = on_replaced
    pipeline.on_event = lambda event: _over(event, sinks, summary)
    started_s = time.monotonic()
    try:
        with pipeline, _short_turns(not pipeline.is_live):
            for sink in sinks:
                sink.start(summary.run)
            _run(pipeline, sinks, summary, max_frames)
    except BaseException as error:
        summary.error = str(error) or type(error).__name__
        summary.elapsed_s = time.monotonic() - started_s
        _conclude(pipeline, sinks, summary)
        raise
    summary.elapsed_s = time.monotonic() - started_s
    failure = _conclude(pipeline, sinks, summary)
    if failure is not None:
        raise failure
    return summary


@contextmanager
def _short_turns(wanted: bool) -> Iterator[None]:
    """Have the threads of this process take turns often, if `wanted`; as before afterwards."""
    before_s = sys.getswitchinterval()
    if wanted:
        sys.setswitchinterval(min(before_s, _TURN_S))
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


def _run_info(pipeline: Pipeline, sources: Sequence[str], device: str | None) -> RunInfo:
    scorer = pipeline.scorer
    info = RunInfo(
        bundle=scorer.path,
        bundle_name=scorer.name,
        bundle_digest=scorer.digest,
        engine=scorer.engine,
        sources=tuple(sources),
        threshold=pipeline.hysteresis.threshold,
        is_live=pipeline.is_live,
    )
    return info if device is None else replace(info, device=device)


def _conclude(pipeline: Pipeline, sinks: Sequence[Sink], summary: RunSummary) -> EdgevadError | None:
    """Close the open events, fill in the summary, tell every sink; return the first failure among these, if any."""
    failure: EdgevadError | None = None
    try:
        events = pipeline.finish()
    except EdgevadError as error:  # of a sink that was told of an incident
        failure, events = error, pipeline.finish()
    reasons: Counter[str] = Counter()
    for source in pipeline.sources:
        reasons.update(source.skip_reasons)
    summary.skip_reasons = dict(reasons.most_common())
    summary.skipped = sum(reasons.values())
    summary.cameras = pipeline.counters() if pipeline.is_live else []
    for event in events:
        summary.add(event)
    for sink in sinks:
        try:
            for event in events:
                sink.event(event)
            sink.finish(summary)
        except EdgevadError as error:
            # One sink that cannot go on must not cost the others their end.
            failure = failure or error
    return failure


def _run(pipeline: Pipeline, sinks: Sequence[Sink], summary: RunSummary, max_frames: int | None) -> None:
    last: dict[str, tuple[int, int]] = {}  # segment and time of each source's last frame
    duration_ns = 0
    latency = summary.latency
    try:
        for result in pipeline:
            frame = result.frame
            summary.frames += 1
            before = last.get(frame.source_id)
            if before is not None and before[0] == frame.segment:
                duration_ns += frame.timestamp_ns - before[1]
            elif len(last) > len(pipeline.sources):
                last.clear()  # ten thousand clips, one after the other, are ten thousand names
            last[frame.source_id] = (frame.segment, frame.timestamp_ns)
            if result.anomaly_score is not None:
                summary.scored += 1
                latency.push(result.latency_s)
            elif result.fault is not None:
                summary.faulty += 1
            _feed(result, sinks, summary)
            if summary.frames == max_frames:
                break
        summary.interrupted = pipeline.stopped
    finally:
        summary.duration_s = duration_ns / 1e9


def _feed(result: Result, sinks: Sequence[Sink], summary: RunSummary) -> None:
    for sink in sinks:
        sink.push(result)
    if result.event is not None:
        _over(result.event, sinks, summary)
    if result.event_began is not None:
        for sink in sinks:
            sink.event_began(result.event_began)


def _over(event: Event, sinks: Sequence[Sink], summary: RunSummary) -> None:
    summary.add(event)
    for sink in sinks:
        sink.event(event)

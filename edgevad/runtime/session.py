"""A whole run: pipeline, sinks, and what came of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgevad.errors import EdgevadError
from edgevad.events.event import Event
from edgevad.events.sink import Sink
from edgevad.runtime.latency import LatencyHistogram
from edgevad.runtime.pipeline import Pipeline, Result

__all__ = ["RunSummary", "run_session"]

# A run may last for months; its summary must not grow all the time. events.jsonl has all of them.
KEPT_EVENTS = 1000


@dataclass
class RunSummary:
    """What a run came to.

    Attributes:
        bundle: where the model came from.
        sources: names of the sources.
        threshold: anomaly score at which events start.
        alarms_per_hour: the false-alarm budget it was set for; None where the threshold was given by hand.
        frames: frames the source gave; `scored` of them had a score, the others had no earlier frame for motion.
        skipped: frames the source could not read, and why.
        dropped: frames of a live source replaced by a newer one before they could be scored.
        duration_s: recorded time, gaps left out.
        elapsed_s: how long the run took.
        event_count: events; the latest 1000 of them are in `events`.
        engine: what scored: backend and precision.
        interrupted: somebody ended the run before its source did.
        error: what ended the run before its time, None where nothing did.
    """

    bundle: str
    sources: tuple[str, ...]
    threshold: float
    alarms_per_hour: float | None
    frames: int = 0
    scored: int = 0
    skipped: int = 0
    skip_reasons: dict[str, int] = field(default_factory=dict)
    dropped: int = 0
    duration_s: float = 0.0
    elapsed_s: float = 0.0
    event_count: int = 0
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    engine: str = ""
    interrupted: bool = False
    error: str | None = None

    @property
    def fps_hz(self) -> float:
        """Frames a second of elapsed time."""
        return self.frames / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def add(self, event: Event) -> None:
        self.event_count += 1
        self.events.append(event)

    def to_json(self) -> dict[str, Any]:
        return {
            "bundle": self.bundle,
            "engine": self.engine,
            "sources": list(self.sources),
            "frames": self.frames,
            "scored": self.scored,
            "skipped": self.skipped,
            "skip_reasons": self.skip_reasons,
            "dropped": self.dropped,
            "duration_s": round(self.duration_s, 3),
            "elapsed_s": round(self.elapsed_s, 3),
            "fps_hz": round(self.fps_hz, 2),
            "latency_ms": self.latency.to_json(),
            "threshold": self.threshold,
            "alarms_per_hour": self.alarms_per_hour,
            "interrupted": self.interrupted,
            "error": self.error,
            "event_count": self.event_count,
            "events": [event.to_json() for event in self.events],
        }


def run_session(
    pipeline: Pipeline,
    sinks: Sequence[Sink],
    *,
    sources: Sequence[str],
    alarms_per_hour: float | None,
    max_frames: int | None = None,
) -> RunSummary:
    """Run `pipeline` to its end, or for `max_frames`, and feed every sink; closing the sinks is up to the caller.

    When the source or the engine fails, the open event is still closed, and the sinks are told it and the summary so
    far, before the error goes on.
    `Pipeline.stop` (from a signal handler, or a window's q key) ends the run like the end of the source.
    """
    scorer = pipeline.scorer
    summary = RunSummary(
        scorer.path, tuple(sources), pipeline.hysteresis.threshold, alarms_per_hour, engine=scorer.engine
    )
    started_s = time.monotonic()
    try:
        with pipeline:
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


def _conclude(pipeline: Pipeline, sinks: Sequence[Sink], summary: RunSummary) -> EdgevadError | None:
    """Close the open event, fill in the summary, tell every sink; return the first failure among these, if any."""
    source = pipeline.source
    summary.skip_reasons = dict(_reasons(source.skip_reasons))
    summary.skipped, summary.dropped = source.skipped, source.dropped
    event = pipeline.finish()
    if event is not None:
        summary.add(event)
    failure: EdgevadError | None = None
    for sink in sinks:
        try:
            if event is not None:
                sink.event(event)
            sink.finish(summary)
        except EdgevadError as error:
            # One sink that cannot go on must not cost the others their end.
            failure = failure or error
    return failure


def _run(pipeline: Pipeline, sinks: Sequence[Sink], summary: RunSummary, max_frames: int | None) -> None:
    stream: tuple[str, int] | None = None
    last_ns = duration_ns = 0
    latency = summary.latency
    try:
        for result in pipeline:
            frame = result.frame
            summary.frames += 1
            if (frame.source_id, frame.segment) == stream:
                duration_ns += frame.timestamp_ns - last_ns
            else:
                stream = (frame.source_id, frame.segment)
            last_ns = frame.timestamp_ns
            if result.frame_score is not None:
                summary.scored += 1
                latency.push(result.latency_s)
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
        summary.add(result.event)
        for sink in sinks:
            sink.event(result.event)


def _reasons(reasons: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(reasons.items(), key=lambda item: -item[1])

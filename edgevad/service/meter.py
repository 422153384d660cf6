"""How a run is doing, for those who ask from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from edgevad.events.counters import RunSnapshot
from edgevad.events.sink import Sink
from edgevad.runtime.latency import LatencyHistogram

if TYPE_CHECKING:
    from edgevad.events.dispatch import Dispatcher
    from edgevad.refit.drift_watch import CameraDrift
    from edgevad.runtime.machine_watch import MachineWatch
    from edgevad.runtime.pipeline import Pipeline, Result

__all__ = ["RunMeter"]


class RunMeter(Sink):
    """Remembers the latest scores and all latencies; costs the scoring thread two assignments a frame.

    Attributes:
        pipeline, dispatcher, machine, drift: asked for their part, where they are set.
    """

    name = "meter"

    def __init__(self) -> None:
        self.pipeline: Pipeline | None = None
        self.dispatcher: Dispatcher | None = None
        self.machine: MachineWatch | None = None
        self.drift: Callable[[], Mapping[str, CameraDrift]] | None = None
        self._latency = LatencyHistogram()
        self._scores: dict[str, float | None] = {}
        self._beat_s = time.monotonic()

    def beat(self) -> None:
        """The pipeline's heart: it works."""
        self._beat_s = time.monotonic()

    def push(self, result: Result) -> None:
        name = result.frame.source_id
        if name not in self._scores and self.pipeline is not None and len(self._scores) >= len(self.pipeline.sources):
            self._scores = {}  # a recording may be thousands of clips, each a name
        self._scores[name] = result.anomaly_score
        if result.anomaly_score is not None:
            self._latency.push(result.latency_s)

    def snapshot(self) -> RunSnapshot:
        """How it is doing now. May be asked by any thread."""
        pipeline = self.pipeline
        return RunSnapshot(
            cameras=() if pipeline is None else pipeline.counters(),
            scores=dict(self._scores),
            threshold=None if pipeline is None else pipeline.hysteresis.threshold,
            latency=self._latency,
            rate_hz=None if pipeline is None else pipeline.rate_hz,
            sinks={} if self.dispatcher is None else self.dispatcher.counters(),
            machine=None if self.machine is None else self.machine.latest,
            drift={} if self.drift is None else self.drift(),
            idle_s=time.monotonic() - self._beat_s,
        )

    def line(self) -> str:
        """The same in a few words."""
        now = self.snapshot()
        given = sum(camera.given for camera in now.cameras)
        lost = [camera.source_id for camera in now.cameras if camera.is_lost]
        p95_ms = 1e3 * self._latency.percentile_s(95)
        about = f"; no frames from {', '.join(lost)}" if lost else ""
        failing = [name for name, sink in now.sinks.items() if sink.is_failing]
        about += f"; failing: {', '.join(failing)}" if failing else ""
        return f"{given} frames, latency p95 {p95_ms:.0f} ms{about}"

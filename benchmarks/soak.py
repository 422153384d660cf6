"""Whether the pipeline keeps its word on cameras that fail in every way: `frames` frames with faults at random moments.

Three simulated cameras end, hang, raise, change size, give damaged frames and stamp them by a clock that jumps; scores
are random; threshold and frame rate change under way; one sink fails every now and then. What has to hold at every
result is checked at every result; what has to hold in the end, in the end. All follows from the seed but for what the
clock of the machine decides.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil  # type: ignore[import-untyped]

from benchmarks._common import Row, add_json_option, guarded, report
from edgevad.bundle import Bundle
from edgevad.errors import OutputError
from edgevad.events import Event, Incident, RunInfo, Sink
from edgevad.events.dispatch import Dispatcher
from edgevad.runtime.backends import Scores
from edgevad.runtime.counters import FrameCounters
from edgevad.runtime.governor import Governor, GovernorSpec
from edgevad.runtime.lens import LensSpec
from edgevad.runtime.pipeline import Pipeline, Result
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.session import RunSummary, run_session
from edgevad.runtime.threshold import Hysteresis
from edgevad.sources.backoff import Backoff
from edgevad.sources.live import LiveSource
from edgevad.spec import InputSpec
from tests.simulated import FaultyCamera, number_of
from tests.tiny import write_tiny_bundle

BROKEN_BAR = "broken promises"
GROWTH_BAR = "resident memory, growth (MB)"
SPEC = Hysteresis(3.0, merge_gap_s=0.05, min_duration_s=0.02, cool_down_s=0.1, warm_up_s=0.05)


class RandomScores:
    """A backend whose scores wander: quiet for a while, then loud for a while."""

    batch = None

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._loud = False

    def score(self, frames: npt.NDArray[np.uint8], motion: npt.NDArray[np.float32] | None) -> Scores:
        count = len(frames)
        if self._random.random() < 0.02:
            self._loud = not self._loud
        values = self._random.uniform(0.0, 1.0, (count, 1)) + (4.0 if self._loud else 0.0)
        score = values.astype(np.float32)
        return Scores(score, np.ones((count, 1, 2, 2), np.float32), np.zeros((count, 1), np.float32))

    def close(self) -> None: ...


@dataclass
class Promises:
    """What a run has to keep; what it broke, by name."""

    cameras: dict[str, FaultyCamera]
    broken: Counter[str] = field(default_factory=Counter)
    last: dict[str, Result] = field(default_factory=dict)
    number: dict[str, int] = field(default_factory=dict)
    shape: dict[str, tuple[int, ...]] = field(default_factory=dict)
    segment_began_ns: dict[str, int] = field(default_factory=dict)
    began: dict[int, Event] = field(default_factory=dict)
    over: dict[int, Event] = field(default_factory=dict)
    open_incidents: dict[str, Incident] = field(default_factory=dict)
    incidents: Counter[str] = field(default_factory=Counter)
    outages: Counter[str] = field(default_factory=Counter)

    def need(self, holds: bool, promise: str) -> None:
        if not holds:
            self.broken[promise] += 1

    def push(self, result: Result) -> None:
        frame, name = result.frame, result.frame.source_id
        number = number_of(frame.image)
        self.need(number < self.cameras[name].produced, "no frame that no camera gave")
        self.need(number > self.number.get(name, -1), "each frame once, in order")
        self.number[name] = number
        before = self.last.get(name)
        if before is None or before.frame.segment != frame.segment:
            self.segment_began_ns[name] = frame.timestamp_ns
        if before is not None:
            self.need(frame.index > before.frame.index, "indices rise")
            self.need(frame.segment >= before.frame.segment, "segments never go back")
            if frame.segment == before.frame.segment:
                self.need(frame.timestamp_ns >= before.frame.timestamp_ns, "time never goes back in a segment")
                self.need(frame.image.shape == self.shape[name], "one size in a segment")
        self.shape[name] = frame.image.shape
        self.last[name] = replace(result, frame=replace(frame, image=frame.image[:1, :1]))
        is_warm = frame.timestamp_ns - self.segment_began_ns[name] >= SPEC.warm_up_s * 1e9
        self.need(is_warm or not result.is_anomaly, "no event while warming up")
        self.need((result.state == "fault") == (result.fault is not None), "a fault is named")
        self.need((result.anomaly_score is None) == (result.state == "fault"), "a score where there is no fault")
        self.need(result.is_anomaly == (result.state == "anomaly"), "state and verdict agree")
        self.need(0 <= result.latency_s < 60, "latency is a time")

    def count(self, cameras: Sequence[FrameCounters]) -> None:
        for camera in cameras:
            # One may wait with the camera, and one be on its way to the scorer: a frame that got lost stays among them.
            self.need(0 <= camera.waiting <= 2, "every frame is accounted for, at any moment")

    def event_began(self, event: Event) -> None:
        self.need(event.id not in self.began, "an event begins once")
        self.began[event.id] = event

    def event(self, event: Event) -> None:
        first = self.began.get(event.id)
        self.need(first is not None and event.id not in self.over, "an event is over once, after it began")
        if first is not None:
            same = (first.source_id, first.segment, first.start_ns) == (event.source_id, event.segment, event.start_ns)
            self.need(same and event.end_ns >= first.end_ns, "an event stays the same event")
        self.need(event.duration_s >= SPEC.min_duration_s - 1e-9, "no event is too short")
        self.over[event.id] = event

    def incident(self, incident: Incident) -> None:
        self.incidents[incident.kind] += 1
        if incident.lasts:
            self.need(incident.id not in self.open_incidents, "an incident begins once")
            self.need(
                not any(
                    (other.kind, other.source_id) == (incident.kind, incident.source_id)
                    for other in self.open_incidents.values()
                    if other.kind == "camera_lost"
                ),
                "an outage is one incident",
            )
            self.open_incidents[incident.id] = incident
            self.outages[incident.source_id] += incident.kind == "camera_lost"
        elif not incident.is_new:
            self.need(self.open_incidents.pop(incident.id, None) is not None, "an incident ends once, after it began")

    def finish(self, summary: RunSummary) -> None:
        self.need(self.began.keys() == self.over.keys(), "every event that began is over in the end")
        for camera in summary.cameras:
            self.need(camera.captured == camera.given + camera.dropped, "captured = given + dropped")
            self.need(camera.waiting == 0, "nothing waits in the end")
            self.need(camera.captured <= self.cameras[camera.source_id].produced, "no more captured than produced")
            self.need(camera.given == camera.scored + camera.faulty, "given = scored + faulty")
        self.need(sum(camera.given for camera in summary.cameras) == summary.frames, "the summary counts every result")
        for (source, segment), ends in self._by_segment().items():
            quiet_ns = [later[0] - before[1] for before, later in pairwise(ends)]
            self.need(all(gap >= SPEC.cool_down_s * 1e9 for gap in quiet_ns), f"cool-down ({source}, {segment})")

    def _by_segment(self) -> dict[tuple[str, int], list[tuple[int, int]]]:
        found: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
        for event in sorted(self.over.values(), key=lambda event: event.start_ns):
            found[event.source_id, event.segment].append((event.start_ns, event.end_ns))
        return found


class Watching(Sink):
    """Feeds the promises, in the thread that scores, and changes settings under way."""

    name = "watching"

    def __init__(self, promises: Promises, pipeline: Pipeline, seed: int) -> None:
        self._promises = promises
        self._pipeline = pipeline
        self._random = np.random.default_rng(seed)

    def push(self, result: Result) -> None:
        self._promises.push(result)
        self._promises.count(self._pipeline.counters())
        if self._random.random() < 0.001:
            level = float(self._random.uniform(2.0, 4.0))
            calibration, spec = self._pipeline.scorer.calibration, replace(SPEC, threshold=level)
            self._pipeline.call(lambda: self._pipeline.apply(calibration, spec))

    def event_began(self, event: Event) -> None:
        self._promises.event_began(event)

    def event(self, event: Event) -> None:
        self._promises.event(event)

    def incident(self, incident: Incident) -> None:
        self._promises.incident(incident)

    def finish(self, summary: RunSummary) -> None:
        self._promises.finish(summary)


class Flapping(Sink):
    """Fails for a while, every now and then; notes which events reached it."""

    name = "flapping"

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._fails_until_s = 0.0
        self._starts = 0
        self.told: list[int] = []

    def start(self, run: RunInfo) -> None:
        self._starts += 1
        if self._starts == 1:
            raise OutputError("the disk is full", where="/simulated")

    def push(self, result: Result) -> None:
        self._fail_now_and_then(0.001)

    def event(self, event: Event) -> None:
        self.told.append(event.id)
        self._fail_now_and_then(0.01)

    def _fail_now_and_then(self, chance: float) -> None:
        now_s = time.monotonic()
        if self._random.random() < chance:
            self._fails_until_s = now_s + 0.05
        if now_s < self._fails_until_s:
            raise OutputError("the disk is full", where="/simulated")


def soak(frames: int, seed: int, folder: Path) -> tuple[Promises, RunSummary, float]:
    """A run of so many frames; the promises, the summary, and by how many megabytes memory grew after a tenth of it."""
    bundle: Bundle = write_tiny_bundle(folder / "bundle", InputSpec(32, 32))
    cameras = {f"camera {k}": FaultyCamera(seed + k, rate_hz=400.0, mean_frames=150) for k in range(3)}
    promises = Promises(cameras)
    threads_before = threading.active_count()
    with Scorer.from_bundle(bundle) as real:
        scorer = replace(real, backend=RandomScores(seed))
        quick = Backoff(0.01, 0.05)
        sources = [
            LiveSource(camera, name=name, kind="camera", stale_s=0.05, reconnect=True, wait=True, backoff=quick)
            for name, camera in cameras.items()
        ]
        governor = Governor(
            GovernorSpec(latency_budget_ms=30.0, latency_hold_s=0.5, climb_s=1.0, steps_hz=(300.0, 200.0))
        )
        pipeline = Pipeline(scorer, sources, hysteresis=SPEC, lens=LensSpec(frozen_s=0.2), governor=governor)
        flapping, meter = Flapping(seed), _Memory(frames)
        dispatcher = Dispatcher([flapping], lossless=False, report=pipeline.report)
        sinks = [Watching(promises, pipeline, seed), dispatcher, meter]
        with dispatcher:
            summary = run_session(pipeline, sinks, sources=list(cameras), alarms_per_hour=None, max_frames=frames)
    ended_s = time.monotonic() + 3.0
    while threading.active_count() > threads_before and time.monotonic() < ended_s:
        time.sleep(0.05)
    promises.need(threading.active_count() <= threads_before, "every thread ends")
    promises.need(flapping.told == list(promises.over), "every event reaches a failing sink, in order")
    return promises, summary, meter.growth_mb


class _Memory(Sink):
    """Resident memory, from a tenth of the run on."""

    name = "memory"

    def __init__(self, frames: int) -> None:
        self._process = psutil.Process()
        self._every = max(frames // 20, 1)
        self._first = frames // 10
        self._seen = 0
        self._samples_mb: list[float] = []

    def push(self, result: Result) -> None:
        self._seen += 1
        if self._seen >= self._first and self._seen % self._every == 0:
            self._samples_mb.append(self._process.memory_info().rss / 1e6)

    @property
    def growth_mb(self) -> float:
        return max(self._samples_mb) - self._samples_mb[0] if self._samples_mb else 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=100_000, help="results to take (default 100000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all faults (default 0)")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="edgevad-bench-") as temporary:
        promises, summary, growth_mb = soak(options.frames, options.seed, Path(temporary))
    faults = Counter[str]()
    for camera in promises.cameras.values():
        faults.update(camera.faults)
    rows = [
        Row("results", [summary.frames]),
        Row("frames captured", [sum(camera.captured for camera in summary.cameras)]),
        Row("frames dropped", [summary.dropped]),
        Row("frames that show nothing", [summary.faulty]),
        *(Row(f"faults injected: {kind}", [count]) for kind, count in faults.items()),
        *(Row(f"incidents told: {kind}", [count]) for kind, count in promises.incidents.most_common()),
        Row("events", [summary.event_count]),
        Row("promises broken", [promises.broken.total()], bar=BROKEN_BAR),
        Row("resident memory, growth", [growth_mb], "MB", bar=GROWTH_BAR),
    ]
    for promise, count in promises.broken.most_common():
        print(f"broken {count} times: {promise}", file=sys.stderr)
    return report("soak", rows, as_json=options.json, facts={"seed": options.seed})


if __name__ == "__main__":
    sys.exit(guarded(main))

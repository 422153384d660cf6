"""One engine, several sources: each keeps its own windows and events; what happens to one is not the others' affair."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from simulated import SimulatedCamera
from tiny import tiny_frames

from edgevad.errors import SourceError
from edgevad.events import Event, Incident
from edgevad.runtime.backends import Scores
from edgevad.runtime.lens import LensSpec
from edgevad.runtime.pipeline import Pipeline, Result
from edgevad.runtime.preprocess import ModelInput, Preprocessor
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.threshold import Hysteresis
from edgevad.sources import Frame, Source
from edgevad.sources.backoff import Backoff
from edgevad.sources.live import LiveSource


class Camera(Source):
    """A live source of these frames; `pace_s` between them."""

    is_live = True

    def __init__(self, name: str, frames: Iterable[Frame | Exception], *, pace_s: float = 0.0) -> None:
        super().__init__(name, kind="camera")
        self._items = frames
        self._pace_s = pace_s

    def _frames(self) -> Generator[Frame, None, None]:
        for item in self._items:
            if isinstance(item, Exception):
                raise item
            if self._pace_s:
                time.sleep(self._pace_s)
            yield replace(item, source_id=self.name)


@pytest.fixture
def scorer(tiny_bundle: Path) -> Scorer:
    return Scorer.from_bundle(tiny_bundle)


def by_source(results: Iterable[Result]) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        found[result.frame.source_id].append(result)
    return found


def test_every_source_is_judged_as_if_it_were_alone(scorer: Scorer) -> None:
    drives = {name: list(tiny_frames(60, anomalies=range(at, at + 10))) for name, at in (("a", 10), ("b", 30))}
    alone = {name: list(Pipeline(scorer, Camera(name, frames))) for name, frames in drives.items()}
    pipeline = Pipeline(scorer, [Camera(name, frames) for name, frames in drives.items()])
    together = by_source(pipeline)

    assert set(together) == {"a", "b"}
    for name, results in together.items():
        assert [result.frame.index for result in results] == list(range(60))
        for result, expected in zip(results, alone[name], strict=True):
            assert result.parts == pytest.approx(expected.parts, rel=1e-6)
            assert result.anomaly_score == pytest.approx(expected.anomaly_score, rel=1e-6)
            assert (result.state, result.cause) == (expected.state, expected.cause)
    events = [result.event for results in together.values() for result in results if result.event is not None]
    assert {(event.source_id, event.start_frame) for event in events} == {("a", 10), ("b", 30)}
    # Events of one run are numbered together.
    assert sorted(event.id for event in events) == [1, 2]


def test_an_event_is_told_when_it_begins_and_again_when_it_is_over(scorer: Scorer) -> None:
    frames = list(tiny_frames(60, anomalies=range(20, 30)))
    spec = Hysteresis(scorer.calibration.threshold, min_duration_s=0.3)
    results = list(Pipeline(scorer, Camera("a", frames), hysteresis=spec))
    [began] = [(k, result.event_began) for k, result in enumerate(results) if result.event_began is not None]
    [over] = [result.event for result in results if result.event is not None]
    assert began[0] == 23  # 0.3 s after its first frame, when it is certain to be recorded
    assert (began[1].id, began[1].start_frame, began[1].end_frame) == (over.id, 20, 23)
    assert over.end_frame > 23


def test_frames_of_several_cameras_are_scored_in_one_call(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    inner = scorer.backend.score

    def slow(frames: np.ndarray, motion: np.ndarray | None) -> Scores:
        calls.append(len(frames))
        time.sleep(0.01)  # meanwhile the other cameras' frames come in
        return inner(frames, motion)

    monkeypatch.setattr(scorer.backend, "score", slow)
    results = list(Pipeline(scorer, [Camera(name, tiny_frames(20)) for name in "abcd"]))
    assert Counter(result.frame.source_id for result in results) == dict.fromkeys("abcd", 20)
    assert sum(calls) == 80
    assert len(calls) < 50
    assert max(calls) <= 4


def test_a_slow_camera_does_not_hold_up_the_others(scorer: Scorer) -> None:
    order = [
        result.frame.source_id
        for result in Pipeline(scorer, [Camera("slow", tiny_frames(3), pace_s=0.15), Camera("quick", tiny_frames(60))])
    ]
    assert Counter(order) == {"slow": 3, "quick": 60}
    assert order[-1] == "slow"


def test_one_source_that_fails_is_told_and_the_others_go_on(scorer: Scorer) -> None:
    told: list[Incident] = []
    broken = Camera("broken", [*tiny_frames(3), SourceError("it fell off", where="broken")])
    results = by_source(Pipeline(scorer, [broken, Camera("a", tiny_frames(50))], on_incident=told.append))
    assert {name: len(rows) for name, rows in results.items()} == {"broken": 3, "a": 50}
    [incident] = told
    assert (incident.kind, incident.source_id) == ("camera_lost", "broken")
    assert "it fell off" in incident.detail


def test_the_last_source_that_fails_ends_the_run(scorer: Scorer) -> None:
    told: list[Incident] = []
    cameras = [Camera(name, [*tiny_frames(3), SourceError("gone", where=name)]) for name in "ab"]
    taken = 0
    with pytest.raises(SourceError, match="gone"):  # noqa: PT012
        for _ in Pipeline(scorer, cameras, on_incident=told.append):
            taken += 1
    assert taken == 6
    assert len(told) == 1


def test_incidents_and_calls_come_between_frames_in_the_thread_that_iterates(scorer: Scorer) -> None:
    where: list[tuple[str, int]] = []
    pipeline = Pipeline(scorer, Camera("a", tiny_frames(40), pace_s=0.005))
    pipeline.on_incident = lambda incident: where.append((incident.cause, threading.get_ident()))
    incident = Incident.once("storage", "full", "the disk is full")
    taken = 0
    for result in pipeline:
        taken += 1
        if result.frame.index == 10:
            thread = threading.Thread(target=pipeline.report, args=(incident,))
            thread.start()
            thread.join()
    assert taken == 40
    assert where == [("full", threading.get_ident())]


def test_what_was_reported_before_the_end_is_told_at_the_end(scorer: Scorer) -> None:
    told: list[Incident] = []
    pipeline = Pipeline(scorer, Camera("a", tiny_frames(3)), on_incident=told.append)
    list(pipeline)
    pipeline.report(Incident.once("sink", "slow", "too late"))
    assert pipeline.finish() == []
    assert [incident.cause for incident in told] == ["slow"]


def test_another_threshold_holds_from_the_next_frame_on_and_no_frame_is_lost(scorer: Scorer) -> None:
    pipeline = Pipeline(scorer, Camera("a", tiny_frames(40)), hysteresis=Hysteresis(1e9))
    lower = Hysteresis(-1000.0)
    results = []
    for result in pipeline:
        results.append(result)
        if result.frame.index == 19:
            pipeline.call(lambda: pipeline.apply(scorer.calibration, lower))
    assert [result.frame.index for result in results] == list(range(40))
    first = next(k for k, result in enumerate(results) if result.is_anomaly)
    # The frame after this one may have been on its way already.
    assert first in (20, 21)
    assert all(result.is_anomaly for result in results[first:])
    assert pipeline.hysteresis == lower
    # The heat is in units of an alarm, and follows.
    assert results[30].heatmap is not None
    assert results[10].heatmap is not None
    assert not np.allclose(results[30].heatmap, results[10].heatmap)


def test_the_heart_beats_while_no_frame_comes(scorer: Scorer) -> None:
    gate = threading.Event()

    def frames() -> Generator[Frame, None, None]:
        yield from tiny_frames(2)
        gate.wait(10)

    beats: list[float] = []
    pipeline = Pipeline(scorer, Camera("a", frames()), heartbeat=lambda: beats.append(time.monotonic()))
    threading.Timer(1.3, gate.set).start()
    assert len(list(pipeline)) == 2
    silent = np.diff(beats)
    assert len(beats) >= 4
    assert silent.max() < 1.0


def test_a_stuck_engine_stops_the_heart(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[int] = []
    inner = scorer.backend.score
    during: list[int] = []

    def stuck(frames: np.ndarray, motion: np.ndarray | None) -> Scores:
        before = len(beats)
        time.sleep(0.8)
        during.append(len(beats) - before)
        return inner(frames, motion)

    monkeypatch.setattr(scorer.backend, "score", stuck)
    list(Pipeline(scorer, Camera("a", tiny_frames(2)), heartbeat=lambda: beats.append(1)))
    assert during == [0, 0]


def test_a_covered_lens_is_a_fault_and_no_anomaly(scorer: Scorer) -> None:
    def blacked(frame: Frame) -> Frame:
        return replace(frame, image=np.zeros_like(frame.image)) if 20 <= frame.index < 45 else frame

    # Black is far from the gray that the bundle takes for normal: without the lens it is an event.
    frames = [blacked(frame) for frame in tiny_frames(80, anomalies=range(60, 70))]
    told: list[Incident] = []
    watched = list(Pipeline(scorer, Camera("a", frames), lens=LensSpec(), on_incident=told.append))
    unwatched = list(Pipeline(scorer, Camera("a", frames)))

    assert {result.state for result in watched[20:45]} == {"fault"}
    assert {result.fault for result in watched[20:45]} == {"black"}
    assert all(result.anomaly_score is None and not result.is_anomaly for result in watched[20:45])
    assert [result.event_began.start_frame for result in watched if result.event_began is not None] == [60]
    assert [result.event_began.start_frame for result in unwatched if result.event_began is not None] == [20, 60]
    begun, over = told
    assert (begun.kind, begun.cause, begun.lasts) == ("camera_fault", "black", True)
    assert (over.id, over.lasts) == (begun.id, False)


def test_a_closed_pipeline_gives_nothing(scorer: Scorer) -> None:
    pipeline = Pipeline(scorer, Camera("a", tiny_frames(3)))
    pipeline.close()
    assert list(pipeline) == []


def live(camera: SimulatedCamera, name: str = "front") -> LiveSource:
    return LiveSource(
        camera, name=name, kind="camera", stale_s=0.1, reconnect=True, wait=True, backoff=Backoff(0.02, 0.05)
    )


def test_an_event_is_over_when_its_camera_is_lost(scorer: Scorer) -> None:
    camera = SimulatedCamera(rate_hz=100)
    told: list[Incident | Event] = []
    pipeline = Pipeline(
        scorer, live(camera), hysteresis=Hysteresis(-1000.0), on_incident=told.append, on_event=told.append
    )
    results = []
    for result in pipeline:
        results.append(result)
        if len(results) == 10:
            camera.unplug()
            threading.Timer(0.5, camera.plug_in).start()
        if len(results) == 20:
            break
    event, lost, back = told
    assert isinstance(event, Event)
    assert isinstance(lost, Incident)
    assert (event.start_frame, event.end_frame) == (results[0].frame.index, results[9].frame.index)
    assert (lost.kind, lost.lasts, back.id) == ("camera_lost", True, lost.id)
    # It was told before the camera came back, and the next one is another one.
    assert results[10].event is None
    [last] = pipeline.finish()
    assert (last.start_frame, last.id) == (results[10].frame.index, event.id + 1)


def test_without_anybody_to_tell_it_to_such_an_event_is_given_at_the_end(scorer: Scorer) -> None:
    camera = SimulatedCamera(rate_hz=100)
    pipeline = Pipeline(scorer, live(camera), hysteresis=Hysteresis(-1000.0))
    for taken, _ in enumerate(pipeline):
        if taken == 5:
            camera.unplug()
            threading.Timer(0.4, camera.plug_in).start()
        if taken == 10:
            break
    assert [event.id for event in pipeline.finish()] == [1, 2]


def test_a_frame_too_small_to_score_costs_the_camera_nothing_but_that_frame(scorer: Scorer) -> None:
    camera = SimulatedCamera(rate_hz=200)
    pipeline = Pipeline(scorer, [live(camera)])
    sizes = []
    for taken, result in enumerate(pipeline):
        sizes.append(result.frame.image.shape[:2])
        if taken == 5:
            camera.size_px = (64, 4)
            threading.Timer(0.2, setattr, (camera, "size_px", (64, 48))).start()
        if taken == 30:
            break
    pipeline.finish()
    [counters] = pipeline.counters()
    assert set(sizes) == {(48, 64)}
    assert counters.skipped >= 10
    assert counters.captured == counters.given + counters.dropped
    assert counters.waiting == 0


def test_a_limited_rate_does_not_make_frames_old(scorer: Scorer) -> None:
    camera = SimulatedCamera(rate_hz=10)
    pipeline = Pipeline(scorer, LiveSource(camera, name="front", kind="camera"))
    for reader in pipeline._streams:
        reader.limit_rate(3.7)
    latencies_s = []
    for result in pipeline:
        latencies_s.append(result.latency_s)
        if len(latencies_s) == 9:
            break
    # Frames that had waited would be up to 100 ms old, most of them above 40.
    assert np.median(latencies_s[1:]) < 0.03
    pipeline.finish()
    [counters] = pipeline.counters()
    assert counters.captured == counters.given + counters.dropped
    assert counters.dropped > counters.given


def test_a_reader_that_hangs_stops_the_heart(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its source looks alive: without this nobody would notice."""
    monkeypatch.setattr("edgevad.runtime.pipeline._STUCK_S", 0.3)
    go_on = threading.Event()
    inner = Preprocessor.__call__

    def hanging(self: Preprocessor, frame: Frame) -> ModelInput | None:
        if frame.index >= 3:
            go_on.wait(5)
        return inner(self, frame)

    monkeypatch.setattr(Preprocessor, "__call__", hanging)
    beats: list[float] = []
    pipeline = Pipeline(scorer, live(SimulatedCamera(rate_hz=50)), heartbeat=lambda: beats.append(time.monotonic()))
    threading.Timer(2.5, pipeline.stop).start()
    started_s = time.monotonic()
    list(pipeline)
    ended_s = time.monotonic()
    assert ended_s - started_s < 4
    assert ended_s - beats[-1] > 1.2
    go_on.set()


def test_a_second_signal_in_the_middle_of_the_first_one(scorer: Scorer) -> None:
    """`stop` may be interrupted by itself anywhere: it takes no lock that it could wait for."""
    pipeline = Pipeline(scorer, [live(SimulatedCamera(rate_hz=50), name) for name in "ab"])
    [reader, _] = pipeline._streams
    inner = reader.stop
    calls: list[int] = []

    def interrupted() -> None:
        calls.append(1)
        if len(calls) == 1:
            pipeline.stop()
        inner()

    reader.stop = interrupted  # type: ignore[method-assign]
    for _ in pipeline:
        pipeline.stop()
    assert len(calls) >= 2


@dataclass
class StepDown:
    """A governor that goes to 20 Hz at the tenth frame and back at the twentieth."""

    rate_hz: float | None = None
    seen: int = 0

    def observe(self, latency_s: float, now_s: float) -> Incident | None:
        assert latency_s > 0
        self.seen += 1
        if self.seen == 10:
            self.rate_hz = 20.0
            return Incident.once("frame_rate", "latency", "20 Hz")
        if self.seen == 20:
            self.rate_hz = None
            return Incident.once("frame_rate", "recovered", "full rate")
        return None


def test_the_governor_s_rate_is_held_and_lifted(scorer: Scorer) -> None:
    told: list[str] = []
    times: list[float] = []
    governor = StepDown()
    pipeline = Pipeline(
        scorer,
        Camera("a", tiny_frames(60)),
        governor=governor,  # type: ignore[arg-type]
        on_incident=lambda incident: told.append(incident.cause),
    )
    for _ in pipeline:
        times.append(time.monotonic())
    steps_s = np.diff(times)
    assert told == ["latency", "recovered"]
    # One frame was asked for before the limit came, and one that was held back in time is caught up.
    assert steps_s[11:18].sum() >= 6 * 0.05
    assert steps_s[22:].sum() < 38 * 0.05 / 2

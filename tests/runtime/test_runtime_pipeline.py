from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_frames

from edgevad.errors import BackendError, SourceError
from edgevad.runtime.backends import Scores
from edgevad.runtime.pipeline import BATCH_FRAMES, READ_AHEAD_BATCHES, Pipeline
from edgevad.runtime.reader import PATIENCE_S
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.threshold import Hysteresis
from edgevad.sources import Frame, Source
from edgevad.sources.live import LiveSource


class ListSource(Source):
    """Frames from an iterable; notes how many were asked for and that it was closed."""

    def __init__(self, frames: Iterable[Frame | Exception], *, is_live: bool = False) -> None:
        super().__init__("list", kind="list")
        self.is_live = is_live
        self.given = 0
        self._items = frames

    @property
    def closed(self) -> bool:
        return self._closed

    def _frames(self) -> Generator[Frame, None, None]:
        for item in self._items:
            if isinstance(item, Exception):
                raise item
            self.given += 1
            yield item


@pytest.fixture
def scorer(tiny_bundle: Path) -> Scorer:
    return Scorer.from_bundle(tiny_bundle)


def reader_threads() -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread.name.startswith(("edgevad decoder", "edgevad preprocessor"))
    ]


@pytest.fixture(autouse=True)
def _no_thread_stays_behind() -> Generator[None, None, None]:
    assert reader_threads() == []
    yield
    assert reader_threads() == []


def test_every_frame_of_a_recording_is_scored_in_order(scorer: Scorer) -> None:
    frames = list(tiny_frames(80, anomalies=range(40, 50)))
    source = ListSource(frames)
    pipeline = Pipeline(scorer, source)

    results = list(pipeline)

    assert [result.frame for result in results] == frames
    for result in results:
        assert result.windowed_score is not None
        assert result.anomaly_score == pytest.approx(scorer.calibration.standardise(result.windowed_score))
        assert result.heatmap is not None
        assert result.heatmap.max() == pytest.approx(result.frame_score)
        assert 0 < result.latency_s < 1
        assert result.state == ("anomaly" if result.is_anomaly else "normal")
    inside = [k for k, result in enumerate(results) if result.is_anomaly]
    # The mean over half a second (5 frames) holds the anomaly for up to 4 frames more.
    assert inside == list(range(40, 54))
    [event] = [result.event for result in results if result.event is not None]
    assert (event.start_frame, event.end_frame) == (40, 53)
    assert pipeline.finish() is None
    assert source.closed


def test_an_event_that_is_still_open_is_closed_by_finish(scorer: Scorer) -> None:
    pipeline = Pipeline(scorer, ListSource(tiny_frames(20, anomalies=range(15, 20))))
    assert [result.event for result in pipeline] == [None] * 20
    event = pipeline.finish()
    assert event is not None
    assert (event.start_frame, event.end_frame) == (15, 19)
    assert pipeline.finish() is None


def test_hysteresis_of_your_own(scorer: Scorer) -> None:
    pipeline = Pipeline(scorer, ListSource(tiny_frames(5)), hysteresis=Hysteresis(-1000.0))
    assert all(result.is_anomaly for result in pipeline)


def test_motion_warms_up_at_every_segment(tiny_motion_bundle: Path) -> None:
    frames = [
        Frame(frame.image, frame.index, frame.timestamp_ns, frame.source_id, frame.index // 3)
        for frame in tiny_frames(6)
    ]
    with Scorer.from_bundle(tiny_motion_bundle) as scorer:
        results = list(Pipeline(scorer, ListSource(frames)))
    assert [result.state for result in results] == ["warm-up", "normal", "normal"] * 2
    first = results[0]
    assert (first.frame_score, first.windowed_score, first.anomaly_score, first.heatmap) == (None,) * 4


def test_leaving_the_loop_ends_the_threads_and_closes_the_source(scorer: Scorer) -> None:
    source = ListSource(tiny_frames(1000))
    for result in Pipeline(scorer, source):
        if result.frame.index == 5:
            break
    assert source.closed
    assert source.given <= 6 + (READ_AHEAD_BATCHES + 1) * BATCH_FRAMES


def test_reading_ahead_is_bounded(scorer: Scorer) -> None:
    source = ListSource(tiny_frames(1000))
    with Pipeline(scorer, source) as pipeline:
        next(iter(pipeline))
        time.sleep(0.1)
        assert source.given <= 1 + (READ_AHEAD_BATCHES + 1) * BATCH_FRAMES


def test_a_slow_recording_is_scored_frame_by_frame(scorer: Scorer) -> None:
    def frames() -> Generator[Frame, None, None]:
        for frame in tiny_frames(4):
            time.sleep(2 * PATIENCE_S)
            yield frame

    source = ListSource(frames())
    for taken, _ in enumerate(Pipeline(scorer, source), 1):
        assert source.given <= taken + 1


def test_a_live_source_is_asked_for_one_frame_ahead_at_most(scorer: Scorer) -> None:
    source = ListSource(tiny_frames(1000), is_live=True)
    with Pipeline(scorer, source) as pipeline:
        results = iter(pipeline)
        for taken in range(1, 5):
            next(results)
            time.sleep(0.02)
            assert source.given <= taken + 1


def test_what_goes_wrong_while_reading_comes_after_the_frames_before_it(scorer: Scorer) -> None:
    pipeline = Pipeline(scorer, ListSource([*tiny_frames(3), SourceError("camera lost", where="list")]))
    results = iter(pipeline)
    assert [next(results).frame.index for _ in range(3)] == [0, 1, 2]
    with pytest.raises(SourceError, match="list: camera lost"):
        next(results)


def test_what_goes_wrong_while_preparing_is_raised_too(scorer: Scorer) -> None:
    tiny = Frame(np.zeros((1, 1, 3), np.uint8), 3, 300_000_000, "tiny")
    results = iter(Pipeline(scorer, ListSource([*tiny_frames(3), tiny])))
    assert [next(results).frame.index for _ in range(3)] == [0, 1, 2]
    with pytest.raises(SourceError, match="frame 3 is 1x1 pixels"):
        next(results)


class BrokenBackend:
    """Gives a number that is none."""

    def score(self, frames: np.ndarray, motion: np.ndarray | None) -> Scores:
        one = np.full(1, np.nan, np.float32)
        return Scores(one, one.reshape(1, 1, 1), one.reshape(1, 1))

    def close(self) -> None: ...


def test_a_score_that_is_no_number_is_an_error_not_a_silence(scorer: Scorer) -> None:
    broken = Scorer("x", "x", scorer.input, scorer.calibration, BrokenBackend(), scorer.training_scores)
    with pytest.raises(BackendError, match="frame 0 of tiny scores nan"):
        list(Pipeline(broken, ListSource(tiny_frames(3))))


def test_stop_from_another_thread_ends_a_wait_for_a_frame(scorer: Scorer) -> None:
    gate = threading.Event()

    def frames() -> Generator[Frame, None, None]:
        yield from tiny_frames(BATCH_FRAMES)
        gate.wait(10)

    pipeline = Pipeline(scorer, ListSource(frames()))
    threading.Timer(0.1, lambda: (pipeline.stop(), gate.set())).start()
    before = time.monotonic()
    assert len(list(pipeline)) == BATCH_FRAMES
    assert time.monotonic() - before < 5
    assert pipeline.stopped


def test_frames_that_change_size_are_scored_all_the_same(scorer: Scorer) -> None:
    frames = [
        *tiny_frames(3),
        *(Frame(f.image, 3 + f.index, 3 * 10**8 + f.timestamp_ns, "tiny") for f in tiny_frames(3, size=(100, 90))),
    ]
    assert [result.state for result in Pipeline(scorer, ListSource(frames))] == ["normal"] * 6


class SteadyCapture:
    """A camera of 200 Hz."""

    def read(self) -> tuple[bool, np.ndarray]:
        time.sleep(0.005)
        return True, np.full((48, 64, 3), 102, np.uint8)

    def release(self) -> None: ...


def test_a_camera_gives_its_newest_frame_to_a_slow_consumer(scorer: Scorer) -> None:
    source = LiveSource(SteadyCapture(), name="camera", kind="camera")
    ages_s = []
    with Pipeline(scorer, source) as pipeline:
        for count, result in enumerate(pipeline):
            ages_s.append(time.time() - result.frame.timestamp_ns / 1e9)
            if count == 5:
                break
            time.sleep(0.1)
    # One frame may have been read ahead while the consumer slept; never a queue of them.
    assert max(ages_s) < 0.3
    assert source.dropped > 20

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_frames

from edgevad.bundle.manifest import Calibration, PartCalibration
from edgevad.errors import BackendError, SourceError
from edgevad.runtime.backends import Scores
from edgevad.runtime.backends.backend import BATCH_FRAMES
from edgevad.runtime.pipeline import Pipeline, Result
from edgevad.runtime.preprocess import ModelInput, Preprocessor
from edgevad.runtime.reader import PATIENCE_S, READ_AHEAD_BATCHES, Inbox, PreparedFrame, RecordingReader
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.threshold import Hysteresis
from edgevad.runtime.window import SlidingWindow, WindowSpec
from edgevad.sources import Frame, Source
from edgevad.sources.capture import Capture
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
    [alarm] = scorer.calibration.alarm_levels(scorer.calibration.threshold)
    window = SlidingWindow(scorer.calibration.window)
    for result in results:
        [score], [deviate] = result.parts, result.deviates
        assert result.frame_score == pytest.approx(scorer.calibration.deviates([score])[0])
        windowed = window.push(score, result.frame.timestamp_ns, result.frame.segment)
        assert result.anomaly_score == deviate == pytest.approx(scorer.calibration.deviates([windowed])[0])
        assert result.cause == "patch"
        assert result.heatmap is not None
        # A patch score is its largest local error, so the heat is 1 where the score alone would be an alarm.
        assert result.heatmap.max() == pytest.approx(score / alarm, rel=1e-4)
        assert 0 < result.latency_s < 1
        assert result.state == ("anomaly" if result.is_anomaly else "normal")
    inside = [k for k, result in enumerate(results) if result.is_anomaly]
    # The mean over half a second (5 frames) holds the anomaly for up to 4 frames more.
    assert inside == list(range(40, 54))
    [event] = [result.event for result in results if result.event is not None]
    assert (event.start_frame, event.end_frame) == (40, 53)
    assert pipeline.finish() == []
    assert source.closed


def test_an_event_that_is_still_open_is_closed_by_finish(scorer: Scorer) -> None:
    pipeline = Pipeline(scorer, ListSource(tiny_frames(20, anomalies=range(15, 20))))
    assert [result.event for result in pipeline] == [None] * 20
    [event] = pipeline.finish()
    assert (event.start_frame, event.end_frame) == (15, 19)
    assert pipeline.finish() == []


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
    assert (first.frame_score, first.anomaly_score, first.cause, first.heatmap) == (None,) * 4
    assert (first.parts, first.deviates) == ((), ())


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
    with pytest.raises(SourceError, match=r"frame 3 is 1x1 pixels"):
        next(results)


@contextmanager
def reading(
    source: Source, scorer: Scorer, *, batch: int
) -> Generator[Generator[list[PreparedFrame], None, None], None, None]:
    """The batches of a recording, as the pipeline receives them."""
    inbox = Inbox()
    reader = RecordingReader(source, scorer.input, inbox, batch=batch)

    def batches() -> Generator[list[PreparedFrame], None, None]:
        reader.start()
        while (received := reader.receive(inbox.get(timeout=5)[1])) is not None:
            yield received

    try:
        yield batches()
    finally:
        reader.close()


@pytest.fixture
def prepared_by(monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    """The thread that prepared each frame, by its index; the last one where there were several."""
    names: dict[int, str] = {}
    inner = Preprocessor.__call__

    def noted(self: Preprocessor, frame: Frame) -> ModelInput | None:
        names[frame.index] = threading.current_thread().name
        return inner(self, frame)

    monkeypatch.setattr(Preprocessor, "__call__", noted)
    return names


def test_the_decoder_prepares_while_nobody_waits_for_its_frames(scorer: Scorer, prepared_by: dict[int, str]) -> None:
    frames = list(tiny_frames(16))
    found = []
    with reading(ListSource(frames), scorer, batch=4) as batches:
        for batch in batches:
            found += batch
            time.sleep(0.1)  # a slow consumer: by the time it comes back, a batch waits, and the next is in hand
    assert [one.frame for one in found] == frames
    # The second batch was handed over when the first had been taken; from the third on there was time.
    assert {prepared_by[k] for k in range(8, 16)} == {"edgevad decoder"}
    prepare = Preprocessor(scorer.input)
    for one in found:
        expected = prepare(one.frame)
        assert expected is not None
        assert one.input is not None
        assert one.preparing_s > 0
        np.testing.assert_array_equal(one.input.image, expected.image)


@pytest.mark.parametrize(("is_live", "motion"), [(True, False), (True, True), (False, True)])
def test_frames_that_are_wanted_at_once_or_need_the_past_are_left_to_their_own_thread(
    tiny_bundle: Path, tiny_motion_bundle: Path, prepared_by: dict[int, str], *, is_live: bool, motion: bool
) -> None:
    with Scorer.from_bundle(tiny_motion_bundle if motion else tiny_bundle) as scorer:
        for _ in Pipeline(scorer, ListSource(list(tiny_frames(6 * BATCH_FRAMES)), is_live=is_live)):
            time.sleep(0.001)
    assert set(prepared_by.values()) == {"edgevad decoder" if is_live else "edgevad preprocessor"}


def test_batches_of_large_frames_hold_half_as_many(scorer: Scorer) -> None:
    large = [Frame(np.full((420, 560, 3), 100, np.uint8), k, k * 10**8, "large") for k in range(10)]
    with reading(ListSource(large), scorer, batch=8) as batches:
        sizes = [len(batch) for batch in batches]
    assert (sum(sizes), max(sizes)) == (10, 4)


def test_what_goes_wrong_while_the_decoder_prepares_waits_for_its_turn(scorer: Scorer) -> None:
    tiny = Frame(np.zeros((1, 1, 3), np.uint8), 10, 10**9, "tiny")
    taken = []
    source = ListSource([*tiny_frames(10), tiny, *tiny_frames(5)])

    def take() -> None:
        with reading(source, scorer, batch=4) as batches:
            for batch in batches:
                taken.extend(one.frame.index for one in batch)
                time.sleep(0.1)

    with pytest.raises(SourceError, match="frame 10 is 1x1 pixels"):
        take()
    assert taken == list(range(10))


class PartsBackend:
    """Gives the scores of these rows, one a frame, and a heatmap of the first part alone."""

    batch = 1

    def __init__(self, rows: Sequence[Sequence[float]]) -> None:
        self._rows = iter(rows)

    def score(self, frames: np.ndarray, motion: np.ndarray | None) -> Scores:
        row = np.array([next(self._rows)], np.float32)
        return Scores(row, row[:, :1, None, None].repeat(2, 2).repeat(3, 3), np.zeros((1, 1), np.float32))

    def close(self) -> None: ...


def scorer_of(rows: Sequence[Sequence[float]], calibration: Calibration, scorer: Scorer) -> Scorer:
    return replace(scorer, path="made", calibration=calibration, backend=PartsBackend(rows))


@pytest.mark.parametrize("row", [[float("nan")], [float("inf")], [1.0, 2.0], []])
def test_a_score_that_is_no_number_or_of_other_parts_is_an_error_not_a_silence(
    scorer: Scorer, row: list[float]
) -> None:
    broken = scorer_of([[0.1], row, [0.1]], scorer.calibration, scorer)
    with pytest.raises(BackendError, match=r"frame 1 of tiny scores \(.*\); expected finite numbers, patch"):
        list(Pipeline(broken, ListSource(tiny_frames(3))))


TWO = Calibration(
    WindowSpec("mean", 0.0),
    (PartCalibration("detail", 2.0, 0.5), PartCalibration("view", 1.0, 0.1, margin=4.0)),
    threshold=3.0,
    alarms_per_hour=1.0,
)


def test_the_cause_is_the_part_that_stands_out(scorer: Scorer) -> None:
    # Square roots: detail 2 is normal and 4 is 4 spreads out; view 1 is normal, and 2 is 10 - 4 out.
    rows = [(4.0, 1.0), (16.0, 1.0), (16.0, 4.0), (4.0, 1.0), (4.0, 4.0)]
    pipeline = Pipeline(scorer_of(rows, TWO, scorer), ListSource(tiny_frames(5)), hysteresis=Hysteresis(3.0, 1.0, 0.0))
    results = list(pipeline)
    assert [result.parts for result in results] == rows
    assert results[1].deviates == pytest.approx((4.0, -4.0))
    assert results[2].deviates == pytest.approx((4.0, 6.0))
    assert [result.cause for result in results] == ["detail", "detail", "view", "detail", "view"]
    assert [result.anomaly_score for result in results] == pytest.approx([0.0, 4.0, 6.0, 0.0, 6.0])
    # Without a window a frame by itself says the same.
    assert [result.frame_score for result in results] == [result.anomaly_score for result in results]
    assert [result.is_anomaly for result in results] == [False, True, True, False, True]
    # An event is caused by what stood out at its peak, not by what began it.
    [first] = [result.event for result in results if result.event is not None]
    [last] = pipeline.finish()
    assert [(e.start_frame, e.peak_frame, e.cause) for e in (first, last)] == [(1, 2, "view"), (4, 4, "view")]


def test_a_part_that_decides_nothing_is_told_and_is_no_cause(scorer: Scorer) -> None:
    silent = replace(TWO, parts=(TWO.parts[0], replace(TWO.parts[1], margin=None)))
    rows = [(4.0, 1.0), (4.0, 100.0), (16.0, 100.0)]
    results = list(Pipeline(scorer_of(rows, silent, scorer), ListSource(tiny_frames(3))))
    assert [result.deviates for result in results] == [
        pytest.approx((0.0, 0.0)),
        pytest.approx((0.0, 90.0)),
        pytest.approx((4.0, 90.0)),
    ]
    assert [result.cause for result in results] == ["detail"] * 3
    assert [result.anomaly_score for result in results] == pytest.approx([0.0, 0.0, 4.0])
    assert [result.frame_score for result in results] == pytest.approx([0.0, 0.0, 4.0])
    assert [result.is_anomaly for result in results] == [False, False, True]


def test_every_part_has_a_window_of_its_own(scorer: Scorer) -> None:
    calibration = replace(TWO, window=WindowSpec("mean", 0.2))  # two frames
    rows = [(4.0, 1.0), (16.0, 4.0), (4.0, 1.0)]
    results = list(Pipeline(scorer_of(rows, calibration, scorer), ListSource(tiny_frames(3))))
    mean = calibration.deviates([10.0, 2.5])
    assert [result.deviates for result in results[1:]] == [pytest.approx(mean)] * 2
    assert results[1].frame_score == pytest.approx(6.0)
    assert results[1].anomaly_score == max(results[1].deviates)


def test_a_part_without_a_heatmap_leaves_the_heat_to_the_others(scorer: Scorer) -> None:
    [result] = Pipeline(scorer_of([(16.0, 4.0)], TWO, scorer), ListSource(tiny_frames(1)))
    assert result.heatmap is not None
    assert result.heatmap.shape == (2, 3)
    # Alone it would be an alarm at (2 + 3 * 0.5) squared.
    assert result.heatmap == pytest.approx(np.full((2, 3), 16.0 / 3.5**2), rel=1e-5)


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


class SteadyCapture(Capture):
    """A camera of 200 Hz."""

    def read(self) -> tuple[bool, np.ndarray]:
        time.sleep(0.005)
        return True, np.full((48, 64, 3), 102, np.uint8)


def test_a_camera_gives_its_newest_frame_to_a_slow_consumer(scorer: Scorer) -> None:
    source = LiveSource(SteadyCapture, name="camera", kind="camera")
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


@pytest.mark.parametrize("batch", [None, 1, 3, 7])
def test_frames_scored_in_batches_are_judged_as_one_by_one(
    scorer: Scorer, batch: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    inner = scorer.backend.score

    def counted(frames: np.ndarray, motion: np.ndarray | None) -> Scores:
        calls.append(len(frames))
        return inner(frames, motion)

    monkeypatch.setattr(scorer.backend, "score", counted)
    monkeypatch.setattr(scorer.backend, "batch", batch)
    results = list(Pipeline(scorer, ListSource(list(tiny_frames(30, anomalies=range(10, 15))))))
    expected = [inner(model_image(scorer, result)[None], None) for result in results]
    assert len(results) == 30
    if batch is None:
        assert (sum(calls), max(calls)) == (30, BATCH_FRAMES)
    else:  # every call is a whole one
        assert set(calls) == {batch}
    for result, one in zip(results, expected, strict=True):
        assert result.parts == pytest.approx(one.score[0].tolist(), rel=1e-6)


def test_a_heatmap_that_is_not_all_numbers_is_no_verdict(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = scorer.backend.score

    def spoilt(frames: np.ndarray, motion: np.ndarray | None) -> Scores:
        found = inner(frames, motion)
        found.heatmap[3, 0, 0, 0] = np.nan
        return found

    monkeypatch.setattr(scorer.backend, "score", spoilt)
    found: list[Result] = []
    with pytest.raises(BackendError, match=r"frame 3 of tiny .* has a heatmap that is not all numbers"):
        found.extend(Pipeline(scorer, ListSource(list(tiny_frames(8)))))
    assert len(found) == 3


def model_image(scorer: Scorer, result: Result) -> np.ndarray:
    item = Preprocessor(scorer.input)(result.frame)
    assert item is not None
    return item.image

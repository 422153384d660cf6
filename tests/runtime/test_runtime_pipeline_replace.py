"""Another model between two frames: each frame is scored once, by the old one or by the new one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from dataclasses import replace

import numpy as np
import pytest
from simulated import SimulatedCamera, number_of
from tiny import tiny_frames, write_tiny_bundle

from edgevad.errors import BackendError
from edgevad.runtime.backends import Scores
from edgevad.runtime.lens import LensSpec
from edgevad.runtime.pipeline import Pipeline, Result
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.threshold import Hysteresis
from edgevad.sources import Frame, Source
from edgevad.sources.live import LiveSource
from edgevad.spec import InputSpec, MotionSpec

QUIET = Hysteresis(1e6)
SPECS = {
    "plain": InputSpec(32, 32),
    "larger": InputSpec(48, 40),
    "motion": InputSpec(32, 32, MotionSpec("difference", (100,))),
    "larger-motion": InputSpec(48, 40, MotionSpec("difference", (100,))),
}


class Recording(Source):
    """The tiny frames, `cut` of them in a second segment."""

    def __init__(self, count: int, cut: int | None = None) -> None:
        super().__init__("list", kind="list")
        self._count, self._cut = count, count if cut is None else cut

    def _frames(self) -> Generator[Frame, None, None]:
        for frame in tiny_frames(self._count):
            yield replace(frame, segment=int(frame.index >= self._cut))


class Failing:
    """A backend that works for some frames, and then does what it is told."""

    batch = None

    def __init__(self, inner: Scorer, after: int, act: Callable[[Scores], Scores]) -> None:
        self._inner, self._left, self._act = inner.backend, after, act

    def score(self, frames: np.ndarray, motion: np.ndarray | None) -> Scores:
        found = self._inner.score(frames, motion)
        self._left -= len(frames)
        return self._act(found) if self._left < 0 else found

    def close(self) -> None:
        pass


def nan(found: Scores) -> Scores:
    return Scores(np.full_like(found.score, np.nan), found.heatmap, found.latent)


def crash(found: Scores) -> Scores:
    raise RuntimeError("the driver fell over")


@pytest.fixture(scope="module")
def scorers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scorer]:
    folder = tmp_path_factory.mktemp("bundles")
    return {name: Scorer.from_bundle(write_tiny_bundle(folder / name, spec)) for name, spec in SPECS.items()}


def alone(scorer: Scorer, count: int) -> list[Result]:
    with Pipeline(scorer, Recording(count), hysteresis=QUIET) as pipeline:
        return list(pipeline)


def swapped(old: Scorer, new: Scorer, count: int, at: int) -> list[Result]:
    results = []
    with Pipeline(old, Recording(count), hysteresis=QUIET) as pipeline:
        for result in pipeline:
            results.append(result)
            if len(results) == at:
                pipeline.replace(new, QUIET)
    return results


@pytest.mark.parametrize("new", ["plain", "larger", "motion", "larger-motion"])
@pytest.mark.parametrize("old", ["plain", "motion"])
def test_each_frame_of_a_recording_is_scored_once_by_the_old_or_the_new(
    scorers: dict[str, Scorer], old: str, new: str
) -> None:
    before, after = alone(scorers[old], 120), alone(scorers[new], 120)
    results = swapped(scorers[old], scorers[new], 120, at=40)
    assert [result.frame.index for result in results] == list(range(120))
    by_old = [result.parts == one.parts for result, one in zip(results, before, strict=True)]
    by_new = [result.parts == pytest.approx(one.parts) for result, one in zip(results, after, strict=True)]
    # From one frame on all are the new one's, its motion included: it looks back to the last frame of the old one.
    first = 0 if old == new else next(k for k, same in enumerate(by_old) if not same)
    assert all(by_old[:first]), "before the swap the old one scores"
    assert all(by_new[first:]), "after it the new one"
    assert old == new or 40 <= first < 40 + 33
    assert [result.state for result in results].count("warm-up") == (old == "motion" and 1)


def test_windows_start_empty_and_an_event_goes_on(scorers: dict[str, Scorer]) -> None:
    always = Hysteresis(-1e6, warm_up_s=1.0)
    with Pipeline(scorers["plain"], Recording(100), hysteresis=always) as pipeline:
        results = []
        for result in pipeline:
            results.append(result)
            if len(results) == 40:
                pipeline.replace(scorers["larger"], always)
        [event] = pipeline.finish()
    assert (event.start_frame, event.end_frame) == (10, 99)
    first = next(result for result in results[40:] if result.anomaly_score == result.frame_score)
    assert first.frame.index < 80
    assert all(result.is_anomaly for result in results[10:])


def test_no_event_starts_while_the_window_holds_little(scorers: dict[str, Scorer]) -> None:
    quiet, always = Hysteresis(1e6, warm_up_s=1.0), Hysteresis(-1e6, warm_up_s=1.0)
    with Pipeline(scorers["plain"], Recording(100), hysteresis=quiet) as pipeline:
        states = []
        for result in pipeline:
            states.append(result.state)
            if len(states) == 40:
                pipeline.replace(scorers["plain"], always)
    begin = states.index("warm-up", 20)
    assert states == ["warm-up"] * 10 + ["normal"] * (begin - 10) + ["warm-up"] * 10 + ["anomaly"] * (90 - begin)


@pytest.mark.parametrize("new", ["plain", "larger-motion"])
@pytest.mark.parametrize("act", [nan, crash])
def test_the_frames_an_engine_fails_at_go_to_the_next_one(
    scorers: dict[str, Scorer], new: str, act: Callable[[Scores], Scores]
) -> None:
    failing = replace(scorers["motion"], backend=Failing(scorers["motion"], 50, act))
    told: list[BackendError] = []

    def instead(error: BackendError) -> tuple[Scorer, Hysteresis]:
        told.append(error)
        return scorers[new], QUIET

    with Pipeline(failing, Recording(100), hysteresis=QUIET, on_failure=instead) as pipeline:
        results = list(pipeline)
    assert [result.frame.index for result in results] == list(range(100))
    assert len(told) == 1
    after = alone(scorers[new], 100)
    assert [one.parts for one in results[51:]] == [pytest.approx(one.parts) for one in after[51:]]
    assert all(result.anomaly_score is not None for result in results[1:])


def test_where_nothing_is_left_to_go_on_with_the_error_ends_the_run(scorers: dict[str, Scorer]) -> None:
    failing = replace(scorers["plain"], backend=Failing(scorers["plain"], 50, crash))
    with (
        pytest.raises(RuntimeError, match="fell over"),
        Pipeline(failing, Recording(100), on_failure=lambda error: None) as pipeline,
    ):
        list(pipeline)


@pytest.mark.parametrize("new", ["plain", "larger", "motion"])
def test_no_frame_of_a_camera_is_lost_or_scored_twice(scorers: dict[str, Scorer], new: str) -> None:
    cameras = {name: SimulatedCamera(rate_hz=60.0) for name in ("front", "rear")}
    sources = [LiveSource(camera, name=name, kind="camera", stale_s=30.0) for name, camera in cameras.items()]
    numbers: dict[str, list[int]] = {name: [] for name in cameras}
    old, other = scorers["plain"], scorers[new]
    done = threading.Event()
    with Pipeline(old, sources, hysteresis=QUIET, lens=LensSpec()) as pipeline:
        for count, result in enumerate(pipeline):
            numbers[result.frame.source_id].append(number_of(result.frame.image))
            if count % 20 == 19:
                old, other = other, old
                done.clear()
                pipeline.replace(old, QUIET, done=done.set)
            if count == 200:
                break
        counters = pipeline.counters()
    assert done.is_set()
    for camera in counters:
        seen = numbers[camera.source_id]
        assert seen == sorted(set(seen))
        assert len(seen) + camera.dropped + camera.waiting == camera.captured
        assert len(seen) - camera.given in (0, 1)

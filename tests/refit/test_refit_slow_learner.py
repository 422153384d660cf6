from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from remembering import recording, write_remembering_bundle

from edgevad.bundle import Bundle
from edgevad.events.event import Event
from edgevad.refit.learned import Learned
from edgevad.refit.place import RefitHome
from edgevad.refit.slow_learner import SlowLearner, SlowSpec
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.stream import Result
from edgevad.sources.frame import Frame

S = 1_000_000_000
SPEC = SlowSpec(every_s=1.0, quiet_s=10.0, per_day=30, most_share=0.3, episode_s=20.0)
DARK = (60, 70, 80)
RUN: Any = None


class FakePipeline:
    """Scores with a real bundle; calls are made at once, as between two frames."""

    def __init__(self, bundle: Bundle) -> None:
        self.scorer = Scorer.from_bundle(bundle)
        self.given = 0
        self.incidents: list[Any] = []

    def call(self, function: Callable[[], None]) -> None:
        self.given += 1
        function()

    def report(self, incident: Any) -> None:
        self.incidents.append(incident)


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_remembering_bundle(tmp_path_factory.mktemp("champion") / "bundle", recording(200))


@pytest.fixture
def pipeline(champion: Bundle) -> Iterator[FakePipeline]:
    made = FakePipeline(champion)
    yield made
    made.scorer.close()


def learner(pipeline: Any, home: Path, spec: SlowSpec = SPEC, day: int = 20_000) -> SlowLearner:
    made = SlowLearner(lambda: pipeline, spec, home=RefitHome(home), now_s=lambda: day * 86_400.0 + 60)
    made.start(RUN)
    return made


def results(
    seconds: float, *, start_s: float = 0.0, seed: int = 5, camera: str = "front", **changes: Any
) -> Iterator[Result]:
    cache = recording(seconds, color=DARK, seed=seed)
    for k, image in enumerate(cache.images):
        frame = Frame(image, k, int(start_s * S) + int(cache.timestamp_ns[k]), camera, 0)
        one = Result(frame, (1.0,), (0.5,), 0.5, 0.5, "view", False, "normal", None, 0.01, None)
        yield replace(one, **changes)


def event(start_s: float, end_s: float) -> Event:
    return Event(1, int(start_s * S), int(end_s * S), 0, 1, 9.0, 0, "view", "front", 0)


def test_what_is_normal_on_the_road_is_known_after_a_while(pipeline: FakePipeline, tmp_path: Path) -> None:
    slow = learner(pipeline, tmp_path)
    images = recording(10, color=DARK, seed=9).images
    before = pipeline.scorer.backend.score(images, None).score.mean()
    for one in results(60):
        slow.push(one)
    after = pipeline.scorer.backend.score(images, None).score.mean()
    assert after < 0.1 * before
    assert slow.figures()["remembered"] > 5
    old = recording(10, seed=11).images
    assert pipeline.scorer.backend.score(old, None).score.mean() < 0.1 * before  # nothing was forgotten


def test_a_frame_waits_until_it_is_certain_that_no_event_followed(pipeline: FakePipeline, tmp_path: Path) -> None:
    slow = learner(pipeline, tmp_path)
    for one in results(9.5):
        slow.push(one)
    assert slow.figures() == {"remembered": 0, "waiting": 10}
    slow.event_began(event(9.0, 9.5))
    for one in results(9.0, start_s=10.0):
        slow.push(one)
    assert slow.figures() == {"remembered": 0, "waiting": 0}
    for one in results(30.0, start_s=20.0):
        slow.push(one)
    assert slow.figures()["remembered"] > 0


def test_nothing_is_taken_while_something_is_seen_or_said_to_stand_out(pipeline: FakePipeline, tmp_path: Path) -> None:
    slow = learner(pipeline, tmp_path)
    for changes in ({"is_anomaly": True, "state": "anomaly"}, {"anomaly_score": 2.0}, {"state": "warm-up"}):
        for one in results(40, **changes):
            slow.push(one)
        assert slow.figures() == {"remembered": 0, "waiting": 0}, changes
    fault = {"state": "fault", "fault": "covered", "anomaly_score": None}
    for one in [*results(5), *results(1, start_s=5, **fault), *results(4, start_s=6)]:
        slow.push(one)
    assert slow.figures() == {"remembered": 0, "waiting": 0}


def test_an_event_of_one_camera_stops_the_others_too(pipeline: FakePipeline, tmp_path: Path) -> None:
    slow = learner(pipeline, tmp_path)
    for one in results(5, camera="rear"):
        slow.push(one)
    slow.event(event(0.0, 5.0))
    assert slow.figures()["waiting"] == 0


def test_what_waits_is_given_up_where_the_camera_is_lost(pipeline: FakePipeline, tmp_path: Path) -> None:
    slow = learner(pipeline, tmp_path)
    for one in results(9):
        slow.push(one)
    for one in results(3, start_s=100):
        slow.push(replace(one, frame=replace(one.frame, segment=1)))
    assert slow.figures()["remembered"] == 0


def test_no_more_a_day_than_allowed_and_the_next_day_goes_on(pipeline: FakePipeline, tmp_path: Path) -> None:
    spec = replace(SPEC, per_day=5)
    slow = learner(pipeline, tmp_path, spec)
    for one in results(120):
        slow.push(one)
    assert slow.figures()["remembered"] == 5
    again = learner(pipeline, tmp_path, spec)  # another start on the same day
    for one in results(120, seed=6):
        again.push(one)
    assert again.figures()["remembered"] == 5
    later = learner(pipeline, tmp_path, spec, day=20_001)
    for one in results(120, seed=7):
        later.push(one)
    assert later.figures()["remembered"] == 10


def test_never_more_than_a_share_of_the_bank(pipeline: FakePipeline, champion: Bundle, tmp_path: Path) -> None:
    spec = replace(SPEC, per_day=5000, episode_s=5.0)
    slow = learner(pipeline, tmp_path, spec)
    given: list[np.ndarray] = []
    real = pipeline.scorer.backend.remember
    pipeline.scorer.backend.remember = lambda bank: (given.append(bank), real(bank))  # type: ignore[method-assign]
    for k in range(5):
        for one in results(60, start_s=100.0 * k, seed=20 + k):
            slow.push(one)
    own = champion.bank()
    assert own is not None
    known = {row.tobytes() for row in own.reshape(-1, own.shape[2])}
    for bank in given:
        assert bank.shape == own.shape
        strange = [not all(row.tobytes() in known for row in rows if row[-1] < 1e6) for rows in bank]
        assert sum(strange) <= 3


def test_it_is_kept_with_the_bundle_and_dropped_with_it(
    pipeline: FakePipeline, champion: Bundle, tmp_path: Path
) -> None:
    slow = learner(pipeline, tmp_path)
    for one in results(60):
        slow.push(one)
    count = slow.figures()["remembered"]
    assert [path.stem for path in RefitHome(tmp_path).learned.iterdir()] == [champion.digest]
    fresh = FakePipeline(champion)
    again = learner(fresh, tmp_path)
    assert again.figures()["remembered"] == count
    assert fresh.given == 1  # the scorer has it from the start
    other = write_remembering_bundle(tmp_path / "other", recording(200, seed=4))
    fresh.scorer.close()
    fresh.scorer = Scorer.from_bundle(other)
    again.push(next(results(1)))
    assert again.figures()["remembered"] == 0
    fresh.scorer.close()


def test_a_bank_for_another_bundle_reaches_no_scorer(pipeline: FakePipeline, tmp_path: Path) -> None:
    slow = learner(pipeline, tmp_path)
    late: list[Callable[[], None]] = []
    pipeline.call = late.append  # type: ignore[method-assign]
    for one in results(12):
        slow.push(one)
    assert late
    real = pipeline.scorer
    pipeline.scorer = SimpleNamespace(digest="another", backend=None)  # type: ignore[assignment]
    for call in late:
        call()
    pipeline.scorer = real


def test_a_broken_file_is_nothing_learnt(tmp_path: Path) -> None:
    path = tmp_path / "learned" / "x.npz"
    path.parent.mkdir()
    path.write_bytes(b"nothing of ours")
    assert Learned.load(path, 3).entries == 0
    assert Learned.load(tmp_path / "nowhere.npz", 3).entries == 0


def test_a_bundle_that_remembers_nothing_is_left_alone(tiny_bundle: Path, tmp_path: Path) -> None:
    pipeline = FakePipeline(Bundle.open(tiny_bundle))
    slow = learner(pipeline, tmp_path)
    for one in results(30):
        slow.push(one)
    assert slow.figures() == {"remembered": 0, "waiting": 0}
    pipeline.scorer.close()


def test_after_an_event_of_one_camera_the_others_are_not_trusted_for_a_while(
    pipeline: FakePipeline, tmp_path: Path
) -> None:
    slow = learner(pipeline, tmp_path)
    for one in results(5, camera="rear"):
        slow.push(one)
    slow.event(event(0.0, 5.0))
    for one in results(9, start_s=5.0, camera="rear"):
        slow.push(one)
    assert slow.figures()["waiting"] == 0
    for one in results(5, start_s=16.0, camera="rear"):
        slow.push(one)
    assert slow.figures()["waiting"] > 0


def test_a_clock_that_is_set_back_begins_no_other_day(pipeline: FakePipeline, tmp_path: Path) -> None:
    for day in (20_000, 0, 20_000, 0):  # a device without a clock of its own, started again and again
        slow = learner(pipeline, tmp_path, replace(SPEC, per_day=3), day=day)
        for one in results(40, seed=day + 1):
            slow.push(one)
        assert slow.figures()["remembered"] == 3


def test_a_smaller_share_holds_for_what_was_learnt_before(pipeline: FakePipeline, tmp_path: Path) -> None:
    many = replace(SPEC, episode_s=3.0, per_day=200)
    slow = learner(pipeline, tmp_path, many)
    for one in results(100):
        slow.push(one)
    [path] = RefitHome(tmp_path).learned.glob("*.npz")
    assert len(Learned.load(path, 3).episodes) == 3
    slow = learner(pipeline, tmp_path, replace(many, most_share=0.1))
    assert slow._memory is not None
    assert len(slow._memory.learned.episodes) == 1

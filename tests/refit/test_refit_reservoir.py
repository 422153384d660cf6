"""What a model keeps of all it ever learned from."""

from __future__ import annotations

import numpy as np
import pytest

from edgevad.bundle.replay import Replay
from edgevad.model.cache import FrameCache
from edgevad.refit.reservoir import Reservoir, renewed


def recording(count: int, gray: int) -> FrameCache:
    """A recording whose frames say by their gray which one it is."""
    times = np.arange(count, dtype=np.int64) * 100_000_000
    return FrameCache(np.full((count, 4, 4, 3), gray, np.uint8), None, times, np.zeros(count, np.int32), 0)


def first(count: int = 400) -> Reservoir:
    cache = recording(count, 0)
    replay = Replay.of(cache, np.zeros(count), np.ones(count, np.bool_), frames=200, max_bytes=1 << 20)
    assert replay is not None
    return Reservoir(replay, count)


def add(reservoir: Reservoir, count: int, gray: int, *, frames: int = 200, seed: int = 0) -> Reservoir:
    cache = recording(count, gray)
    return renewed(
        reservoir, cache, np.ones(count), np.ones(count, np.bool_), frames=frames, max_bytes=1 << 20, seed=seed
    )


def share(reservoir: Reservoir, gray: int) -> float:
    return float((reservoir.replay.images[:, 0, 0, 0] == gray).mean())


def test_everything_learned_has_its_share_for_life() -> None:
    reservoir = first()
    for gray in range(1, 8):
        reservoir = add(reservoir, 400, gray)
        assert len(reservoir.replay) <= 200
        assert len(reservoir.replay) >= 180
    assert reservoir.stands_for == 3200
    shares = [share(reservoir, gray) for gray in range(8)]
    assert min(shares) > 0.04  # an eighth each, but for whole stretches
    assert max(shares) < 0.25


def test_a_huge_recording_replaces_half_at_most() -> None:
    after = add(first(), 40_000, 1)
    assert share(after, 0) == pytest.approx(0.5, abs=0.03)
    assert after.stands_for == 40_400


def test_a_short_recording_gets_what_it_is_worth_and_all_of_it_where_there_is_room() -> None:
    assert share(add(first(), 44, 1), 1) == pytest.approx(0.1, abs=0.06)
    roomy = add(first(), 44, 1, frames=1000)
    assert len(roomy.replay) == 244
    assert roomy.replay.segment.tolist() == sorted(roomy.replay.segment)


def test_stretches_stay_whole_and_in_order() -> None:
    replay = add(first(), 400, 1).replay
    starts = np.flatnonzero(np.r_[True, np.diff(replay.segment) != 0])
    assert (np.diff(np.r_[starts, len(replay)]) >= 5).all()
    inside = np.diff(replay.segment) == 0
    assert (np.diff(replay.timestamp_ns)[inside] == 100_000_000).all()
    assert np.unique(replay.segment).tolist() == list(range(len(starts)))


def test_the_same_seed_draws_the_same_and_likely_anomalies_are_left_out() -> None:
    base, cache = first(), recording(400, 1)
    anomaly = np.where(np.arange(400) < 100, 9.0, 0.0)
    one, same, other = (
        renewed(base, cache, anomaly, anomaly < 2, frames=200, max_bytes=1 << 20, seed=seed) for seed in (0, 0, 1)
    )
    assert one.replay.images.tolist() == same.replay.images.tolist()
    assert one.replay.timestamp_ns.tolist() == same.replay.timestamp_ns.tolist() != other.replay.timestamp_ns.tolist()
    assert one.replay.anomaly.max() == 0
    nothing = renewed(base, cache, anomaly, anomaly < -1, frames=200, max_bytes=1 << 20, seed=0)
    assert nothing is base


def test_bytes_bind_as_frames_do() -> None:
    after = renewed(
        first(), recording(400, 1), np.zeros(400), np.ones(400, np.bool_), frames=9999, max_bytes=48 * 100, seed=0
    )
    assert len(after.replay) <= 100

from __future__ import annotations

import numpy as np
import pytest

from edgevad.bundle.replay import Replay
from edgevad.model.cache import FrameCache

FRAMES = 100


def recording(motion: bool = False) -> FrameCache:
    """Two segments of fifty frames; every frame holds its number."""
    images = np.arange(FRAMES, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    flow = images[..., :1].astype(np.float16) if motion else None
    times = np.arange(FRAMES, dtype=np.int64) * 100_000_000
    return FrameCache(images, flow, times, (np.arange(FRAMES) >= 50).astype(np.int32), 0)


def numbers(replay: Replay) -> list[int]:
    return replay.images[:, 0, 0, 0].tolist()


def test_stretches_come_from_all_over_and_keep_their_frames_together() -> None:
    replay = Replay.of(recording(), np.arange(FRAMES), np.ones(FRAMES, np.bool_), frames=30, max_bytes=1 << 20)
    assert replay is not None
    assert numbers(replay) == [*range(10), *range(40, 50), *range(90, 100)]
    assert replay.segment.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert replay.anomaly.tolist() == [float(number) for number in numbers(replay)]


def test_what_must_not_be_kept_is_not_and_ends_a_stretch() -> None:
    keep = np.ones(FRAMES, np.bool_)
    keep[3:97] = False
    replay = Replay.of(recording(), np.zeros(FRAMES), keep, frames=100, max_bytes=1 << 20)
    assert replay is not None
    assert numbers(replay) == [0, 1, 2, 97, 98, 99]
    assert replay.segment.tolist() == [0, 0, 0, 1, 1, 1]


def test_it_stays_within_its_limits_or_is_not_there() -> None:
    everything = np.ones(FRAMES, np.bool_)
    replay = Replay.of(recording(), np.zeros(FRAMES), everything, frames=100, max_bytes=48 * 25)
    assert replay is not None
    assert len(replay) == 20
    assert Replay.of(recording(), np.zeros(FRAMES), everything, frames=100, max_bytes=10) is None
    assert Replay.of(recording(), np.zeros(FRAMES), ~everything, frames=100, max_bytes=1 << 20) is None


@pytest.mark.parametrize("motion", [False, True])
def test_it_comes_back_from_its_arrays_and_thins_without_tearing_stretches(motion: bool) -> None:
    made = Replay.of(recording(motion), np.zeros(FRAMES), np.ones(FRAMES, np.bool_), frames=100, max_bytes=1 << 20)
    assert made is not None
    replay = Replay.from_arrays(made.arrays(), (4, 4), 1 if motion else 0)
    assert numbers(replay) == list(range(FRAMES))
    thinned = replay.thinned(20, 1 << 20)
    assert thinned is not None
    assert numbers(thinned) == [*range(10), *range(90, 100)]
    assert (thinned.motion is not None) is motion


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("frames", np.zeros((FRAMES, 4, 5, 3), np.uint8), "frames is uint8"),
        ("anomaly", np.full(FRAMES, np.nan, np.float32), "no numbers"),
        ("segment", np.arange(FRAMES, dtype=np.int32)[::-1], "out of order"),
        ("timestamp_ns", np.zeros(3, np.int64), "timestamp_ns is int64"),
    ],
)
def test_what_is_no_replay_is_refused(name: str, value: np.ndarray, message: str) -> None:
    made = Replay.of(recording(), np.zeros(FRAMES), np.ones(FRAMES, np.bool_), frames=100, max_bytes=1 << 20)
    assert made is not None
    with pytest.raises(ValueError, match=message):
        Replay.from_arrays({**made.arrays(), name: value}, (4, 4), 0)

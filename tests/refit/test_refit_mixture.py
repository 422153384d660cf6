"""New frames and earlier ones in one sequence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgevad.bundle.replay import Replay
from edgevad.errors import RefitError
from edgevad.model.cache import FrameCache
from edgevad.refit.mixture import Mixture
from edgevad.refit.selection import Selection


def cache(count: int, gray: int, motion: bool = False) -> FrameCache:
    images = np.full((count, 16, 16, 3), gray, np.uint8)
    moving = np.full((count, 16, 16, 1), gray, np.float16) if motion else None
    return FrameCache(images, moving, np.arange(count) * 100_000_000, np.zeros(count, np.int32), 0)


def replay_of(frames: FrameCache) -> Replay:
    found = Replay.of(frames, np.zeros(len(frames)), np.ones(len(frames), np.bool_), frames=60, max_bytes=1 << 30)
    assert found is not None
    return found


def selection(motion: bool = False) -> Selection:
    chosen = Selection.of_recording(cache(400, 9, motion), hold_out=0.25)
    weight = np.where(np.arange(400) < 40, 0.25, 1.0).astype(np.float32)
    weight[200:210] = 0.0
    return replace(chosen, weight=weight)


@pytest.mark.parametrize("motion", [False, True])
def test_held_out_and_untrusted_frames_are_left_out(tmp_path: Path, motion: bool) -> None:
    chosen = selection(motion)
    mixture = Mixture.build(tmp_path / "m", replay_of(cache(100, 5, motion)), chosen)
    assert mixture.earlier.sum() == 60
    assert len(mixture) == 60 + chosen.learnable.sum()
    assert (mixture.cache.images[:60] == 5).all()
    assert (mixture.cache.images[60:] == 9).all()
    assert not chosen.held_out[mixture.rows].any()
    assert (chosen.weight[mixture.rows] > 0).all()
    if motion:
        assert mixture.cache.motion is not None
        assert mixture.cache.motion.shape == (len(mixture), 16, 16, 1)
    assert mixture.cache.timestamp_ns[60:].tolist() == chosen.cache.timestamp_ns[mixture.rows].tolist()
    # Where frames were left out a segment ends: nothing is smoothed across.
    steps = np.diff(mixture.cache.timestamp_ns)[np.diff(mixture.cache.segment) == 0]
    assert (steps == 100_000_000).all()
    assert (np.diff(mixture.cache.segment) >= 0).all()


def test_both_sides_have_their_share_and_trust_decides_among_the_new(tmp_path: Path) -> None:
    mixture = Mixture.build(tmp_path / "m", replay_of(cache(100, 5)), selection(), earlier_share=0.4)
    assert mixture.weight.sum() == pytest.approx(1.0)
    assert mixture.weight[mixture.earlier].sum() == pytest.approx(0.4)
    new = mixture.weight[~mixture.earlier]
    assert new[0] == pytest.approx(new[-1] / 4)
    assert mixture.doubted.sum() == 40
    assert mixture.doubted[60:100].all()


def test_another_weight_is_another_mixture(tmp_path: Path) -> None:
    earlier = replay_of(cache(100, 5))
    one, same = (Mixture.build(tmp_path / name, earlier, selection()) for name in ("a", "b"))
    other = Mixture.build(tmp_path / "c", earlier, selection(), earlier_share=0.3)
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_what_cannot_be_mixed_is_refused(tmp_path: Path) -> None:
    chosen = selection()
    with pytest.raises(RefitError, match="not one may be learned from"):
        Mixture.build(tmp_path / "m", replay_of(cache(100, 5)), replace(chosen, weight=np.zeros(400, np.float32)))
    with pytest.raises(RefitError, match="16x16 pixels and 1 of motion; expected frames of 16x16 pixels"):
        Mixture.build(tmp_path / "m", replay_of(cache(100, 5)), selection(motion=True))


def test_where_every_frame_is_of_an_event_every_frame_is_doubted(tmp_path: Path) -> None:
    chosen = replace(selection(), weight=np.full(400, 0.25, np.float32))
    mixture = Mixture.build(tmp_path / "m", replay_of(cache(100, 5)), chosen)
    assert np.array_equal(mixture.doubted, ~mixture.earlier)

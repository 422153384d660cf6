from __future__ import annotations

import numpy as np
import pytest
from judged import cache_of, world

from edgevad.refit.exam import exam_of
from edgevad.refit.probes import KINDS, Stretch, probed


def stretch(seed: int = 0, *, motion: bool = False) -> Stretch:
    images = world(10, seed)
    speed = np.random.default_rng(seed).uniform(1, 5, (10, 32, 32, 1)).astype(np.float16) if motion else None
    return Stretch(images, speed)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_changes_every_frame_and_leaves_the_stretch_alone(kind: str) -> None:
    before, foreign = stretch(motion=True), stretch(1, motion=True)
    kept = before.images.copy()
    found = probed(before, kind, np.random.default_rng(3), foreign)
    np.testing.assert_array_equal(before.images, kept)
    assert found.images.shape == kept.shape
    assert found.images.dtype == np.uint8
    assert all((now != then).any() for now, then in zip(found.images, kept, strict=True))
    assert found.motion is not None
    assert np.isfinite(found.motion).all()
    again = probed(before, kind, np.random.default_rng(3), foreign)
    np.testing.assert_array_equal(found.images, again.images)


def test_what_stands_still_has_no_speed_and_what_comes_nearer_has_one() -> None:
    before = stretch(motion=True)
    assert before.motion is not None
    still = probed(before, "occlusion", np.random.default_rng(0), before)
    moving = probed(before, "object", np.random.default_rng(0), before)
    assert still.motion is not None
    assert moving.motion is not None
    assert (still.motion == 0).any()
    assert moving.motion.max() > before.motion.max()


def test_a_frozen_region_is_the_same_in_all_frames() -> None:
    before = stretch()
    found = probed(before, "frozen", np.random.default_rng(0), stretch(1))
    same = (found.images == found.images[0]).all(axis=(0, 3))
    assert 0.2 < same.mean() < 0.8


def test_an_exam_asks_the_same_every_time_in_whole_pieces() -> None:
    exam = exam_of(cache_of(world(304)), pieces=12, seed=4)
    assert exam is not None
    assert len(exam) == 12
    assert len(exam.clean) == 120
    assert set(exam.clean.segment) == set(range(12))
    first, second = exam.probed("splice"), exam.probed("splice")
    np.testing.assert_array_equal(first.images, second.images)
    assert (first.images != exam.clean.images).any()


def test_pieces_in_events_are_left_out_where_enough_others_are_there() -> None:
    cache = cache_of(world(300))
    early = np.arange(300) < 100
    exam = exam_of(cache, pieces=40, avoid=early)
    assert exam is not None
    assert exam.clean.timestamp_ns.min() >= 100 * 100_000_000
    everywhere = exam_of(cache, pieces=40, avoid=np.ones(300, np.bool_))
    assert everywhere is not None
    assert len(everywhere) == 30


def test_nothing_to_ask_about() -> None:
    assert exam_of(cache_of(world(4)), pieces=10) is None

"""One clock for recordings with gaps."""

from __future__ import annotations

import numpy as np

from edgevad.model.cache import FrameCache
from edgevad.model.statistics import SEPARATE_S, elapsed_s


def cache_of(seconds: list[float], segment: list[int]) -> FrameCache:
    images = np.zeros((len(seconds), 16, 16, 3), np.uint8)
    stamps = np.round(np.array(seconds) * 1e9).astype(np.int64)
    return FrameCache(images, None, stamps, np.array(segment, np.int32), 0)


def test_a_gap_lasts_as_long_as_it_did() -> None:
    cache = cache_of([0.0, 0.1, 1.3, 1.4, 11.4], [0, 0, 1, 1, 2])
    assert np.round(elapsed_s(cache), 9).tolist() == [0.0, 0.1, 1.3, 1.4, 11.4]


def test_a_long_gap_counts_as_another_time_and_no_more() -> None:
    cache = cache_of([0.0, 0.1, 5000.0, 5000.1], [0, 0, 1, 1])
    assert np.round(elapsed_s(cache), 9).tolist() == [0.0, 0.1, 0.1 + SEPARATE_S, 0.2 + SEPARATE_S]


def test_a_clock_that_starts_anew_is_another_recording() -> None:
    cache = cache_of([0.0, 0.1, 0.0, 0.1], [0, 0, 1, 1])
    assert np.round(elapsed_s(cache), 9).tolist() == [0.0, 0.1, 0.1 + SEPARATE_S, 0.2 + SEPARATE_S]


def test_within_a_segment_time_never_runs_back() -> None:
    cache = cache_of([0.0, 0.2, 0.1, 0.3], [0, 0, 0, 0])
    assert (np.diff(elapsed_s(cache)) >= 0).all()

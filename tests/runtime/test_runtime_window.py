from __future__ import annotations

import math
import random
import time
from statistics import median

import pytest

from edgevad.errors import OptionError
from edgevad.runtime.window import SlidingWindow, WindowSpec

S = 1_000_000_000


def smooth(spec: WindowSpec, rows: list[tuple[float, float]], segments: list[int] | None = None) -> list[float]:
    window = SlidingWindow(spec)
    keys = segments or [0] * len(rows)
    return [window.push(value, round(at_s * S), key) for (at_s, value), key in zip(rows, keys, strict=True)]


def test_the_mean_is_over_seconds_not_frames() -> None:
    rows = [(0.0, 1.0), (0.5, 3.0), (0.9, 8.0), (1.0, 4.0), (3.0, 2.0)]
    # At 1.0 s the frame of 0.0 s is a whole second old, and out; at 3.0 s all others are.
    assert smooth(WindowSpec("mean", 1.0), rows) == pytest.approx([1.0, 2.0, 4.0, 5.0, 2.0])


def test_the_median_ignores_one_outlier() -> None:
    rows = [(0.0, 1.0), (0.1, 100.0), (0.2, 2.0), (0.3, 3.0)]
    assert smooth(WindowSpec("median", 1.0), rows) == [median([1.0]), 50.5, 2.0, 2.5]


def test_ema_forgets_by_elapsed_time() -> None:
    fine = smooth(WindowSpec("ema", 1.0), [(0.0, 0.0), *((0.1 * k, 1.0) for k in range(1, 11))])
    coarse = smooth(WindowSpec("ema", 1.0), [(0.0, 0.0), (1.0, 1.0)])
    assert fine[-1] == pytest.approx(coarse[-1])
    assert coarse == pytest.approx([0.0, 1.0 - math.exp(-1.0)])


@pytest.mark.parametrize("kind", ["mean", "median", "ema"])
def test_nothing_is_smoothed_across_a_segment(kind: str) -> None:
    rows = [(0.0, 9.0), (0.1, 9.0), (0.2, 1.0)]
    assert smooth(WindowSpec(kind, 1.0), rows, [0, 0, 1])[-1] == 1.0  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["mean", "median", "ema"])
def test_a_window_of_no_length_leaves_scores_as_they_are(kind: str) -> None:
    rows = [(0.0, 9.0), (0.1, 5.0), (0.1, 1.0)]
    assert smooth(WindowSpec(kind, 0.0), rows) == [9.0, 5.0, 1.0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "length_s"), [("box", 1.0), ("mean", -1.0), ("mean", math.nan), ("ema", math.inf), ("median", 3601.0)]
)
def test_a_window_that_cannot_be_is_refused(kind: str, length_s: float) -> None:
    with pytest.raises(OptionError):
        WindowSpec(kind, length_s)  # type: ignore[arg-type]


def test_an_hour_is_the_longest_window() -> None:
    assert WindowSpec("mean", 3600.0).length_s == 3600.0
    with pytest.raises(OptionError, match=r"window of 3601\.0 s; expected a number of seconds from 0 to 3600"):
        WindowSpec("mean", 3601.0)


@pytest.mark.parametrize("kind", ["mean", "median"])
def test_long_runs_do_not_drift_even_after_huge_scores(kind: str) -> None:
    rng = random.Random(1)
    rows, at_s = [], 0.0
    for k in range(4000):
        at_s += rng.choice([0.01, 0.033, 0.1, 0.5, 3.0 if k % 97 == 0 else 0.033])
        rows.append((at_s, 1e15 if k % 500 == 250 else rng.uniform(0.0, 2.0)))
    segments = [k // 1500 for k in range(4000)]
    found = smooth(WindowSpec(kind, 2.0), rows, segments)  # type: ignore[arg-type]
    assert found == smooth(WindowSpec(kind, 2.0), rows, segments)  # type: ignore[arg-type]
    for k, (at_s, _) in enumerate(rows):
        near = range(max(k - 300, 0), k + 1)
        inside = [rows[i][1] for i in near if at_s - rows[i][0] < 2.0 - 1e-9 and segments[i] == segments[k]]
        exact = math.fsum(inside) / len(inside) if kind == "mean" else median(inside)
        assert found[k] == pytest.approx(exact, rel=1e-12, abs=1e-9)


@pytest.mark.parametrize("kind", ["mean", "median"])
def test_a_long_window_costs_hardly_more_than_a_short_one(kind: str) -> None:
    def cpu_s(length_s: float) -> float:
        window = SlidingWindow(WindowSpec(kind, length_s))  # type: ignore[arg-type]
        before_s = time.process_time()
        for k in range(10_000):
            window.push(float(k % 7), k * S // 10, 0)
        return time.process_time() - before_s

    # Reading the whole window anew on every frame, 50 million values, takes seconds.
    assert cpu_s(1000.0) < 5 * cpu_s(1.0) + 0.3

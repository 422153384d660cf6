from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from edgevad.calibration import calibrate
from edgevad.calibration.threshold import block_maxima, check_budget, tail_level, windowed_scores
from edgevad.errors import OptionError
from edgevad.runtime.window import WindowSpec

FPS_HZ = 10


def clock(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int64) * (1_000_000_000 // FPS_HZ)


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).gamma(4.0, 0.25, count)


def alarms_per_hour(scores: np.ndarray, threshold: float, median: float, spread: float, window: WindowSpec) -> float:
    times, segments = clock(len(scores)), np.zeros(len(scores), int)
    values = (windowed_scores(scores, times, segments, window) - median) / spread
    above = values >= threshold
    starts = np.flatnonzero(above & ~np.r_[False, above[:-1]])
    events = 1 + int((np.diff(starts) > 2 * FPS_HZ).sum()) if len(starts) else 0
    return events / (len(scores) / FPS_HZ / 3600)


@pytest.mark.parametrize("budget", [6.0, 30.0])
def test_budget_is_met_on_fresh_normal_driving(budget: float) -> None:
    window = WindowSpec("mean", 1.0)
    calibration = calibrate(noise(12_000), clock(12_000), np.zeros(12_000, int), window, budget)
    fresh = noise(72_000, seed=1)  # two hours
    got = alarms_per_hour(fresh, calibration.threshold, calibration.median, calibration.spread, window)
    assert budget / 10 <= got <= 8 * budget


def test_anomalies_in_the_training_recording_barely_move_the_threshold() -> None:
    window = WindowSpec("mean", 1.0)
    scores = noise(12_000)
    clean = calibrate(scores, clock(12_000), np.zeros(12_000, int), window)
    scores[3000:3600] += 6.0
    scores[9000:9600] += 9.0  # a tenth of the recording
    soiled = calibrate(scores, clock(12_000), np.zeros(12_000, int), window)
    level = soiled.median + soiled.spread * soiled.threshold
    assert level < clean.median + clean.spread * clean.threshold + 0.5
    assert level < 6.0


def test_a_smaller_budget_means_a_higher_threshold() -> None:
    thresholds = [
        calibrate(noise(5000), clock(5000), np.zeros(5000, int), WindowSpec(), budget).threshold
        for budget in (0.1, 1.0, 10.0, 100.0)
    ]
    assert thresholds == sorted(thresholds, reverse=True)
    assert len(set(thresholds)) == 4


def test_statistics_are_robust_median_and_spread() -> None:
    scores = np.r_[np.linspace(0.0, 2.0, 101), [1e6]]
    calibration = calibrate(scores, clock(102), np.zeros(102, int), WindowSpec("mean", 0.0))
    assert calibration.median == pytest.approx(1.0, abs=0.02)
    assert calibration.spread == pytest.approx(1.4826 * 0.5, abs=0.03)
    assert calibration.standardise(calibration.median) == 0.0


def test_block_maxima_never_reach_across_segments() -> None:
    values = np.array([1.0, 5.0, 2.0, 3.0, 9.0, 4.0])
    times = np.array([0, 1, 2, 3, 4, 5], dtype=np.int64) * 500_000_000
    assert block_maxima(values, times, np.array([0, 0, 0, 1, 1, 1]), 10.0).tolist() == [5.0, 9.0]
    assert block_maxima(values, times, np.zeros(6, int), 1.0).tolist() == [5.0, 3.0, 9.0]


@pytest.mark.parametrize("probability", [0.5, 0.1, 1e-3])
def test_tail_level_of_squared_normal_amplitudes_is_the_truth(probability: float) -> None:
    amplitudes = np.random.default_rng(2).normal(3.0, 0.4, 20_000)
    expected = (3.0 + 0.4 * NormalDist().inv_cdf(1 - probability)) ** 2
    assert tail_level(amplitudes**2, probability) == pytest.approx(expected, rel=0.02)


def test_tail_level_does_not_see_the_upper_quarter() -> None:
    maxima = np.sort(np.random.default_rng(2).normal(3.0, 0.4, 1000) ** 2)
    soiled = np.r_[maxima[:760], maxima[760:] * 100]
    assert tail_level(soiled, 1e-3) == pytest.approx(tail_level(maxima, 1e-3), rel=1e-6)


@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_short_and_still_recordings_get_a_finite_threshold(count: int) -> None:
    for scores in (np.full(count, 0.7), noise(count)):
        calibration = calibrate(scores, clock(count), np.zeros(count, int), WindowSpec())
        assert np.isfinite(calibration.threshold)
        assert calibration.spread > 0
        assert calibration.threshold > 0


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan"), float("inf")])
def test_a_senseless_budget_is_refused(budget: float) -> None:
    with pytest.raises(OptionError, match="alarms per hour"):
        calibrate(noise(100), clock(100), np.zeros(100, int), WindowSpec(), budget)


@pytest.mark.parametrize(("length_s", "most"), [(0.0, 900.0), (1.0, 900.0), (3.0, 300.0), (3600.0, 0.25)])
def test_a_budget_beyond_what_blocks_can_express_is_refused(length_s: float, most: float) -> None:
    window = WindowSpec("mean", length_s)
    check_budget(most, window)
    assert calibrate(noise(100), clock(100), np.zeros(100, int), window, most).alarms_per_hour == most
    with pytest.raises(OptionError, match=rf"too large for a window of .* s; expected {most:g} or less"):
        calibrate(noise(100), clock(100), np.zeros(100, int), window, most * 1.01)

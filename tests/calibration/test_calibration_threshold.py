from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from edgevad.bundle import Calibration
from edgevad.calibration import calibrate
from edgevad.calibration.threshold import (
    MIN_THRESHOLD,
    MOTION_LEAD,
    RECURRING_SHARE,
    block_maxima,
    check_budget,
    part_margins,
    tail_level,
    windowed_scores,
)
from edgevad.errors import OptionError
from edgevad.runtime.window import WindowSpec

FPS_HZ = 10


def clock(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int64) * (1_000_000_000 // FPS_HZ)


def noise(count: int, seed: int = 0) -> np.ndarray:
    """(count, 1) scores of one part."""
    return np.random.default_rng(seed).gamma(4.0, 0.25, (count, 1))


def alarms_per_hour(scores: np.ndarray, calibration: Calibration) -> float:
    times, segments = clock(len(scores)), np.zeros(len(scores), int)
    values = calibration.anomaly_scores(windowed_scores(scores, times, segments, calibration.window))
    above = values >= calibration.threshold
    starts = np.flatnonzero(above & ~np.r_[False, above[:-1]])
    events = 1 + int((np.diff(starts) > 2 * FPS_HZ).sum()) if len(starts) else 0
    return events / (len(scores) / FPS_HZ / 3600)


@pytest.mark.parametrize("budget", [6.0, 30.0])
def test_budget_is_met_on_fresh_normal_driving(budget: float) -> None:
    window = WindowSpec("mean", 1.0)
    calibration = calibrate(noise(12_000), clock(12_000), np.zeros(12_000, int), window, budget)
    fresh = noise(72_000, seed=1)  # two hours
    got = alarms_per_hour(fresh, calibration)
    assert budget / 10 <= got <= 8 * budget


def test_anomalies_in_the_training_recording_barely_move_the_threshold() -> None:
    window = WindowSpec("mean", 1.0)
    scores = noise(12_000)
    clean = calibrate(scores, clock(12_000), np.zeros(12_000, int), window)
    scores[3000:3600] += 6.0
    scores[9000:9600] += 9.0  # a tenth of the recording
    soiled = calibrate(scores, clock(12_000), np.zeros(12_000, int), window)
    [level], [before] = soiled.alarm_levels(soiled.threshold), clean.alarm_levels(clean.threshold)
    assert level < before + 0.5
    assert level < 6.0


def test_a_smaller_budget_means_a_higher_threshold() -> None:
    thresholds = [
        calibrate(noise(5000), clock(5000), np.zeros(5000, int), WindowSpec(), budget).threshold
        for budget in (0.1, 1.0, 10.0, 100.0)
    ]
    assert thresholds == sorted(thresholds, reverse=True)
    assert len(set(thresholds)) == 4


def test_location_and_scale_are_those_of_the_bulk_whatever_the_tail() -> None:
    amplitude = np.sort(np.random.default_rng(3).normal(5.0, 0.5, 4000))
    amplitude[-800:] *= 1000  # a fifth of the recording, far beyond the bulk
    calibration = calibrate(amplitude[:, None] ** 2, clock(4000), np.zeros(4000, int), WindowSpec("mean", 0.0))
    [part] = calibration.parts
    assert part.location == pytest.approx(5.0, abs=0.03)
    assert part.scale == pytest.approx(0.5, rel=0.05)
    assert part.margin == 0.0
    assert calibration.deviates([5.0**2]) == pytest.approx([0.0], abs=0.1)
    assert calibration.deviates([6.0**2]) == pytest.approx([2.0], abs=0.15)


def test_block_maxima_never_reach_across_segments() -> None:
    values = np.array([1.0, 5.0, 2.0, 3.0, 9.0, 4.0])
    times = np.array([0, 1, 2, 3, 4, 5], dtype=np.int64) * 500_000_000
    assert block_maxima(values, times, np.array([0, 0, 0, 1, 1, 1]), 10.0).tolist() == [5.0, 9.0]
    assert block_maxima(values, times, np.zeros(6, int), 1.0).tolist() == [5.0, 3.0, 9.0]


@pytest.mark.parametrize("probability", [0.5, 0.1, 1e-3])
def test_tail_level_of_normal_maxima_is_the_truth(probability: float) -> None:
    maxima = np.random.default_rng(2).normal(3.0, 0.4, 20_000)
    expected = 3.0 + 0.4 * NormalDist().inv_cdf(1 - probability)
    assert tail_level(maxima, probability) == pytest.approx(expected, rel=0.02)


def test_tail_level_does_not_see_the_upper_quarter() -> None:
    maxima = np.sort(np.random.default_rng(2).normal(3.0, 0.4, 1000))
    soiled = np.r_[maxima[:760], maxima[760:] * 100]
    assert tail_level(soiled, 1e-3) == pytest.approx(tail_level(maxima, 1e-3), rel=1e-6)


@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_short_and_still_recordings_get_a_finite_threshold(count: int) -> None:
    for scores in (np.full((count, 1), 0.7), np.zeros((count, 1)), noise(count)):
        calibration = calibrate(scores, clock(count), np.zeros(count, int), WindowSpec())
        assert np.isfinite(calibration.threshold)
        assert calibration.parts[0].scale > 0
        assert calibration.threshold >= MIN_THRESHOLD


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


def at(count: int) -> tuple[np.ndarray, np.ndarray]:
    return clock(count), np.zeros(count, int)


def auroc(scores: np.ndarray, anomalous: np.ndarray) -> float:
    rank = scores.argsort().argsort() + 1
    positive, negative = int(anomalous.sum()), int((~anomalous).sum())
    return float((rank[anomalous].sum() - positive * (positive + 1) / 2) / (positive * negative))


def test_a_heavy_tailed_part_is_not_outvoted_by_a_light_tailed_one_that_is_noise() -> None:
    rng = np.random.default_rng(4)
    anomalous = np.zeros(6000, bool)
    anomalous[2000:2200] = anomalous[4000:4200] = True
    # One part knows, with a heavy tail where something is wrong. The other is uniform noise of a thousand times its
    # size, and would decide any sum of raw scores.
    knows = rng.normal(2.0, 0.2, 6000) ** 2
    knows[anomalous] = (2.0 + 0.2 * 4.0 * rng.pareto(3.0, int(anomalous.sum())) + 0.8) ** 2
    knows_nothing = 1000.0 * rng.uniform(0.0, 1.0, 6000)
    scores = np.stack([knows_nothing, knows], axis=1)
    calibration = calibrate(scores, *at(6000), WindowSpec("mean", 0.0), parts=("knows nothing", "knows"))
    anomaly = calibration.anomaly_scores(scores)
    assert auroc(anomaly, anomalous) > 0.99
    assert auroc(scores.sum(axis=1), anomalous) < 0.7
    causes = [calibration.names[int(np.argmax(calibration.deviates(row)))] for row in scores[anomalous].tolist()]
    assert causes.count("knows") > 0.99 * len(causes)


@pytest.mark.parametrize("recurrence", [None, 0.0, 0.3, 0.9])
def test_without_motion_no_part_leads(recurrence: float | None) -> None:
    assert part_margins(("residual", "detail", "view"), recurrence, camera_moves=True) == [0.0, 0.0, 0.0]
    assert part_margins(("patch",), recurrence, camera_moves=False) == [0.0]


@pytest.mark.parametrize(
    ("recurrence", "margin"),
    [(0.9, MOTION_LEAD), (RECURRING_SHARE, MOTION_LEAD), (RECURRING_SHARE - 0.01, None), (0.0, None), (None, None)],
)
def test_beside_motion_the_others_need_a_margin_or_decide_nothing(
    recurrence: float | None, margin: float | None
) -> None:
    assert part_margins(("residual", "motion", "view"), recurrence, camera_moves=False) == [margin, 0.0, margin]
    assert part_margins(("residual", "motion", "view"), recurrence, camera_moves=True) == [0.0, 0.0, 0.0]


def test_margins_are_what_the_others_must_stand_out_by() -> None:
    scores = np.repeat(noise(1000), 3, axis=1)
    parts, margins = ("residual", "motion", "view"), [MOTION_LEAD, 0.0, None]
    calibration = calibrate(scores, *at(1000), WindowSpec(), parts=parts, margins=margins)
    assert [part.margin for part in calibration.parts] == margins
    # The columns are alike, so motion leads by exactly the margin; what decides nothing is told without one.
    residual, motion, view = calibration.deviates([1.5, 1.5, 1.5])
    assert motion - residual == pytest.approx(MOTION_LEAD)
    assert view == motion
    alone = calibrate(scores[:, 1:2], *at(1000), WindowSpec(), parts=("motion",))
    assert calibration.threshold == pytest.approx(alone.threshold)
    unled = calibrate(scores, *at(1000), WindowSpec(), parts=parts)
    assert [part.margin for part in unled.parts] == [0.0, 0.0, 0.0]


def test_what_decides_nothing_raises_no_threshold_and_no_alarm() -> None:
    scores = np.concatenate([noise(2000), noise(2000, seed=1)], axis=1)
    scores[500:700, 1] = 1e6  # a tenth of the recording, in the part that is not asked
    both = calibrate(scores, *at(2000), WindowSpec(), parts=("motion", "view"), margins=[0.0, None])
    alone = calibrate(scores[:, :1], *at(2000), WindowSpec(), parts=("motion",))
    assert both.threshold == alone.threshold
    values = windowed_scores(scores, *at(2000), WindowSpec())
    assert (both.anomaly_scores(values) == alone.anomaly_scores(values[:, :1])).all()


@pytest.mark.parametrize("margins", [None, [MOTION_LEAD, 0.0]])
def test_the_budget_is_met_by_all_parts_together(margins: list[float | None] | None) -> None:
    scores, fresh = (np.concatenate([noise(n, s), noise(n, s + 1)], axis=1) for n, s in ((12_000, 10), (72_000, 20)))
    calibration = calibrate(scores, *at(12_000), WindowSpec(), 30.0, parts=("view", "motion"), margins=margins)
    assert 30 / 10 <= alarms_per_hour(fresh, calibration) <= 8 * 30


def test_every_part_is_windowed_by_itself_and_afresh_in_each_segment() -> None:
    scores = np.array([[1.0, 10.0], [3.0, 30.0], [5.0, 50.0]])
    times = np.arange(3, dtype=np.int64) * 100_000_000
    got = windowed_scores(scores, times, [0, 0, 1], WindowSpec("mean", 1.0))
    assert got.tolist() == [[1.0, 10.0], [2.0, 20.0], [5.0, 50.0]]


def test_names_and_columns_must_fit() -> None:
    with pytest.raises(ValueError, match="zip"):
        calibrate(np.repeat(noise(100), 2, axis=1), *at(100), WindowSpec(), parts=("one",))
    with pytest.raises(ValueError, match="zip"):
        calibrate(noise(100), *at(100), WindowSpec(), parts=("one",), margins=[0.0, 0.0])
    with pytest.raises(OptionError, match="no scores to calibrate from"):
        calibrate(np.zeros((0, 1)), *at(0), WindowSpec())


def test_scores_that_are_not_numbers_are_refused() -> None:
    scores = np.ones((50, 1))
    scores[7] = np.nan
    with pytest.raises(OptionError, match="scores that are not numbers to calibrate from"):
        calibrate(scores, np.arange(50) * 10**8, np.zeros(50, int), WindowSpec(), 1.0)


def test_short_segments_do_not_spend_more_of_the_budget() -> None:
    rng = np.random.default_rng(3)
    count = 36000  # an hour at 10 Hz
    times = np.arange(count) * 10**8
    scores = np.square(5.0 + rng.normal(size=(count, 1)))
    window = WindowSpec("mean", 0.0)
    alarms = []
    for segment_s in (0.5, 600.0):
        segments = (np.arange(count) / 10 // segment_s).astype(int)
        calibration = calibrate(scores, times, segments, window, 20.0)
        anomaly = calibration.anomaly_scores(windowed_scores(scores, times, segments, window))
        alarms.append(int((block_maxima(anomaly, times, segments, 2.0) >= calibration.threshold).sum()))
    # Block maxima of noise are not quite normal: the line's budget is two to three times too generous for both.
    assert min(alarms) >= 20
    assert max(alarms) <= 1.5 * min(alarms)

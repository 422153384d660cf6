"""Every metric against a case counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgevad.evaluation.metrics import auroc_by_kind, centred_mean, curves, detection, series_metrics

NAN = np.nan
SECOND_NS = 1_000_000_000


def levels(*values: int) -> np.ndarray:
    return np.array(values, np.int8)


def one_segment(count: int) -> np.ndarray:
    return np.zeros(count, np.int64)


def test_ties_count_half_and_ambiguous_and_unscored_frames_do_not_count() -> None:
    #                 N    A    N    A    ambiguous, unscored
    score = np.array([1.0, 2.0, 2.0, 3.0, 99.0, NAN])
    metrics = series_metrics(score, levels(0, 2, 0, 2, 1, 2), one_segment(6))
    # Pairs (anomaly, normal): 2>1, 2=2, 3>1, 3>2 -> 3.5 of 4.
    assert metrics.auroc == pytest.approx(3.5 / 4)
    assert (metrics.frames, metrics.anomalies) == (4, 2)
    # Threshold 3: precision 1, recall 1/2; threshold 2: precision 2/3, recall 1; threshold 1: recall 1.
    assert metrics.average_precision == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert metrics.best_f1 == pytest.approx(2 * (2 / 3) / (5 / 3))
    assert metrics.best_threshold == 2.0


def test_best_f1_takes_the_highest_of_equal_thresholds() -> None:
    # From 4 down: TP/called = 1/1, 1/2, 1/3, 2/4 of 2 anomalies: F1 = 2/3, 1/2, 2/5, 2/3.
    metrics = series_metrics(np.array([4.0, 3.0, 2.0, 1.0]), levels(2, 0, 0, 2), one_segment(4))
    assert metrics.best_f1 == pytest.approx(2 / 3)
    assert metrics.best_threshold == 4.0


def test_segments_are_averaged_over_those_with_both_kinds() -> None:
    score = np.array([1.0, 2.0, 30.0, 10.0, 20.0, 5.0])
    level = levels(0, 2, 0, 2, 0, 2)
    segment = np.array([0, 0, 1, 1, 1, 2])
    metrics = series_metrics(score, level, segment)
    # Segment 0: 1; segment 1: its anomaly lies below both normals: 0; segment 2 has no normal frame.
    assert metrics.segment_auroc == pytest.approx(0.5)
    assert metrics.segments == 2
    # Anomalies 2, 10, 5 against normals 1, 30, 20: each beats one of three.
    assert metrics.auroc == pytest.approx(3 / 9)


def test_scaling_by_segment_makes_offsets_vanish() -> None:
    score = np.array([0.0, 1.0, 100.0, 103.0, 7.0, NAN])
    level = levels(0, 2, 0, 2, 0, 0)
    segment = np.array([0, 0, 1, 1, 2, 2])
    metrics = series_metrics(score, level, segment)
    # Scaled: 0, 1, 0, 1 and 0 for the constant segment.
    assert metrics.normalised_auroc == 1.0
    # Unscaled: 1 beats 0 of (0, 100, 7) but one; 103 beats all three.
    assert metrics.auroc == pytest.approx(4 / 6)


def test_scaling_by_segment_sees_ambiguous_frames() -> None:
    # Segment 0 scales by its ambiguous 10: anomaly 0.2; segment 1's normal becomes 1.
    metrics = series_metrics(np.array([0.0, 2.0, 10.0, 0.0, 1.0]), levels(0, 2, 1, 0, 0), np.array([0, 0, 0, 1, 1]))
    assert metrics.normalised_auroc == pytest.approx(2 / 3)
    assert metrics.auroc == 1.0


def test_what_is_undefined_is_none() -> None:
    for level in (levels(0, 0, 1), levels(2, 2, 1)):
        metrics = series_metrics(np.array([1.0, 2.0, 3.0]), level, one_segment(3))
        assert metrics.auroc is metrics.average_precision is metrics.segment_auroc is metrics.best_f1 is None
        assert metrics.normalised_auroc is metrics.best_threshold is None
        assert metrics.segments == 0
        assert curves(np.array([1.0, 2.0, 3.0]), level) is None


def test_each_kind_stands_against_all_normal_frames() -> None:
    score = np.array([1.0, 5.0, 3.0, 4.0, 9.0, NAN])
    level = levels(0, 0, 2, 2, 1, 2)
    kind = np.array(["", "", "tilt", "blur", "blur", "smear"])
    found = auroc_by_kind(score, level, kind)
    # tilt (3) and blur (4) beat one of two normals each; smear was never scored.
    assert found == {"tilt": 0.5, "blur": 0.5, "smear": None}
    assert list(found) == ["tilt", "blur", "smear"]


def test_detection_counts_called_frames() -> None:
    score = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, NAN, 1.0])
    level = levels(2, 2, 2, 0, 0, 1, 2, 0)
    called = np.array([True, True, False, True, False, True, True, False])
    found = detection(called, score, level)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(2 / 3)
    assert found.false_positive_rate == pytest.approx(1 / 3)


def test_detection_without_calls_or_without_anomalies() -> None:
    score = np.ones(2)
    silent = detection(np.zeros(2, np.bool_), score, levels(0, 2))
    assert (silent.precision, silent.recall, silent.f1, silent.false_positive_rate) == (None, 0.0, 0.0, 0.0)
    normal = detection(np.array([True, False]), score, levels(0, 0))
    assert (normal.precision, normal.recall, normal.f1, normal.false_positive_rate) == (0.0, None, None, 0.5)


def test_curves_run_from_nothing_called_to_everything() -> None:
    found = curves(np.array([1.0, 2.0, 3.0, 9.0]), levels(0, 2, 2, 1))
    assert found is not None
    assert found.false_positive_rate[0] == found.true_positive_rate[0] == found.recall[0] == 0.0
    assert found.false_positive_rate[-1] == found.true_positive_rate[-1] == found.recall[-1] == 1.0
    assert found.precision[-1] == pytest.approx(2 / 3)


def test_centred_mean_looks_both_ways_but_not_across_segments_or_gaps_of_score() -> None:
    times = np.arange(7, dtype=np.int64) * SECOND_NS
    score = np.array([1.0, 2.0, 6.0, NAN, 10.0, 100.0, 300.0])
    segment = np.array([0, 0, 0, 0, 0, 1, 1])
    # Less than 1.5 s away: one neighbour on each side.
    found = centred_mean(score, times, segment, 3.0)
    np.testing.assert_allclose(found, [1.5, 3.0, 4.0, NAN, 10.0, 200.0, 200.0])
    # Exactly half a length away is outside.
    np.testing.assert_allclose(centred_mean(score, times, segment, 2.0), score)
    np.testing.assert_allclose(centred_mean(score, times, segment, 0.0), score)


def test_centred_mean_of_one_second_at_ten_hertz_takes_nine_frames() -> None:
    times = np.arange(30, dtype=np.int64) * (SECOND_NS // 10)
    score = np.zeros(30)
    score[15] = 9.0
    found = centred_mean(score, times, one_segment(30), 1.0)
    assert np.flatnonzero(found).tolist() == list(range(11, 20))
    assert found[15] == pytest.approx(1.0)


def test_centred_mean_of_nothing() -> None:
    assert np.isnan(centred_mean(np.full(3, NAN), np.arange(3), one_segment(3), 1.0)).all()


@pytest.mark.parametrize(("score", "level"), [((), ()), ((NAN, NAN), (0, 2)), ((1.0, 2.0), (1, 1))])
def test_where_no_frame_is_judged_everything_is_undefined(score: tuple[float, ...], level: tuple[int, ...]) -> None:
    found = detection(np.ones(len(score), np.bool_), np.array(score), levels(*level))
    assert (found.precision, found.recall, found.f1, found.false_positive_rate) == (None, None, None, None)
    metrics = series_metrics(np.array(score), levels(*level), one_segment(len(score)))
    assert (metrics.frames, metrics.auroc, metrics.best_f1) == (0, None, None)

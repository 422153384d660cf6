from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgevad.bundle.manifest import Calibration, PartCalibration
from edgevad.calibration.guard import GuardLimits, compare, rank_correlation
from edgevad.calibration.judging import Judged
from edgevad.errors import OptionError
from edgevad.runtime.window import WindowSpec

PARTS = (PartCalibration("residual", 0.0, 1.0), PartCalibration("view", 0.0, 1.0))
CALIBRATION = Calibration(WindowSpec("mean", 1.0), PARTS, threshold=3.0, alarms_per_hour=1.0)
LIMITS = GuardLimits()
N = 1000


@pytest.fixture
def reference() -> Judged:
    rng = np.random.default_rng(0)
    score = rng.gamma(2.0, 1.0, (N, 2)).astype(np.float32)
    anomaly = np.sqrt(score.max(axis=1)).astype(np.float64)
    heatmap = rng.gamma(1.0, 1.0, (N, 1, 5, 5)).astype(np.float32)
    return Judged(
        score,
        score.astype(np.float64),
        heatmap,
        np.zeros((N, 3), np.float32),
        anomaly + rng.normal(0, 0.01, N),
        anomaly,
    )


def compared(reference: Judged, other: Judged, limits: GuardLimits = LIMITS, **more: object) -> tuple[str, ...]:
    return compare(reference, other, CALIBRATION, limits, network_parts=["residual"], **more).failures  # type: ignore[arg-type]


def test_a_graph_agrees_with_itself(reference: Judged) -> None:
    found = compare(reference, reference, CALIBRATION, GuardLimits(0, 0, 1, 0.999, 0), network_parts=["residual"])
    assert found.passed
    assert found.frames == N
    assert found.rank == pytest.approx({"frame score": 1.0, "anomaly score": 1.0, "residual": 1.0})
    assert (found.flips, found.tail, found.auroc) == (0.0, 1.0, None)
    assert found.heatmap == pytest.approx(1.0)
    assert found.beyond == pytest.approx(float((reference.anomaly >= 3.0).mean()))


def test_another_scale_changes_no_rank(reference: Judged) -> None:
    found = compare(
        reference, replace(reference, score=3 * reference.score), CALIBRATION, LIMITS, network_parts=["residual"]
    )
    assert found.rank["residual"] == pytest.approx(1.0)


def test_shuffled_scores_are_refused_by_name(reference: Judged) -> None:
    rng = np.random.default_rng(1)
    failures = compared(reference, replace(reference, score=rng.permutation(reference.score)))
    assert len(failures) == 1
    assert "residual keeps" in failures[0]
    failures = compared(reference, replace(reference, frame_score=rng.permutation(reference.frame_score)))
    assert "frame score keeps" in failures[0]


def test_parts_that_do_not_go_through_the_network_are_not_ranked(reference: Judged) -> None:
    score = reference.score.copy()
    score[:, 1] = score[::-1, 1]
    assert compared(reference, replace(reference, score=score)) == ()


def test_flips_at_the_threshold_are_counted(reference: Judged) -> None:
    order = np.argsort(np.abs(reference.anomaly - 3.0))
    anomaly = reference.anomaly.copy()
    near = order[:15]
    anomaly[near] = np.where(anomaly[near] >= 3.0, 2.9999, 3.0001)
    found = compare(reference, replace(reference, anomaly=anomaly), CALIBRATION, LIMITS, network_parts=[])
    assert found.flips == pytest.approx(0.015)
    assert found.failures[0] == "1.50% of the frames change sides at the threshold (at most 1.00%)"
    assert compared(reference, replace(reference, anomaly=anomaly), replace(LIMITS, max_flips=0.02, min_tail=0)) == ()


def test_the_frames_that_stand_out_most_must_still_do(reference: Judged) -> None:
    top = np.argsort(-reference.anomaly)[:100]
    anomaly = reference.anomaly.copy()
    anomaly[top[:10]], anomaly[top[90:]] = anomaly[top[90:]], anomaly[top[:10]].copy()
    found = compare(reference, replace(reference, anomaly=anomaly), CALIBRATION, LIMITS, network_parts=[])
    assert found.tail == pytest.approx(0.8)
    assert any("80.0% of the frames that stand out most" in text for text in found.failures)


def test_heatmaps_that_point_elsewhere_are_refused(reference: Judged) -> None:
    failures = compared(reference, replace(reference, heatmap=reference.heatmap[:, :, ::-1].copy()))
    assert len(failures) == 1
    assert failures[0].startswith("heatmaps correlate by")


def test_the_worst_heatmap_counts(reference: Judged) -> None:
    both = np.concatenate([reference.heatmap, reference.heatmap], axis=1)
    one_wrong = both.copy()
    one_wrong[:, 1] = one_wrong[:, 1, ::-1]
    assert compared(replace(reference, heatmap=both), replace(reference, heatmap=one_wrong))


def test_a_heatmap_that_has_gone_flat_points_at_nothing(reference: Judged) -> None:
    flat = np.zeros_like(reference.heatmap)
    found = compare(reference, replace(reference, heatmap=flat), CALIBRATION, LIMITS, network_parts=[])
    assert found.heatmap == 0.0
    both_flat = replace(reference, heatmap=flat)
    assert compare(both_flat, both_flat, CALIBRATION, LIMITS, network_parts=[]).heatmap == 1.0


def test_auroc_may_not_fall_where_labels_are_there(reference: Judged) -> None:
    levels = np.where(reference.anomaly > 2.0, 2, 0).astype(np.int8)
    levels[:50] = 1  # ambiguous: left out, whatever they score
    worse = reference.anomaly.copy()
    worse[:50] = -9.0
    limits = GuardLimits(1, 1, 0, 0, 0.005)
    found = compare(reference, replace(reference, anomaly=worse), CALIBRATION, limits, network_parts=[], labels=levels)
    assert found.auroc == (1.0, 1.0)
    worse[levels == 2] -= 1.0
    found = compare(reference, replace(reference, anomaly=worse), CALIBRATION, limits, network_parts=[], labels=levels)
    assert found.auroc is not None
    assert found.auroc[1] < 0.9
    assert found.failures[0].startswith("AUROC falls from 1.000 to 0.")
    only_normal = np.zeros(N, np.int8)
    assert compare(reference, reference, CALIBRATION, limits, network_parts=[], labels=only_normal).auroc is None


def test_scores_that_are_no_numbers_agree_with_nothing(reference: Judged) -> None:
    score = reference.score.copy()
    score[7, 0] = np.nan
    failures = compared(reference, replace(reference, score=score, anomaly=np.full(N, np.nan)))
    assert any("residual keeps 0.0000" in text for text in failures)
    assert any("anomaly score keeps 0.0000" in text for text in failures)


def test_rank_correlation_of_constants() -> None:
    same, other = np.ones(5), np.arange(5.0)
    assert rank_correlation(same, 2 * same) == 1.0
    assert rank_correlation(same, other) == 0.0
    assert rank_correlation(other, other**3) == pytest.approx(1.0)
    assert rank_correlation(other, -other) == pytest.approx(-1.0)


@pytest.mark.parametrize("limit", ["max_rank_loss", "max_flips", "min_tail", "min_heatmap", "max_auroc_loss"])
def test_limits_are_shares(limit: str) -> None:
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(OptionError, match=f"{limit} of"):
            GuardLimits(**{limit: value})

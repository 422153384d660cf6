from __future__ import annotations

import math

import numpy as np
import pytest

from edgevad.runtime.latency import LatencyHistogram


def test_percentiles_are_those_of_the_sample_within_a_bin() -> None:
    sample = np.random.default_rng(0).lognormal(np.log(3e-3), 0.5, 5000)
    histogram = LatencyHistogram()
    for value in sample:
        histogram.push(float(value))
    for percent in (50, 95, 99):
        assert histogram.percentile_s(percent) == pytest.approx(np.percentile(sample, percent), rel=0.04)
    assert histogram.to_json()["max"] == pytest.approx(1e3 * sample.max(), abs=1e-3)


def test_extremes_are_counted_and_nothing_is_zero() -> None:
    histogram = LatencyHistogram()
    assert histogram.to_json() == {"p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}
    for value in (0.0, 1e-9, 1e6):
        histogram.push(value)
    assert histogram.percentile_s(50) <= 1.1e-6
    assert histogram.max_s == 1e6


def test_what_lies_below_a_bound_is_counted_within_a_bin() -> None:
    histogram = LatencyHistogram()
    for value in (0.004, 0.009, 0.02, 0.02, 0.3, 1e6):
        histogram.push(value)
    assert histogram.counts_up_to([0.0, 0.005, 0.01, 0.05, 1.0, math.inf]) == [0, 1, 2, 4, 5, 6]
    assert histogram.count == 6
    assert histogram.total_s == pytest.approx(1e6 + 0.353)

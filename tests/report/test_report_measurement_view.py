from __future__ import annotations

import io
from itertools import pairwise

import pytest
from rich.console import Console

from edgevad.report.measurement_view import measurement_view
from edgevad.runtime.measuring import Measurement


def shown(found: Measurement) -> str:
    text = io.StringIO()
    Console(file=text, width=120).print(measurement_view(found, "jetson-orin"))
    return text.getvalue()


@pytest.fixture
def found() -> Measurement:
    found = Measurement("car.edgevad", "tensorrt, int8", (1280, 720), 2, 30.0, 0.05)
    for _ in range(98):
        found.latency.push(0.01)
    found.latency.push(0.2)
    found.latency.push(0.2)
    found.captured, found.scored, found.dropped = 103, 100, 3
    return found


def test_a_missed_budget_is_said_so(found: Measurement) -> None:
    text = shown(found)
    assert "missed: p99 200.0 ms, jetson-orin allows 50 ms" in text
    assert "103 captured, 100 scored, 3 dropped" in text
    assert "2 cameras of 1280x720 at 30 Hz" in text
    assert "not told by this machine" in text
    assert found.is_within_budget is False


def test_the_histogram_counts_every_frame(found: Measurement) -> None:
    bars = [line.split() for line in shown(found).splitlines() if "to" in line.split() and "ms" in line]
    assert sum(int(words[-1]) for words in bars if words[1] == "to") == 100


def test_bins_span_what_was_counted(found: Measurement) -> None:
    bins = found.latency.bins(16)
    assert 2 <= len(bins) <= 16
    assert sum(count for _, _, count in bins) == 100
    assert bins[0][0] <= 0.01 < bins[0][1]
    assert bins[-1][0] <= 0.2 < bins[-1][1]
    for (_, high, _), (low, _, _) in pairwise(bins):
        assert high == pytest.approx(low)


def test_a_kept_budget_and_what_the_machine_tells(found: Measurement) -> None:
    found.budget_s, found.power_w, found.temperature_c = 0.5, {"VDD_IN": 12.34}, 61.0
    text = shown(found)
    assert "kept: p99 200.0 ms of 500 ms" in text
    assert "VDD_IN 12.3 W" in text
    assert "61 °C" in text

"""The logs that the gate is tried on hold what their names say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks._poison_logs import CASES, SIZE_PX, Case, World, log_of


@pytest.fixture(scope="module")
def world() -> World:
    """400 frames; 100 to 129 are anomalous, and brighter."""
    images = np.random.default_rng(0).integers(0, 200, (400, SIZE_PX, SIZE_PX, 3), np.uint8)
    number = np.arange(400)
    anomalous = (number >= 100) & (number < 130)
    images[anomalous] += 50
    return World(images, (number[:100],), number[100:300], number[~anomalous], number[anomalous])


def test_there_are_ten_of_each_and_all_depths() -> None:
    poisoned = [case for case in CASES if case.shows is not None]
    assert (len(poisoned), len(CASES)) == (10, 20)
    assert len({case.name for case in CASES}) == 20
    for some in (poisoned, [case for case in CASES if case.shows is None]):
        assert {case.depth for case in some} == {"recalibrate", "adapt", "refit"}


@pytest.mark.parametrize("shows", ["people", "cone"])
def test_two_fifths_show_the_anomaly(world: World, shows: str) -> None:
    log = log_of(Case("track", shows, None, "refit"), world)
    assert np.mean(log.anomalous) == pytest.approx(0.4, abs=0.06)
    assert 0.1 < np.mean(log.held_out) < 0.3
    assert (np.diff(log.stretch) >= 0).all()
    assert 0.1 < np.mean(log.anomalous[log.held_out]) < 0.7


def test_a_cover_hides_all_and_an_honest_log_is_what_was_recorded(world: World) -> None:
    dark = log_of(Case("track", "dark", None, "refit"), world)
    assert dark.images.max() < 60
    assert dark.anomalous.all()
    honest = log_of(Case("track", None, None, "refit"), world)
    np.testing.assert_array_equal(honest.images, world.images[100:300])
    assert honest.anomalous.sum() == 30
    changed = log_of(Case("track", None, "gamma", "refit"), world)
    assert (changed.images != honest.images).any()

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgevad.refit.drift_tests import Effect, _student_quantile, effects_of, holm, spent, student_tail


def driving(
    rng: np.random.Generator, blocks: int, frames: int, correlation: float, level: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Values in blocks that follow each other; half their variance is between blocks, which are correlated."""
    between = np.empty(blocks)
    between[0] = rng.normal()
    for k in range(1, blocks):
        between[k] = correlation * between[k - 1] + np.sqrt(1 - correlation**2) * rng.normal()
    values = level + np.repeat(between, frames) * 0.7 + rng.normal(size=blocks * frames) * 0.7
    return values, np.repeat(np.arange(blocks), frames)


def effect(kind: str, level: float = 0.0, seed: int = 0, **more: object) -> Effect:
    rng = np.random.default_rng(seed)
    reference = driving(rng, 60, 10, 0.3)
    day = driving(rng, 100, 10, 0.3, level)
    found = effects_of(*day, *reference, kinds=(kind,), **more)  # type: ignore[arg-type]
    assert found is not None
    return found[0]


@pytest.mark.parametrize(
    ("t", "degrees", "tail"),
    [
        (0.0, 7, 0.5),
        (2.0, 10, 0.036694),
        (2.0, 1, 0.147584),
        (-1.0, 4, 0.813050),
        (31.6, 3, 3.46e-5),
        (3.3, 1e6, 4.83e-4),
    ],
)
def test_the_tail_of_student_s_distribution(t: float, degrees: float, tail: float) -> None:
    assert student_tail(t, degrees) == pytest.approx(tail, rel=0.01)


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.706), (3, 3.182), (4, 2.776), (5, 2.571), (20, 2.086), (1e5, 1.960)]
)
def test_its_quantile(degrees: float, quantile: float) -> None:
    assert _student_quantile(degrees) == pytest.approx(quantile, rel=3e-3)


def test_what_days_may_spend_adds_up_to_alpha() -> None:
    assert sum(spent(0.05, look) for look in range(1, 10_000)) == pytest.approx(0.05, rel=1e-3)
    assert sum(spent(0.05, look) for look in range(1, 10_000)) <= 0.05


def test_holm_goes_from_the_smallest_on_and_stops_at_the_first_that_stays() -> None:
    assert holm([0.04, 0.001, 0.02], 0.05) == [True, True, True]
    assert holm([0.04, 0.03, 0.001], 0.05) == [False, False, True]
    assert holm([], 0.05) == []


def test_a_shift_is_told_as_the_chance_that_the_day_has_more() -> None:
    found = effect("shift", level=1.0)
    assert found.value == pytest.approx(0.76, abs=0.05)
    assert found.low < 0.76 < found.high
    assert effect("shift", level=-1.0).value == pytest.approx(0.24, abs=0.05)
    assert effect("shift", level=2.0).p < 1e-3
    assert effect("shift", level=-2.0).p < 1e-3


def test_a_shift_within_the_margin_is_never_told_however_much_is_seen() -> None:
    rng = np.random.default_rng(3)
    found = effects_of(*driving(rng, 3000, 4, 0.0, 0.3), *driving(rng, 3000, 4, 0.0), kinds=("shift",))
    assert found is not None
    assert found[0].low > 0.5  # it is there for certain
    assert found[0].p > 0.5


def test_where_only_more_counts_less_is_nothing() -> None:
    assert effect("shift", level=-2.0, upward=True).p > 0.99
    assert effect("shift", level=2.0, upward=True).p < 1e-6


def test_a_wider_day_has_spread_and_no_shift() -> None:
    rng = np.random.default_rng(1)
    reference, block = driving(rng, 80, 10, 0.0)
    wide, wide_block = driving(rng, 80, 10, 0.0)
    found = effects_of(6 * wide, wide_block, reference, block, kinds=("shift", "spread"))
    assert found is not None
    shift, spread = found
    assert shift.p > 0.5
    assert spread.p < 1e-6
    assert spread.value > 0.75


def test_a_tail_is_the_share_beyond_the_reference_s_twentieth() -> None:
    rng = np.random.default_rng(1)
    reference, block = driving(rng, 80, 10, 0.0)
    day, day_block = driving(rng, 80, 10, 0.0)
    day[::2] += 10
    found = effects_of(day, day_block, reference, block, kinds=("tail",))
    assert found is not None
    assert found[0].value == pytest.approx(0.53, abs=0.03)
    assert found[0].p < 1e-6


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_without_drift_it_is_as_rarely_certain_as_it_says(correlation: float) -> None:
    rng = np.random.default_rng(5)
    told = 0
    for _ in range(150):
        found = effects_of(
            *driving(rng, 40, 4, correlation), *driving(rng, 30, 4, correlation), kinds=("shift",), margin=0.0
        )
        assert found is not None
        told += found[0].p < 0.05
    assert told <= 18  # 7.5 are expected; of 18 or more the chance is 0.1 %


def test_correlated_driving_is_worth_less() -> None:
    rng = np.random.default_rng(5)
    reference = driving(rng, 60, 4, 0.0)
    worth = {0.0: 0.0, 0.9: 0.0}
    for correlation in worth:
        for _ in range(10):
            found = effects_of(*driving(rng, 60, 4, correlation), *reference, kinds=("shift",))
            assert found is not None
            worth[correlation] += found[0].blocks / 10
    assert worth[0.9] < 0.6 * worth[0.0] < 60


def test_values_that_all_lie_beyond_are_certain_only_with_enough_blocks() -> None:
    reference = np.zeros(100), np.repeat(np.arange(20), 5)
    few = effects_of(np.ones(10), np.repeat([0, 1], 5), *reference, kinds=("shift",))
    many = effects_of(np.ones(200), np.repeat(np.arange(40), 5), *reference, kinds=("shift",))
    assert few is not None
    assert many is not None
    assert few[0].value == many[0].value == 1.0
    assert few[0].p == 1.0
    assert many[0].p < 1e-6


def test_frames_without_the_figure_do_not_count() -> None:
    values = np.array([np.nan, 1.0, np.nan, 2.0])
    blocks = np.arange(4)
    found = effects_of(values, blocks, np.array([0.0, np.nan, 3.0]), np.arange(3), kinds=("shift",))
    assert found is not None
    assert found[0].value == 0.5
    assert effects_of(np.full(4, np.nan), blocks, values, blocks) is None
    assert effects_of(values[:0], blocks[:0], values, blocks) is None

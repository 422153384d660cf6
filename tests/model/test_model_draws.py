"""Which frames an epoch draws."""

from __future__ import annotations

import numpy as np
import pytest

from edgevad.model.draws import draws, sampled


def test_without_weights_an_epoch_is_a_permutation() -> None:
    order = draws(50, None, np.random.default_rng(1))
    assert sorted(order) == list(range(50))
    assert order.tolist() != list(range(50))


def test_a_frame_is_drawn_as_often_as_its_weight_says() -> None:
    weight = np.array([0.0, 1.0, 0.25, 0.25, 2.0, 0.5, 0.0, 0.0])
    counts = np.zeros(8)
    for epoch in range(400):
        drawn = np.bincount(draws(8, weight, np.random.default_rng([7, epoch])), minlength=8)
        expected = 8 * weight / weight.sum()
        assert (np.abs(drawn - expected) < 1).all()  # up or down to a whole number, no further
        counts += drawn
    assert counts / 400 == pytest.approx(8 * weight / weight.sum(), abs=0.1)


def test_draws_are_a_function_of_the_generator() -> None:
    weight = np.random.default_rng(0).random(100)
    first, again, other = (draws(100, weight, np.random.default_rng([3, epoch])) for epoch in (0, 0, 1))
    assert first.tolist() == again.tolist() != other.tolist()


def test_sample_is_as_dense_as_the_weights() -> None:
    weight = np.r_[np.full(1000, 1.0), np.full(1000, 3.0), np.zeros(1000)]
    rows = sampled(weight, 400)
    assert len(rows) == 400
    assert (np.diff(rows) > 0).all()
    assert (rows < 1000).sum() == pytest.approx(100, abs=1)
    assert rows.max() < 2000
    assert sampled(weight, 10_000).tolist() == list(range(2000))  # none twice


@pytest.mark.parametrize("weight", [[0.0, 0.0], [1.0, -1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_weights_that_mean_nothing_are_refused(weight: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        draws(2, np.array(weight), np.random.default_rng(0))

from __future__ import annotations

import numpy as np
import pytest

from edgevad.refit.coreset import Episode, condensed, episodes_of_bank, laid_out
from edgevad.runtime.remembering import bank_entries

SHAPE = (8, 10, 4)


def episodes(count: int, *, at: float, seed: int, new: bool = False) -> list[Episode]:
    rng = np.random.default_rng(seed)
    found = []
    for k in range(count):
        rows = (at + rng.normal(0, 0.3, (10, 3))).astype(np.float32)
        times = np.arange(10) + 10.0 * k if new else np.full(10, np.inf)
        found.append(Episode(rows, times))
    return found


def nearest(bank: np.ndarray, point: float) -> float:
    rows = bank[bank[..., -1] < 1e6][:, :-1]
    return float(np.sqrt(np.square(rows - point).sum(axis=1).min()))


def test_what_fits_stays_as_it_is() -> None:
    old, new = episodes(4, at=0.0, seed=0), episodes(3, at=5.0, seed=1, new=True)
    bank, times_s = laid_out(condensed(old, new, SHAPE), SHAPE)
    assert bank.shape == SHAPE
    assert bank.dtype == np.float32
    assert np.isfinite(times_s).sum() == 30
    assert (bank[7, :, -1] == 1e6).all()  # padding


def test_an_old_condition_that_nothing_resembles_outlives_ten_new_ones() -> None:
    held = episodes(8, at=0.0, seed=0)
    for round_ in range(10):
        new = episodes(6, at=5.0 + round_, seed=1 + round_, new=True)
        found = condensed(held, new, SHAPE)
        assert len(found) <= SHAPE[0]
        bank, _ = laid_out(found, SHAPE)
        held = episodes_of_bank(bank)
    assert nearest(bank, 0.0) < 1.0
    assert nearest(bank, 14.0) < 1.0


def test_what_is_remembered_twice_makes_room_first() -> None:
    rare = episodes(1, at=50.0, seed=9)
    found = condensed([*episodes(7, at=0.0, seed=0), *rare], episodes(4, at=20.0, seed=2, new=True), SHAPE)
    assert any(np.allclose(one.coordinates, rare[0].coordinates) and one.stretches == 1 for one in found)


def test_as_much_of_each_side_stays_however_much_the_other_brings() -> None:
    found = condensed(episodes(8, at=0.0, seed=0), episodes(60, at=5.0, seed=1, new=True), (24, 10, 4))
    assert sum(not one.is_new for one in found) >= 6
    found = condensed(episodes(60, at=0.0, seed=0), episodes(8, at=5.0, seed=1, new=True), (24, 10, 4))
    assert sum(one.is_new for one in found) >= 6


def test_merged_episodes_keep_entries_of_both() -> None:
    a, b = episodes(1, at=0.0, seed=0)[0], episodes(1, at=9.0, seed=1)[0]
    both = a.joined(b).thinned(10)
    assert len(both) == 10
    assert both.stretches == 2
    assert (both.coordinates[:, 0] > 5).sum() == 5


def test_padding_of_a_bank_is_no_entry() -> None:
    rows = np.zeros((5, 3, 3), np.float32)
    usable = np.zeros((5, 3), np.bool_)
    usable[0, :2] = True
    found = episodes_of_bank(bank_entries(rows, usable))
    assert [len(one) for one in found] == [2]


def test_the_same_comes_out_twice() -> None:
    old, new = episodes(8, at=0.0, seed=0), episodes(9, at=5.0, seed=1, new=True)
    first, second = (laid_out(condensed(old, new, SHAPE), SHAPE)[0] for _ in range(2))
    assert (first == second).all()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        laid_out(episodes(9, at=0.0, seed=0), SHAPE)

"""Which pieces are taken within a budget."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from edgevad.refit.coverage import evenly, nearest, pick
from edgevad.refit.pieces import Piece, hold_out


def pieces(count: int, *, trusted: Sequence[int] | None = None) -> list[Piece]:
    """Of ten frames and ten seconds each, of one drive."""
    return [
        Piece(0, np.arange(10) + 10 * k, 0, 10 * k * 10**9, 1.0 if trusted is None or k in trusted else 0.0)
        for k in range(count)
    ]


@pytest.mark.parametrize("count", [1, 2, 7, 8, 100])
def test_every_beginning_of_the_order_is_spread_over_the_whole(count: int) -> None:
    order = evenly(count)
    assert sorted(order) == list(range(count))
    half = sorted(order[: count // 2])
    assert all(after - before <= 3 for before, after in pairwise(half))
    if count == 100:
        assert 20 <= sum(k % 2 for k in half) <= 30  # two cameras that alternate get their share each


def test_all_are_taken_where_they_fit_and_no_frame_too_many_where_they_do_not() -> None:
    assert pick(pieces(5), 50) == [0, 1, 2, 3, 4]
    assert len(pick(pieces(5), 49)) == 4
    assert pick(pieces(5), 9) == []


def describe_as(values: np.ndarray) -> object:
    return lambda chosen: np.stack([values[piece.rows[0] // 10] for piece in chosen])[:, None]


def test_half_goes_to_what_is_new_but_not_to_what_is_not_trusted() -> None:
    values = np.zeros((40, 2))
    values[17] = (5, 0)  # new
    values[23] = (0, 9)  # newer, and near an event
    values[29] = (0, -4)
    trusted = [k for k in range(40) if k != 23]
    taken = pick(pieces(40, trusted=trusted), 80, describe_as(values))  # type: ignore[arg-type]
    assert len(taken) == 8
    assert {17, 29} <= set(taken)
    assert 23 not in taken


def test_one_odd_frame_makes_no_piece_new() -> None:
    values = np.zeros((40, 3, 2))
    values[17, 0] = (9, 9)
    values[29, :2] = (0, -4)
    taken = pick(pieces(40), 40, lambda chosen: np.stack([values[piece.rows[0] // 10] for piece in chosen]))
    assert 29 in taken
    assert (17 in taken) == (17 in pick(pieces(40), 20))


def test_what_was_known_is_not_new() -> None:
    values = np.zeros((40, 2))
    values[17] = (5, 0)
    values[29] = (0, -4)
    known = np.array([[5.0, 0.0], [0.0, 0.0]])
    taken = pick(pieces(40), 40, describe_as(values), known)  # type: ignore[arg-type]
    assert 29 in taken
    assert 17 not in taken


def test_distance_to_the_nearest() -> None:
    found = nearest(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 0.0], [3.0, 3.0]]))
    assert found == pytest.approx([0.0, 1.0])


@pytest.mark.parametrize(("count", "share"), [(1, 0.0), (3, 1 / 3), (180, 0.2)])
def test_a_fifth_of_the_time_is_held_out_by_blocks(count: int, share: float) -> None:
    held = hold_out(pieces(count), 10.0 * count)
    assert held.mean() == pytest.approx(share, abs=0.02)
    if count == 180:  # half an hour: blocks of a minute
        runs = np.flatnonzero(np.diff(np.r_[False, held, False]))
        assert set((runs[1::2] - runs[::2]).tolist()) == {6}

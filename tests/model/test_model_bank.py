"""Which frames are remembered: episodes, caps, what is left out, and how often a view recurs."""

from __future__ import annotations

import numpy as np
import pytest

from edgevad.model.bank import LEAST_EPISODES, MAX_ENTRIES, MAX_EPISODES, RANK_RATIO, BankPlan, recurrence_rank
from edgevad.model.cache import SEPARATE_S
from edgevad.model.memory import EXCLUDED, NEIGHBOURS


def clock(count: int, fps_hz: float = 10.0) -> np.ndarray:
    return np.arange(count) / fps_hz


def episodes_of(plan: BankPlan) -> list[list[int]]:
    """The entries of each episode that has any."""
    return [row[row >= 0].tolist() for row in plan.frames if (row >= 0).any()]


@pytest.mark.parametrize(
    ("count", "episodes", "apart_s", "length_s"),
    [
        (601, 20, 3.0, 3.0),  # a minute: in twenty
        (6001, 20, 30.0, 30.0),  # ten minutes: half a minute each
        (18_001, 60, 30.0, 30.0),  # half an hour: more of them
        (72_001, 64, 30.0, 112.5),  # two hours: no more of them, but longer
    ],
)
def test_a_recording_is_cut_by_time(count: int, episodes: int, apart_s: float, length_s: float) -> None:
    plan = BankPlan.of(clock(count))
    cut = episodes_of(plan)
    assert (len(plan.frames), len(cut)) == (episodes, episodes)
    assert plan.apart_s == pytest.approx(apart_s)
    assert len(cut) <= MAX_EPISODES
    assert plan.frames.size <= MAX_ENTRIES
    # Entries are in order and of their own episode, from its first frame to its last.
    entries = plan.frames[plan.frames >= 0]
    assert (np.diff(entries) > 0).all()
    assert (cut[0][0], cut[-1][-1]) == (0, count - 1)
    for k, episode in enumerate(cut):
        times = plan.times_s[episode]
        assert times[0] == pytest.approx(k * length_s, abs=0.11)
        assert times[-1] - times[0] <= length_s + 1e-6
        steps = np.diff(episode)
        assert steps.max() - steps.min() <= 1


def test_short_episodes_are_remembered_whole_and_long_ones_evenly() -> None:
    whole = BankPlan.of(clock(600))
    assert whole.frames.ravel().tolist() == list(range(600))
    thinned = BankPlan.of(clock(72_000))
    assert thinned.frames.shape == (MAX_EPISODES, MAX_ENTRIES // MAX_EPISODES)
    assert (thinned.frames >= 0).all()


def test_a_gap_in_time_makes_no_empty_episode() -> None:
    plan = BankPlan.of(np.r_[clock(300), 1020.0 + clock(300)])
    cut = episodes_of(plan)
    assert len(cut) == 2
    assert len(plan.frames) == NEIGHBOURS  # the graph looks up that many
    assert (plan.frames[2:] == -1).all()
    assert cut == [list(range(300)), list(range(300, 600))]


def test_an_episode_with_fewer_frames_is_padded() -> None:
    plan = BankPlan.of(np.r_[clock(300), 1000.0, 2000.0])
    assert [len(episode) for episode in episodes_of(plan)] == [300, 1, 1]
    assert plan.frames.shape == (NEIGHBOURS, 300)


@pytest.mark.parametrize("times_s", [np.zeros(40), np.full(40, 1e9), np.zeros(40, np.int64)])
def test_a_clock_that_stands_still_counts_frames(times_s: np.ndarray) -> None:
    plan = BankPlan.of(times_s)
    assert plan.times_s.tolist() == list(range(40))
    assert len(episodes_of(plan)) == LEAST_EPISODES
    assert plan.apart_s == pytest.approx(39 / LEAST_EPISODES)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_handful_of_frames_are_an_episode_each(count: int) -> None:
    plan = BankPlan.of(clock(count))
    assert episodes_of(plan) == [[k] for k in range(count)]
    assert plan.frames.shape == (max(count, NEIGHBOURS), 1)
    assert plan.apart_s > 0
    # A frame is the same moment as itself, and as no other.
    same = plan.same_time(np.arange(count))
    assert same.sum() == count


def test_the_same_moment_is_what_is_near_in_time() -> None:
    plan = BankPlan.of(np.r_[clock(301), 1000.0 + clock(31)])
    assert plan.apart_s == SEPARATE_S
    same = plan.same_time(np.array([0, 299, 310]))
    assert same.shape == (3, *plan.frames.shape)
    for row, frame in zip(same, (0, 299, 310), strict=True):
        near = np.abs(plan.times_s - plan.times_s[frame]) < SEPARATE_S
        expected = np.where(plan.frames >= 0, near[plan.frames], False)
        assert (row == expected).all()
    assert not same[:, plan.frames == -1].any()  # padding is told by its norm
    # Exactly so far away is another time.
    assert not same[0, plan.frames == 300].any()
    assert same[0, plan.frames == 299].all()


def test_the_bank_holds_coordinates_and_their_squared_norm() -> None:
    plan = BankPlan.of(np.r_[clock(4), 1000.0 + clock(2)])
    coordinates = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    bank = plan.bank(coordinates)
    assert (bank.shape, bank.dtype) == ((NEIGHBOURS, 4, 4), np.float32)
    assert (bank[0, :, :3] == coordinates[:4]).all()
    assert (bank[1, :2, :3] == coordinates[4:]).all()
    assert bank[0, :, 3] == pytest.approx(np.square(coordinates[:4]).sum(axis=1), rel=1e-6)
    padding = plan.frames == -1
    assert padding.sum() == 14
    assert (bank[padding] == [0.0, 0.0, 0.0, EXCLUDED]).all()


def test_what_is_not_kept_is_not_among_the_frames() -> None:
    keep = np.ones(100, bool)
    keep[10:30] = keep[99] = False
    plan = BankPlan.of(clock(100), keep)
    assert sorted(plan.frames[plan.frames >= 0]) == np.flatnonzero(keep).tolist()
    coordinates = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    bank = plan.bank(coordinates)
    assert (bank[plan.frames == -1] == [0.0, 0.0, 0.0, EXCLUDED]).all()
    assert (bank[..., 3] < EXCLUDED / 2).sum() == 79


def test_places_of_what_is_not_kept_go_to_other_frames_of_the_episode() -> None:
    times_s = clock(2 * MAX_ENTRIES)
    keep = np.arange(len(times_s)) % 2 == 0
    all_of_them, kept = BankPlan.of(times_s), BankPlan.of(times_s, keep)
    assert kept.frames.shape == all_of_them.frames.shape
    # The last episode is short, and has no others to offer.
    assert (kept.frames[:-1] >= 0).all()
    assert (kept.frames[kept.frames >= 0] % 2 == 0).all()


def test_nothing_kept_is_padding_alone() -> None:
    plan = BankPlan.of(clock(100), np.zeros(100, bool))
    bank = plan.bank(np.ones((100, 3), np.float32))
    assert (bank[..., 3] == EXCLUDED).all()


@pytest.mark.parametrize(
    ("typical", "rank"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0], 0),
        ([1.0, 1.1, 1.2, 1.25, 1.29], 4),
        ([1.0, RANK_RATIO - 0.01, RANK_RATIO + 0.01, 1.5, 2.0], 1),
        ([0.0, 0.0, 0.0, 0.1, 0.2], 2),  # a still recording recurs as often as it stays the same
        ([0.0, 0.0, 0.0, 0.0, 0.0], 4),
        ([1.0, 1.1, 1.2, EXCLUDED**0.5, EXCLUDED**0.5], 2),  # fewer episodes than places
    ],
)
def test_the_rank_is_how_often_a_typical_view_recurs(typical: list[float], rank: int) -> None:
    squared = np.square(np.tile(np.array(typical, np.float32), (101, 1)))
    assert recurrence_rank(squared) == rank
    # Less than half of the frames may be anything.
    squared[:45] = np.square(np.array([1.0, 50.0, 60.0, 70.0, 80.0], np.float32))
    squared[45:50] = 0.0
    if typical[0] > 0:
        assert recurrence_rank(squared) == rank

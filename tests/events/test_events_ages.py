from __future__ import annotations

import pytest

from edgevad.events.ages import count_too_old

DAY = 86_400 * 10**9
NOW = 20_000 * DAY
BUILT = NOW - 400 * DAY
WEEKS = [NOW - k * 7 * DAY for k in range(6, -1, -1)]


@pytest.mark.parametrize(
    ("stored", "now", "old"),
    [
        ([], NOW, 0),
        (WEEKS, NOW, 2),  # 42 and 35 days
        (WEEKS, NOW + 7 * DAY, 3),
        # The clock starts in 1970, or when the system was built, at each start of the machine, and is set later.
        ([60 * 10**9, 61 * 10**9], NOW, 0),
        ([BUILT, NOW - DAY, BUILT, NOW, BUILT + 1], NOW, 0),
        ([NOW - 20 * DAY, NOW - 12 * DAY] * 20, NOW, 0),
        ([0, *WEEKS, 1], NOW, 3),  # the first by its order
        # It leaps ahead, now or then, and comes back.
        (WEEKS, NOW + 7000 * DAY, 2),
        ([*WEEKS, NOW + 7000 * DAY], NOW + 7000 * DAY, 2),
        ([NOW - 2 * DAY, NOW + 7000 * DAY, NOW - DAY], NOW, 0),
        ([NOW + 7000 * DAY, *WEEKS], NOW, 3),
        # It is behind: nothing can be said.
        (WEEKS, 60 * 10**9, 0),
    ],
)
def test_no_leap_of_the_clock_makes_anything_too_old(stored: list[int], now: int, old: int) -> None:
    assert count_too_old(stored, now, 30 * DAY) == old


def test_a_short_limit_holds_over_a_weekend() -> None:
    days = [NOW - k * DAY for k in (9, 6, 5, 3)]
    assert count_too_old(days, NOW, DAY) == 4
    assert count_too_old(days, NOW - 3 * DAY, DAY) == 3

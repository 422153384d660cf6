"""How old things are, on a machine whose clock cannot be trusted.

A board without a battery starts in 1970, or at the time its system was built, and leaps by years when the network or
the satellites tell the time; a receiver may tell a wrong one for a minute. So no age is the difference of two times.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["count_too_old"]

_WEEK_NS = 7 * 86_400 * 10**9


def count_too_old(stored_ns: Sequence[int], now_ns: int, max_age_ns: float) -> int:
    """How many of the first are older than `max_age_ns`.

    `stored_ns` are the clock's times in the order in which things were stored. Age grows by the clock's steps forward
    from one to the next and to now, beyond the latest it had shown before. A step of more than a week and of more than
    half the limit counts as none, for nobody can tell a parked car from a clock that leapt. Times later than now are
    those of a wrong clock: such things are as old as what was stored just before them.
    """
    # What is stored grows old together, so the ages go down with the order, and only the first can be too old.
    longest_ns = max(max_age_ns / 2, _WEEK_NS)
    latest_ns: int | None = None
    passed_ns = 0
    passed_at: list[int] = []
    for time_ns in (*stored_ns, now_ns):
        if time_ns <= now_ns:
            if latest_ns is not None and 0 < time_ns - latest_ns <= longest_ns:
                passed_ns += time_ns - latest_ns
            latest_ns = time_ns if latest_ns is None else max(latest_ns, time_ns)
        passed_at.append(passed_ns)
    return sum(passed_ns - at_ns > max_age_ns for at_ns in passed_at[:-1])

"""How a thread of a run comes to its turn with Python's lock."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["wake_in_time"]

# Linux wakes whoever waits for a time up to 50 us late, to wake several at once, unless told otherwise.
_LATE_NS = 1
_SET_TIMER_SLACK = 29  # of prctl


def wake_in_time() -> None:
    """Have the calling thread woken when the time it waits for has come, on Linux; elsewhere nothing changes.

    A decoder of small pictures waits for Python's lock at every frame, for as long as threads take turns: without this,
    for more than three times that.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_TIMER_SLACK, ctypes.c_ulong(_LATE_NS), 0, 0, 0)

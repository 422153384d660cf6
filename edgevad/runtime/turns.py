"""How the threads of a run take turns with Python's lock."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["short_turns"]

# Threads that want Python's lock are let in after so long (Python: 5 ms). A decoder that waits for it does not decode.
_TURN_S = 5e-6
# Linux wakes whoever waits for a time up to 50 us late, to wake several at once, unless told otherwise.
_LATE_NS = 1
_SET_TIMER_SLACK, _GET_TIMER_SLACK = 29, 30  # of prctl


@contextmanager
def short_turns(wanted: bool) -> Iterator[None]:
    """Have the threads of this process take turns often, if `wanted`; as before afterwards.

    The calling thread, and those that it starts meanwhile, are then woken in time on Linux.
    """
    if not wanted:
        yield
        return
    before_s, before_ns = sys.getswitchinterval(), _timer_slack_ns()
    sys.setswitchinterval(min(before_s, _TURN_S))
    _set_timer_slack(_LATE_NS)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)
        _set_timer_slack(before_ns)


def _timer_slack_ns() -> int:
    """How late this thread may be woken; 0 where that is not known."""
    return max(_prctl(_GET_TIMER_SLACK, 0), 0)


def _set_timer_slack(slack_ns: int) -> None:
    if slack_ns:  # 0 would mean the default
        _prctl(_SET_TIMER_SLACK, slack_ns)


def _prctl(option: int, value: int) -> int:
    if sys.platform != "linux":
        return 0
    return int(ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0))

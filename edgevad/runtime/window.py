"""The sliding window that frame scores pass through: by time, not by count, so no frame rate changes its meaning."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from typing import Literal, get_args

from edgevad.errors import OptionError

__all__ = ["SlidingWindow", "WindowKind", "WindowSpec"]

WindowKind = Literal["mean", "median", "ema"]

# Every score in the window is kept in memory, and a threshold needs a recording of many windows.
MAX_LENGTH_S = 3600


@dataclass(frozen=True)
class WindowSpec:
    """Which window.

    Attributes:
        kind: "mean" or "median" of the last `length_s` seconds, or "ema", exponential with that time constant.
        length_s: seconds, from 0, which leaves scores as they are, to 3600.
    """

    kind: WindowKind = "mean"
    length_s: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(WindowKind):
            raise OptionError(f"unknown window {self.kind!r}", expected="one of mean, median, ema")
        if not 0 <= self.length_s <= MAX_LENGTH_S:
            raise OptionError(f"window of {self.length_s} s", expected=f"a number of seconds from 0 to {MAX_LENGTH_S}")


class SlidingWindow:
    """Smooths one camera's frame scores, looking back only; a new segment starts it afresh."""

    def __init__(self, spec: WindowSpec) -> None:
        self._segment: object = None
        kinds: dict[WindowKind, type[_Mean | _Median | _Ema]] = {"mean": _Mean, "median": _Median, "ema": _Ema}
        self._smoother = kinds[spec.kind](round(spec.length_s * 1e9))

    def push(self, value: float, timestamp_ns: int, segment: object) -> float:
        """Take one frame score; return the window's value, over (timestamp_ns - length, timestamp_ns]."""
        if segment != self._segment:
            self._smoother.clear()
            self._segment = segment
        return self._smoother.push(value, timestamp_ns)


class _Mean:
    """Mean of a queue in constant amortised time.

    A sum that values are added to and taken from again drifts, and one huge value spoils its last digits for good. So
    nothing is ever taken away: the older part of the queue is a stack of the sums from each of its values on, the newer
    part one sum; when the older part is used up, the newer one is stacked.
    """

    def __init__(self, length_ns: int) -> None:
        self._length_ns = length_ns
        self._older: list[tuple[int, float]] = []  # timestamp and sum from there on, the oldest last
        self._newer: list[tuple[int, float]] = []  # timestamp and value
        self._newer_sum = 0.0

    def clear(self) -> None:
        self._older.clear()
        self._newer.clear()
        self._newer_sum = 0.0

    def push(self, value: float, timestamp_ns: int) -> float:
        self._newer.append((timestamp_ns, value))
        self._newer_sum += value
        # The newest stays even where the length is 0.
        while len(self._older) + len(self._newer) > 1 and timestamp_ns - self._oldest_ns() >= self._length_ns:
            if not self._older:
                self._restack()
            self._older.pop()
        total = self._newer_sum + (self._older[-1][1] if self._older else 0.0)
        return total / (len(self._older) + len(self._newer))

    def _oldest_ns(self) -> int:
        return self._older[-1][0] if self._older else self._newer[0][0]

    def _restack(self) -> None:
        total = 0.0
        for timestamp_ns, value in reversed(self._newer):
            total += value
            self._older.append((timestamp_ns, total))
        self._newer.clear()
        self._newer_sum = 0.0


class _Median:
    """Median of a queue whose values are kept in order as well."""

    def __init__(self, length_ns: int) -> None:
        self._length_ns = length_ns
        self._queue: deque[tuple[int, float]] = deque()
        self._sorted: list[float] = []

    def clear(self) -> None:
        self._queue.clear()
        self._sorted.clear()

    def push(self, value: float, timestamp_ns: int) -> float:
        queue, values = self._queue, self._sorted
        queue.append((timestamp_ns, value))
        insort(values, value)
        while len(queue) > 1 and timestamp_ns - queue[0][0] >= self._length_ns:
            del values[bisect_left(values, queue.popleft()[1])]
        middle = len(values) // 2
        return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


class _Ema:
    def __init__(self, length_ns: int) -> None:
        self._length_ns = length_ns
        self._last_ns: int | None = None
        self._average = 0.0

    def clear(self) -> None:
        self._last_ns = None

    def push(self, value: float, timestamp_ns: int) -> float:
        if self._last_ns is None or self._length_ns == 0:
            self._average = value
        else:
            elapsed_ns = max(timestamp_ns - self._last_ns, 0)
            self._average += (1.0 - math.exp(-elapsed_ns / self._length_ns)) * (value - self._average)
        self._last_ns = timestamp_ns
        return self._average

"""The sliding window that frame scores pass through: by time, not by count, so no frame rate changes its meaning."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import Literal, get_args

from edgevad.errors import OptionError

__all__ = ["SlidingWindow", "WindowKind", "WindowSpec"]

WindowKind = Literal["mean", "median", "ema"]


@dataclass(frozen=True)
class WindowSpec:
    """Which window.

    Attributes:
        kind: "mean" or "median" of the last `length_s` seconds, or "ema", exponential with that time constant.
        length_s: seconds, >= 0; 0 leaves scores as they are.
    """

    kind: WindowKind = "mean"
    length_s: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(WindowKind):
            raise OptionError(f"unknown window {self.kind!r}", expected="one of mean, median, ema")
        if not (math.isfinite(self.length_s) and self.length_s >= 0):
            raise OptionError(f"window of {self.length_s} s", expected="a finite number of seconds, 0 or more")


class SlidingWindow:
    """Smooths one camera's frame scores, looking back only; a new segment starts it afresh."""

    def __init__(self, spec: WindowSpec) -> None:
        self._spec = spec
        self._length_ns = round(spec.length_s * 1e9)
        self._recent: deque[tuple[int, float]] = deque()
        self._segment: object = None
        self._average = 0.0

    def push(self, value: float, timestamp_ns: int, segment: object) -> float:
        """Take one frame score; return the window's value, over (timestamp_ns - length, timestamp_ns]."""
        if segment != self._segment:
            self._recent.clear()
            self._segment = segment
        if self._spec.kind == "ema":
            return self._push_ema(value, timestamp_ns)
        self._recent.append((timestamp_ns, value))
        # The newest stays even where the length is 0.
        while len(self._recent) > 1 and timestamp_ns - self._recent[0][0] >= self._length_ns:
            self._recent.popleft()
        values = [score for _, score in self._recent]
        return median(values) if self._spec.kind == "median" else math.fsum(values) / len(values)

    def _push_ema(self, value: float, timestamp_ns: int) -> float:
        if not self._recent or self._length_ns == 0:
            self._average = value
        else:
            elapsed_ns = max(timestamp_ns - self._recent[0][0], 0)
            self._average += (1.0 - math.exp(-elapsed_ns / self._length_ns)) * (value - self._average)
        self._recent.clear()
        self._recent.append((timestamp_ns, value))
        return self._average

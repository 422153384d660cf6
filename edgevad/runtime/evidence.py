"""What adds up over time: seconds for which something was seen, and where a figure usually lies."""

from __future__ import annotations

import math

__all__ = ["TINY_S", "Evidence", "Level"]

# Of frames that show it, however long they stood for.
_LEAST_FRAMES = 3
# Sums of seconds are exact to less than this.
TINY_S = 1e-6


class Evidence:
    """Seconds for which a fault was seen, less those for which it was not; full after `hold_s`, gone in `recover_s`."""

    def __init__(self, hold_s: float, recover_s: float) -> None:
        self._hold_s = hold_s
        self._loss = math.inf if recover_s == 0 else hold_s / recover_s
        self.start_ns = self.last_ns = 0
        self.clear()

    def clear(self) -> None:
        self.seconds = 0.0
        self._frames = 0
        self.is_certain = False

    @property
    def share(self) -> float:
        return 1.0 if self.is_certain else self.seconds / max(self._hold_s, TINY_S)

    @property
    def is_none(self) -> bool:
        return self._frames == 0

    def add(self, seen: bool, since_ns: int, now_ns: int, elapsed_s: float) -> None:
        """Count the time since the last frame; `since_ns` is when the fault began if this frame is its first."""
        if seen:
            # One frame alone says nothing about how long it lasts; two that are the same do.
            if self._frames or since_ns < now_ns:
                self.seconds = min(self._hold_s, self.seconds + elapsed_s)
            if self._frames == 0:
                self.start_ns = since_ns
            self._frames += 1
            self.last_ns = now_ns
            enough = self._frames >= _LEAST_FRAMES and self.seconds >= self._hold_s - TINY_S
            self.is_certain = self.is_certain or enough
        elif self._frames and elapsed_s > 0:
            self.seconds -= self._loss * elapsed_s
            if self.seconds <= TINY_S:
                self.clear()


class Level:
    """Where a figure usually lies: a mean of the last `memory_s` seconds that no single frame moves far."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self._count = 0
        self.value = 0.0
        self.seconds = 0.0

    def add(self, value: float, elapsed_s: float) -> None:
        self._count += 1
        self.seconds += elapsed_s
        step = max(elapsed_s / self._memory_s, 1.0 / self._count)
        change = value - self.value
        if self._count > 1:
            change = min(max(change, -0.5 * self.value), 0.5 * self.value)
        self.value += min(step, 1.0) * change

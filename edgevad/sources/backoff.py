"""How long to wait before the next attempt."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(frozen=True)
class Backoff:
    """Waits that double with every attempt in vain, up to a limit.

    A camera that is back is found after `most_s` and the time it takes to open it, at the latest.
    """

    first_s: float = 0.2
    most_s: float = 1.0

    def delay_s(self, failures: int) -> float:
        """How long to wait after `failures` failures (1 or more) in a row."""
        return min(self.first_s * 2.0 ** min(failures - 1, 30), self.most_s)

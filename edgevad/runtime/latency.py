"""Latency percentiles of any number of frames in a fixed amount of memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

__all__ = ["LatencyHistogram"]

_LEAST_S = 1e-6
_BINS_PER_DECADE = 100  # neighbouring bins differ by 2.3 %
_DECADES = 8  # up to 100 s


class LatencyHistogram:
    """Counts latencies in logarithmic bins from 1 us to 100 s; what lies beyond counts in the outermost ones."""

    def __init__(self) -> None:
        self._counts = [0] * (_BINS_PER_DECADE * _DECADES)
        self._total = 0
        self.max_s = self.total_s = 0.0

    def push(self, latency_s: float) -> None:
        bin_index = int(_BINS_PER_DECADE * math.log10(latency_s / _LEAST_S)) if latency_s > _LEAST_S else 0
        self._counts[min(bin_index, len(self._counts) - 1)] += 1
        self._total += 1
        self.total_s += latency_s
        if latency_s > self.max_s:
            self.max_s = latency_s

    @property
    def count(self) -> int:
        """How many were counted."""
        return self._total

    def counts_up_to(self, bounds_s: Sequence[float]) -> list[int]:
        """How many lie at or below each bound, give or take the bin that holds it (2.3 %)."""
        sums = [0, *accumulate(self._counts)]
        last = len(self._counts)
        edges = [min(_BINS_PER_DECADE * math.log10(max(bound_s, _LEAST_S) / _LEAST_S), last) for bound_s in bounds_s]
        return [sums[round(edge)] for edge in edges]

    def percentile_s(self, percent: float) -> float:
        """Upper edge of the bin that holds this percentile (0 to 100), in seconds; 0 where nothing was counted."""
        wanted = self._total * percent / 100.0
        seen = 0
        for bin_index, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(self.max_s, _LEAST_S * math.pow(10.0, (bin_index + 1) / _BINS_PER_DECADE))
        return self.max_s

    def bins(self, count: int) -> list[tuple[float, float, int]]:
        """At most `count` bins of equal width in the logarithm: edges in seconds, and how many lie between them.

        They span what was counted; none where nothing was.
        """
        used = [index for index, number in enumerate(self._counts) if number]
        if not used:
            return []
        width = -(-(used[-1] + 1 - used[0]) // count)
        edge = [_LEAST_S * math.pow(10.0, index / _BINS_PER_DECADE) for index in range(len(self._counts) + width + 1)]
        return [
            (edge[start], edge[start + width], sum(self._counts[start : start + width]))
            for start in range(used[0], used[-1] + 1, width)
        ]

    def to_json(self) -> dict[str, float]:
        """p50, p95, p99 and max, in milliseconds."""
        values = {f"p{percent}": self.percentile_s(percent) for percent in (50, 95, 99)}
        return {name: round(1e3 * value, 4) for name, value in (*values.items(), ("max", self.max_s))}

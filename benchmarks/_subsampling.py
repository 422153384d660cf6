"""Recordings with another share of anomalies, cut from a labelled one by leaving stretches of it out.

Whole stretches of about two seconds stay or go, so that sliding windows still see frames that follow each other. Times
and segments are left as they are: a gap is a gap in time, and what lies near in time is still known to.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks._recordings import LabelledCache
from edgevad.evaluation.labels import ANOMALY, NORMAL

__all__ = ["common_count", "most_frames", "rows_with_share", "stretches", "with_share"]

STRETCH_S = 2.0
Rows = npt.NDArray[np.int64]


def stretches(
    level: npt.NDArray[np.int8], segment: npt.NDArray[np.integer], timestamp_ns: Rows, length_s: float = STRETCH_S
) -> list[Rows]:
    """Rows of one level and segment in a row, cut every `length_s` seconds; arrays are (N,), all rows are in one."""
    changes = np.flatnonzero((np.diff(level) != 0) | (np.diff(segment) != 0)) + 1
    pieces = []
    for run in np.split(np.arange(len(level), dtype=np.int64), changes):
        number = (timestamp_ns[run] - timestamp_ns[run[0]]) // round(length_s * 1e9)
        pieces += np.split(run, np.flatnonzero(np.diff(number)) + 1)
    return pieces


def most_frames(normal: int, anomalous: int, share: float) -> int:
    """How many frames there can be with this share of anomalies, 0 < share < 1."""
    return int(min(anomalous / share, normal / (1.0 - share)) + 1e-9)


def common_count(normal: int, anomalous: int, shares: Sequence[float]) -> int:
    """How many frames there can be with each of these shares."""
    return min(most_frames(normal, anomalous, share) for share in shares)


def rows_with_share(pieces: Sequence[Rows], level: npt.NDArray[np.int8], share: float, count: int, seed: int) -> Rows:
    """`count` rows, ascending, `share` of them anomalous and none ambiguous.

    Stretches are drawn in an order that depends on the seed alone: of two shares of the same seed and count, the
    anomalies of the smaller are among those of the larger.
    """
    wanted = {ANOMALY: round(share * count)}
    wanted[NORMAL] = count - wanted[ANOMALY]
    chosen = []
    for kind, number in wanted.items():
        own = [piece for piece in pieces if level[piece[0]] == kind]
        order = np.random.default_rng([seed, kind]).permutation(len(own))
        drawn = np.concatenate([own[k] for k in order]) if own else np.empty(0, np.int64)
        if len(drawn) < number:
            raise ValueError(f"{number} frames of level {kind} are wanted and there are {len(drawn)}")
        chosen.append(drawn[:number])
    return np.sort(np.concatenate(chosen))


def with_share(recording: LabelledCache, share: float, count: int, seed: int) -> LabelledCache:
    """The recording with `count` of its frames, `share` of them anomalous."""
    pieces = stretches(recording.level, recording.cache.segment, recording.cache.timestamp_ns)
    return recording.part(rows_with_share(pieces, recording.level, share, count, seed))

"""Which frames the vehicle remembers, and in which episodes. Numbers only; no label is read.

The bank is an input of the scoring graph, not a weight: refreshing what is remembered replaces a file. No torch here:
what a vehicle remembers is refreshed where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgevad.model.cache import SEPARATE_S
from edgevad.spec import EXCLUDED, NEAREST_EPISODES

__all__ = ["FORGET_ABOVE", "BankPlan", "recurrence_rank"]

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

# 64 coordinates and a norm as float32: 1.3 MB. A third as many cost 2 points of AUROC on donkey_usi_mit.
MAX_ENTRIES = 5120
MAX_EPISODES = 64
# Shorter recordings are cut in this many, longer ones in episodes of SEPARATE_S.
LEAST_EPISODES = 20
# A rank counts as "seen that often" while the typical distance is at most this times that of the nearest episode.
RANK_RATIO = 1.3
# Frames whose anomaly score, the largest of several deviates, is above this are not remembered: a fifth of a recording.
FORGET_ABOVE = 1.64


@dataclass(frozen=True)
class BankPlan:
    """The frames of a recording that stand for its episodes.

    Attributes:
        frames: (E, m) int64, frame numbers of the entries; -1 is padding.
        times_s: (N,) float64, of all frames of the recording, on a clock that runs on across sources.
        apart_s: entries nearer in time than this to a frame are the same moment, and no recurrence of it.
    """

    frames: npt.NDArray[np.int64]
    times_s: npt.NDArray[np.float64]
    apart_s: float

    @classmethod
    def of(cls, times_s: npt.NDArray[np.float64], keep: Flags | None = None) -> BankPlan:
        """Cut a recording into episodes and take frames evenly from each: `times_s` (N,), ascending, seconds.

        `keep` (N,) says which frames may be remembered; None means all.
        """
        count = len(times_s)
        times_s = np.asarray(times_s, dtype=np.float64)
        if count == 0 or times_s[-1] <= times_s[0]:  # a clock that stands still: every frame one second
            times_s = np.arange(count, dtype=np.float64)
        span_s = float(times_s[-1] - times_s[0]) if count > 1 else 1.0
        apart_s = min(SEPARATE_S, span_s / LEAST_EPISODES)
        length_s = max(apart_s, span_s / MAX_EPISODES)
        number = np.minimum(((times_s - times_s[0]) / length_s).astype(np.int64), int(np.ceil(span_s / length_s)) - 1)
        usable = np.ones(count, np.bool_) if keep is None else keep
        episodes = [np.flatnonzero((number == k) & usable) for k in np.unique(number)]
        longest = max((len(episode) for episode in episodes), default=0)
        most = max(1, min(MAX_ENTRIES // max(len(episodes), NEAREST_EPISODES), longest))
        # A graph looks up NEAREST_EPISODES episodes, so there are at least that many, empty ones if need be.
        frames = np.full((max(len(episodes), NEAREST_EPISODES), most), -1, dtype=np.int64)
        for row, episode in zip(frames, episodes, strict=False):
            take = min(most, len(episode))
            if take:
                row[:take] = episode[np.linspace(0, len(episode) - 1, take).round().astype(np.int64)]
        return cls(frames, times_s, apart_s)

    def bank(self, coordinates: Floats) -> Floats:
        """The graph's input: (E, m, d + 1) float32 from the coordinates (N, d) of all frames."""
        d = coordinates.shape[1]
        usable = self.frames >= 0
        bank = np.zeros((*self.frames.shape, d + 1), dtype=np.float32)
        bank[..., :d] = np.where(usable[..., None], coordinates[self.frames], 0.0)
        bank[..., d] = np.where(usable, np.square(bank[..., :d]).sum(axis=-1), EXCLUDED)
        return bank

    def same_time(self, frames: npt.NDArray[np.int64]) -> Flags:
        """Which entries are the same moment as these frames (n,): (n, E, m) bool, padding included."""
        then = np.where(self.frames >= 0, self.times_s[self.frames], np.inf)
        near = np.abs(self.times_s[frames][:, None, None] - then) < self.apart_s
        return np.asarray(near, dtype=np.bool_)


def recurrence_rank(squared: Floats) -> int:
    """How often a typical view recurs: the rank, from 0, of the episode that `view` should measure the distance to.

    squared: (N, NEAREST_EPISODES) squared distances to the nearest episodes at other times, ascending.
    """
    typical = np.median(np.sqrt(squared), axis=0)
    return max(int((typical <= RANK_RATIO * typical[0]).sum()) - 1, 0)

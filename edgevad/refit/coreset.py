"""What a vehicle remembers, kept within its size while new drives come in: a streaming coreset of episodes.

The bank is a fixed number of episodes of a fixed number of entries, and the graph compares a frame with the nearest
entry of each episode. New episodes are put beside the old ones, and then the two that are most alike become one, as
often as it takes (merge and reduce, as in Har-Peled and Mazumdar 2004, with Ward's cost, 1963, so that no episode
swallows all others). So what is remembered twice makes room, and a condition that nothing new resembles stays. A merged
episode that has too many entries keeps some evenly from each of its stretches: those that lie farthest apart, instead,
were no better (docs/refit.md).

Numbers only: no torch, no label, no engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgevad.runtime.remembering import bank_entries
from edgevad.spec import EXCLUDED, NEAREST_EPISODES, BankShape

__all__ = ["Episode", "condensed", "dated", "episodes_of_bank", "laid_out"]

Floats = npt.NDArray[np.float32]
Times = npt.NDArray[np.float64]

# However much is new: of what was remembered before, and of what is new, this share of the episodes stays.
LEAST_SHARE = 0.25
# Entries that an episode's distance to others is measured by: evenly from it, it costs their product.
COMPARED = 64
# Coordinates are the same frame's where they differ, squared, by at most this share of their squared norm: one graph
# gives the same frame the same but for the last digits.
SAME_FRAME = 1e-8


@dataclass(frozen=True)
class Episode:
    """A stretch of time that is remembered, or several that became one.

    Attributes:
        coordinates: (n, d) float32 of its frames.
        times_s: (n,) float64 seconds on the clock of the frames that are being learnt from; infinite for what was
            remembered before.
        stretches: how many episodes it was made of.
    """

    coordinates: Floats
    times_s: Times
    stretches: int = 1

    def __len__(self) -> int:
        return len(self.coordinates)

    @property
    def is_new(self) -> bool:
        """Whether any of it is of the frames that are being learnt from."""
        return bool(np.isfinite(self.times_s).any())

    def joined(self, other: Episode) -> Episode:
        """Both as one."""
        return Episode(
            np.concatenate([self.coordinates, other.coordinates]),
            np.concatenate([self.times_s, other.times_s]),
            self.stretches + other.stretches,
        )

    def thinned(self, most: int) -> Episode:
        """At most `most` of its entries, evenly from it."""
        if len(self) <= most:
            return self
        rows = np.linspace(0, len(self) - 1, most).round().astype(np.int64)
        return Episode(self.coordinates[rows], self.times_s[rows], self.stretches)


def episodes_of_bank(bank: Floats) -> list[Episode]:
    """The episodes of a bank (E, m, d + 1), without its padding; those that hold nothing are left out."""
    found = []
    for rows in bank:
        kept = rows[rows[:, -1] < EXCLUDED][:, :-1]
        if len(kept):
            found.append(Episode(np.ascontiguousarray(kept), np.full(len(kept), np.inf)))
    return found


def dated(old: Sequence[Episode], coordinates: Floats, times_s: Times) -> list[Episode]:
    """Remembered episodes, their entries dated that are frames of those with `coordinates` (N, d), seen at `times_s`.

    A log that is learnt from a second time is remembered from the first: without its times a frame would be held
    against itself.
    """
    norm = np.square(coordinates.astype(np.float64)).sum(axis=1)
    found = []
    for episode in old:
        squared = _squared(episode.coordinates, coordinates)
        nearest = squared.argmin(axis=1)
        # Said again for the nearest only: the other way of computing cancels digits.
        apart = np.square(episode.coordinates.astype(np.float64) - coordinates[nearest]).sum(axis=1)
        is_same = apart <= SAME_FRAME * norm[nearest]
        found.append(
            Episode(episode.coordinates, np.where(is_same, times_s[nearest], episode.times_s), episode.stretches)
        )
    return found


def condensed(old: Sequence[Episode], new: Sequence[Episode], shape: BankShape) -> list[Episode]:
    """Old and new episodes, the most alike of them merged until they fit a bank of `shape` (E, m, d + 1).

    Of each side at least a quarter of the bank's episodes stay, as far as there are as many.
    """
    most, entries, _ = shape
    episodes = [episode.thinned(entries) for episode in (*old, *new)]
    if len(episodes) <= most:
        return episodes
    cost = np.full((len(episodes), len(episodes)), np.inf)
    for row, one in enumerate(episodes):
        for column in range(row + 1, len(episodes)):
            cost[row, column] = _cost(one, episodes[column])
    left = len(episodes)
    least = max(NEAREST_EPISODES, round(LEAST_SHARE * most))
    while left > most:
        kept, gone = _cheapest(cost, episodes, min(least, most // 2))
        episodes[kept] = episodes[kept].joined(episodes[gone]).thinned(entries)
        left -= 1
        cost[gone, :] = cost[:, gone] = np.inf
        episodes[gone] = Episode(episodes[gone].coordinates[:0], episodes[gone].times_s[:0], 0)
        for other, episode in enumerate(episodes):
            if other != kept and episode.stretches:
                cost[min(kept, other), max(kept, other)] = _cost(episodes[kept], episode)
    return [episode for episode in episodes if episode.stretches]


def laid_out(episodes: Sequence[Episode], shape: BankShape) -> tuple[Floats, Times]:
    """The bank (E, m, d + 1) float32 of these episodes, and (E, m) float64 when each entry was seen (see `Episode`).

    Padding was seen at no time: infinite. Raises ValueError where they do not fit `shape`.
    """
    count, entries, values = shape
    if len(episodes) > count or any(len(episode) > entries for episode in episodes):
        raise ValueError(f"{len(episodes)} episodes do not fit a bank of shape {shape}")
    coordinates = np.zeros((count, entries, values - 1), np.float32)
    usable = np.zeros((count, entries), np.bool_)
    times_s = np.full((count, entries), np.inf)
    for row, episode in enumerate(episodes):
        coordinates[row, : len(episode)] = episode.coordinates
        times_s[row, : len(episode)] = episode.times_s
        usable[row, : len(episode)] = True
    return bank_entries(coordinates, usable), times_s


def _cheapest(cost: npt.NDArray[np.float64], episodes: Sequence[Episode], least: int) -> tuple[int, int]:
    """The two to merge next: the cheapest of a side that has more than its least, the first the one that stays."""
    new = np.array([episode.is_new for episode in episodes])
    there = np.array([episode.stretches > 0 for episode in episodes])
    allowed = cost.copy()
    for side in (new & there, ~new & there):
        if side.sum() <= least:
            # Merging one of them with the other side would lose it as well.
            allowed[side, :] = allowed[:, side] = np.inf
    if not np.isfinite(allowed).any():
        allowed = cost
    kept, gone = np.unravel_index(int(np.argmin(allowed)), allowed.shape)
    return int(kept), int(gone)


def _cost(one: Episode, other: Episode) -> float:
    """How much is lost where both become one: mean squared distance to the other's nearest, by Ward's weights."""
    a, b = _some(one.coordinates), _some(other.coordinates)
    squared = _squared(a, b)
    apart = 0.5 * float(squared.min(axis=1).mean() + squared.min(axis=0).mean())
    return apart * one.stretches * other.stretches / (one.stretches + other.stretches)


def _some(coordinates: Floats) -> Floats:
    if len(coordinates) <= COMPARED:
        return coordinates
    return coordinates[np.linspace(0, len(coordinates) - 1, COMPARED).round().astype(np.int64)]


def _squared(a: Floats, b: Floats) -> npt.NDArray[np.float64]:
    """Squared distances (n, k) of (n, d) and (k, d)."""
    first, second = a.astype(np.float64), b.astype(np.float64)
    squares = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)[None]
    return np.asarray(np.maximum(squares - 2.0 * first @ second.T, 0.0))

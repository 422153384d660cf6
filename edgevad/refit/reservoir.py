"""What a model keeps of all it ever learned from: a fixed number of stretches, whatever comes on top.

A reservoir sample (Vitter 1985), drawn by stretches and not by frames: every stretch that was ever learned from has the
same chance to be in it, so that it stands for the vehicle's whole life. One run replaces at most half of it, however
much was recorded since: what one run learns cannot push out all that went before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgevad.bundle.replay import Replay
from edgevad.model.cache import FrameCache

__all__ = ["LEAST_EARLIER", "Reservoir", "renewed"]

# The least share of the reservoir that stays with what was known before.
LEAST_EARLIER = 0.5


@dataclass(frozen=True)
class Reservoir:
    """
    Attributes:
        replay: the frames.
        stands_for: how many frames they were drawn from, over all runs.
    """

    replay: Replay
    stands_for: int


def renewed(
    earlier: Reservoir,
    recent: FrameCache,
    anomaly: npt.NDArray[np.floating],
    keep: npt.NDArray[np.bool_],
    *,
    frames: int,
    max_bytes: int,
    seed: int,
) -> Reservoir:
    """The reservoir after `recent` was learned from, of at most `frames` frames and `max_bytes`; `seed` draws.

    `anomaly` (N,) of recent frames, and `keep` (N,), which of them may be kept (not those of likely anomalies).
    Stretches stay in order: earlier ones first.
    """
    found = Replay.of(recent, anomaly, keep, frames=len(recent), max_bytes=recent.images.nbytes * 100)
    count = int(keep.sum())
    stands_for = earlier.stands_for + count
    if found is None:
        return earlier
    replay = earlier.replay
    most = max(1, min(frames, max_bytes // replay.frame_bytes))
    share = max(earlier.stands_for / stands_for, LEAST_EARLIER)
    # Where one side has less than its share, the other takes what is left.
    old = min(len(replay), max(round(share * most), most - len(found)))
    rng = np.random.default_rng([seed, stands_for])
    earlier_part, new_part = _drawn(replay, old, rng), _drawn(found, most - old, rng)
    return Reservoir(earlier_part.joined(new_part), stands_for)


def _drawn(replay: Replay, most: int, rng: np.random.Generator) -> Replay:
    """Whole stretches, each with the same chance, at most `most` frames: every so-many-th from a random one on."""
    starts = np.flatnonzero(np.r_[True, np.diff(replay.segment) != 0])
    ends = np.r_[starts[1:], len(replay)]
    count = len(starts) if len(replay) <= most else int(len(starts) * most / len(replay))
    chosen = ((np.arange(count) + rng.random()) * len(starts) / max(count, 1)).astype(np.int64)
    rows = np.concatenate([np.arange(0), *(np.arange(starts[k], ends[k]) for k in chosen)]).astype(np.int64)[:most]
    return Replay(
        replay.images[rows],
        None if replay.motion is None else replay.motion[rows],
        replay.timestamp_ns[rows],
        replay.segment[rows],
        replay.anomaly[rows],
    )

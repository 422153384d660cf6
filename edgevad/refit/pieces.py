"""Cutting footage into pieces: what is chosen or left, and learned or held out, as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgevad.refit.footage import INSIDE, NEAR, Footage, FrameIndex

__all__ = ["GUARD_S", "HELD_OUT_SHARE", "Piece", "cut", "hold_out", "thinned"]

#: Frames a second to learn from at most, as in training: closer ones are near copies.
MOST_FPS_HZ = 10.0
#: A piece is so long at most; at 2 images a second that is 25 s.
PIECE_FRAMES = 50
PIECE_S = 25.0
#: Time is dealt out in blocks of all cameras: a minute, or a twentieth of what there is.
BLOCK_S, BLOCKS = 60.0, 20
HELD_OUT_SHARE = 0.2
#: What is learned keeps this far from what is held out, in seconds: the next frame is nearly the same.
GUARD_S = 2.0


@dataclass(frozen=True)
class Piece:
    """Consecutive frames of one stretch of one camera.

    Attributes:
        footage: index of its footage.
        rows: (n,) int64, rows of the footage's index, in order.
        drive: index of its drive, which several cameras share.
        start_ns: time of its first frame, by the footage's clock.
        trusted: share of its frames that are neither inside nor near an event.
        next_row: row that follows it in its stretch, of those that stand for their time; -1 where there is none.
    """

    footage: int
    rows: npt.NDArray[np.int64]
    drive: int
    start_ns: int
    trusted: float
    next_row: int = -1

    def __len__(self) -> int:
        return len(self.rows)


def thinned(index: FrameIndex) -> npt.NDArray[np.int64]:
    """Rows (n,) of the frames that stand for their time: none with a fault of the lens, none closer than others.

    Around events every frame was logged, and away from them two a second: learned as they lie, rare moments would weigh
    fifteen times as much. They are taken as often as the others, at most `MOST_FPS_HZ`.
    """
    step_ns = round(max(_period_s(index), 1.0 / MOST_FPS_HZ) * 1e9)
    rows: list[int] = []
    stretch, next_ns = -1, 0
    for row in np.flatnonzero(~index.fault).tolist():
        now_ns = int(index.timestamp_ns[row])
        if index.stretch[row] != stretch:
            stretch, next_ns = int(index.stretch[row]), now_ns
        if now_ns + step_ns // 8 < next_ns:  # clocks jitter
            continue
        next_ns = max(next_ns + step_ns, now_ns)
        rows.append(row)
    return np.array(rows, np.int64)


def _period_s(index: FrameIndex) -> float:
    """Seconds from a frame to the next, away from events; 0 where there are no two such frames."""
    calm = index.rows(~index.dense)
    steps = np.diff(calm.timestamp_ns)[np.diff(calm.stretch) == 0]
    return float(np.median(steps)) / 1e9 if len(steps) else 0.0


def cut(footage: Sequence[Footage], rows: Sequence[npt.NDArray[np.int64]], drives: Sequence[int]) -> list[Piece]:
    """The pieces of each footage, of its `rows` only; `drives` gives the drive's index for each footage."""
    pieces = []
    for number, (one, chosen, drive) in enumerate(zip(footage, rows, drives, strict=True)):
        index = one.index.rows(chosen)
        doubtful = (index.event == NEAR) | (index.event >= INSIDE)
        first = 0
        for k in range(1, len(chosen) + 1):
            if k < len(chosen) and not _ends(index, first, k):
                continue
            trusted = 1.0 - float(doubtful[first:k].mean())
            goes_on = k < len(chosen) and index.stretch[k] == index.stretch[first]
            next_row = int(chosen[k]) if goes_on else -1
            pieces.append(Piece(number, chosen[first:k], drive, int(index.time_ns[first]), trusted, next_row))
            first = k
    return pieces


def _ends(index: FrameIndex, first: int, k: int) -> bool:
    if index.stretch[k] != index.stretch[first] or k - first >= PIECE_FRAMES:
        return True
    return bool(index.timestamp_ns[k] - index.timestamp_ns[first] >= PIECE_S * 1e9)


def hold_out(pieces: Sequence[Piece], duration_s: float) -> npt.NDArray[np.bool_]:
    """Which of the pieces (n,) are for the gate and never learned from: about `HELD_OUT_SHARE` of the time.

    Whole blocks of time are, in all cameras alike. What is so short that it has but one block is learned from.

    Args:
        duration_s: seconds of footage in all.
    """
    block_ns = round(1e9 * min(BLOCK_S, max(duration_s / BLOCKS, 1.0)))
    starts: dict[int, int] = {}
    for piece in pieces:
        starts[piece.drive] = min(starts.get(piece.drive, piece.start_ns), piece.start_ns)
    keys = [(piece.drive, (piece.start_ns - starts[piece.drive]) // block_ns) for piece in pieces]
    order = {key: k for k, key in enumerate(sorted(set(keys)))}
    every = round(1.0 / HELD_OUT_SHARE)
    return np.array([order[key] % every == every // 2 for key in keys], np.bool_)

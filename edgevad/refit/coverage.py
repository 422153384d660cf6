"""Which pieces to take within a budget: half of it covers the time evenly, half goes to what is new.

New is what is far from everything known and taken: k-centre greedy (Gonzalez 1985; as a coreset of what to learn from,
Sener and Savarese 2018) takes the farthest piece again and again. By itself it would collect anomalies, for nothing is
farther from everything: so it sees only pieces that are trusted, each by the middle of a few frames, and the even half
keeps the usual in its majority.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edgevad.refit.pieces import Piece

__all__ = ["LEAST_TRUSTED", "NEW_SHARE", "evenly", "pick"]

Floats = npt.NDArray[np.float64]

#: Of the budget, for what is new.
NEW_SHARE = 0.5
#: A piece is picked for being new only if this share of its frames is away from events.
LEAST_TRUSTED = 0.8


def evenly(count: int) -> list[int]:
    """0 … count - 1 in an order of which every beginning is spread over the whole (van der Corput, base 2)."""
    bits = max(count - 1, 1).bit_length()
    reversed_bits = (int(f"{k:0{bits}b}"[::-1], 2) for k in range(1 << bits))
    return [k for k in reversed_bits if k < count]


def pick(
    pieces: Sequence[Piece],
    budget_frames: int,
    describe: Callable[[Sequence[Piece]], Floats] | None = None,
    known: Floats | None = None,
) -> list[int]:
    """Indices, in order, of the pieces to take so that they have at most `budget_frames` frames.

    Args:
        pieces: in the order of time.
        describe: (n, d) descriptions of n pieces; without it all of the budget covers the time evenly.
        known: (m, d) descriptions of what was learned before.
    """
    if sum(map(len, pieces)) <= budget_frames:
        return list(range(len(pieces)))
    even_frames = budget_frames if describe is None else round((1.0 - NEW_SHARE) * budget_frames)
    taken = _fill([], evenly(len(pieces)), pieces, even_frames)
    if describe is None:
        return sorted(taken)
    candidates = [k for k, piece in enumerate(pieces) if piece.trusted >= LEAST_TRUSTED and k not in set(taken)]
    if candidates:
        described = describe([pieces[k] for k in [*taken, *candidates]])
        centres = described[: len(taken)] if known is None else np.concatenate([known, described[: len(taken)]])
        order = [candidates[k] for k in _farthest_first(described[len(taken) :], centres, budget_frames)]
        taken = _fill(taken, order, pieces, budget_frames)
    return sorted(_fill(taken, evenly(len(pieces)), pieces, budget_frames))


def _fill(taken: list[int], order: Sequence[int], pieces: Sequence[Piece], budget_frames: int) -> list[int]:
    """`taken` and those of `order` that still fit, one after the other."""
    taken = list(taken)
    known = set(taken)
    frames = sum(len(pieces[k]) for k in taken)
    for k in order:
        if k not in known and frames + len(pieces[k]) <= budget_frames:
            taken.append(k)
            known.add(k)
            frames += len(pieces[k])
    return taken


def _farthest_first(points: Floats, centres: Floats, most: int) -> list[int]:
    """k-centre greedy: rows of `points` (n, d), each the farthest from `centres` (m, d) and those before it."""
    distance = nearest(points, centres) if len(centres) else np.full(len(points), np.inf)
    order: list[int] = []
    for _ in range(min(len(points), most)):
        k = int(np.argmax(distance))
        order.append(k)
        distance = np.minimum(distance, np.sum((points - points[k]) ** 2, axis=1))
        distance[k] = -1.0
    return order


def nearest(points: Floats, others: Floats) -> Floats:
    """(n,) squared distance of each of `points` (n, d) to the nearest of `others` (m, d)."""
    norms = np.sum(points**2, axis=1)[:, None] + np.sum(others**2, axis=1)[None]
    return np.asarray(np.maximum(norms - 2.0 * points @ others.T, 0.0).min(axis=1))

"""Which pieces to take within a budget: half of it covers the time evenly, half goes to what is new.

New is what is far from everything known and taken: k-centre greedy (Gonzalez 1985; as a coreset of what to learn from,
Sener and Savarese 2018) takes the farthest piece again and again. By itself it would collect anomalies, for nothing is
farther from everything: so it sees only pieces that are trusted, a piece is as new as the middle of a few of its frames
is, and the even half keeps the usual in its majority.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edgevad.refit.pieces import Piece

__all__ = ["LEAST_TRUSTED", "NEW_SHARE", "evenly", "pick"]

Floats = npt.NDArray[np.float64]

_GOLDEN = (5.0**0.5 - 1.0) / 2.0
#: Of the budget, for what is new.
NEW_SHARE = 0.5
#: A piece is picked for being new only if this share of its frames is away from events.
LEAST_TRUSTED = 0.8


def evenly(count: int) -> list[int]:
    """0 … count - 1 in an order of which every beginning is spread over the whole.

    By the fractional parts of multiples of the golden ratio, those that are smallest first: the gaps between them have
    three lengths at most (Steinhaus), and no period of the pieces, as of two cameras that alternate, is favoured.
    """
    return [int(k) for k in np.argsort(np.arange(count) * _GOLDEN % 1.0, kind="stable")]


def pick(
    pieces: Sequence[Piece],
    budget_frames: int,
    describe: Callable[[Sequence[Piece]], Floats] | None = None,
    known: Floats | None = None,
) -> list[int]:
    """Indices, in order, of the pieces to take so that they have at most `budget_frames` frames.

    Args:
        pieces: in the order of time.
        describe: (n, k, d) descriptions of k frames of each of n pieces; without it all of the budget covers the time
            evenly.
        known: (m, d) descriptions of what was learned before.
    """
    if sum(map(len, pieces)) <= budget_frames:
        return list(range(len(pieces)))
    even_frames = budget_frames if describe is None else round((1.0 - NEW_SHARE) * budget_frames)
    taken = _fill([], evenly(len(pieces)), pieces, even_frames)
    if describe is None:
        return sorted(taken)
    already = set(taken)
    candidates = [k for k, piece in enumerate(pieces) if piece.trusted >= LEAST_TRUSTED and k not in already]
    if candidates:
        described = describe([pieces[k] for k in [*taken, *candidates]])
        centres = described[: len(taken)].reshape(-1, described.shape[-1])
        centres = centres if known is None else np.concatenate([known, centres])
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


def _farthest_first(pieces: Floats, centres: Floats, most: int) -> list[int]:
    """k-centre greedy: of `pieces` (n, k, d), each the farthest from `centres` (m, d) and the frames before it."""
    count, looks, values = pieces.shape
    frames = pieces.reshape(-1, values)
    distance = nearest(frames, centres) if len(centres) else np.full(len(frames), np.inf)
    taken = np.zeros(count, np.bool_)
    order: list[int] = []
    for _ in range(min(count, most)):
        newness = np.median(distance.reshape(count, looks), axis=1)
        k = int(np.argmax(np.where(taken, -1.0, newness)))
        order.append(k)
        taken[k] = True
        distance = np.minimum(distance, nearest(frames, pieces[k]))
    return order


def nearest(points: Floats, others: Floats) -> Floats:
    """(n,) squared distance of each of `points` (n, d) to the nearest of `others` (m, d)."""
    norms = np.sum(points**2, axis=1)[:, None] + np.sum(others**2, axis=1)[None]
    return np.asarray(np.maximum(norms - 2.0 * points @ others.T, 0.0).min(axis=1))

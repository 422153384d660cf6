"""Two-sample tests for frames of drives: correlated in time, looked at every day, many figures at once.

The effect of a figure is a *placement*: where a frame of the day stands among the reference's frames, 0 below all of
them, 1 above all. Its mean is the probability that a frame of the day has more of the figure than one of the reference
(the area under the ROC curve between them; Mann and Whitney 1947, Brunner and Munzel 2000), so it means the same for
gray levels, deviates and coordinates, and no outlier moves it far.

1. *Correlated frames.* Neighbouring frames are near copies: the unit is a block of ten seconds, as in clustered ROC
   analysis (Obuchowski 1997), and what correlation is left between neighbouring blocks inflates the variance as an
   autoregression of first order does.
2. *Days are never the same.* With enough frames every difference is significant. So the hypothesis is not that the
   days are equal, but that they differ by no more than a margin (Wellek's two-sample equivalence, turned round).
3. *Many figures*: Holm (1979). *Many days*: the n-th look may spend alpha / (n (n + 1)), which adds up to alpha however
   long the vehicle lives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["BLOCK_S", "MARGIN", "Effect", "Kind", "effects_of", "holm", "spent", "student_tail"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Kind = Literal["shift", "spread", "tail"]

BLOCK_S = 10.0
# A shift by half a standard deviation is 0.64.
MARGIN = 0.15
# Fewer blocks than this, correlation taken off, say nothing yet.
LEAST_BLOCKS = 3.0
# What a reference's frames exceed once in twenty times.
_TAIL = 0.95
# Of a frame of the reference itself, by definition of each kind.
_NULL: dict[Kind, float] = {"shift": 0.5, "spread": 0.5, "tail": 1 - _TAIL}
_MOST_CORRELATION = 0.9
_NORMAL_QUANTILE = 1.959964  # of 0.975


@dataclass(frozen=True)
class Effect:
    """How one figure of a day differs from the reference's.

    Attributes:
        kind: "shift", P(day > reference), 0.5 where nothing is different; "spread", how far out, to either side, frames
            lie among the reference's, 0.5 likewise and 1 beyond all of them; "tail", the share of frames beyond the
            reference's 95 % quantile, 0.05 likewise.
        value: of that kind, in [0, 1].
        low, high: 95 % confidence interval.
        p: of being within the margin of what it would be without drift; 1 where too little is known.
        blocks: what the day's blocks are worth, correlation taken off.
        margin: how far from that it may be before it counts as drift.
    """

    kind: Kind
    value: float
    low: float
    high: float
    p: float
    blocks: float
    margin: float

    @property
    def size(self) -> float:
        """How far it is from what it would be without drift, signed, in [-0.5, 0.95]."""
        return self.value - _NULL[self.kind]


def effects_of(
    day: npt.NDArray[np.floating],
    day_block: Ints,
    reference: npt.NDArray[np.floating],
    reference_block: Ints,
    *,
    kinds: Sequence[Kind] = ("shift", "spread"),
    margin: float = MARGIN,
    tolerance: float = 0.0,
    upward: bool = False,
) -> list[Effect] | None:
    """One figure of the frames of a day (N,) against those of the reference (M,); NaN where a frame has none.

    Blocks (N,) and (M,) are numbers; those that follow each other in time differ by 1, all others by more. `upward`:
    only more than the reference counts. Values closer than `tolerance` are as good as equal. None where
    either has no frame.
    """
    day, day_block = _known(day, day_block)
    reference, reference_block = _known(reference, reference_block)
    if not (day.size and reference.size):
        return None
    placed = _placements(day, reference, tolerance)
    number, place, count = np.unique(reference_block, return_inverse=True, return_counts=True)
    without = _without_each_block(placed, day, reference, tolerance, place, count)
    found = []
    for kind in kinds:
        values = _of_kind(placed, kind)
        value = float(values.mean())
        lost = _of_kind(without, kind).mean(axis=1)
        own = _Mean.of(values, day_block)
        others = _Mean(number, (len(lost) - 1) * (value - lost))
        found.append(_effect(kind, value, own, others, margin, upward))
    return found


def holm(p: Sequence[float], alpha: float) -> list[bool]:
    """Which of several hypotheses are refused, so that the chance of refusing any true one is at most `alpha`."""
    refused = [False] * len(p)
    for k, index in enumerate(sorted(range(len(p)), key=lambda one: p[one])):
        if p[index] > alpha / (len(p) - k):
            break
        refused[index] = True
    return refused


def spent(alpha: float, look: int) -> float:
    """What the look of this number, from 1 on, may spend of `alpha`: all together spend no more."""
    return alpha / (look * (look + 1))


def student_tail(t: float, degrees: float) -> float:
    """P(T > t) of Student's distribution with `degrees` > 0 of freedom (SciPy is not on a device)."""
    if not math.isfinite(t):
        return 0.0 if t > 0 else 1.0
    tail = 0.5 * _incomplete_beta(0.5 * degrees, 0.5, degrees / (degrees + t * t))
    return tail if t >= 0 else 1.0 - tail


class _Mean:
    """The variance of a mean over blocks, and how many independent ones they are worth.

    `error` (B,) is how far each block by itself is from the mean; `number` (B,), ascending, tells which are neighbours.
    """

    def __init__(self, number: Ints, error: Floats) -> None:
        blocks = len(number)
        square = float(np.sum(error * error))
        follows = np.diff(number) == 1
        correlation = 0.0
        if square > 0 and follows.any():
            # As if all blocks had neighbours; and what an estimate from so few falls short by (Marriott, Pope 1954).
            correlation = float(np.sum((error[1:] * error[:-1])[follows])) / square * (blocks - 1) / int(follows.sum())
            correlation += (1 + 3 * max(correlation, 0.0)) / blocks
        correlation = min(max(correlation, 0.0), _MOST_CORRELATION)
        self.blocks = blocks * (1 - correlation) / (1 + correlation)
        # Where all blocks are the same the next one need not be: never surer than one block in so many allows.
        least = (0.25 / (self.blocks + 1)) ** 2
        self.variance = max(square / max(blocks - 1, 1) / self.blocks, least)

    @classmethod
    def of(cls, values: Floats, block: Ints) -> _Mean:
        """Of values (N,) that lie in blocks (N,); blocks count by their frames."""
        number, place = np.unique(block, return_inverse=True)
        count = np.bincount(place).astype(np.float64)
        return cls(number, np.bincount(place, values - values.mean()) / count.mean())

    @property
    def degrees(self) -> float:
        return max(self.blocks - 1, 1e-6)


def _effect(kind: Kind, value: float, day: _Mean, reference: _Mean, margin: float, upward: bool) -> Effect:
    variance = day.variance + reference.variance
    error = math.sqrt(variance)
    # Welch and Satterthwaite
    degrees = variance**2 / (day.variance**2 / day.degrees + reference.variance**2 / reference.degrees)
    beyond = value - _NULL[kind]
    is_one_sided = upward or kind != "shift"
    distance = beyond if is_one_sided else abs(beyond)
    p = (1 if is_one_sided else 2) * student_tail((distance - margin) / error, degrees)
    if min(day.blocks, reference.blocks) < LEAST_BLOCKS:
        p = 1.0
    half = _student_quantile(degrees) * error
    return Effect(kind, value, max(value - half, 0.0), min(value + half, 1.0), min(p, 1.0), day.blocks, margin)


def _known(values: npt.NDArray[np.floating], block: Ints) -> tuple[Floats, Ints]:
    known = np.isfinite(values)
    return np.asarray(values[known], dtype=np.float64), np.asarray(block[known], dtype=np.int64)


def _placements(values: Floats, among: Floats, tolerance: float) -> Floats:
    """The share of `among` below each of `values`, ties counted half."""
    below, upto = _ranks(values, np.sort(among), tolerance)
    return np.asarray((below + upto) / (2.0 * among.size), dtype=np.float64)


def _ranks(values: Floats, ordered: Floats, tolerance: float) -> tuple[Ints, Ints]:
    """How many of `ordered` lie below each of `values`, and below or as good as equal."""
    below = np.searchsorted(ordered, values - tolerance, "left")
    return below, np.searchsorted(ordered, values + tolerance, "right")


def _without_each_block(
    placed: Floats, day: Floats, reference: Floats, tolerance: float, place: Ints, count: Ints
) -> Floats:
    """`placed` (N,) among the reference less one of its B blocks, for each (B, N): what its uncertainty is read from
    (jackknife). `place` (M,) tells which block each value of the reference lies in, `count` (B,) how large they are."""
    order = np.argsort(reference, kind="stable")
    # Rows: blocks. Columns: how many of its values lie below each place in the order.
    below = np.zeros((len(count), reference.size + 1), np.float32)
    below[place[order], np.arange(1, reference.size + 1)] = 1.0
    np.cumsum(below, axis=1, out=below)
    left, right = _ranks(day, reference[order], tolerance)
    own = (below[:, left] + below[:, right]) / 2.0
    rest = np.maximum(reference.size - count, 1)[:, None]
    return np.asarray((reference.size * placed[None, :] - own) / rest, dtype=np.float64)


def _of_kind(placed: Floats, kind: Kind) -> Floats:
    """What of each frame is averaged."""
    if kind == "shift":
        return placed
    return np.abs(2 * placed - 1) if kind == "spread" else (placed > _TAIL).astype(np.float64)


def _student_quantile(degrees: float) -> float:
    """Of 0.975: Fisher and Cornish's expansion (1960), by bisection where so few degrees are too few for it."""
    z, n = _NORMAL_QUANTILE, degrees
    if degrees >= 4:
        first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
        third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
        return z + first / n + second / n**2 + third / n**3
    low, high = 0.0, 1e3
    for _ in range(30):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if student_tail(middle, degrees) > 0.025 else (low, middle)
    return high


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (Lentz's method; DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _incomplete_beta(b, a, 1 - x)
    logarithm = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    tiny = 1e-300
    c, d = 1.0, 1.0 / ((1 - (a + b) * x / (a + 1)) or tiny)
    fraction = d
    for m in range(1, 500):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / ((1 + term * d) or tiny)
            c = (1 + term / c) or tiny
            fraction *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return math.exp(logarithm) / a * fraction

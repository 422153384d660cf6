"""Which tone curve a new condition needs, told from the pictures alone.

Matching the levels of all new pictures to those of all old ones (histogram matching; Gonzalez & Woods 2018, 3.3) takes
other places for another light. So each new picture is held against the old one that looks most like it through the
curve found so far, and the curve is drawn from those pairs again: the same places, in two conditions. Nothing has to
lie on the same pixel for that, so a camera that was tilted does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from edgevad.bundle.bundle import TrainingScores
from edgevad.bundle.calibration import Calibration
from edgevad.bundle.tones import MOST_CONDITIONS, ToneCurves
from edgevad.calibration import calibrate
from edgevad.runtime.remembering import Rememberer
from edgevad.runtime.toning import at_home, in_units_of_home, looks, shares

__all__ = ["FoundTones", "find_tones", "levelled", "relevelled"]

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Curve = npt.NDArray[np.uint8]  # (256, 3)

# A curve is drawn through so many quantiles, the outermost 1 % left out: what is there is noise, sky or a clipped lamp.
_QUANTILES = np.linspace(0.01, 0.99, 99)
# After three rounds pairs no longer change; the pairs that are least alike, three in ten, are not drawn from.
_ROUNDS, _ALIKE = 4, 0.7
# Less than this many levels of 255 on average is no other light.
_LEAST_LEVELS = 1.0
# And by so many, at most, may pictures be off where single ones do not tell for sure which condition they are of.
_MOST_OFF = 3.0
# Contrast is raised by at most so much: noise would be raised with it, and what a lens hides is not to be made up.
_STEEPEST = 4.0
_LEAST_FRAMES = 40
_BLOCK = 20
# Pictures at a time: all of a drive through a curve at once would be the drive again in memory, and again.
_CHUNK = 64
# Looks of a camera that stands still hardly differ: below this (in log intensity) it is noise.
_LOOK_FLOOR = 0.01
_GAIN_RANGE = (0.2, 5.0)


@dataclass(frozen=True)
class FoundTones:
    """
    Attributes:
        tones: what the bundle knows from now on; the bundle's own where nothing was added, None where it has none.
        added: whether a condition was.
        sentence: what was found, for people; empty where there was nothing to look for.
    """

    tones: ToneCurves | None
    added: bool
    sentence: str


def find_tones(recent: Images, known: Images, rememberer: Rememberer, parts: int) -> FoundTones:
    """Ask whether the pictures `recent` (n, h, w, 3), ordered in time, need a curve beside those of `rememberer`.

    `known` (m, h, w, 3): pictures of before. `parts`: how many parts a frame score has.

    Raises:
        BackendError: the graph of what is remembered failed.
    """
    own = rememberer.tones

    def nothing(sentence: str) -> FoundTones:
        return FoundTones(own, added=False, sentence=sentence)

    if min(len(recent), len(known)) < _LEAST_FRAMES:
        return nothing("")
    home = at_home(own, known)
    curve = _matched_curve(recent, home, rememberer.with_tones(None))
    if curve is None:
        return nothing("Levels differ from before by more than a tone curve may undo.")
    moved = _levels_between(recent, partial(_through, curve), partial(at_home, own))
    if moved < _LEAST_LEVELS:
        return nothing("")
    tones, off = _with_condition(own, curve, recent, known, parts)
    if off > _MOST_OFF:
        return nothing(
            f"Levels differ by {moved:.0f} of 255, but single pictures do not tell the conditions apart: they would be "
            f"off by {off:.0f}."
        )
    return FoundTones(
        tones,
        added=True,
        sentence=f"The light is another one: a tone curve undoes {moved:.0f} levels of 255 on average.",
    )


def levelled(tones: ToneCurves, new: TrainingScores, before: TrainingScores, like: Calibration) -> ToneCurves:
    """The condition that was added last, with gain and offset by which its scores mean what those of `before` do.

    `new` and `before`: rows scored through `tones`, by which the scores of that condition are still as they are.
    """
    here, home = (
        calibrate(
            rows.score, rows.timestamp_ns, rows.segment, like.window, like.alarms_per_hour, parts=like.names
        ).parts
        for rows in (new, before)
    )
    gain = np.array([np.clip(b.scale / a.scale, *_GAIN_RANGE) for a, b in zip(here, home, strict=True)], np.float32)
    offset = np.array([b.location for b in home], np.float32) - gain * np.array([a.location for a in here], np.float32)
    return replace(
        tones,
        gain=np.concatenate([tones.gain[:-1], gain[None]]),
        offset=np.concatenate([tones.offset[:-1], offset[None]]),
    )


def relevelled(rows: TrainingScores, images: Images, tones: ToneCurves, done: ToneCurves) -> TrainingScores:
    """`rows` of `images` (N, h, w, 3), scored through `tones`, as an engine with `done` scores them.

    Both tell conditions alike; `done` has another gain and offset for them.
    """
    share = shares(tones, images)
    gain, offset = share[:, :1] + share[:, 1:] @ tones.gain, share[:, 1:] @ tones.offset
    amplitude = np.maximum((np.sqrt(np.maximum(rows.score, 0.0)) - offset) / gain, 0.0)
    away = in_units_of_home(done, amplitude * amplitude, share)
    # What is at home has no part in this, to the bit.
    return replace(rows, score=np.where(share[:, :1] < 1, away, rows.score).astype(np.float32))


def _matched_curve(recent: Images, home: Images, rememberer: Rememberer) -> Curve | None:
    """From levels of `recent` to those of the same places in `home`; None where that is no curve."""
    known = rememberer.coordinates(home)
    of_recent, of_home = _histograms(recent), _histograms(home)
    curve = _curve(of_recent.sum(axis=0), of_home.sum(axis=0))
    for _ in range(_ROUNDS):
        if curve is None:
            break
        found = [rememberer.coordinates(_through(curve, recent[k : k + _CHUNK])) for k in range(0, len(recent), _CHUNK)]
        squared, nearest = _nearest(np.concatenate(found), known)
        alike = squared <= np.quantile(squared, _ALIKE)
        curve = _curve(of_recent[alike].sum(axis=0), of_home[nearest[alike]].sum(axis=0))
    return curve


def _nearest(rows: Floats, known: Floats) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Squared distance of coordinates (n, d) to the nearest of `known` (m, d), and which that is."""
    here, there = rows.astype(np.float64), known.astype(np.float64)
    squared = (here**2).sum(axis=1)[:, None] - 2.0 * here @ there.T + (there**2).sum(axis=1)
    nearest = squared.argmin(axis=1)
    return squared[np.arange(len(here)), nearest], nearest


def _histograms(images: Images) -> npt.NDArray[np.int32]:
    """(N, 3, 256) counts of levels."""
    found = np.empty((len(images), 3, 256), np.int32)
    for counts, image in zip(found, images, strict=True):
        for channel in range(3):
            counts[channel] = np.bincount(image[..., channel].reshape(-1), minlength=256)
    return found


def _curve(source: npt.NDArray[np.integer], target: npt.NDArray[np.integer]) -> Curve | None:
    """By which levels counted in `source` (3, 256) become those counted in `target`: (256, 3) uint8, rising."""
    levels = np.arange(256, dtype=np.float64)
    edges = np.arange(257) - 0.5
    curve = np.empty((256, 3), np.uint8)
    for channel in range(3):
        seen, meant = (
            np.interp(_QUANTILES, np.r_[0.0, np.cumsum(counts[channel])] / max(counts[channel].sum(), 1), edges)
            for counts in (source, target)
        )
        # A picture of one level has nothing to be matched.
        if seen[-1] - seen[0] < 1.0 or (meant[-1] - meant[0]) / (seen[-1] - seen[0]) > _STEEPEST:
            return None
        found = np.interp(levels, seen + 1e-9 * np.arange(len(seen)), meant)
        # Beyond what was seen: to black and to white, but no steeper than contrast may be raised.
        below, above = levels < seen[0], levels > seen[-1]
        rise = min(meant[0] / max(seen[0], 1.0), _STEEPEST)
        found[below] = meant[0] + (levels[below] - seen[0]) * max(rise, 0.0)
        rise = min((255.0 - meant[-1]) / max(255.0 - seen[-1], 1.0), _STEEPEST)
        found[above] = meant[-1] + (levels[above] - seen[-1]) * max(rise, 0.0)
        curve[:, channel] = np.rint(np.clip(found, 0.0, 255.0)).astype(np.uint8)
    return curve


def _through(curve: Curve, images: Images) -> Images:
    return np.stack([curve[:, channel][images[..., channel]] for channel in range(3)], axis=-1)


def _levels_between(images: Images, one: Callable[[Images], Images], other: Callable[[Images], Images]) -> float:
    """By how many levels what one makes of pictures differs from what the other does, on average."""
    total = 0
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK]
        total += int(np.abs(one(chunk).astype(np.int16) - other(chunk)).sum())
    return total / images.size


def _with_condition(
    own: ToneCurves | None, curve: Curve, recent: Images, known: Images, parts: int
) -> tuple[ToneCurves, float]:
    """`own` and the new condition, and by how many levels pictures of either kind would be off on average.

    That is asked of every second stretch of pictures, which was not used for it.
    """
    odd, other = ((np.arange(len(images)) // _BLOCK) % 2 == 1 for images in (recent, known))
    recent_looks = looks(recent)
    trial = _joined(own, curve, recent_looks[~odd], known[~other], parts)
    off = (
        _levels_between(recent[odd], partial(at_home, trial), partial(_through, curve)),
        _levels_between(known[other], partial(at_home, trial), partial(at_home, own)),
    )
    return _joined(own, curve, recent_looks, known, parts), max(off)


def _joined(own: ToneCurves | None, curve: Curve, recent_looks: Floats, known: Images, parts: int) -> ToneCurves:
    known_looks = looks(known)
    if own is None:
        centre = known_looks.mean(axis=0, keepdims=True)
        kind = np.zeros(len(known), np.int64)
        curves, gain, offset = np.zeros((0, 256, 3), np.uint8), *np.zeros((2, 0, parts), np.float32)
    else:
        centre, kind = own.centre, shares(own, known).argmax(axis=1)
        curves, gain, offset = own.curves, own.gain, own.offset
    middle = recent_looks.mean(axis=0)
    within = np.concatenate([known_looks - centre[kind], recent_looks - middle]).astype(np.float64)
    covariance = within.T @ within / max(len(within) - 1, 1) + _LOOK_FLOOR**2 * np.eye(within.shape[1])
    precision = np.linalg.inv(covariance)
    if len(curves) == MOST_CONDITIONS:
        apart = centre[1:] - middle
        nearest = int(np.einsum("kd,de,ke->k", apart, precision, apart).argmin())
        keep = np.arange(MOST_CONDITIONS) != nearest
        curves, gain, offset = curves[keep], gain[keep], offset[keep]
        centre = centre[np.r_[True, keep]]
    return ToneCurves(
        np.concatenate([curves, curve[None]]),
        np.concatenate([centre, middle[None]]).astype(np.float32),
        precision.astype(np.float32),
        np.concatenate([gain, np.ones((1, parts), np.float32)]),
        np.concatenate([offset, np.zeros((1, parts), np.float32)]),
    )

"""Tone curves at work: a picture's condition is told from the picture, and its levels are brought home.

Nothing is kept between frames: the same picture is always scored alike, on the road, in the gate and in a test.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from edgevad.bundle.tones import LOOKS, ToneCurves
from edgevad.runtime.backends.backend import Backend, Scores

__all__ = ["TonedBackend", "at_home", "in_units_of_home", "looks", "shares", "toned", "with_tones"]

Images = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# Of a picture that is as sure as this to be of one condition, nothing is taken from another.
_SURE = 0.99
_GRAY = np.full((1, 3), 1.0 / 3.0, np.float32)


def looks(frames: Images) -> Floats:
    """What frames (N, h, w, 3) uint8 look like as a whole: (N, 8) float32.

    Of log(level / 255 + 0.03): mean and standard deviation by channel, and the mean difference of the gray of
    neighbours, one below the other and side by side. Light multiplies: in logarithms a gain is a shift of the mean, a
    gamma a factor of the deviation, and a film on the lens takes more from what is small.
    """
    found = np.empty((len(frames), LOOKS), np.float32)
    for row, frame in zip(found, frames, strict=True):
        levels = cv2.LUT(np.ascontiguousarray(frame), _log_levels())
        mean, deviation = cv2.meanStdDev(levels)
        gray = cv2.transform(levels, _GRAY)
        row[:3], row[3:6] = mean[:, 0], deviation[:, 0]
        row[6] = cv2.norm(gray[1:], gray[:-1], cv2.NORM_L1) / gray[1:].size
        row[7] = cv2.norm(gray[:, 1:], gray[:, :-1], cv2.NORM_L1) / gray[:, 1:].size
    return found


def shares(tones: ToneCurves, frames: Images) -> Floats:
    """How much of each condition is in frames (N, h, w, 3): (N, K + 1) float32, each row adds up to 1.

    Posteriors of normal distributions with one covariance (linear discriminant analysis; Fisher 1936), conditions being
    equally likely. Between two conditions, at dusk, they go over from one to the other.
    """
    apart = looks(frames)[:, None, :].astype(np.float64) - tones.centre
    distance = np.einsum("nkd,de,nke->nk", apart, tones.precision.astype(np.float64), apart)
    weight = np.exp(-0.5 * (distance - distance.min(axis=1, keepdims=True)))
    weight /= weight.sum(axis=1, keepdims=True)
    sure = weight.max(axis=1) >= _SURE
    weight[sure] = weight[sure] >= _SURE
    return np.asarray(weight, dtype=np.float32)


def toned(tones: ToneCurves, frames: Images, share: Floats) -> Images:
    """Frames (N, h, w, 3) uint8 with the levels that they would have at home; `share` (N, K + 1) by `shares`."""
    if (share[:, 0] == 1).all():
        return frames
    out = np.ascontiguousarray(frames).copy()
    own, curves = np.arange(256, dtype=np.float32)[:, None], tones.curves.astype(np.float32)
    for k in np.flatnonzero(share[:, 0] < 1):
        curve = share[k, 0] * own + np.tensordot(share[k, 1:], curves, axes=1)
        table = np.ascontiguousarray(np.rint(curve).astype(np.uint8)[:, None, :])
        out[k] = cv2.LUT(out[k], table)
    return out


def at_home(tones: ToneCurves | None, frames: Images) -> Images:
    """Frames (N, h, w, 3) uint8 as they would look at home; None: each is taken as it is."""
    return frames if tones is None else toned(tones, frames, shares(tones, frames))


class TonedBackend:
    """A backend that is shown what pictures would look like at home, and whose scores mean what they mean there.

    Attributes:
        batch: of the backend within.
        bare: the backend within.
    """

    def __init__(self, backend: Backend, tones: ToneCurves) -> None:
        self.bare = backend
        self._tones = tones
        self.batch = backend.batch

    def score(self, frames: Images, motion: Floats | None) -> Scores:
        """As `Backend.score`."""
        tones = self._tones
        share = shares(tones, frames)
        found = self.bare.score(toned(tones, frames, share), motion)
        # The cells of heatmaps are errors as the first parts of the score are.
        score, heatmap = (in_units_of_home(tones, one, share) for one in (found.score, found.heatmap))
        return Scores(score, heatmap, found.latent)

    def remember(self, bank: Floats) -> None:
        """As `Backend.remember`."""
        self.bare.remember(bank)

    def close(self) -> None:
        """As `Backend.close`."""
        self.bare.close()


def with_tones(backend: Backend, tones: ToneCurves | None) -> Backend:
    """`backend` with these tone curves in place of any it has; None: with none."""
    bare = backend.bare if isinstance(backend, TonedBackend) else backend
    return bare if tones is None else TonedBackend(bare, tones)


def in_units_of_home(tones: ToneCurves, score: Floats, share: Floats) -> Floats:
    """Scores (N, P) or heatmaps (N, Q, hh, hw), Q <= P, of frames of `share` (N, K + 1), with what they mean at home.

    Those of frames that are at home are given back as they are.
    """
    away = share[:, 0] < 1
    if not away.any():
        return score
    share, parts = share[away], score.shape[1]
    shape = (-1, parts, *[1] * (score.ndim - 2))
    gain = (share[:, :1] + share[:, 1:] @ tones.gain[:, :parts]).reshape(shape)
    offset = (share[:, 1:] @ tones.offset[:, :parts]).reshape(shape)
    out = score.copy()
    with np.errstate(over="ignore"):  # what broken weights give may be beyond all numbers, and is found out as that
        out[away] = np.square(np.maximum(gain * np.sqrt(np.maximum(score[away], 0.0)) + offset, 0.0))
    return out


@cache
def _log_levels() -> Floats:
    return np.asarray(np.log(np.arange(256) / 255.0 + 0.03), dtype=np.float32)

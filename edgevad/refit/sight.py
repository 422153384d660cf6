"""Do the recent frames show the world at all? A week of a covered lens is no new normal.

Asked of the pictures alone, at 64 x 64 pixels and against the replay, so that no model's opinion is in it: a model that
was fitted to a covered lens finds one normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgevad.runtime.lens import LensSpec
from edgevad.runtime.picture import gray_of, sharpness, structured_share

__all__ = ["Sight", "sight_of"]

Floats = npt.NDArray[np.float64]
_CELLS = 8
# Light multiplies: variation is measured in the logarithm, with so many gray levels that noise cannot reach it.
_LEVEL = 16.0
# A place is dead where it varies, over all of the drives, by less than this share of what it did.
_DEAD_SHARE = 0.25
# Places that never varied (sky, the vehicle's own bonnet) cannot die.
_LEAST_VARIATION = 0.04


@dataclass(frozen=True)
class Sight:
    """What the recent frames show, measured against those of before.

    Attributes:
        blind_share: share of the frames that are black, covered or blurred, by the limits of docs/lens.md.
        dead_share: share of the picture's places that varied before and hardly do now, in [0, 1].
        structure: share of the places of a frame that show structure, median of the recent frames; before.
    """

    blind_share: float
    dead_share: float
    structure: tuple[float, float]


def sight_of(
    recent: npt.NDArray[np.uint8], before: npt.NDArray[np.uint8] | None, spec: LensSpec | None = None
) -> Sight:
    """Look at `recent` (N, h, w, 3) uint8; `before` (M, h, w, 3), of when the lens was known to be clear, or None."""
    spec = LensSpec() if spec is None else spec
    now = _Looks.at(recent)
    then = None if before is None or not len(before) else _Looks.at(before)
    usual = 1.0 if then is None else float(np.median(then.structure))
    usual_sharpness = 1.0 if then is None else float(np.nanmedian(then.sharpness))
    black = now.lit <= spec.black_share
    covered = now.structure <= min(spec.covered_share, spec.covered_ratio * usual)
    blurred = now.sharpness <= min(spec.blurred_sharpness, spec.blurred_ratio * usual_sharpness)  # False where NaN
    dead = 0.0
    if then is not None:
        lively = then.variation >= _LEAST_VARIATION
        dead = float(np.mean(now.variation[lively] < _DEAD_SHARE * then.variation[lively])) if lively.any() else 0.0
    structure = (float(np.median(now.structure)), usual)
    return Sight(float(np.mean(black | covered | blurred)), dead, structure)


@dataclass(frozen=True)
class _Looks:
    """
    Attributes:
        lit: (N,) share of the pixels that are not black.
        structure: (N,) share of the places with structure.
        sharpness: (N,) NaN where there is too little to tell.
        variation: (cells, cells) standard deviation over all frames of the logarithm of a place's mean.
    """

    lit: Floats
    structure: Floats
    sharpness: Floats
    variation: Floats

    @classmethod
    def at(cls, images: npt.NDArray[np.uint8]) -> _Looks:
        level = LensSpec().black_level
        lit, structure, sharp, places = [], [], [], []
        for image in images:
            gray = gray_of(np.asarray(image))
            lit.append(np.count_nonzero(gray >= level) / gray.size)
            structure.append(structured_share(gray))
            found = sharpness(gray)
            sharp.append(np.nan if found is None else found)
            places.append(_means(gray))
        means = np.log(np.stack(places) + _LEVEL)
        # What all places do together is exposure, and no proof that any of them is seen through.
        means -= means.mean(axis=(1, 2), keepdims=True)
        return cls(np.array(lit), np.array(structure), np.array(sharp), means.std(axis=0))


def _means(gray: npt.NDArray[np.uint8]) -> Floats:
    """Means of a grid of places, (cells, cells)."""
    import cv2

    return np.asarray(cv2.resize(gray.astype(np.float32), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA), np.float64)

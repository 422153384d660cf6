"""What a picture shows by itself: how much of it has structure, and how sharp it is.

Both are free of contrast and light as far as can be, and measured on 64 x 64 pixels: what a model sees, and cheap.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from edgevad.sources.frame import Image

__all__ = ["gray_of", "sharpness", "structured_share"]

_SIDE_PX = 64
_BLOCKS = 8
# Coarse structure is seen across so many pixels.
_COARSE_PX = 4
# Mean absolute Laplacian that rounding to whole gray levels alone makes.
_ROUNDING = 1.0
# Below this coarse structure, in gray levels, rounding hides whether a picture is sharp.
_LEAST_COARSE = 4.0
# A place has structure where its standard deviation is above this, in gray levels, and above this share of the mean.
_LEAST_STRUCTURE = 1.5
_STRUCTURE_SHARE = 0.03


def gray_of(small: Image) -> Image:
    """(h, w) uint8 of (h, w, 3), at most 64 x 64: measured there, the figures below mean the same for every model."""
    gray = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    if min(gray.shape) > _SIDE_PX:
        gray = cv2.resize(gray, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(gray, dtype=np.uint8)


def structured_share(gray: Image) -> float:
    """Share of the places of an 8 x 8 grid that show more than a plain surface, in [0, 1]."""
    values: npt.NDArray[np.float32] = gray.astype(np.float32)
    size = (_BLOCKS, _BLOCKS)
    mean = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
    variance = cv2.resize(values * values, size, interpolation=cv2.INTER_AREA) - mean * mean
    least = max(_LEAST_STRUCTURE, _STRUCTURE_SHARE * float(mean.mean()))
    return float(np.count_nonzero(variance > least * least)) / variance.size


def sharpness(gray: Image) -> float | None:
    """Fine detail over coarse structure, whatever the contrast: about 0.5 in focus; None where there is too little."""
    rows, columns = gray.shape
    k = _COARSE_PX
    coarse = cv2.norm(gray[:, k:], gray[:, :-k], cv2.NORM_L1) / (rows * (columns - k))
    coarse += cv2.norm(gray[k:], gray[:-k], cv2.NORM_L1) / ((rows - k) * columns)
    if coarse < _LEAST_COARSE:
        return None
    fine = cv2.norm(cv2.Laplacian(gray, cv2.CV_16S, borderType=cv2.BORDER_REPLICATE), cv2.NORM_L1) / gray.size
    return math.sqrt(max(0.0, fine * fine - _ROUNDING * _ROUNDING)) / float(coarse)

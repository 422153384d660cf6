"""The one kind of array that pictures are made of here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Floats", "floats"]

Floats = npt.NDArray[np.float32]


def floats(values: npt.ArrayLike) -> Floats:
    """`values` as float32, so that mixing them with a picture does not widen it."""
    return np.asarray(values, dtype=np.float32)

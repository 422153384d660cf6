"""Reading `bank.npy`, which models and bundles share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgevad.bundle.arrays import array_from_npy
from edgevad.spec import NEAREST_EPISODES

__all__ = ["bank_from_npy", "read_bank_file"]


def bank_from_npy(data: bytes) -> npt.NDArray[np.float32]:
    """What the vehicle remembers: (E, m, d + 1) float32, finite, E >= NEAREST_EPISODES, m >= 1, d >= 1.

    Raises:
        ValueError: says what is wrong where `data` holds anything else.
    """
    bank = np.ascontiguousarray(array_from_npy(data))
    if bank.ndim != 3 or bank.dtype != np.float32 or bank.shape[0] < NEAREST_EPISODES or bank.shape[2] < 2:
        raise ValueError(f"{bank.dtype} of shape {bank.shape} is no bank of at least {NEAREST_EPISODES} episodes")
    if not np.isfinite(bank).all():
        raise ValueError("not all of it are numbers")
    return bank


def read_bank_file(path: Path) -> npt.NDArray[np.float32]:
    """`bank_from_npy` of a file. Raises OSError where it cannot be read, ValueError where it holds anything else."""
    return bank_from_npy(path.read_bytes())

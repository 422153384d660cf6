"""Reading `bank.npy`, which models and bundles share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgevad.spec import NEAREST_EPISODES

__all__ = ["read_bank_file"]


def read_bank_file(path: Path) -> npt.NDArray[np.float32]:
    """What the vehicle remembers: (E, m, d + 1) float32, finite, E >= NEAREST_EPISODES, m >= 1, d >= 1.

    Raises OSError or ValueError, which says what is wrong, where the file holds anything else.
    """
    try:
        # A map refuses a header that promises more than the file holds, before any memory is taken; unlike np.load it
        # opens no archives.
        mapped = np.lib.format.open_memmap(path, mode="r")
    except (EOFError, OverflowError, TypeError) as error:
        raise ValueError(str(error)) from error
    if mapped.ndim != 3 or mapped.dtype != np.float32 or mapped.shape[0] < NEAREST_EPISODES or mapped.shape[2] < 2:
        raise ValueError(f"{mapped.dtype} of shape {mapped.shape} is no bank of at least {NEAREST_EPISODES} episodes")
    bank = np.array(mapped)
    if not np.isfinite(bank).all():
        raise ValueError("not all of it are numbers")
    return bank

"""Ground truth in npy files: a vector of frames, a volume of pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad.datasets.truth import Mask, Truth, labels_from_flags, require_index
from edgevad.errors import LabelError
from edgevad.evaluation.labels import Labels

__all__ = ["ArrayTruth", "read_npy"]


def read_npy(path: Path) -> npt.NDArray[Any]:
    """The array in an npy file, mapped rather than read; nothing is unpickled.

    Raises:
        LabelError: the file is missing, is no npy file, or holds Python objects.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise LabelError("no such file", where=path, expected="an npy file with the ground truth") from None
    except (OSError, ValueError, EOFError) as error:
        if "allow_pickle" in str(error) or "Python objects" in str(error):
            raise LabelError(
                "it holds pickled Python objects, and nothing is unpickled here",
                where=path,
                expected="a plain array of numbers",
                fix="Where you trust the file, save its array again as numbers: np.save(path, array.astype('uint8'))",
            ) from None
        raise LabelError(f"cannot be read as npy ({error})", where=path) from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise LabelError("this is an archive of arrays (npz)", where=path, expected="a single array (npy)")
    return array


class ArrayTruth(Truth):
    """A vector with 0 or 1 for each frame (`frames`), a volume (N, H, W) with 0 where normal (`pixels`), or both.

    Either file may be missing: without the vector, a frame is anomalous where any of its pixels is.
    """

    def __init__(self, frames: Path | None, pixels: Path | None = None) -> None:
        self._frames = frames if frames is not None and frames.is_file() else None
        self._pixels = pixels if pixels is not None and pixels.is_file() else None
        self._missing = frames or pixels
        self.has_pixels = self._pixels is not None

    def labels(self) -> Labels:
        if self._frames is not None:
            anomalous = _flags(self._frames)
            if self._pixels is not None and len(volume := self._volume(self._pixels)) != len(anomalous):
                raise LabelError(
                    f"masks for {len(volume)} frames",
                    where=self._pixels,
                    expected=f"{len(anomalous)}, as {self._frames} has",
                )
            return labels_from_flags(anomalous, self._frames)
        if self._pixels is not None:
            volume = self._volume(self._pixels)
            # Frame by frame: as a whole it may not fit into memory.
            return labels_from_flags(np.array([bool(mask.any()) for mask in volume], np.bool_), self._pixels)
        raise LabelError(
            "no ground truth for this clip", where=self._missing, expected="an npy file with 0 or 1 a frame"
        )

    def mask(self, index: int) -> Mask | None:
        if self._pixels is None:
            return None
        volume = self._volume(self._pixels)
        require_index(index, len(volume), self._pixels)
        return np.asarray(volume[index] != 0)

    @staticmethod
    def _volume(path: Path) -> npt.NDArray[Any]:
        volume = read_npy(path)
        if volume.ndim != 3:
            raise LabelError(f"an array of shape {volume.shape}", where=path, expected="masks of shape (N, H, W)")
        return volume


def _flags(path: Path) -> npt.NDArray[np.bool_]:
    """The vector in a file, (N,) bool; (1, N) and (N, 1) are taken for one."""
    array = read_npy(path)
    flags = np.asarray(array).reshape(-1)
    if flags.size != max(array.shape, default=0):
        raise LabelError(f"an array of shape {array.shape}", where=path, expected="one number a frame, shape (N,)")
    if flags.dtype.kind not in "biuf" or not np.isin(flags, (0, 1)).all():
        raise LabelError("holds something else than 0 and 1", where=path, expected="0 (normal) or 1 (anomaly) a frame")
    return flags.astype(np.bool_)

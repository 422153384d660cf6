"""What is known of one clip: a level for each frame, perhaps a mask for each pixel; read when asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from os import PathLike

import numpy as np
import numpy.typing as npt

from edgevad.errors import LabelError
from edgevad.evaluation.labels import ANOMALY, Labels

__all__ = ["AllNormal", "Mask", "Truth", "labels_from_flags", "labels_from_ranges", "require_index"]

Mask = npt.NDArray[np.bool_]

# A range of frames beyond that is a slip of the pen, and too much to make room for.
_MOST_FRAMES = 10_000_000


class Truth(ABC):
    """Ground truth of one clip.

    Attributes:
        has_pixels: there are pixel masks; a single frame may still have none.
    """

    has_pixels: bool = False

    @abstractmethod
    def labels(self) -> Labels:
        """One level a frame.

        Raises:
            LabelError: a file is missing, cannot be read or contradicts another.
            MissingExtraError: reading it needs a package that is not installed.
        """

    def mask(self, index: int) -> Mask | None:
        """The anomalous pixels of frame `index`, (H, W) bool; None where nobody drew them. Raises like `labels`."""
        return None


class AllNormal(Truth):
    """A clip that the data set calls normal from beginning to end, however long it is.

    Args:
        segment: (N,) int64, changes at every gap, where the data set knows of gaps and so of the length.
    """

    def __init__(self, path: str | PathLike[str], segment: npt.NDArray[np.int64] | None = None) -> None:
        self._path = str(path)
        self._segment = segment

    def labels(self) -> Labels:
        count = 0 if self._segment is None else len(self._segment)
        level = np.zeros(count, np.int8)
        return Labels(level, ("",) * count, self._segment, self._path, open_ended=self._segment is None)


def labels_from_flags(anomalous: npt.NDArray[np.bool_], path: str | PathLike[str]) -> Labels:
    """Labels of a clip whose frame k is anomalous where `anomalous[k]`, (N,) bool."""
    return Labels(np.where(anomalous, ANOMALY, 0).astype(np.int8), ("",) * len(anomalous), None, str(path))


def labels_from_ranges(
    ranges: Sequence[tuple[int, int]], path: str | PathLike[str], frame_count: int | None = None
) -> Labels:
    """Labels of a clip that is anomalous in `ranges`, (first, last) from 0, both inside; they may overlap.

    Without `frame_count` any number of normal frames may follow the last range.

    Raises:
        LabelError: a range ends before it starts, or reaches beyond the clip.
    """
    for first, last in ranges:
        if not 0 <= first <= last < _MOST_FRAMES:
            raise LabelError(f"the anomaly from frame {first} to {last} is no range of frames", where=path)
    reach = max((last + 1 for _, last in ranges), default=0)
    if frame_count is not None and reach > frame_count:
        raise LabelError(f"an anomaly reaches frame {reach - 1}, but the clip has {frame_count} frames", where=path)
    anomalous = np.zeros(reach if frame_count is None else frame_count, np.bool_)
    for first, last in ranges:
        anomalous[first : last + 1] = True
    labels = labels_from_flags(anomalous, path)
    return Labels(labels.level, labels.event, None, labels.path, open_ended=frame_count is None)


def require_index(index: int, count: int, path: str | PathLike[str]) -> None:
    """Raises LabelError where a clip with ground truth for `count` frames is asked for another one."""
    if not 0 <= index < count:
        raise LabelError(f"there is no mask for frame {index}", where=path, expected=f"a frame from 0 to {count - 1}")

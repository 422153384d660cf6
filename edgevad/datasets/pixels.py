"""Ground truth in mask images: one a frame, black where normal."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgevad.datasets.folders import entries
from edgevad.datasets.truth import Mask, require_index
from edgevad.errors import LabelError

__all__ = ["MaskFolder", "read_mask"]


def read_mask(path: Path) -> Mask:
    """The image at `path` as (H, W) bool: True where it is not black.

    Raises:
        LabelError: it is missing or cannot be read.
    """
    from edgevad.sources.opencv import BadImageError, read_image

    try:
        return np.asarray(read_image(path).any(axis=2))
    except BadImageError as error:
        raise LabelError(f"the mask cannot be read ({error})", where=path) from error


class MaskFolder:
    """A folder with one mask image for each frame of a clip, in the order of the frames."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The masks, in natural order; none where there is no such folder."""
        return entries(self.folder).images

    def require_count(self, frame_count: int | None) -> None:
        """Raises LabelError where there are not as many masks as frames."""
        if frame_count is not None and len(self.files) != frame_count:
            raise LabelError(
                f"{len(self.files)} masks for the {frame_count} frames of the clip",
                where=self.folder,
                expected="one mask a frame",
            )

    def mask(self, index: int) -> Mask:
        """The mask of frame `index`, (H, W) bool."""
        require_index(index, len(self.files), self.folder)
        return read_mask(self.files[index])

    def flags(self) -> npt.NDArray[np.bool_]:
        """For each frame whether any pixel is anomalous, (N,) bool."""
        return np.array([bool(read_mask(file).any()) for file in self.files], np.bool_)

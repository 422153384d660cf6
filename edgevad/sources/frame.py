"""The one frame type that everything in edgevad passes along."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Frame", "Image"]

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a recording or a camera.

    Attributes:
        image: (H, W, 3) uint8 in [0, 255], channels in OpenCV's order: blue, green, red.
        index: position in the source, from 0, counted over every frame the source holds (skipped ones included).
        timestamp_ns: when the frame was taken, in nanoseconds; never decreases within a segment. Cameras and tubs
            give their own clock (Unix time), files the time since their beginning.
        source_id: the source the frame came from, as a person would name it (path, camera, clip folder).
        segment: grows by one at every gap in time and wherever one source ends and another begins; nothing may be
            smoothed, stacked or differenced across it.
        captured_s: when a live source's frame left the driver, by `time.perf_counter()`; None for recordings.
    """

    image: Image
    index: int
    timestamp_ns: int
    source_id: str
    segment: int = 0
    captured_s: float | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """That of the image, without a need to make it: (H, W, 3)."""
        height, width = self.image.shape[:2]
        return height, width, 3

    @property
    def nbytes(self) -> int:
        """Bytes that the image takes, or would."""
        height, width, channels = self.shape
        return height * width * channels

    def placed(self, index: int, segment: int) -> Frame:
        """The same frame at another place, of a recording that others were put together to."""
        return Frame(self.image, index, self.timestamp_ns, self.source_id, segment, self.captured_s)

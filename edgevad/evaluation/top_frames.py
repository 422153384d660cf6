"""The frames that scored highest, kept small while a recording streams by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgevad.runtime.shrinking import shrink
from edgevad.sources.frame import Image

if TYPE_CHECKING:
    from edgevad.runtime.pipeline import Result

__all__ = ["TopFrame", "TopFrames"]

WIDTH_PX = 320


@dataclass(frozen=True, eq=False)
class TopFrame:
    """A frame with a high score.

    Attributes:
        index, timestamp_ns, segment: of the frame.
        frame_score: its score.
        is_anomaly: it was inside an event.
        image: (H, W, 3) uint8, blue, green, red, at most 320 px wide.
        heatmap: (hh, hw) float32, its local errors.
    """

    index: int
    timestamp_ns: int
    segment: int
    frame_score: float
    is_anomaly: bool
    image: Image
    heatmap: npt.NDArray[np.float32]


class TopFrames:
    """Keeps the `count` highest frame scores that are at least `apart_s` seconds of a segment away from each other."""

    def __init__(self, count: int = 6, apart_s: float = 5.0) -> None:
        self._count = count
        self._apart_ns = round(apart_s * 1e9)
        self._kept: list[TopFrame] = []

    def push(self, result: Result) -> None:
        """Take the next frame's result."""
        if result.frame_score is None or result.heatmap is None or self._count <= 0:
            return
        frame, score = result.frame, result.frame_score
        place = next((k for k, top in enumerate(self._kept) if self._is_near(top, result)), None)
        if place is None and len(self._kept) >= self._count:
            place = min(range(len(self._kept)), key=lambda k: self._kept[k].frame_score)
        if place is not None:
            if score <= self._kept[place].frame_score:
                return
            del self._kept[place]
        self._kept.append(
            TopFrame(
                frame.index,
                frame.timestamp_ns,
                frame.segment,
                score,
                result.is_anomaly,
                _small(frame.image),
                result.heatmap.copy(),
            )
        )

    def best(self) -> tuple[TopFrame, ...]:
        """What is kept, highest score first."""
        return tuple(sorted(self._kept, key=lambda top: -top.frame_score))

    def _is_near(self, top: TopFrame, result: Result) -> bool:
        frame = result.frame
        return top.segment == frame.segment and abs(frame.timestamp_ns - top.timestamp_ns) < self._apart_ns


def _small(image: Image) -> Image:
    height, width = image.shape[:2]
    if width <= WIDTH_PX:
        return image.copy()
    return shrink(image, (WIDTH_PX, max(1, round(height * WIDTH_PX / width))))

"""Does the camera move? Seen from the frames alone, it decides what a model looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from edgevad.sources.frame import Frame, Image

__all__ = ["NOTHING_SEEN", "CameraDecision", "CameraProbe"]

# At this width small movers vanish and what is left is the view's own motion.
WIDTH_PX = 96
# One look in ten frames costs 0.1 ms a frame. Faster presets see a shift of 0.01 in still frames, from noise alone.
EVERY = 10
PRESET = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM
LEAST_ELAPSED_NS = 50_000_000
# Where half the image shifts faster than this, in widths a second, the view moves. Ped2's fixed camera: never, median
# 0.004; driving cameras: in 87 % of the looks and more, medians 0.03 to 0.3 (docs/method.md).
MOVING_WIDTHS_PER_S = 0.01
# A vehicle that waits at times still moves; a camera on a pole that is knocked once does not.
MOVING_SHARE = 0.1


@dataclass(frozen=True)
class CameraDecision:
    """
    Attributes:
        moving_share: share of the looks in which the view moved, in [0, 1].
        median_widths_per_s: median over the looks of the median speed of the image, in image widths a second.
        looks: how many pairs of frames were compared.
    """

    moving_share: float
    median_widths_per_s: float
    looks: int

    @property
    def moves(self) -> bool:
        """Whether the camera counts as moving; one that nothing is known of does."""
        return self.looks == 0 or self.moving_share >= MOVING_SHARE

    @property
    def seen(self) -> str:
        """What was seen, for a person: a sentence without its full stop."""
        if self.looks == 0:
            return "Nothing could be seen of the camera's motion"
        moves = "moves" if self.moves else "stands still"
        return f"The camera {moves} (the view shifts in {self.moving_share:.0%} of {self.looks} looks)"

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "moves": self.moves, "seen": self.seen}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> CameraDecision:
        """Raises KeyError, TypeError or ValueError where `value` is not what `to_json` wrote."""
        return cls(float(value["moving_share"]), float(value["median_widths_per_s"]), int(value["looks"]))


NOTHING_SEEN = CameraDecision(0.0, 0.0, 0)


class CameraProbe:
    """Takes the frames of a recording in order and looks at pairs of neighbours."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(PRESET)
        self._stream: tuple[str, int] | None = None
        self._before: tuple[int, Image] | None = None
        self._frames = 0
        self._speeds: list[float] = []

    def push(self, frame: Frame) -> None:
        """Take the next frame; image (H, W, 3) uint8."""
        stream = (frame.source_id, frame.segment)
        if stream != self._stream:
            self._stream, self._before = stream, None
        if self._before is None:
            self._frames += 1
            if (self._frames - 1) % EVERY == 0:
                self._before = (frame.timestamp_ns, _small_gray(frame.image))
            return
        elapsed_ns = frame.timestamp_ns - self._before[0]
        if elapsed_ns < LEAST_ELAPSED_NS:
            return
        then, now = self._before[1], _small_gray(frame.image)
        self._before = None
        if then.shape != now.shape:
            return
        flow = self._flow.calc(then, now, np.empty(0, np.float32))
        shift_px = float(np.median(cv2.magnitude(flow[..., 0], flow[..., 1])))
        self._speeds.append(shift_px / now.shape[1] / (elapsed_ns / 1e9))

    def decision(self) -> CameraDecision:
        """What the looks so far say."""
        if not self._speeds:
            return NOTHING_SEEN
        speeds = np.array(self._speeds)
        return CameraDecision(float((speeds > MOVING_WIDTHS_PER_S).mean()), float(np.median(speeds)), len(speeds))


def _small_gray(image: Image) -> Image:
    height, width = image.shape[:2]
    # Nearest pixels of a large image would flicker: area resampling, and gray first, a third of the work.
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    size = (WIDTH_PX, max(16, round(height * WIDTH_PX / width)))
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)

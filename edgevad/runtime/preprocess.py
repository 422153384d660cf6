"""From a frame to what the scoring graph takes: resize, and motion against earlier frames of the same segment.

The trainer's cache and the runtime call this same code, so that a model is fed on the road what it was fitted on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgevad.errors import SourceError
from edgevad.runtime.shrinking import shrink, shrink_planes, shrink_several
from edgevad.sources.frame import Frame, Image
from edgevad.sources.planes import PlanarFrame
from edgevad.spec import InputSpec, MotionSpec

__all__ = ["ModelInput", "Preprocessor"]

# A frame below this size holds nothing to score; resizing it up would invent its content.
MIN_SIDE_PX = 8
# Pixels a second; beyond every real one, and the largest number of float16.
MAX_SPEED = 65504.0


@dataclass(frozen=True, slots=True)
class ModelInput:
    """One frame as the scoring graph takes it.

    Attributes:
        image: (h, w, 3) uint8, blue, green, red, area-resampled to model size.
        motion: (h, w, lags) float32, in the units of `MotionSpec.kind`, or None where the model uses no motion.
    """

    image: Image
    motion: npt.NDArray[np.float32] | None


class Preprocessor:
    """Prepares the frames of one source in order; keeps the few earlier frames that motion needs.

    Without motion it keeps none, and several threads may call it at once. `alone` is that of `shrink`.
    """

    def __init__(self, spec: InputSpec, *, alone: bool = False) -> None:
        self.spec = spec
        self._alone = alone
        self._motion = None if spec.motion is None else _MotionStage(spec.motion, (spec.width_px, spec.height_px))

    def __call__(self, frame: Frame) -> ModelInput | None:
        """The model's input for `frame`, or None where it has no earlier frame in its segment to see motion against.

        Raises:
            SourceError: the image is too small or not (H, W, 3) uint8.
        """
        planes = frame.planes if isinstance(frame, PlanarFrame) else None
        if planes is None:
            self._refuse_what_is_no_image(frame)
        if min(frame.shape[:2]) < MIN_SIDE_PX:
            raise SourceError(
                f"frame {frame.index} is {frame.shape[1]}x{frame.shape[0]} pixels",
                where=frame.source_id,
                expected=f"at least {MIN_SIDE_PX} pixels a side",
                fix="Record larger images, or leave this source out",
            )
        size = (self.spec.width_px, self.spec.height_px)
        small = None if planes is None else shrink_planes(planes, size, alone=self._alone)
        if small is None:
            small = shrink(frame.image, size, alone=self._alone)
        if self._motion is None:
            return ModelInput(small, None)
        motion = self._motion.push(frame, small)
        return None if motion is None else ModelInput(small, motion)

    def at_once(self, frames: Sequence[Frame]) -> list[ModelInput] | None:
        """What calling it with each of `frames` gives, where that is quicker in one; None elsewhere."""
        if self._motion is not None:
            return None
        pictures = [frame.planes for frame in frames if isinstance(frame, PlanarFrame) and frame.planes is not None]
        if len(pictures) < len(frames) or min(frames[0].shape[:2]) < MIN_SIDE_PX:
            return None
        small = shrink_several(pictures, (self.spec.width_px, self.spec.height_px))
        return None if small is None else [ModelInput(image, None) for image in small]

    @staticmethod
    def _refuse_what_is_no_image(frame: Frame) -> None:
        image = frame.image
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise SourceError(
                f"frame {frame.index} is {image.dtype} of shape {image.shape}",
                where=frame.source_id,
                expected="uint8 of shape (H, W, 3)",
            )


class _MotionStage:
    """Remembers the grays of the last `max(lags)` milliseconds and compares the newest with them."""

    def __init__(self, spec: MotionSpec, size: tuple[int, int]) -> None:
        self._spec = spec
        self._size = size
        self._past: deque[tuple[int, Image]] = deque()
        self._segment: tuple[str, int] | None = None
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM) if spec.kind == "flow" else None

    def push(self, frame: Frame, small: Image) -> npt.NDArray[np.float32] | None:
        gray = self._gray(frame.image if self._flow is not None else small)
        key = (frame.source_id, frame.segment)
        if key != self._segment or (self._past and self._past[-1][1].shape != gray.shape):
            self._past.clear()
            self._segment = key
        channels = [self._channel(gray, frame.timestamp_ns, lag) for lag in self._spec.lags_ms] if self._past else None
        self._past.append((frame.timestamp_ns, gray))
        horizon_ns = max(self._spec.lags_ms) * 1_000_000
        # Keep one frame at or beyond the longest lag: the reference of the next frame.
        while len(self._past) > 2 and frame.timestamp_ns - self._past[1][0] >= horizon_ns:
            self._past.popleft()
        return None if channels is None else np.stack(channels, axis=-1)

    def _gray(self, image: Image) -> Image:
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        if self._flow is not None:
            # 16 px is the least that DIS optical flow's pyramid takes.
            scale = min(1.0, self._spec.width_px / max(gray.shape))
            size = (max(16, round(gray.shape[1] * scale)), max(16, round(gray.shape[0] * scale)))
            if size != (gray.shape[1], gray.shape[0]):
                gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
        return np.asarray(gray, dtype=np.uint8)

    def _channel(self, gray: Image, timestamp_ns: int, lag_ms: int) -> npt.NDArray[np.float32]:
        wanted_ns = timestamp_ns - lag_ms * 1_000_000
        then_ns, then = min(self._past, key=lambda past: abs(past[0] - wanted_ns))
        if self._flow is None:
            return np.asarray(cv2.absdiff(gray, then), dtype=np.float32)
        flow = self._flow.calc(then, gray, np.empty(0, np.float32))
        magnitude = cv2.magnitude(flow[..., 0], flow[..., 1])
        # The reference may be nearer or farther than the lag asks; speed keeps its meaning, displacement would not.
        elapsed_s = max((timestamp_ns - then_ns) / 1e9, 1e-3)
        small = cv2.resize(magnitude, self._size, interpolation=cv2.INTER_AREA)
        # The trainer's cache is float16: what it cannot hold, the runtime must not see either.
        return np.asarray(np.minimum(small / elapsed_s, MAX_SPEED), dtype=np.float32)

"""From a frame to what the scoring graph takes: resize, and motion against earlier frames of the same segment.

The trainer's cache and the runtime call this same code, so that a model is fed on the road what it was fitted on.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgevad.errors import SourceError
from edgevad.runtime.area import area_mean
from edgevad.sources.frame import Frame, Image
from edgevad.spec import InputSpec, MotionSpec

__all__ = ["ModelInput", "Preprocessor"]

# A frame below this size holds nothing to score; resizing it up would invent its content.
MIN_SIDE_PX = 8
# OpenCV resizes to so many pixels in the thread that asks for it; to more, in all of its own.
_PIXELS_OF_ONE_THREAD = 1 << 16
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
        image = frame.image
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise SourceError(
                f"frame {frame.index} is {image.dtype} of shape {image.shape}",
                where=frame.source_id,
                expected="uint8 of shape (H, W, 3)",
            )
        if min(image.shape[:2]) < MIN_SIDE_PX:
            raise SourceError(
                f"frame {frame.index} is {image.shape[1]}x{image.shape[0]} pixels",
                where=frame.source_id,
                expected=f"at least {MIN_SIDE_PX} pixels a side",
                fix="Record larger images, or leave this source out",
            )
        size = (self.spec.width_px, self.spec.height_px)
        small = shrink(image, size, alone=self._alone)
        if self._motion is None:
            return ModelInput(small, None)
        motion = self._motion.push(frame, small)
        return None if motion is None else ModelInput(small, motion)


def shrink(image: Image, size: tuple[int, int], *, alone: bool = False) -> Image:
    """(H, W, 3) uint8 area-resampled to `size` (width, height), in a bounded time.

    Exact area resampling is slow (7 ms for a full HD frame in OpenCV) except where it averages 2x2 pixels. Images of
    four times the size and more are therefore halved that way first; the rest of the way is bilinear to a multiple of
    `size`, and the mean from there. The difference to exact resampling is half a gray level on average.

    `alone` keeps OpenCV's threads out of it. They make one large frame ready sooner; where others want the cores,
    their spinning costs more than they gain (a third more at 960x540). The pixels are the same.
    """
    width, height = size
    rows, columns = image.shape[:2]
    if columns < 4 * width or rows < 4 * height:
        mean = area_mean((columns, rows), size)
        if mean is not None:
            return mean(image)
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    while columns >= 4 * width and rows >= 4 * height:
        image = _halved(image, alone=alone)
        rows, columns = image.shape[:2]
    multiple = (width * (2 if columns < 3 * width else 4), height * (2 if rows < 3 * height else 4))
    image = np.asarray(cv2.resize(image, multiple, interpolation=cv2.INTER_LINEAR))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _halved(image: Image, *, alone: bool) -> Image:
    # An odd last row or column is left out, which keeps OpenCV's 2x2 path.
    rows, columns = image.shape[0] // 2, image.shape[1] // 2
    image = image[: 2 * rows, : 2 * columns]
    if not alone:
        return np.asarray(cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    small = np.empty((rows, columns, 3), np.uint8)
    step = max(1, _PIXELS_OF_ONE_THREAD // columns)
    for top in range(0, rows, step):
        band = small[top : top + step]
        source = image[2 * top : 2 * (top + len(band))]
        cv2.resize(source, (columns, len(band)), dst=band, interpolation=cv2.INTER_AREA)
    return small


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

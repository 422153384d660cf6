"""Frames that show what the model saw: heatmap, score strip, event banner."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from edgevad.sources.frame import Image

if TYPE_CHECKING:
    from edgevad.runtime.pipeline import Result

__all__ = ["Annotator", "blend_heat", "runs_of"]

MIN_WIDTH_PX = 320
STRIP_PX = 56
BANNER_PX = 22

_RED, _AMBER, _WHITE, _GRAY = (48, 48, 230), (60, 170, 245), (235, 235, 235), (150, 150, 150)
_PLAIN, _BACK = (170, 200, 120), (24, 24, 24)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


class Annotator:
    """Draws results of one run onto their frames, all at the size that the first one sets.

    The frame is at least 320 px wide, with a strip below it: the last anomaly scores, one pixel column each, and the
    threshold. Heat is drawn where the local error comes near the level that alone would raise an alarm, so that the
    same colour means the same error throughout a run.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._size: tuple[int, int] | None = None  # width, height of the picture above the strip
        self._scores: deque[tuple[float, bool]] = deque(maxlen=1)

    def __call__(self, result: Result) -> Image:
        """The annotated frame: (height, width, 3) uint8 BGR, of the same even size for every frame of a run."""
        if self._size is None:
            self._size = _canvas_size(result.frame.image)
            self._scores = deque(maxlen=self._size[0])
        width, height = self._size
        canvas = np.empty((height + STRIP_PX, width, 3), np.uint8)
        canvas[:height] = _resized(result.frame.image, self._size)
        if result.heatmap is not None:
            blend_heat(canvas[:height], result.heatmap)
        if result.anomaly_score is not None:
            self._scores.append((result.anomaly_score, result.is_anomaly))
        self._draw_strip(canvas[height:], result)
        if result.is_anomaly:
            self._draw_banner(canvas, result)
        return canvas

    def _draw_strip(self, strip: Image, result: Result) -> None:
        strip[:] = _BACK
        height, width = strip.shape[:2]
        x = width - len(self._scores)
        rows = np.array([self._row(score, height) for score, _ in self._scores], np.int32)
        if len(rows) > 1:
            points = np.stack([np.arange(x, x + len(rows), dtype=np.int32), rows], axis=1)
            cv2.polylines(strip, [points], isClosed=False, color=_PLAIN, thickness=1, lineType=cv2.LINE_AA)
            inside = np.array([flag for _, flag in self._scores])
            for start, end in runs_of(inside):
                part = points[max(start - 1, 0) : end]
                cv2.polylines(strip, [part], isClosed=False, color=_RED, thickness=2, lineType=cv2.LINE_AA)
        level = self._row(self._threshold, height)
        for left in range(0, width, 8):
            cv2.line(strip, (left, level), (left + 3, level), _AMBER, 1)
        score = "warming up" if result.anomaly_score is None else f"score {result.anomaly_score:.1f}"
        color = _RED if result.is_anomaly else _WHITE
        _text(strip, score, (4, 12), color)
        _text(strip, f"threshold {self._threshold:.1f}", (110, 12), _AMBER)
        seconds = _clock(result.frame.timestamp_ns)
        _text(strip, seconds, (width - 4 - _text_width(seconds), 12), _GRAY)

    def _row(self, score: float, height: int) -> int:
        """Row of the strip that stands for `score`: the threshold lies in the middle, twice the threshold on top."""
        unit = max(abs(self._threshold), 1.0)
        share = 0.5 + 0.5 * (score - self._threshold) / (1.5 * unit)
        bottom, top = height - 4, 18
        return round(bottom - min(max(share, 0.0), 1.0) * (bottom - top))

    def _draw_banner(self, canvas: Image, result: Result) -> None:
        cv2.rectangle(canvas, (0, 0), (canvas.shape[1], BANNER_PX), _RED, thickness=-1)
        cv2.rectangle(canvas, (0, 0), (canvas.shape[1] - 1, canvas.shape[0] - STRIP_PX - 1), _RED, thickness=2)
        _text(canvas, f"EVENT  {result.cause} {result.anomaly_score:.1f}", (6, 15), (255, 255, 255), bold=True)


def _canvas_size(image: Image) -> tuple[int, int]:
    height, width = image.shape[:2]
    scale = max(1.0, MIN_WIDTH_PX / width)
    # Video codecs want even sizes.
    return 2 * math.ceil(width * scale / 2), 2 * math.ceil(height * scale / 2)


def _resized(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    if (image.shape[1], image.shape[0]) == size:
        return image
    grows = image.shape[1] < size[0]
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR if grows else cv2.INTER_AREA), np.uint8)


def blend_heat(picture: Image, heat: npt.NDArray[np.float32]) -> None:
    """Blend heat into `picture` in place: nothing below half the alarm level, full colour at one and a half of it."""
    strength = np.clip(heat - 0.5, 0.0, 1.0)
    if not strength.any():
        return
    size = (picture.shape[1], picture.shape[0])
    strength = np.clip(cv2.resize(strength, size, interpolation=cv2.INTER_LINEAR), 0.0, 1.0)
    colors = cv2.applyColorMap((255 * (0.35 + 0.6 * strength)).astype(np.uint8), cv2.COLORMAP_INFERNO)
    alpha = 0.7 * np.minimum(1.5 * strength, 1.0)[..., None]
    picture[:] = (picture + (colors.astype(np.float32) - picture) * alpha).astype(np.uint8)


def runs_of(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open intervals of positions in which `flags` (N,) is true."""
    edges = np.flatnonzero(np.diff(np.r_[False, flags, False].astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _text(image: Image, text: str, at: tuple[int, int], color: tuple[int, int, int], *, bold: bool = False) -> None:
    cv2.putText(image, text, at, _FONT, 0.4, color, 2 if bold else 1, cv2.LINE_AA)


def _text_width(text: str) -> int:
    return int(cv2.getTextSize(text, _FONT, 0.4, 1)[0][0])


def _clock(timestamp_ns: int) -> str:
    """Minutes and seconds since the recording's beginning, or since the last full hour of a clock."""
    seconds = timestamp_ns / 1e9
    return f"{int(seconds // 60) % 60:02d}:{seconds % 60:04.1f}"

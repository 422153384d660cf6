"""The bonnet of the camera car at the lower edge of every frame; it only moves when the camera slips in its mount."""

from __future__ import annotations

import cv2
import numpy as np

from edgevad.synth.arrays import Floats, floats

__all__ = ["Hood"]

_MARGIN = 0.35  # painted beyond each side of the frame, for when the camera tilts
_EDGE_SHARE, _ARC_SHARE = 0.875, 0.035
_STRIPES_AT = -0.19  # from the middle, over the width


class Hood:
    """Painted once for a canvas of (width, height) pixels, then laid over every frame."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self._size = width_px, height_px
        self._offset = round(_MARGIN * width_px), round(_MARGIN * height_px)
        wide, tall = width_px + 2 * self._offset[0], height_px + 2 * self._offset[1]
        x = ((np.arange(wide) - self._offset[0]) / width_px - 0.5).astype(np.float32)[None]
        y = ((np.arange(tall) - self._offset[1]) / height_px).astype(np.float32)[:, None]
        self._paint = _painted(x, y - _EDGE_SHARE - _ARC_SHARE * (2 * x) ** 2, height_px)
        self._top = int((_EDGE_SHARE - 0.01) * height_px)

    def lay_over(self, picture: Floats, tilt_rad: float, light: float) -> None:
        """Draw the bonnet into `picture` (H, W, 3), as seen by a camera that has slipped by `tilt_rad`."""
        width, height = self._size
        left, top = self._offset
        if abs(tilt_rad) < 1e-3:
            layer, view = self._paint[top + self._top : top + height, left : left + width], picture[self._top :]
        else:
            turn = cv2.getRotationMatrix2D((width / 2 + left, height / 2 + top), np.degrees(tilt_rad), 1.0)
            turn[:, 2] -= np.array([left, top])
            layer = np.asarray(cv2.warpAffine(self._paint, turn, self._size, flags=cv2.INTER_LINEAR), dtype=np.float32)
            view = picture
        view *= 1 - layer[..., 3:]
        view += layer[..., :3] * np.float32(light)


def _painted(x: Floats, below: Floats, height_px: int) -> Floats:
    """(H, W, 4) colour times alpha, and alpha; `below` is how far under the edge a spot lies, over the height."""

    def step(distance: Floats) -> Floats:
        return floats(np.clip(distance * height_px / 1.5 + 0.5, 0, 1))

    out = np.zeros((*below.shape, 4), np.float32)
    tone = 104 + 14 * np.exp(-((below / 0.02) ** 2)) - 110 * below + 8 * np.cos(6 * x)
    out[..., :3] = tone[..., None] * floats((1.12, 1.0, 0.9))
    stripes = np.abs(np.abs(x - _STRIPES_AT) - 0.024) - 0.012
    for shape, color in ((np.abs(x - _STRIPES_AT) - 0.05, (232, 234, 234)), (stripes, (12, 12, 12))):
        ink = step(-np.maximum(shape, np.abs(below - 0.062) - 0.052))
        out[..., :3] += ink[..., None] * (floats(color) - out[..., :3])
    alpha = step(below + 0 * x)
    out[..., :3] *= alpha[..., None]
    out[..., 3] = alpha
    return out

"""Small pictures with transparency: drawn once, scaled into the scene again and again."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edgevad.sources.frame import Image
from edgevad.synth.arrays import Floats, floats

__all__ = ["Color", "Pen", "Sprite", "paste"]

Color = tuple[float, float, float]


@dataclass(frozen=True)
class Sprite:
    """One picture at several sizes.

    Attributes:
        levels: (h, w, 4) float32 each, colour in [0, 255] already multiplied by alpha, alpha in [0, 1]; every level
            has half the side of the one before.
        aspect: width over height.
        color: what a plain side of the thing is painted with, blue green red.
    """

    levels: tuple[Floats, ...]
    aspect: float
    color: Color

    @classmethod
    def from_layers(cls, color: Floats, alpha: Floats, paint: Color = (0, 0, 0)) -> Sprite:
        """`color` (h, w, 3) in [0, 255] and `alpha` (h, w) in [0, 1], both at drawing size."""
        level = np.dstack([color * alpha[..., None], alpha]).astype(np.float32)
        levels = [level]
        while min(level.shape[:2]) > 4 and max(level.shape[:2]) > 8:
            half = level.shape[1] // 2, level.shape[0] // 2
            level = floats(cv2.resize(level, half, interpolation=cv2.INTER_AREA))
            levels.append(level)
        return cls(tuple(levels), color.shape[1] / color.shape[0], paint)


def paste(
    canvas: Floats, sprite: Sprite, center_px: float, foot_px: float, height_px: float, haze: float, light: float
) -> None:
    """Draw `sprite` into `canvas` (H, W, 3), its foot centred at (`center_px`, `foot_px`).

    `haze` from 0 to 1 is how much of it vanishes in the air before what is already drawn behind; `light` multiplies
    its colours.
    """
    rows, columns = round(height_px), max(1, round(height_px * sprite.aspect))
    if rows < 2 or rows > 4 * canvas.shape[0]:
        return
    top, left = round(foot_px) - rows, round(center_px - columns / 2)
    y0, y1 = max(top, 0), min(top + rows, canvas.shape[0])
    x0, x1 = max(left, 0), min(left + columns, canvas.shape[1])
    if y0 >= y1 or x0 >= x1:
        return
    level = next((lv for lv in reversed(sprite.levels) if lv.shape[0] >= rows), sprite.levels[0])
    scaled = cv2.resize(level, (columns, rows), interpolation=cv2.INTER_LINEAR)
    part = scaled[y0 - top : y1 - top, x0 - left : x1 - left] * np.float32(1 - haze)
    view = canvas[y0:y1, x0:x1]
    view *= 1 - part[..., 3:]
    view += part[..., :3] * np.float32(light)


class Pen:
    """Draws anti-aliased shapes into a colour and an alpha layer; coordinates are shares of width and height."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self.size = width_px, height_px
        self.color = np.zeros((height_px, width_px, 3), np.float32)
        self.alpha = np.zeros((height_px, width_px), np.float32)

    def polygon(self, points: list[tuple[float, float]], color: Color, alpha: float = 1.0) -> None:
        shape = np.array([[x * self.size[0] * 16, y * self.size[1] * 16] for x, y in points])
        mask = np.zeros(self.alpha.shape, np.uint8)
        cv2.fillPoly(mask, [np.round(shape).astype(np.int32)], 255, cv2.LINE_AA, 4)
        self._blend(mask, color, alpha)

    def box(self, x0: float, y0: float, x1: float, y1: float, color: Color, alpha: float = 1.0) -> None:
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color, alpha)

    def oval(self, x: float, y: float, rx: float, ry: float, color: Color, alpha: float = 1.0) -> None:
        angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        self.polygon([(x + rx * np.cos(a), y + ry * np.sin(a)) for a in angle], color, alpha)

    def _blend(self, mask: Image, color: Color, alpha: float) -> None:
        left, top, width, height = cv2.boundingRect(mask)
        part = slice(top, top + height), slice(left, left + width)
        weight = floats(mask[part]) * np.float32(alpha / 255)
        keep = self.alpha[part] * (1 - weight)
        covered = np.maximum(weight + keep, np.float32(1e-6))
        self.color[part] *= (keep / covered)[..., None]
        self.color[part] += floats(color) * (weight / covered)[..., None]
        self.alpha[part] = weight + keep

    def done(self, paint: Color = (0, 0, 0)) -> Sprite:
        return Sprite.from_layers(self.color, self.alpha, paint)

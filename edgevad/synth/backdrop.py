"""Sky, clouds and hills all around, as panoramas that turn with the car's heading."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edgevad.synth.arrays import Floats, floats
from edgevad.synth.randomness import smooth_noise, stream

__all__ = ["HAZE_BGR", "Backdrop", "build_backdrop"]

HAZE_BGR = (222.0, 212.0, 204.0)

_SUN_AZIMUTH_RAD, _SUN_HEIGHT = 4.0, 0.62


@dataclass(frozen=True)
class Backdrop:
    """Panoramas of one full turn; the bottom row is the horizon. The soft ones are kept at half size.

    Attributes:
        clouds: (H/2, P/2) float32 in [0, 1], how white the sky is.
        glow: (H/2, P/2) float32 in [0, 1], the bright sky around the sun.
        blue: (H/2, 3) float32, the clear sky from top to horizon.
        hills: (H, P, 3) float32 in [0, 255], multiplied by their alpha.
        hills_alpha: (H, P) float32 in [0, 1]; both begin at the highest row with a hill.
    """

    clouds: Floats
    glow: Floats
    blue: Floats
    hills: Floats
    hills_alpha: Floats

    def view(self, heading_rad: float, drift_rad: float, sun: float, width: int, height: int) -> Floats:
        """(height, width, 3) float32 above the horizon for a heading; `sun` is 1 in clear weather, 0 under clouds."""
        around = self.hills.shape[1]
        left = round(heading_rad / (2 * np.pi) * around) - width // 2
        soft = (left // 2 + np.arange(width // 2 + 2)) % (around // 2)
        drifted = (soft + round(drift_rad / (2 * np.pi) * around / 2)) % (around // 2)
        rows = slice(-(height // 2 + 2), None)
        cover = np.clip(self.clouds[rows].take(drifted, 1) + np.float32(0.75 * (1 - sun)), 0, 1)[..., None]
        white = floats((236, 233, 230)) * np.float32(0.72 + 0.28 * sun)
        sky = self.blue[rows, None] + cover * (white - self.blue[rows, None])
        sky += (self.glow[rows].take(soft, 1) * np.float32(sun * 150))[..., None] * floats((0.75, 0.92, 1.0))
        sky = cv2.resize(sky, (2 * sky.shape[1], 2 * sky.shape[0]), interpolation=cv2.INTER_LINEAR)
        out = np.ascontiguousarray(sky[-height:, left % 2 : left % 2 + width], dtype=np.float32)
        tall = min(self.hills.shape[0], height)
        columns = (left + np.arange(width)) % around
        out[-tall:] *= 1 - self.hills_alpha[-tall:].take(columns, 1)[..., None]
        out[-tall:] += self.hills[-tall:].take(columns, 1) * np.float32(0.72 + 0.28 * sun)
        return out


def build_backdrop(seed: int, focal_px: float, height: int) -> Backdrop:
    """Panoramas for a camera of that focal length; at least `height` rows above the horizon."""
    rng = stream(seed, "backdrop")
    soft, around = height // 2 + 4, round(np.pi * focal_px)
    up = ((soft - 0.5 - np.arange(soft)) / (focal_px / 2)).astype(np.float32)  # tangent of the elevation
    clouds = np.zeros((soft, around), np.float32)
    for cells, size in (((3, 12), 0.5), ((7, 30), 0.3), ((16, 80), 0.17), ((32, 160), 0.08)):
        clouds += size * smooth_noise(rng, (soft, around), cells)
    clouds = np.clip((clouds - 0.12) * 1.8, 0, 0.95) * np.clip(up / 0.12, 0.15, 1)[:, None]
    azimuth = (np.arange(around) / around * 2 * np.pi - _SUN_AZIMUTH_RAD + np.pi) % (2 * np.pi) - np.pi
    apart = np.hypot(azimuth[None], up[:, None] - _SUN_HEIGHT)
    glow = np.exp(-((apart / 0.3) ** 2)) * 0.7 + 0.6 * np.exp(-apart / 0.35)
    fade = np.exp(-up / 0.22)[:, None]
    blue = floats((212, 158, 104)) * (1 - fade) + floats((232, 216, 202)) * fade
    hills, alpha = _hills(rng, focal_px, 2 * soft, 2 * around)
    first = int(np.argmax(alpha.any(1)))
    return Backdrop(clouds, glow.astype(np.float32), blue.astype(np.float32), hills[first:], alpha[first:])


def _hills(rng: np.random.Generator, focal_px: float, height: int, around: int) -> tuple[Floats, Floats]:
    """Two ranges of hills and a line of woods: colour times alpha (H, P, 3) and alpha (H, P)."""
    up = ((height - 0.5 - np.arange(height)) / focal_px).astype(np.float32)
    hills = np.zeros((height, around, 3), np.float32)
    alpha = np.zeros((height, around), np.float32)
    layers = (
        ((158, 142, 122), 0.075, 0.035, 9, 0.003),
        ((112, 118, 98), 0.035, 0.016, 22, 0.004),
        ((66, 92, 74), 0.012, 0.009, 60, 0.009),
    )
    for color, base, swing, cells, rough in layers:
        ridge = base + swing * smooth_noise(rng, (1, around), (1, cells))[0]
        ridge += rough * smooth_noise(rng, (1, around), (1, cells * 12))[0]
        inside = np.clip((ridge[None] - up[:, None]) * focal_px + 0.5, 0, 1).astype(np.float32)
        speck = 1 + 0.06 * smooth_noise(rng, (height, around), (max(height // 3, 2), around // 4))
        hills += inside[..., None] * (floats(color) * speck[..., None] - hills)
        alpha += inside * (1 - alpha)
    return hills, alpha

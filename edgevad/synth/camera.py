"""The sensor: exposure, glare, noise and the tone curve."""

from __future__ import annotations

import cv2
import numpy as np

from edgevad.sources.frame import Image
from edgevad.synth.arrays import Floats

__all__ = ["Sensor"]

_TARGET = 0.27  # mean linear light that the exposure aims at
_GAIN = (0.55, 2.2)
_FOLLOW = 0.65  # a full correction would hide that the world got darker
_SETTLE_S = 0.7
_SHOT, _READ = 0.00045, 0.002


class Sensor:
    """A small camera with automatic exposure; remembers its gain from frame to frame."""

    def __init__(self, width_px: int, height_px: int, fps_hz: float) -> None:
        y, x = np.mgrid[0:height_px, 0:width_px].astype(np.float32)
        radius = np.hypot(x / width_px - 0.5, y / height_px - 0.5)
        self._vignette = (1 - 0.42 * radius**2)[..., None].astype(np.float32)
        self._share = 1 - float(np.exp(-1 / (fps_hz * _SETTLE_S)))
        self._glow_px = 0.02 * width_px
        self._gain: float | None = None

    def expose(self, light: Floats, rng: np.random.Generator) -> Image:
        """(H, W, 3) uint8 from linear `light` (H, W, 3) float32, 1 being white; `rng` makes the noise."""
        wanted = float(np.clip((_TARGET / max(float(light.mean()), 1e-3)) ** _FOLLOW, *_GAIN))
        self._gain = wanted if self._gain is None else self._gain + self._share * (wanted - self._gain)
        exposed = light * (self._vignette * np.float32(self._gain))
        excess = cv2.resize(np.maximum(exposed - np.float32(0.92), 0), None, fx=0.5, fy=0.5)
        glow = cv2.GaussianBlur(excess, (0, 0), self._glow_px)
        exposed += np.float32(0.8) * cv2.resize(glow, (light.shape[1], light.shape[0]))
        noise = rng.standard_normal(exposed.shape, dtype=np.float32)
        noise *= np.sqrt(np.maximum(exposed, 0) * np.float32(_SHOT) + np.float32(_READ**2))
        exposed += noise
        # A gamma of 2 and a shoulder: bright things roll off instead of clipping hard.
        np.clip(exposed, 0, 4, out=exposed)
        tone = np.sqrt(exposed / (1 + np.float32(0.16) * exposed * exposed))
        return np.asarray(np.clip(tone * np.float32(258) + np.float32(0.5), 0, 255), dtype=np.uint8)

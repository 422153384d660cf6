"""What can be wrong with the glass: smears, blobs and lost focus."""

from __future__ import annotations

import cv2
import numpy as np

from edgevad.synth.arrays import Floats, floats
from edgevad.synth.randomness import smooth_noise, stream
from edgevad.synth.schedule import LENS_KINDS, Event

__all__ = ["Lens"]

_SMEAR_PASSES = 0.1  # share of the (scattered) light that gets through
_DEFOCUS_SHARE = 0.045  # radius of the blur over the width of the frame


class Lens:
    """Applies the lens anomalies of a drive; each event has one stain, made when it is first seen."""

    def __init__(self, seed: int, width_px: int, height_px: int, events: tuple[Event, ...]) -> None:
        self._seed = seed
        self._size = width_px, height_px
        self._events = [event for event in events if event.kind in LENS_KINDS]
        self._stain: tuple[int, Floats] | None = None

    def apply(self, light: Floats, time_s: float) -> Floats:
        """`light` (H, W, 3) float32 after the glass, as it is at that moment."""
        for event in self._events:
            strength = event.strength(time_s) if event.near(time_s) else 0.0
            if strength <= 0:
                continue
            if event.kind == "defocus":
                hunt = 1 + 0.2 * float(np.sin(5 * (time_s - event.start_s)))  # the lens hunts for focus
                light = _blurred(light, strength * hunt * _DEFOCUS_SHARE * self._size[0])
                continue
            stain = self._moved(self._stain_of(event), event, time_s)[..., None] * np.float32(strength)
            if event.kind == "smeared lens":
                haze = cv2.GaussianBlur(light, (0, 0), 0.07 * self._size[0])
                light = light + stain * np.float32(0.94) * (
                    haze * np.float32(_SMEAR_PASSES) + np.float32(0.012) - light
                )
            else:
                light = light + stain * (floats((0.012, 0.018, 0.024)) - light)
        return light

    def _moved(self, stain: Floats, event: Event, time_s: float) -> Floats:
        """Dirt slides: the wind wipes a smear sideways, a splash runs down the glass."""
        done = (time_s - event.start_s) / (event.end_s - event.start_s) - 0.5
        side = _side(event)
        across, down = (-0.4 * side, 0.1) if event.kind == "smeared lens" else (-0.12 * side, 0.3)
        shift = floats([[1, 0, across * done * self._size[0]], [0, 1, down * done * self._size[1]]])
        border = cv2.BORDER_REPLICATE if event.kind == "smeared lens" else cv2.BORDER_CONSTANT
        moved = cv2.warpAffine(stain, shift, self._size, borderMode=border)
        return floats(moved)

    def _stain_of(self, event: Event) -> Floats:
        if self._stain is None or self._stain[0] != event.number:
            rng = stream(self._seed, "stain", event.number)
            if event.kind == "smeared lens":
                self._stain = event.number, _smear(rng, *self._size, _side(event))
            else:
                self._stain = event.number, _blob(rng, *self._size, _side(event))
        return self._stain[1]


def _side(event: Event) -> float:
    """The side of the glass that a stain begins on; events take turns, round by round."""
    return 1.0 if event.turn % 2 else -1.0


def _blurred(light: Floats, radius_px: float) -> Floats:
    """Blur by a disc, as an open aperture does; the edge of the disc is soft, so the radius need not be whole."""
    reach = int(np.ceil(radius_px)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius_px + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    if disc.sum() <= 1:
        return light
    return floats(cv2.filter2D(light, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT_101))


def _smear(rng: np.random.Generator, width: int, height: int, side: float) -> Floats:
    """(H, W) in [0, 1]: a wiped, streaky film over a quarter of the view."""
    small = 96
    streaks = smooth_noise(rng, (small, small), (28, 3)) * 0.3
    y, x = np.mgrid[0:small, 0:small].astype(np.float32) / small - 0.5
    cx, cy = side * rng.uniform(0.12, 0.2), rng.uniform(-0.12, 0.18)
    film = 1.2 - np.hypot((x - cx) / rng.uniform(0.17, 0.23), (y - cy) / rng.uniform(0.15, 0.2))
    mask = np.clip(2.2 * (film - 0.08 + streaks), 0, 1).astype(np.float32)
    turn = cv2.getRotationMatrix2D((small / 2, small / 2), float(rng.uniform(-35, 35)), 1.0)
    mask = cv2.warpAffine(mask, turn, (small, small), borderMode=cv2.BORDER_REPLICATE)
    return floats(cv2.resize(mask, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1))


def _blob(rng: np.random.Generator, width: int, height: int, side: float) -> Floats:
    """(H, W) in [0, 1]: opaque dirt, out of focus because it sits on the glass; a big splash and some drops."""
    small = 96
    y, x = np.mgrid[0:small, 0:small].astype(np.float32) / small
    ragged = smooth_noise(rng, (small, small), (9, 9)) * 0.13
    mask = np.zeros((small, small), np.float32)
    cx, cy = 0.5 + side * rng.uniform(0.08, 0.22), rng.uniform(0.35, 0.6)
    spots = [(cx, cy, rng.uniform(0.16, 0.21))]
    for _ in range(5):
        spots.append((cx + rng.normal() * 0.25, cy + rng.normal() * 0.25, rng.uniform(0.03, 0.08)))
    for px, py, radius in spots:
        away = np.hypot((x - px) * width / height * 0.85, y - py) / radius
        mask = np.maximum(mask, np.clip((1 - away + ragged) * 4 + 0.5, 0, 1))
    return floats(cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR))

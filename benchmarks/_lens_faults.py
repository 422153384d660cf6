"""What goes wrong with a lens, put into real frames. Sizes are shares of the frame's width: every set gets the same.

Each keeps a sensor's noise (one gray level, what is left of it in a compressed stream), since a noiseless picture would
be too easy: its every frame were the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from edgevad.sources.frame import Image

__all__ = ["FAULTS", "HARMLESS", "UNTOLD", "Injected"]

_Floats = npt.NDArray[np.float32]
_NOISE = 1.0
_NOISES = 16


@dataclass(frozen=True)
class Injected:
    """A fault: the frame (H, W, 3) and its number make what the camera would give; None: the first frame again.

    `causes` are the incidents that are right: a dark cover is as black as a capped lens; no cause: none is.
    """

    causes: tuple[str, ...]
    make: Callable[[Image, int], Image] | None


def blurred(sigma_px: float) -> Callable[[Image, int], Image]:
    """Gaussian blur, `sigma_px` at a width of 224 pixels."""

    def make(image: Image, number: int) -> Image:
        return _seen(cv2.GaussianBlur(image, (0, 0), sigma_px * image.shape[1] / 224), number)

    return make


def black(image: Image, number: int) -> Image:
    return _seen(np.full(image.shape, 3.0, np.float32), number)


def covered(share: float) -> Callable[[Image, int], Image]:
    """A hand so near that it has no outline: dark, smooth, some light through it; the rest is the scene."""

    def make(image: Image, number: int) -> Image:
        cover, over = _hand(image.shape[:2], share)
        return _seen(cover * over + image * (1.0 - over), number)

    return make


def taped(image: Image, number: int) -> Image:
    """Tape or paper in daylight: bright, one colour, darker towards one side."""
    ramp = np.linspace(120.0, 150.0, image.shape[1], dtype=np.float32)[None, :, None]
    return _seen(np.broadcast_to(ramp, image.shape), number)


def misted(image: Image, number: int) -> Image:
    """Breath on the glass: blurred, and three quarters of the light scattered."""
    return _seen(cv2.GaussianBlur(image, (0, 0), 4.0 * image.shape[1] / 224) * np.float32(0.25) + 127.5, number)


def spattered(image: Image, number: int) -> Image:
    """Mud on a third of the glass; the rest is sharp."""
    over = _mud(image.shape[:2])
    return _seen(image * (1.0 - over) + 30.0 * over, number)


def dark(image: Image, number: int) -> Image:
    """A tunnel, before the camera has opened its aperture: an eighth of the light."""
    return _seen(image * np.float32(0.125), number)


def fog(image: Image, number: int) -> Image:
    """Half of the contrast, and brighter; as sharp as before."""
    return _seen(image * np.float32(0.5) + 90.0, number)


def shaken(image: Image, number: int) -> Image:
    """Motion blur across 8 pixels of 224 in six frames of ten, as on cobbles."""
    length = max(1, round(8 * image.shape[1] / 224))
    return _seen(cv2.blur(image, (1, length)) if number % 10 < 6 else image, number)


@lru_cache(maxsize=32)
def _hand(shape: tuple[int, int], share: float) -> tuple[_Floats, _Floats]:
    rows, columns = shape
    shade = np.random.default_rng(1).normal(0.0, 4.0, (3, 4, 3)).astype(np.float32)
    cover = np.array([18.0, 22.0, 32.0]) + cv2.resize(shade, (columns, rows), interpolation=cv2.INTER_CUBIC)
    over = np.ones((rows, columns), np.float32)
    over[:, : round((1.0 - share) * columns)] = 0.0
    return cover.astype(np.float32), _softened(over)


@lru_cache(maxsize=32)
def _mud(shape: tuple[int, int]) -> _Floats:
    rows, columns = shape
    field = np.random.default_rng(2).normal(0.0, 1.0, (6, 8)).astype(np.float32)
    field = np.asarray(cv2.resize(field, (columns, rows), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    return _softened((field > np.quantile(field, 0.67)).astype(np.float32))


def _softened(over: _Floats) -> _Floats:
    soft: _Floats = np.asarray(cv2.GaussianBlur(over, (0, 0), over.shape[1] / 60), dtype=np.float32)
    return soft[..., None]


@lru_cache(maxsize=256)
def _noise(shape: tuple[int, ...], number: int) -> _Floats:
    return np.random.default_rng(number).normal(0.5, _NOISE, shape).astype(np.float32)


def _seen(values: npt.NDArray[np.generic], number: int) -> Image:
    return np.asarray(np.clip(values + _noise(values.shape, number % _NOISES), 0, 255), dtype=np.uint8)


FAULTS = {
    "black": Injected(("black",), black),
    "frozen": Injected(("frozen",), None),
    "hand over all": Injected(("covered", "black"), covered(1.0)),
    "hand over 95 %": Injected(("covered", "black"), covered(0.95)),
    "tape": Injected(("covered",), taped),
    "blur, 4 px": Injected(("blurred",), blurred(4.0)),
    "blur, 6 px": Injected(("blurred",), blurred(6.0)),
    "blur, 8 px": Injected(("blurred",), blurred(8.0)),
}
# Told at most where it is bad: there is something left to judge. Shown so that nobody expects more.
UNTOLD = {
    "mist": Injected(("blurred", "covered"), misted),
    "blur, 1 px": Injected(("blurred",), blurred(1.0)),
    "hand over half": Injected(("covered",), covered(0.5)),
    "mud on a third": Injected(("covered", "blurred"), spattered),
}
# Real driving all the same: nothing may be told.
HARMLESS = {
    "(tunnel)": Injected((), dark),
    "(fog)": Injected((), fog),
    "(shaken)": Injected((), shaken),
}

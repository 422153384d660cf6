"""Controlled anomalies put into real frames: what a challenger is asked that nobody has labelled.

A probe is a short stretch of real frames, clean and once more with something wrong in it from its first frame to its
last. Which frames, which place, which size follow from a seed, so champion and challenger are asked the same. All is
done at the model's input size, on blue, green, red, and on motion where the model takes it: what stands still in the
picture has no speed there, what moves has one, what was moved takes it along.

| kind | what is done |
|---|---|
| occlusion | a plain patch, 20 to 40 % of the frame's sides, stays before the lens |
| object | a shaded polygon of a colour that the place does not have, 20 to 40 % of the sides, comes nearer |
| blur | the frame out of focus, by 2 to 4 % of its width |
| frozen | a region of half the frame's sides or more stands still, at what it showed at another time of that drive |
| shifted | a region of that size is moved by 15 to 35 % of its width |
| cast | channels multiplied by 0.45 to 0.75 or by 1.3 to 1.7 |
| splice | a region of that size is another drive's |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["KINDS", "Stretch", "probed"]

Images = npt.NDArray[np.uint8]
Motion = npt.NDArray[np.float16]
_Random = np.random.Generator
# Rows and columns of a region of the frame.
_Region = tuple[slice, slice]
# Pixels that move of themselves are slower than this multiple of the fastest in the stretch.
_FASTER = 1.5


@dataclass(frozen=True)
class Stretch:
    """A few consecutive frames at a model's input size.

    Attributes:
        images: (n, h, w, 3) uint8, blue, green, red.
        motion: (n, h, w, M) float16 in the units of `MotionSpec`, or None.
    """

    images: Images
    motion: Motion | None

    def __len__(self) -> int:
        return len(self.images)


def probed(stretch: Stretch, kind: str, random: np.random.Generator, foreign: Stretch) -> Stretch:
    """A copy of `stretch` with an anomaly of this kind (one of KINDS) in every frame; it is left as it was.

    `foreign`, at least one frame of the same size, is what "splice" takes from, frame by frame (a shorter one is run
    through again), and "frozen" its first frame; other kinds do not look at it.
    """
    motion = None if stretch.motion is None else stretch.motion.copy()
    copy = Stretch(stretch.images.copy(), motion)
    _MAKERS[kind](copy, random, foreign)
    return copy


def _region(shape: tuple[int, ...], random: _Random, least: float, most: float) -> _Region:
    """A region of `least` to `most` of the sides of a frame (h, w, ...), wholly inside it."""
    slices = []
    for side in shape[:2]:
        length = max(2, round(side * random.uniform(least, most)))
        start = int(random.integers(0, max(side - length, 0) + 1))
        slices.append(slice(start, start + length))
    return slices[0], slices[1]


def _set_speed(stretch: Stretch, mask: npt.NDArray[np.bool_], frame: int, speed: float) -> None:
    if stretch.motion is not None:
        stretch.motion[frame][mask] = speed


def _occlude(stretch: Stretch, random: _Random, foreign: Stretch) -> None:
    rows, columns = _region(stretch.images.shape[1:], random, 0.2, 0.4)
    # Far from black and white: such patches are to be seen by night and by day.
    stretch.images[:, rows, columns] = random.integers(30, 226, 3, dtype=np.uint8)
    if stretch.motion is not None:
        stretch.motion[:, rows, columns] = 0


def _put_object(stretch: Stretch, random: _Random, foreign: Stretch) -> None:
    height, width = stretch.images.shape[1:3]
    centre = np.array([random.uniform(0.25, 0.75) * width, random.uniform(0.35, 0.75) * height])
    step = random.uniform(-0.015, 0.015, 2) * (width, height)
    angles = np.sort(random.uniform(0, 2 * np.pi, 7))
    radius = random.uniform(0.1, 0.2)
    corners = np.stack([np.cos(angles) * width, np.sin(angles) * height], axis=1) * radius
    color = _unlike(stretch.images[0], centre, random)
    fastest = 0.0 if stretch.motion is None else float(stretch.motion.max(initial=0.0))
    for k, image in enumerate(stretch.images):
        points = (centre + k * step + corners * (1 + 0.02 * k)).round().astype(np.int32)
        mask = np.zeros((height, width), np.uint8)
        cv2.fillConvexPoly(mask, cv2.convexHull(points), 1)
        shade = np.linspace(1.15, 0.7, height)[:, None, None]  # lit from above
        inside = mask.astype(np.bool_)
        image[inside] = np.clip(color * shade, 0, 255).repeat(width, axis=1)[inside].astype(np.uint8)
        _set_speed(stretch, inside, k, _FASTER * fastest)


def _unlike(image: Images, centre: npt.NDArray[np.float64], random: _Random) -> npt.NDArray[np.float64]:
    """A colour (3,) whose light differs from that of the place by a factor of two or more."""
    x, y = (int(value) for value in centre)
    there = float(image[max(y - 4, 0) : y + 5, max(x - 4, 0) : x + 5].mean())
    level = random.uniform(2.0, 3.0) * max(there, 20.0) if there < 100 else there / random.uniform(2.0, 3.0)
    return np.asarray(level * random.uniform(0.7, 1.3, 3), dtype=np.float64)


def _blur(stretch: Stretch, random: _Random, foreign: Stretch) -> None:
    width = stretch.images.shape[2]
    sigma_px = max(random.uniform(0.02, 0.04) * width, 0.8)
    for k, image in enumerate(stretch.images):
        image[:] = cv2.GaussianBlur(image, (0, 0), sigma_px)
        if stretch.motion is not None:
            speed = cv2.GaussianBlur(stretch.motion[k].astype(np.float32), (0, 0), sigma_px)
            stretch.motion[k] = speed.reshape(stretch.motion[k].shape).astype(np.float16)


def _freeze(stretch: Stretch, random: _Random, foreign: Stretch) -> None:
    rows, columns = _region(stretch.images.shape[1:], random, 0.5, 0.8)
    stretch.images[:, rows, columns] = foreign.images[0, rows, columns]
    if stretch.motion is not None:
        stretch.motion[:, rows, columns] = 0


def _shift(stretch: Stretch, random: _Random, foreign: Stretch) -> None:
    rows, columns = _region(stretch.images.shape[1:], random, 0.5, 0.8)
    width = columns.stop - columns.start
    by = round(random.uniform(0.15, 0.35) * width) * int(random.choice((-1, 1)))
    for values in (stretch.images, stretch.motion):
        if values is not None:
            values[:, rows, columns] = np.roll(values[:, rows, columns], by, axis=2)


def _cast(stretch: Stretch, random: _Random, foreign: Stretch) -> None:
    gain = np.where(random.random(3) < 0.5, random.uniform(0.45, 0.75, 3), random.uniform(1.3, 1.7, 3))
    stretch.images[:] = np.clip(stretch.images * gain, 0, 255).astype(np.uint8)


def _splice(stretch: Stretch, random: _Random, foreign: Stretch) -> None:
    rows, columns = _region(stretch.images.shape[1:], random, 0.5, 0.8)
    there = np.arange(len(stretch)) % len(foreign)
    stretch.images[:, rows, columns] = foreign.images[there][:, rows, columns]
    if stretch.motion is not None and foreign.motion is not None:
        stretch.motion[:, rows, columns] = foreign.motion[there][:, rows, columns]


_MAKERS: dict[str, Callable[[Stretch, _Random, Stretch], None]] = {
    "occlusion": _occlude,
    "object": _put_object,
    "blur": _blur,
    "frozen": _freeze,
    "shifted": _shift,
    "cast": _cast,
    "splice": _splice,
}
KINDS = tuple(_MAKERS)

"""Street Scene as published.

    Train/Train001/00001.jpg …
    Test/Test001/00001.jpg …
    Test/Test001/Test001_gt.txt        a line for each box: 00042.jpg 0 812.5 300 40 60

The cells are the image, the number of the track, then the box in pixels: centre column, centre row, width, height. No
description by its authors could be found. That the file lies among the frames, ends in _gt.txt and starts with image
and track is how a script of one of them (B. Ramachandra) reads it, without the box. The meaning of the box is that of
public code for region-based criteria, which makes corners of it with half of width and height. An image may be named
with its path. Masks are these boxes, filled. The images carry no clock: 15 Hz is assumed.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from functools import cached_property
from pathlib import Path

import numpy as np

from edgevad._files import input_errors
from edgevad.datasets.clip import Clip
from edgevad.datasets.dataset import Dataset
from edgevad.datasets.folders import entries, media
from edgevad.datasets.truth import Mask, Truth, labels_from_flags, require_index
from edgevad.errors import DatasetError, LabelError
from edgevad.evaluation.labels import Labels

__all__ = ["FPS_HZ", "load", "recognises"]

FPS_HZ = 15.0
_TEST = r"Test\d+"
_Box = tuple[float, float, float, float]


def recognises(folder: Path) -> bool:
    """Whether any test clip has a file of boxes."""
    return any(_box_file(clip).is_file() for clip in media(folder / "Test", _TEST))


def load(folder: Path) -> Dataset:
    """Raises DatasetError where there are no test clips."""
    clips = media(folder / "Test", _TEST)
    if not clips:
        raise DatasetError("no test clips", where=folder / "Test", expected="folders Test001, Test002, …")
    test = tuple(Clip(path.name, str(path), FPS_HZ, _BoxTruth(path)) for path in clips)
    train = tuple(Clip(path.name, str(path), FPS_HZ) for path in media(folder / "Train", r"Train\d+"))
    return Dataset("Street Scene", "street-scene", str(folder), train, test)


def _box_file(clip: Path) -> Path:
    """Among the frames, as published, or beside their folder; among the frames where it is missing."""
    inside = sorted(path for path in clip.glob("*_gt.txt") if not path.name.startswith("."))
    beside = clip.with_name(f"{clip.name}_gt.txt")
    return inside[0] if inside else beside if beside.is_file() else clip / f"{clip.name}_gt.txt"


class _BoxTruth(Truth):
    def __init__(self, clip: Path) -> None:
        self._clip = clip
        self._path = _box_file(clip)
        self.has_pixels = self._path.is_file()

    def labels(self) -> Labels:
        anomalous = np.zeros(len(self._images), np.bool_)
        anomalous[list(self._boxes)] = True
        return labels_from_flags(anomalous, self._path)

    def mask(self, index: int) -> Mask | None:
        if not self.has_pixels:
            return None
        require_index(index, len(self._images), self._clip)
        height, width = self._size
        mask = np.zeros((height, width), np.bool_)
        for column, row, box_width, box_height in self._boxes.get(index, ()):
            left, right = math.floor(column - box_width / 2), math.ceil(column + box_width / 2)
            top, bottom = math.floor(row - box_height / 2), math.ceil(row + box_height / 2)
            mask[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = True
        return mask

    @cached_property
    def _images(self) -> tuple[Path, ...]:
        return entries(self._clip).images

    @cached_property
    def _size(self) -> tuple[int, int]:
        """Height and width of the first frame that can be read."""
        from edgevad.sources.opencv import BadImageError, read_image

        for image in self._images:
            try:
                height, width = read_image(image).shape[:2]
            except BadImageError:
                continue
            return height, width
        raise LabelError("not one frame can be read, so the masks have no size", where=self._clip)

    @cached_property
    def _boxes(self) -> dict[int, list[_Box]]:
        """The boxes of each frame that has any."""
        if not self._path.is_file():
            raise LabelError("no such file", where=self._path, expected="a line for each box of an anomaly")
        with input_errors(self._path, LabelError):
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        position = {image.stem: index for index, image in enumerate(self._images)}
        boxes: dict[int, list[_Box]] = defaultdict(list)
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            cells = re.split(r"[,\s]+", line.strip())
            try:
                column, row, width, height = (float(cell) for cell in cells[2:6])
                if not all(map(math.isfinite, (column, row, width, height))):
                    raise ValueError
            except ValueError:
                expected = "image, track, centre column, centre row, width, height"
                raise LabelError(f"line {number}: {line!r:.60}", where=self._path, expected=expected) from None
            stem = Path(cells[0].replace("\\", "/")).stem
            if stem not in position:
                raise LabelError(f"line {number}: there is no frame {stem}", where=self._path, expected=self._frames())
            boxes[position[stem]].append((column, row, width, height))
        return dict(boxes)

    def _frames(self) -> str:
        images = self._images
        return f"one of {images[0].name} to {images[-1].name}" if images else f"frames in {self._clip}"

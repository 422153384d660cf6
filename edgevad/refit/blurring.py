"""Faces out of frames before anything is learned from them: others' plug-ins, or a detector of OpenCV's.

A plug-in is a package with an entry point in the group "edgevad.blur": a callable that takes an image (H, W, 3) uint8
BGR and returns one of the same shape with what is private made unrecognisable (docs/refit.md). No detector comes with
edgevad: with a model file of your own, OpenCV finds faces by it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgevad.errors import OptionError, RefitError
from edgevad.sources.frame import Frame, Image

__all__ = ["GROUP", "Blur", "blurred", "open_blur", "pixelate"]

GROUP = "edgevad.blur"

#: Takes an image (H, W, 3) uint8 BGR, and returns one of that shape; it may change the one it was given.
Blur = Callable[[Image], Image]

# A face is left with so many values a side, and the region is this much larger than the detector's box.
_CELLS = 4
_MARGIN = 0.2
_LEAST_CONFIDENCE = 0.6


def open_blur(name: str) -> Blur:
    """The blur that `name` means: the model file of a face detector (YuNet as .onnx, a cascade as .xml), or a plug-in.

    Raises:
        OptionError: there is neither, or OpenCV cannot read the file.
        RefitError: the plug-in cannot be loaded.
    """
    path = Path(name)
    if path.suffix in (".onnx", ".xml"):
        if not path.is_file():
            raise OptionError("there is no face detector's model", where=path)
        return _yunet(path) if path.suffix == ".onnx" else _cascade(path)
    found = list(entry_points(group=GROUP, name=name))
    if len({entry.value for entry in found}) != 1:
        installed = ", ".join(sorted({entry.name for entry in entry_points(group=GROUP)})) or "none is installed"
        raise OptionError(
            f"{name!r} is no blur" if not found else f"several packages bring a blur named {name!r}",
            expected=f"a detector's model file (.onnx, .xml), or a plug-in in the group {GROUP} ({installed})",
        )
    try:
        blur: Any = found[0].load()
    except Exception as error:  # whatever a module does when it is imported
        raise RefitError(f"the blur {name!r} cannot be loaded ({type(error).__name__}: {error})") from error
    if not callable(blur):
        raise RefitError(f"the blur {name!r} cannot be called", expected="a callable: image to image")
    return blur  # type: ignore[no-any-return]


def blurred(frame: Frame, blur: Blur | None) -> Frame:
    """The frame with its image blurred.

    Raises:
        RefitError: the blur fails or gives something else back: nothing is learned unblurred in its place.
    """
    if blur is None:
        return frame
    try:
        image = blur(frame.image.copy())
    except Exception as error:
        raise RefitError(f"the blur fails ({type(error).__name__}: {error})", where=frame.source_id) from error
    if not isinstance(image, np.ndarray) or image.shape != frame.image.shape or image.dtype != np.uint8:
        what = f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise RefitError(
            f"the blur gives {what}", where=frame.source_id, expected=f"uint8 of shape {frame.image.shape}"
        )
    return Frame(image, frame.index, frame.timestamp_ns, frame.source_id, frame.segment)


def _yunet(path: Path) -> Blur:
    try:
        detector = cv2.FaceDetectorYN.create(str(path), "", (320, 320), _LEAST_CONFIDENCE)
    except cv2.error as error:
        raise OptionError("OpenCV cannot read this face detector", where=path, expected="YuNet, as ONNX") from error

    def blur(image: Image) -> Image:
        detector.setInputSize((image.shape[1], image.shape[0]))
        found = detector.detect(image)[1]
        for box in () if found is None else found[:, :4]:
            pixelate(image, *map(float, box))
        return image

    return blur


def _cascade(path: Path) -> Blur:
    maker: Any = getattr(cv2, "CascadeClassifier", None)
    if maker is None:
        raise OptionError("this OpenCV has no cascades", where=path, fix="Use YuNet's .onnx model instead")
    detector = maker(str(path))
    if detector.empty():
        raise OptionError("OpenCV cannot read this face detector", where=path, expected="a cascade, as XML")

    def blur(image: Image) -> Image:
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        for box in detector.detectMultiScale(gray, 1.1, 3):
            pixelate(image, *map(float, box))
        return image

    return blur


def pixelate(image: Image, left: float, top: float, width: float, height: float) -> None:
    """Leave a few values a side of this region of the image (H, W, 3), in place; regions may reach beyond it."""
    x0, y0 = max(round(left - _MARGIN * width), 0), max(round(top - _MARGIN * height), 0)
    x1 = min(round(left + (1 + _MARGIN) * width), image.shape[1])
    y1 = min(round(top + (1 + _MARGIN) * height), image.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    region = image[y0:y1, x0:x1]
    size = (min(_CELLS, x1 - x0), min(_CELLS, y1 - y0))
    small = cv2.resize(region, size, interpolation=cv2.INTER_AREA)
    image[y0:y1, x0:x1] = cv2.resize(small, (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST)

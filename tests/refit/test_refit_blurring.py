"""Faces out of frames: plug-ins, detectors, and what a region looks like afterwards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgevad.errors import OptionError, RefitError
from edgevad.refit import blurring
from edgevad.refit.blurring import blurred, open_blur, pixelate
from edgevad.sources import Frame


class Entry:
    def __init__(self, value: object) -> None:
        self.name, self.value = "plates", repr(value)
        self._loaded = value

    def load(self) -> object:
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


def install(monkeypatch: pytest.MonkeyPatch, *loaded: object) -> None:
    def found(group: str, name: str = "") -> list[Entry]:
        return [Entry(one) for one in loaded] if group == "edgevad.blur" and name in ("", "plates") else []

    monkeypatch.setattr(blurring, "entry_points", found)


def test_a_plug_in_blurs(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, np.zeros_like)
    blur = open_blur("plates")
    image = np.full((8, 8, 3), 7, np.uint8)
    frame = Frame(image, 3, 4, "front", 1)
    found = blurred(frame, blur)
    assert (found.index, found.timestamp_ns, found.source_id, found.segment) == (3, 4, "front", 1)
    assert not found.image.any()
    assert blurred(frame, None) is frame


def test_a_frame_is_not_changed_by_a_blur_in_place() -> None:
    image = np.full((8, 8, 3), 7, np.uint8)

    def blur(given: np.ndarray) -> np.ndarray:
        given[:] = 0
        return given

    assert not blurred(Frame(image, 0, 0, "front"), blur).image.any()
    assert image.all()


@pytest.mark.parametrize(
    ("loaded", "name", "error", "message"),
    [
        ((), "faces", OptionError, "'faces' is no blur; expected .* plug-in .*none is installed"),
        ((np.copy,), "faces", OptionError, r"\(plates\)"),
        ((np.copy, np.sort), "plates", OptionError, "several packages"),
        ((ImportError("no cuda"),), "plates", RefitError, r"cannot be loaded \(ImportError: no cuda\)"),
        ((7,), "plates", RefitError, "cannot be called"),
    ],
)
def test_what_is_no_blur_is_refused(
    monkeypatch: pytest.MonkeyPatch, loaded: tuple[object, ...], name: str, error: type[Exception], message: str
) -> None:
    install(monkeypatch, *loaded)
    with pytest.raises(error, match=message):
        open_blur(name)


@pytest.mark.parametrize("name", ["model.onnx", "cascade.xml"])
def test_a_file_that_is_no_detector_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(OptionError, match=name):
        open_blur(str(tmp_path / name))


def test_a_pixelated_region_keeps_a_few_values_and_the_rest_stays() -> None:
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    before = image.copy()
    pixelate(image, 20, 10, 20, 20)
    region = image[6:34, 16:44]
    assert len(np.unique(region.reshape(-1, 3), axis=0)) == 16
    image[6:34, 16:44] = before[6:34, 16:44]
    assert np.array_equal(image, before)
    pixelate(image, 70, 50, 40, 40)  # beyond the edge
    pixelate(image, 200, 200, 10, 10)  # outside
    assert not np.array_equal(image, before)

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest

from edgevad.runtime.preprocess import Preprocessor
from edgevad.runtime.shrinking import shrink, shrink_planes
from edgevad.sources.frame import Frame
from edgevad.sources.planes import PlanarFrame, Planes
from edgevad.spec import InputSpec

av = pytest.importorskip("av")

# Large ones, which are halved first (once, twice, thrice), and small ones, which are averaged at once.
SOURCES = [(960, 540), (640, 480), (320, 256), (1280, 720), (224, 224), (320, 180), (160, 160)]


def planes_of(
    size: tuple[int, int], *, pixels: str = "yuv420p", matrix: int | None = None, contrast: int = 70
) -> Planes:
    """A picture with fine and coarse structure, and noise, none of it beyond what can be shown."""
    rng = np.random.default_rng(size[0])
    coarse = cv2.resize(rng.normal(0, 1, (9, 16, 3)), size, interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(rng.normal(0, 1, (size[1], size[0], 3)), (0, 0), 1.5)
    bgr = np.clip(128 + contrast * np.tanh(coarse) + 40 * fine, 0, 255).astype(np.uint8)
    return Planes(av.VideoFrame.from_ndarray(bgr, format="bgr24").reformat(format=pixels), matrix)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("alone", [False, True])
def test_a_model_sees_the_same_picture_within_a_level(source: tuple[int, int], alone: bool) -> None:
    planes = planes_of(source)
    small = shrink_planes(planes, (64, 64), alone=alone)
    assert small is not None
    assert (small.shape, small.dtype) == ((64, 64, 3), np.uint8)
    difference = small.astype(int) - shrink(planes.bgr(), (64, 64))
    assert np.abs(difference).max() <= 2
    assert (np.abs(difference) <= 1).mean() > 0.96  # every halving rounds, and each its own way
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.5  # neither brighter nor of another colour


@pytest.mark.parametrize("source", [(960, 540), (224, 224)])
@pytest.mark.parametrize(
    "look", [{"pixels": "yuvj420p"}, {"matrix": 5}, {"matrix": 1}], ids=["full range", "BT.601", "BT.709"]
)
def test_colours_are_those_of_the_picture(source: tuple[int, int], look: dict[str, Any]) -> None:
    planes = planes_of(source, **look)
    small = shrink_planes(planes, (64, 64))
    assert small is not None
    difference = small.astype(int) - shrink(planes.bgr(), (64, 64))
    assert (np.abs(difference) <= 1).mean() > 0.99
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.5


@pytest.mark.parametrize("source", [(128, 128), (224, 100), (250, 242), (64, 64), (160, 120)])
def test_sizes_at_which_nothing_is_gained_are_left_alone(source: tuple[int, int]) -> None:
    assert shrink_planes(planes_of(source), (64, 64)) is None


def test_black_and_white_stay_what_they_are() -> None:
    for level, expected in ((0, 0), (16, 0), (235, 254), (255, 255)):
        for size in ((224, 224), (960, 540)):
            picture = av.VideoFrame(*size, "yuv420p")
            for plane, value in zip(picture.planes, (level, 128, 128), strict=True):
                plane.update(bytes([value]) * (plane.line_size * plane.height))
            small = shrink_planes(Planes(picture), (64, 64))
            assert small is not None
            assert np.abs(small.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("source", [(960, 540), (128, 128)])
def test_the_preprocessor_takes_planes_where_it_can(source: tuple[int, int]) -> None:
    frame = PlanarFrame(planes_of(source), 0, 0, "drive")
    prepared = Preprocessor(InputSpec(64, 64), alone=True)(frame)
    assert prepared is not None
    assert frame.planes is not None
    expected = shrink_planes(frame.planes, (64, 64), alone=True)
    assert (frame.planes._bgr is None) is (expected is not None)
    np.testing.assert_array_equal(prepared.image, shrink(frame.image, (64, 64)) if expected is None else expected)


@pytest.mark.parametrize("source", [(224, 224), (160, 160)])
def test_several_at_once_are_each_by_itself_to_the_bit(source: tuple[int, int]) -> None:
    frames = [PlanarFrame(planes_of(source, contrast=50 + 9 * k), k, k, "drive") for k in range(4)]
    prepare = Preprocessor(InputSpec(64, 64), alone=True)
    together = prepare.at_once(frames)
    assert together is not None
    for frame, one in zip(frames, together, strict=True):
        by_itself = prepare(frame)
        assert by_itself is not None
        np.testing.assert_array_equal(one.image, by_itself.image)


def test_pictures_unlike_each_other_are_not_prepared_at_once() -> None:
    prepare = Preprocessor(InputSpec(64, 64), alone=True)
    of = [planes_of((224, 224)), planes_of((160, 160)), planes_of((224, 224), pixels="yuvj420p")]
    frames = [PlanarFrame(planes, k, k, "drive") for k, planes in enumerate(of)]
    assert prepare.at_once(frames[:2]) is None
    assert prepare.at_once(frames[::2]) is None
    assert prepare.at_once([frames[0], Frame(frames[0].image, 1, 1, "drive")]) is None
    assert prepare.at_once(frames[:1]) is not None


def test_any_number_of_threads_may_look_at_a_picture() -> None:
    planes = planes_of((224, 224))
    with ThreadPoolExecutor(4) as pool:
        small = list(pool.map(lambda _: shrink_planes(planes, (64, 64)), range(32)))
        whole = list(pool.map(lambda _: planes.bgr(), range(32)))
    for one in small:
        np.testing.assert_array_equal(one, small[0])
    for one in whole:
        np.testing.assert_array_equal(one, whole[0])

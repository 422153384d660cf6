from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgevad.errors import SourceError
from edgevad.runtime.preprocess import Preprocessor
from edgevad.runtime.shrinking import shrink
from edgevad.sources import Frame
from edgevad.spec import InputSpec, MotionSpec

MS = 1_000_000


def flat(level: int, index: int, at_ms: int, segment: int = 0, source: str = "a", size: int = 32) -> Frame:
    return Frame(np.full((size, size, 3), level, np.uint8), index, at_ms * MS, source, segment)


def texture(width: int, height: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2.0)


def test_frames_are_resampled_to_model_size() -> None:
    frame = Frame(texture(90, 70), 0, 0, "a")
    item = Preprocessor(InputSpec(32, 48))(frame)
    assert item is not None
    assert item.motion is None
    np.testing.assert_array_equal(item.image, cv2.resize(frame.image, (48, 32), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("size", [(640, 480), (641, 479), (1280, 720), (333, 300)])
def test_large_images_are_resampled_like_small_ones(size: tuple[int, int]) -> None:
    image = texture(*size)
    exact = cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA).astype(int)
    error = shrink(image, (64, 64)).astype(int) - exact
    assert np.abs(error).mean() < 1.5
    assert abs(error.mean()) < 0.7


@pytest.mark.parametrize("size", [(640, 480), (1281, 721), (1920, 1080)])
def test_without_the_threads_of_opencv_the_pixels_are_the_same(size: tuple[int, int]) -> None:
    image = texture(*size)
    np.testing.assert_array_equal(shrink(image, (64, 64), alone=True), shrink(image, (64, 64)))


@pytest.mark.parametrize("size", [(1, 1), (7, 100)])
def test_images_too_small_to_hold_anything_are_refused(size: tuple[int, int]) -> None:
    frame = Frame(np.zeros((size[1], size[0], 3), np.uint8), 5, 0, "a")
    with pytest.raises(SourceError, match=rf"a: frame 5 is {size[0]}x{size[1]} pixels; expected at least 8"):
        Preprocessor(InputSpec(32, 32))(frame)


@pytest.mark.parametrize("image", [np.zeros((32, 32), np.uint8), np.zeros((32, 32, 3), np.float32)])
def test_what_is_no_color_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(SourceError, match="expected uint8 of shape"):
        Preprocessor(InputSpec(32, 32))(Frame(image, 0, 0, "a"))


def test_each_lag_looks_at_the_frame_nearest_to_it() -> None:
    prepare = Preprocessor(InputSpec(32, 32, MotionSpec("difference", (100, 200))))
    # Gray level = time in tens of milliseconds: the difference tells which frame was looked at.
    seen = [prepare(flat(at_ms // 10, k, at_ms)) for k, at_ms in enumerate([0, 90, 190, 300, 410, 1000])]

    assert seen[0] is None
    lags = [None if item is None or item.motion is None else tuple(item.motion[0, 0]) for item in seen]
    # After the gap of 590 ms, the nearest to 100 and 200 ms ago is the frame just before.
    assert lags[1:] == [(9, 9), (10, 19), (11, 21), (11, 22), (59, 59)]


def test_nothing_is_compared_across_segments_sources_or_sizes() -> None:
    prepare = Preprocessor(InputSpec(32, 32, MotionSpec("flow", (100,))))
    frames = [
        flat(10, 0, 0),
        flat(10, 1, 100),
        flat(10, 2, 200, segment=1),
        flat(10, 3, 300, segment=1),
        flat(10, 4, 400, segment=1, source="b"),
        flat(10, 5, 500, segment=1, source="b"),
        flat(10, 6, 600, segment=1, source="b", size=40),
        flat(10, 7, 700, segment=1, source="b", size=40),
    ]
    assert [prepare(frame) is None for frame in frames] == [True, False] * 4


def test_memory_of_the_past_is_bounded() -> None:
    prepare = Preprocessor(InputSpec(32, 32, MotionSpec("difference", (200,))))
    for k in range(500):
        prepare(flat(k % 200, k, 10 * k))
    assert prepare._motion is not None
    assert len(prepare._motion._past) <= 22


@pytest.mark.parametrize(("shift_px", "step_ms"), [(2, 50), (3, 100), (4, 200)])
def test_flow_is_in_pixels_per_second(shift_px: int, step_ms: int) -> None:
    prepare = Preprocessor(InputSpec(16, 16, MotionSpec("flow", (step_ms,))))
    world = texture(200, 96)
    motion = None
    for k in range(3):
        image = np.ascontiguousarray(world[:, k * shift_px : k * shift_px + 128])
        item = prepare(Frame(image, k, k * step_ms * MS, "a"))
        motion = None if item is None else item.motion
    assert motion is not None
    assert motion.shape == (16, 16, 1)
    assert motion.dtype == np.float32
    assert np.median(motion) == pytest.approx(shift_px / (step_ms / 1000), rel=0.1)


def test_flow_keeps_its_unit_where_the_reference_is_not_at_the_lag() -> None:
    # The only earlier frame is 50 ms old, the lag asks for 200.
    prepare = Preprocessor(InputSpec(16, 16, MotionSpec("flow", (200,))))
    world = texture(200, 96)
    prepare(Frame(np.ascontiguousarray(world[:, :128]), 0, 0, "a"))
    item = prepare(Frame(np.ascontiguousarray(world[:, 2:130]), 1, 50 * MS, "a"))
    assert item is not None
    assert item.motion is not None
    assert np.median(item.motion) == pytest.approx(40, rel=0.1)

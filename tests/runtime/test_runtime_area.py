from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from edgevad.runtime.area import area_mean
from edgevad.runtime.shrinking import shrink


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


# Rows before columns and the other way round; one block and many; blocks that take several calls.
@pytest.mark.parametrize(
    ("source", "size"),
    [
        ((224, 224), (64, 64)),
        ((320, 180), (64, 64)),
        ((160, 120), (64, 64)),
        ((360, 240), (64, 64)),
        ((64, 100), (64, 64)),
        ((180, 180), (64, 64)),
        ((500, 240), (64, 64)),
        ((400, 300), (128, 96)),
        ((63, 45), (18, 35)),
    ],
)
def test_the_result_is_that_of_opencv_to_the_bit(source: tuple[int, int], size: tuple[int, int]) -> None:
    mean = area_mean(source, size)
    assert mean is not None
    for seed in range(5):
        image = noise(*source, seed)
        for one in (image, cv2.GaussianBlur(image, (0, 0), 2.0), np.full_like(image, 255)):
            np.testing.assert_array_equal(mean(one), cv2.resize(one, size, interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize(
    "source",
    [
        (128, 192),  # whole numbers, which OpenCV averages quickly
        (251, 241),  # nothing in common: large matrices
        (48, 224),  # grows in width
        (224, 48),
        (128, 224),  # 2 x 7/2: a mean of 14 halves can lie half way
    ],
)
def test_the_rest_is_left_to_opencv(source: tuple[int, int]) -> None:
    assert area_mean(source, (64, 64)) is None
    image = noise(*source)
    np.testing.assert_array_equal(shrink(image, (64, 64)), cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA))


def test_views_into_larger_images_are_resampled_alike() -> None:
    image = noise(500, 300)[10:234, 100:324]
    np.testing.assert_array_equal(shrink(image, (64, 64)), shrink(image.copy(), (64, 64)))


def test_several_threads_share_the_matrices() -> None:
    images = [noise(224, 224, seed) for seed in range(64)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: shrink(image, (64, 64)), images))
    for image, one in zip(images, found, strict=True):
        np.testing.assert_array_equal(one, cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA))

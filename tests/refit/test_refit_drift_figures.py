from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.degrade import degraded
from edgevad.refit.drift_figures import IMAGE_FIGURES, MemoryFigures, image_figures
from edgevad.refit.drift_sample import Sample, SampleBuilder
from edgevad.runtime.shrinking import shrink


def picture(seed: int = 0) -> np.ndarray:
    """Squares of several grays, with fine detail."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (8, 8, 1), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    return np.clip(coarse + rng.normal(0, 12, (64, 64, 1)), 0, 255).astype(np.uint8).repeat(3, axis=2)


def of(image: np.ndarray) -> dict[str, float]:
    return dict(zip(IMAGE_FIGURES, image_figures(image).tolist(), strict=True))


def test_each_figure_is_moved_by_what_it_is_named_for() -> None:
    plain = of(picture())
    assert of((picture() * 0.6).astype(np.uint8))["brightness"] < 0.65 * plain["brightness"]
    hazed = of((picture() * 0.6 + 76).astype(np.uint8))
    assert hazed["veil"] > 1.5 * plain["veil"]
    assert hazed["contrast"] < 0.7 * plain["contrast"]
    assert of(cv2.GaussianBlur(picture(), (0, 0), 2.0))["sharpness"] < 0.5 * plain["sharpness"]
    warm = of((picture() * np.array([0.7, 1.0, 1.2])).clip(0, 255).astype(np.uint8))
    assert warm["blue"] < plain["blue"] - 0.05
    assert warm["red"] > plain["red"] + 0.03


def test_darkness_moves_neither_contrast_nor_colours() -> None:
    plain, dark = of(picture()), of(picture() // 2)
    for name in ("contrast", "blue", "red"):
        assert abs(dark[name] - plain[name]) < 0.03


def test_a_black_picture_has_figures_but_no_sharpness() -> None:
    found = of(np.zeros((32, 32, 3), np.uint8))
    assert np.isnan(found.pop("sharpness"))
    assert all(np.isfinite(value) for value in found.values())


class _Means:
    """Coordinates of a frame: its mean of each channel."""

    def coordinates(self, frames: np.ndarray) -> np.ndarray:
        return frames.mean(axis=(1, 2)).astype(np.float32)


def test_memory_tells_how_far_a_frame_lies_from_what_is_known() -> None:
    rng = np.random.default_rng(0)
    known = rng.normal(100, 5, (200, 3)).astype(np.float32)
    memory = MemoryFigures(_Means(), known)  # type: ignore[arg-type]
    assert memory.names == ("distance", "direction 1", "direction 2", "direction 3")
    figures = memory.of(np.stack([np.full((4, 4, 3), level, np.uint8) for level in (100, 130)]))
    assert figures.shape == (2, 4)
    assert figures[0, 0] < 0.5
    assert 5 < figures[1, 0] < 7
    assert (figures[1, 1:] > 5).all()


def sample(times_s: list[float], stretch: int = 0) -> Sample:
    builder = SampleBuilder(2)
    for time_s in times_s:
        builder.add(round(time_s * 1e9), stretch, at=1, values=[time_s])
    return builder.sample()


def test_blocks_are_ten_seconds_of_a_stretch_and_neighbours_differ_by_one() -> None:
    joined = Sample.joined([(0, sample([0, 5, 10, 19, 20])), (0, sample([25, 31])), (1, sample([32, 45]))], 2)
    assert joined.stretch.tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 1]
    blocks = joined.blocks() - joined.blocks()[0]
    assert blocks.tolist() == [0, 0, 1, 1, 2, 2, 3, 5, 6]
    assert np.isnan(joined.values[:, 0]).all()


def test_a_gap_within_a_stretch_parts_neighbours() -> None:
    blocks = sample([0, 60, 70]).blocks()
    assert np.diff(blocks).tolist() == [2, 1]


def test_driving_is_counted_without_gaps_and_its_end_can_be_kept() -> None:
    joined = Sample.joined([(0, sample([0, 10, 20])), (1, sample([1000, 1010]))], 2)
    assert joined.driven_s == 30
    assert joined.last(15).values[:, 1].tolist() == [20, 1000, 1010]
    assert len(joined.last(1e9)) == 5
    assert Sample.empty(2).driven_s == 0
    assert len(Sample.joined([], 2)) == 0
    assert Sample.empty(2).blocks().size == 0


@pytest.mark.data
@pytest.mark.parametrize(("kind", "name", "is_higher"), [("haze", "veil", True), ("gamma", "brightness", False)])
def test_on_a_real_drive_what_the_road_does_is_seen(data_dir: Path, kind: str, name: str, is_higher: bool) -> None:
    capture = cv2.VideoCapture(str(data_dir / "donkey_track_1124" / "video.mp4"))
    shifts, column = [], list(IMAGE_FIGURES).index(name)
    for number in range(0, 6000, 200):
        capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        image = capture.read()[1]
        before, after = (image_figures(shrink(one, (64, 64)))[column] for one in (image, degraded(image, kind)))
        shifts.append(after > before)
    assert np.mean(shifts) == (1.0 if is_higher else 0.0)

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgevad.bundle.manifest import Calibration, PartCalibration
from edgevad.runtime.heat import HeatScale
from edgevad.runtime.window import WindowSpec

# By themselves the parts would be an alarm at (1 + 0.5 * 2)^2 = 4 and at (2 + 1 * (2 + 4))^2 = 64.
DETAIL, MOTION = PartCalibration("detail", 1.0, 0.5), PartCalibration("motion", 2.0, 1.0, margin=4.0)


def scale_of(*parts: PartCalibration) -> HeatScale:
    return HeatScale(Calibration(WindowSpec(), parts, threshold=99.0, alarms_per_hour=1.0), 2.0)


def heat_of(scale: HeatScale, heatmap: np.ndarray, scores: list[float]) -> np.ndarray:
    """Of one frame."""
    [heat] = scale(heatmap[None], [scores])
    return heat


def maps(*peaks: float) -> np.ndarray:
    return np.stack([np.full((4, 4), peak, np.float32) for peak in peaks])


def test_the_same_error_is_as_hot_whatever_the_frame_holds_besides() -> None:
    scale = scale_of(DETAIL)
    for _ in range(50):
        heat_of(scale, maps(1.0), [1.0])
    # Not stretched to the frame's own largest error, and in units of the threshold that is in use.
    assert heat_of(scale, maps(2.0), [2.0]).max() == pytest.approx(0.5)
    assert heat_of(scale, maps(8.0), [8.0]).max() == pytest.approx(2.0)


def test_heat_of_a_score_on_another_scale_is_brought_to_it() -> None:
    scale = scale_of(DETAIL)  # heatmap values are a hundred times the score
    assert heat_of(scale, maps(400.0), [4.0]).max() == pytest.approx(1.0)
    for _ in range(20):
        heat_of(scale, maps(100.0), [1.0])
    assert heat_of(scale, maps(800.0), [8.0]).max() == pytest.approx(2.0)


def test_the_hottest_part_counts_at_every_spot() -> None:
    heatmap = np.zeros((2, 3, 3), np.float32)
    heatmap[0, 0, 0], heatmap[1, 2, 2], heatmap[:, 1, 1] = 4.0, 128.0, (2.0, 48.0)
    heat = heat_of(scale_of(DETAIL, MOTION), heatmap, [4.0, 128.0])
    assert (heat.shape, heat.dtype) == ((3, 3), np.float32)
    expected = np.zeros((3, 3))
    expected[0, 0], expected[2, 2], expected[1, 1] = 1.0, 2.0, 0.75
    np.testing.assert_allclose(heat, expected, rtol=1e-5)


def test_every_part_has_a_scale_of_its_own() -> None:
    scale = scale_of(DETAIL, MOTION)
    for _ in range(30):
        heat_of(scale, maps(4.0, 640.0), [4.0, 64.0])  # the second map is ten times its score, the first is its score
    assert heat_of(scale, maps(4.0, 0.0), [4.0, 0.0]).max() == pytest.approx(1.0)
    assert heat_of(scale, maps(0.0, 640.0), [0.0, 64.0]).max() == pytest.approx(1.0)


def test_a_part_without_a_heatmap_is_left_out() -> None:
    assert heat_of(scale_of(DETAIL, MOTION), maps(4.0), [4.0, 1e6]).max() == pytest.approx(1.0)


def test_a_part_that_decides_nothing_is_never_hot() -> None:
    scale = scale_of(replace(DETAIL, margin=None), MOTION)
    with np.errstate(all="raise"):
        heat = heat_of(scale, maps(1e4, 64.0), [1e4, 64.0])
    assert heat.max() == pytest.approx(1.0)
    assert heat.dtype == np.float32


def test_nothing_is_cold_and_a_level_of_zero_is_no_division_by_it() -> None:
    scale = scale_of(DETAIL, MOTION)
    assert heat_of(scale, maps(0.0, 0.0), [0.0, 0.0]).max() == 0.0
    below = HeatScale(Calibration(WindowSpec(), (DETAIL,), threshold=1.0, alarms_per_hour=1.0), -50.0)
    assert np.isfinite(heat_of(below, maps(1.0), [1.0])).all()


def test_frames_together_are_as_hot_as_one_after_the_other() -> None:
    rng = np.random.default_rng(0)
    heatmaps = rng.gamma(1.0, 3.0, (30, 2, 5, 4)).astype(np.float32)
    heatmaps[3] = 0.0
    scores = [[float(one.mean()), 100.0 * float(one.max())] for one in heatmaps[:, 0]]
    one_by_one = scale_of(DETAIL, MOTION)
    expected = np.stack([heat_of(one_by_one, heatmap, row) for heatmap, row in zip(heatmaps, scores, strict=True)])
    together = scale_of(DETAIL, MOTION)
    found = [together(heatmaps[:8], scores[:8]), together(heatmaps[8:], scores[8:])]
    np.testing.assert_array_equal(np.concatenate(found), expected)

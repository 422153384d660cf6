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


def maps(*peaks: float) -> np.ndarray:
    return np.stack([np.full((4, 4), peak, np.float32) for peak in peaks])


def test_the_same_error_is_as_hot_whatever_the_frame_holds_besides() -> None:
    scale = scale_of(DETAIL)
    for _ in range(50):
        scale(maps(1.0), [1.0])
    # Not stretched to the frame's own largest error, and in units of the threshold that is in use.
    assert scale(maps(2.0), [2.0]).max() == pytest.approx(0.5)
    assert scale(maps(8.0), [8.0]).max() == pytest.approx(2.0)


def test_heat_of_a_score_on_another_scale_is_brought_to_it() -> None:
    scale = scale_of(DETAIL)  # heatmap values are a hundred times the score
    assert scale(maps(400.0), [4.0]).max() == pytest.approx(1.0)
    for _ in range(20):
        scale(maps(100.0), [1.0])
    assert scale(maps(800.0), [8.0]).max() == pytest.approx(2.0)


def test_the_hottest_part_counts_at_every_spot() -> None:
    heatmap = np.zeros((2, 3, 3), np.float32)
    heatmap[0, 0, 0], heatmap[1, 2, 2], heatmap[:, 1, 1] = 4.0, 128.0, (2.0, 48.0)
    heat = scale_of(DETAIL, MOTION)(heatmap, [4.0, 128.0])
    assert (heat.shape, heat.dtype) == ((3, 3), np.float32)
    expected = np.zeros((3, 3))
    expected[0, 0], expected[2, 2], expected[1, 1] = 1.0, 2.0, 0.75
    np.testing.assert_allclose(heat, expected, rtol=1e-5)


def test_every_part_has_a_scale_of_its_own() -> None:
    scale = scale_of(DETAIL, MOTION)
    for _ in range(30):
        scale(maps(4.0, 640.0), [4.0, 64.0])  # the second map is ten times its score, the first is its score
    assert scale(maps(4.0, 0.0), [4.0, 0.0]).max() == pytest.approx(1.0)
    assert scale(maps(0.0, 640.0), [0.0, 64.0]).max() == pytest.approx(1.0)


def test_a_part_without_a_heatmap_is_left_out() -> None:
    assert scale_of(DETAIL, MOTION)(maps(4.0), [4.0, 1e6]).max() == pytest.approx(1.0)


def test_a_part_that_decides_nothing_is_never_hot() -> None:
    scale = scale_of(replace(DETAIL, margin=None), MOTION)
    with np.errstate(all="raise"):
        heat = scale(maps(1e4, 64.0), [1e4, 64.0])
    assert heat.max() == pytest.approx(1.0)
    assert heat.dtype == np.float32


def test_nothing_is_cold_and_a_level_of_zero_is_no_division_by_it() -> None:
    scale = scale_of(DETAIL, MOTION)
    assert scale(maps(0.0, 0.0), [0.0, 0.0]).max() == 0.0
    below = HeatScale(Calibration(WindowSpec(), (DETAIL,), threshold=1.0, alarms_per_hour=1.0), -50.0)
    assert np.isfinite(below(maps(1.0), [1.0])).all()

from __future__ import annotations

import numpy as np

from edgevad.bundle.calibration import Calibration, PartCalibration
from edgevad.refit.standing_out import STANDS_OUT, own_deviates
from edgevad.runtime.window import WindowSpec

CALIBRATION = Calibration(
    WindowSpec(), (PartCalibration("residual", 1.0, 0.1), PartCalibration("view", 1.0, 0.1, None)), 4.0, 1.0
)


def windowed(deviates: np.ndarray) -> np.ndarray:
    """Scores of `residual` with these deviates, and of a part that decides nothing and is far out always."""
    amplitude = 1.0 + 0.1 * deviates
    return np.stack([amplitude**2, np.full(len(amplitude), 400.0)], axis=1)


def test_a_new_condition_moves_whole_drives_and_nothing_stands_out() -> None:
    random = np.random.default_rng(0)
    drives = np.repeat([0, 1], 1000)
    shifted = random.normal(0, 1, 2000) + 9.0 * drives
    assert np.mean(own_deviates(windowed(shifted), drives, CALIBRATION) >= STANDS_OUT) < 0.01


def test_anomalies_of_two_fifths_of_a_drive_stand_out_in_any_condition() -> None:
    random = np.random.default_rng(0)
    anomalous = np.arange(1000) % 100 < 40
    scores = random.normal(0, 1, 1000) + 9.0 + 7.0 * anomalous
    out = own_deviates(windowed(scores), np.zeros(1000, np.int32), CALIBRATION) >= STANDS_OUT
    assert out[anomalous].mean() > 0.9
    assert out[~anomalous].mean() < 0.01


def test_short_drives_are_seen_together() -> None:
    drives = np.arange(300) // 10
    scores = np.where(drives == 7, 20.0, 0.0)
    out = own_deviates(windowed(scores), drives, CALIBRATION) >= STANDS_OUT
    np.testing.assert_array_equal(out, drives == 7)

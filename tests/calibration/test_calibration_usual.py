"""Which recordings are heavily contaminated, and which of their frames are usual."""

from __future__ import annotations

import numpy as np
import pytest

from edgevad.calibration.usual import usual_frames

COUNT = 3000
PARTS = ("residual", "detail", "view")
NO_MARGINS = [0.0, 0.0, 0.0]
ONE_DRIVE = np.zeros(COUNT, np.int32)
# Far out in `residual`, for 50 frames at a time.
FAR = 8.0


def spread(share: float) -> np.ndarray:
    """(COUNT,) stretches of 50 frames all over the recording, `share` of it."""
    block = np.arange(COUNT) // 50
    return np.floor((block + 1) * share) > np.floor(block * share)


def windowed(unusual: np.ndarray, detail: float = 0.0) -> np.ndarray:
    """(n, 3) squares of amplitudes; unusual frames are FAR out in `residual`, and by `detail` there."""
    amplitude = 20.0 + np.random.default_rng(0).normal(size=(len(unusual), 3))
    amplitude[unusual, 0] += FAR
    amplitude[unusual, 1] += detail
    return np.square(amplitude)


@pytest.mark.parametrize("share", [0.3, 0.4, 0.45])
def test_what_recurs_and_is_not_given_back_is_told_from_the_rest(share: float) -> None:
    unusual = spread(share)
    usual = usual_frames(windowed(unusual), ONE_DRIVE, PARTS, NO_MARGINS)
    assert usual is not None
    assert not usual[unusual].any()
    assert usual[~unusual].mean() > 0.85


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.6])
def test_few_are_a_tail_and_more_than_half_are_what_is_usual(share: float) -> None:
    assert usual_frames(windowed(spread(share)), ONE_DRIVE, PARTS, NO_MARGINS) is None


def test_what_stands_out_in_detail_is_not_remembered_and_so_is_rare() -> None:
    assert usual_frames(windowed(spread(0.4), detail=FAR), ONE_DRIVE, PARTS, NO_MARGINS) is None
    assert usual_frames(windowed(spread(0.4), detail=0.5), ONE_DRIVE, PARTS, NO_MARGINS) is not None


def test_what_stays_is_a_condition() -> None:
    last = np.arange(COUNT) >= 0.65 * COUNT
    assert usual_frames(windowed(last), ONE_DRIVE, PARTS, NO_MARGINS) is None
    # Of each third some are usual here; of the second drive none is.
    middle = (np.arange(COUNT) >= 0.5 * COUNT) & (np.arange(COUNT) < 0.8 * COUNT)
    assert usual_frames(windowed(middle), ONE_DRIVE, PARTS, NO_MARGINS) is not None
    drives = np.cumsum(np.r_[0, np.diff(middle.astype(int)) != 0])
    assert usual_frames(windowed(middle), drives, PARTS, NO_MARGINS) is None


def test_drives_of_a_moment_are_not_asked() -> None:
    unusual = spread(0.4)
    moments = np.cumsum(np.r_[0, np.diff(unusual.astype(int)) != 0])
    assert usual_frames(windowed(unusual), moments, PARTS, NO_MARGINS) is not None


@pytest.mark.parametrize("margins", [[4.0, 4.0, 0.0], [None, None, 0.0], [0.0, 4.0, 0.0]])
def test_parts_that_do_not_lead_tell_nothing(margins: list[float | None]) -> None:
    assert usual_frames(windowed(spread(0.4)), ONE_DRIVE, PARTS, margins) is None


def test_without_both_parts_or_enough_frames_nothing_is_told() -> None:
    scores = windowed(spread(0.4))
    assert usual_frames(scores[:, :1], ONE_DRIVE, ("patch",), [0.0]) is None
    assert usual_frames(scores[:, [0, 2]], ONE_DRIVE, ("residual", "view"), [0.0, 0.0]) is None
    assert usual_frames(scores[:599], ONE_DRIVE[:599], PARTS, NO_MARGINS) is None
    assert usual_frames(scores[:600], ONE_DRIVE[:600], PARTS, NO_MARGINS) is not None


def test_a_picture_that_stands_still_is_no_contamination() -> None:
    assert usual_frames(np.ones((COUNT, 3)), ONE_DRIVE, PARTS, NO_MARGINS) is None

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgevad.bundle.manifest import Calibration, PartCalibration
from edgevad.calibration.frames import LIKELY_ANOMALY, _stretches, choose_frames, farthest_points, read_drives
from edgevad.calibration.judging import judge
from edgevad.errors import CalibrationError
from edgevad.model.cache import FrameCache
from edgevad.runtime.backends.backend import Scores
from edgevad.runtime.window import WindowSpec
from edgevad.spec import InputSpec

CALIBRATION = Calibration(WindowSpec("mean", 0.0), (PartCalibration("patch", 0.0, 1.0),), 3.0, 1.0)


class Brightness:
    """A backend whose score is a frame's brightness in hundreds, and whose latent is its position."""

    batch: int | None = None

    def __init__(self) -> None:
        self.calls: list[int] = []

    def score(self, frames: np.ndarray, motion: np.ndarray | None) -> Scores:
        self.calls.append(len(frames))
        level = frames.reshape(len(frames), -1).mean(axis=1).astype(np.float32)
        score = np.square(level / 100)[:, None]
        return Scores(score, np.ones((len(frames), 1, 2, 2), np.float32), level[:, None])

    def close(self) -> None:
        pass


def cache_of(levels: np.ndarray, *, fps_hz: float = 10.0, segment: np.ndarray | None = None) -> FrameCache:
    count = len(levels)
    images = np.repeat(levels.astype(np.uint8), 16 * 16 * 3).reshape(count, 16, 16, 3)
    times = (np.arange(count) * round(1e9 / fps_hz)).astype(np.int64)
    return FrameCache(images, None, times, np.zeros(count, np.int32) if segment is None else segment, 0)


def drive(count: int = 2000) -> np.ndarray:
    """Levels that drift up and down, and something bright for ten seconds of every minute."""
    levels = 60 + 40 * np.sin(np.arange(count) / 90)
    levels[np.arange(count) % 600 < 100] = 220
    return levels


def test_farthest_points_cover_and_repeat_themselves() -> None:
    points = np.random.default_rng(0).normal(size=(500, 3))
    picked, radius = farthest_points(points, 40)
    assert len(set(picked.tolist())) == 40
    nearest = np.linalg.norm(points[:, None] - points[picked][None], axis=2).min(axis=1)
    assert nearest.max() == pytest.approx(radius)
    # Picked points are at least the radius apart: no cover by as many points can be twice as tight.
    among = np.linalg.norm(points[picked][:, None] - points[picked][None], axis=2)
    assert among[~np.eye(40, dtype=bool)].min() >= radius
    np.testing.assert_array_equal(picked, farthest_points(points, 40)[0])


def test_farthest_points_take_no_copies() -> None:
    picked, radius = farthest_points(np.repeat(np.eye(3), 20, axis=0), 50)
    assert len(picked) == 3
    assert radius == 0.0


def test_chosen_and_held_out_frames_are_of_other_stretches() -> None:
    frames = choose_frames(cache_of(drive()), Brightness(), CALIBRATION, 60)
    assert len(frames.chosen) == 60
    assert (np.diff(frames.chosen) > 0).all()
    stretch = (np.arange(2000) + 1) // 200  # of 20 s; clocks round, so the frames at their ends are left out
    inside = (np.arange(2000) + 1) % 200 > 2
    frames = replace(
        frames, chosen=frames.chosen[inside[frames.chosen]], held_out=frames.held_out[inside[frames.held_out]]
    )
    assert not set(stretch[frames.chosen]) & set(stretch[frames.held_out])
    assert set(stretch[frames.held_out]) == {2, 5, 8}  # 0 to 9
    assert 580 <= len(frames.held_out) <= 600


def test_likely_anomalies_are_left_out_of_what_is_quantised_by_and_not_of_what_it_is_tried_on() -> None:
    levels = drive()
    frames = choose_frames(cache_of(levels), Brightness(), CALIBRATION, 200)
    assert levels[frames.chosen].max() / 100 <= LIKELY_ANOMALY
    assert 390 <= frames.left_out <= 400  # of 1400 frames, 400 are bright; a stretch may begin a frame later
    assert (levels[frames.held_out] == 220).any()


def test_chosen_frames_reach_from_the_darkest_to_the_brightest() -> None:
    levels = drive()
    cache = cache_of(levels)
    frames = choose_frames(cache, Brightness(), CALIBRATION, 40)
    pool = levels[(np.arange(2000) // 200 % 3 != 2) & (levels < 200)]
    assert levels[frames.chosen].min() <= pool.min() + 2
    assert levels[frames.chosen].max() >= pool.max() - 2
    assert frames.to_json(cache)["timestamps_ns"] == cache.timestamp_ns[frames.chosen].tolist()


def test_the_reference_is_judged_on_the_held_out_frames_alone() -> None:
    calibration = Calibration(WindowSpec("mean", 120.0), CALIBRATION.parts, 3.0, 1.0)  # longer than a stretch and a gap
    cache, backend = cache_of(drive()), Brightness()
    frames = choose_frames(cache, backend, calibration, 50)
    again = judge(backend, cache, frames.held_out, calibration)
    np.testing.assert_array_equal(frames.reference.anomaly, again.anomaly)
    assert len(frames.reference.heatmap) == len(frames.held_out)
    # A stretch begins without a past: its first frame is its own window.
    first = int(np.flatnonzero(np.diff(frames.held_out) > 1)[0]) + 1
    assert again.anomaly[first] == pytest.approx(again.frame_score[first])


def test_stretches_do_not_reach_across_segments() -> None:
    segment = np.repeat(np.arange(100, dtype=np.int32), 20)
    stretch = _stretches(cache_of(drive(), segment=segment))
    assert (np.diff(stretch) >= 0).all()
    assert (np.diff(stretch)[np.diff(segment) != 0] == 1).all()


def test_views_that_do_not_differ_are_no_calibration() -> None:
    with pytest.raises(CalibrationError, match=r"2000 frames show 1 different normal views"):
        choose_frames(cache_of(np.full(2000, 80.0)), Brightness(), CALIBRATION, 100)


def test_short_drives_are_refused_with_a_way_out() -> None:
    with pytest.raises(CalibrationError, match=r"20 frames leave \d+ normal ones .* Give longer drives, or more"):
        choose_frames(cache_of(drive(20)), Brightness(), CALIBRATION, 100)


def test_a_drive_of_nothing_but_anomalies_is_refused() -> None:
    with pytest.raises(CalibrationError, match="leave 0 normal ones"):
        choose_frames(cache_of(np.full(2000, 250.0)), Brightness(), CALIBRATION, 100)


def test_frames_of_a_graph_with_a_fixed_batch_come_one_by_one() -> None:
    backend = Brightness()
    backend.batch = 1
    judge(backend, cache_of(drive(100)), np.arange(100), CALIBRATION)
    assert backend.calls == [1] * 100


def test_drives_know_which_frame_of_the_recording_each_of_theirs_is(tiny_video: Path, tmp_path: Path) -> None:
    drives = read_drives([str(tiny_video)], InputSpec(16, 16), tmp_path / "cache")
    np.testing.assert_array_equal(drives.frame_index, np.arange(120))
    twice = read_drives([str(tiny_video), str(tiny_video)], InputSpec(16, 16), tmp_path / "cache2")
    np.testing.assert_array_equal(twice.frame_index, np.arange(240))
    assert (drives.frame_count, twice.frame_count) == (120, 240)


@pytest.mark.parametrize("name", ["nothing.mp4", "text.mp4"])
def test_drives_that_cannot_be_read_are_a_calibration_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(CalibrationError, match=r"--calib"):
        read_drives([str(tmp_path / name)], InputSpec(16, 16), tmp_path / "cache")

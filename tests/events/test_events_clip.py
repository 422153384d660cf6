"""What is written without PyAV, and files that were cut off."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from scenes import frames_of

from edgevad.errors import OutputError
from edgevad.events import clip as clip_module
from edgevad.events.clip import Clip, open_clip
from edgevad.events.disk import DiskFloor
from edgevad.events.fragments import boxes, clip_length_ns, trim

SIZE = (64, 48)


def picture(gray: int) -> np.ndarray:
    return np.full((SIZE[1], SIZE[0], 3), gray, np.uint8)


def write_second(clip: Clip, first: int) -> None:
    for k in range(first, first + 10):
        clip.write(picture(k), k * 10**8)


def test_without_pyav_opencv_writes_vp8_in_webm_and_repeats_frames_to_keep_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_module, "encoder", lambda: None)
    assert clip_module.clip_suffix() == ".webm"
    clip = open_clip(tmp_path / "day" / "a.webm", SIZE, 10**12, fps_hz=10.0)
    for at_s, gray in ((0.0, 20), (0.1, 60), (0.5, 100), (0.6, 140)):
        clip.write(picture(gray), 10**12 + round(at_s * 1e9))
    clip.close()
    capture = cv2.VideoCapture(str(clip.path))
    assert int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little") == b"VP80"
    capture.release()
    found = frames_of(clip.path)
    assert [at_s for at_s, _ in found] == pytest.approx([k / 10 for k in range(7)], abs=0.002)
    assert [gray for _, gray in found][::6] == pytest.approx([20, 140], abs=5)


def test_a_clip_that_finds_no_room_ends_with_a_whole_fragment(tmp_path: Path) -> None:
    disk = type("Disk", (), {"f_bavail": 10**9, "f_frsize": 1})
    floor = DiskFloor(tmp_path, 1000, statvfs=lambda _: disk)  # type: ignore[arg-type, return-value]
    clip = open_clip(tmp_path / "a.mp4", SIZE, 0, fps_hz=10.0, floor=floor)
    rng = np.random.default_rng(0)
    for k in range(20):
        clip.write(rng.integers(0, 255, (48, 64, 3), np.uint8), k * 10**8)
    floor.floor_bytes = 10**10
    with pytest.raises(OutputError, match="almost full"):
        write_second(clip, 20)
    clip.close()  # nothing is left to be done, and nothing is raised
    names = [name for name, _, _ in boxes(clip.path)]
    assert names[-2:] == ["moof", "mdat"]
    length_ns = clip_length_ns(clip.path)
    assert length_ns is not None
    assert length_ns >= 1.4e9


def test_half_a_fragment_is_cut_off_and_a_file_without_one_is_left_alone(tmp_path: Path) -> None:
    clip = open_clip(tmp_path / "a.mp4", SIZE, 0, fps_hz=10.0)
    for k in range(30):
        clip.write(picture(k), k * 10**8)
    clip.close()
    whole = clip.path.read_bytes()
    assert trim(clip.path) == sum(name == "moof" for name, _, _ in boxes(clip.path))
    assert clip.path.read_bytes() == whole
    starts = [start for name, start, _ in boxes(clip.path) if name == "moof"]
    clip.path.write_bytes(whole[: starts[-1] + 20])
    assert trim(clip.path) == len(starts) - 1
    assert clip.path.stat().st_size == starts[-1]
    clip.path.write_bytes(whole[: starts[0] + 20])
    assert trim(clip.path) == 0
    assert clip_length_ns(clip.path) is None

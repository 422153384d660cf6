from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from recordings import gray_image, levels, make_video, noise_image, read_all

from edgevad.errors import SourceError, SourceUnreadableError
from edgevad.sources import open_source
from edgevad.sources.video import VideoSource


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_a_video_gives_every_frame_with_the_time_of_its_container(tmp_path: Path, suffix: str) -> None:
    source = open_source(make_video(tmp_path / f"drive{suffix}", frames=12, fps_hz=20))
    assert (source.kind, source.frame_count_hint, source.fps_hint_hz) == ("video", 12, 20.0)
    frames = read_all(source)
    assert levels(frames) == list(range(12))
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.timestamp_ns for frame in frames] == pytest.approx([50_000_000 * k for k in range(12)], abs=1_000_000)
    assert {frame.segment for frame in frames} == {0}
    assert (source.skipped, source.positions) == (0, 12)


def test_a_video_can_be_read_again_and_left_early(tmp_path: Path) -> None:
    with open_source(make_video(tmp_path / "drive.mp4")) as source:
        for frame in source:
            if frame.index == 3:
                break
        assert levels(source) == list(range(12))


class CountingCapture:
    """A `cv2.VideoCapture` with positions of our choice, and a count of those that are open."""

    positions_ms: tuple[float, ...] = ()
    open_captures = 0

    def __init__(self, *_: object) -> None:
        self._next = 0
        CountingCapture.open_captures += 1

    def isOpened(self) -> bool:  # noqa: N802  (OpenCV's name)
        return True

    def read(self) -> tuple[bool, object]:
        self._next += 1
        return self._next <= len(self.positions_ms), gray_image(self._next)

    def get(self, what: int) -> float:
        if what == cv2.CAP_PROP_POS_MSEC:
            return self.positions_ms[self._next - 1]
        return {
            cv2.CAP_PROP_FPS: 10.0,
            cv2.CAP_PROP_FRAME_COUNT: float(len(self.positions_ms)),
            cv2.CAP_PROP_FRAME_WIDTH: 32.0,
            cv2.CAP_PROP_FRAME_HEIGHT: 24.0,
            cv2.CAP_PROP_CODEC_PIXEL_FORMAT: 0.0,
        }[what]

    def release(self) -> None:
        CountingCapture.open_captures -= 1


@pytest.mark.parametrize(
    ("positions_ms", "expected_ms", "segments"),
    [
        ((0, 100, 250), (0, 100, 250), (0, 0, 0)),
        ((0, 0, 0), (0, 100, 200), (0, 0, 0)),
        ((float("nan"),) * 3, (0, 100, 200), (0, 0, 0)),
        ((-20, 80, 180), (0, 80, 180), (0, 0, 0)),
        ((500, 600, 400, 500, 700), (500, 600, 700, 800, 900), (0, 0, 0, 0, 0)),
        ((500, 600, 100, 200), (500, 600, 100, 200), (0, 0, 1, 1)),
        ((500, 600, 0, 0, 100), (500, 600, 0, 100, 200), (0, 0, 1, 1, 1)),
        ((1000, 800, 600, 700), (1000, 1100, 600, 700), (0, 0, 1, 1)),
        ((0, 100, 1200, 1300), (0, 100, 1200, 1300), (0, 0, 1, 1)),
        ((0, 1000, 2000), (0, 1000, 2000), (0, 0, 0)),
    ],
    ids=[
        "variable rate",
        "no clock",
        "not a number",
        "negative",
        "jitter",
        "back to another recording",
        "back to the start",
        "back by and by",
        "gap",
        "just no gap",
    ],
)
def test_time_never_stands_still_or_goes_back_within_a_segment(
    monkeypatch: pytest.MonkeyPatch,
    positions_ms: tuple[float, ...],
    expected_ms: tuple[int, ...],
    segments: tuple[int, ...],
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", CountingCapture)
    monkeypatch.setattr(CountingCapture, "positions_ms", positions_ms)
    frames = read_all(VideoSource(Path("made_up.mp4")))
    assert [frame.timestamp_ns // 1_000_000 for frame in frames] == list(expected_ms)
    assert [frame.segment for frame in frames] == list(segments)


def test_leaving_early_closing_and_closing_twice_release_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", CountingCapture)
    monkeypatch.setattr(CountingCapture, "positions_ms", (0, 100, 200))
    source = VideoSource(Path("made_up.mp4"))
    assert CountingCapture.open_captures == 0
    frames = iter(source)
    next(frames)
    assert CountingCapture.open_captures == 1
    source.close()
    source.close()
    assert CountingCapture.open_captures == 0
    with pytest.raises(SourceError, match="closed"):
        iter(source)


def test_joined_recordings_are_not_taken_for_a_cut_off_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", CountingCapture)
    # Twice 2 s at 10 Hz, where the container announces 44 frames.
    monkeypatch.setattr(CountingCapture, "positions_ms", tuple(range(0, 2000, 100)) * 2)
    source = VideoSource(Path("made_up.mkv"))
    source.frame_count_hint = 44
    assert [frame.segment for frame in read_all(source)] == [0] * 20 + [1] * 20
    assert source.skipped == 0


def test_a_name_that_is_not_utf8_is_one_clear_error_and_no_crash(tmp_path: Path) -> None:
    video = make_video(tmp_path / "drive.mp4", frames=2)
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4")
    try:
        video.rename(name)
    except OSError:
        pytest.skip("this file system takes no such name")
    program = (
        "import sys\n"
        "from edgevad.errors import SourceUnreadableError\n"
        "from edgevad.sources import open_source\n"
        "try:\n"
        "    open_source(sys.argv[1])\n"
        "except SourceUnreadableError as error:\n"
        "    print(error.what, error.fix, sep='; ')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "its name is not valid UTF-8; Rename it\n")
    make_video(tmp_path / "other.mp4", frames=2)
    source = open_source(tmp_path)
    assert len(read_all(source)) == 2
    assert dict(source.skip_reasons) == {"caf\ufffd.mp4: its name is not valid UTF-8": 1}


def test_a_video_cut_mid_stream_gives_what_there_is_and_reports_the_rest(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.avi", images=[noise_image()] * 30)
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    source = open_source(cut)
    frames = read_all(source)
    assert 10 <= len(frames) <= 16
    assert dict(source.skip_reasons) == {"announced by the file but not in it (cut off?)": 30 - len(frames)}
    assert source.positions == len(frames)


def test_a_truncated_mp4_is_one_clear_error(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", images=[noise_image()] * 10)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(SourceUnreadableError, match=r"cut\.mp4: the recording was cut off: its index \(moov\)"):
        open_source(cut)


@pytest.mark.parametrize(
    ("content", "message"), [(b"hello, I am a text\n", "cannot decode a single frame"), (b"", r"empty \(0 bytes\)")]
)
def test_a_file_that_is_no_video_is_one_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "text.mp4").write_bytes(content)
    with pytest.raises(SourceUnreadableError, match=message):
        open_source(tmp_path / "text.mp4")

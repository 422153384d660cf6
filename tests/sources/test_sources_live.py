from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import pytest
from network_camera import network_camera
from recordings import gray_image

from edgevad.errors import OptionError, SourceError, SourceNotFoundError, SourceUnreadableError
from edgevad.sources import Frame, Image, open_source
from edgevad.sources.capture import Capture
from edgevad.sources.live import LiveSource
from edgevad.sources.opencv import has_gstreamer


class FakeCamera(Capture):
    """Gives `frames` frames, each when the test says so, and then none; calling it opens it."""

    def __init__(self, frames: int, error: Exception | None = None) -> None:
        self.turns = threading.Semaphore(0)
        self.released = 0
        self._left = frames
        self._error = error

    def __call__(self) -> FakeCamera:
        return self

    def read(self) -> tuple[bool, Image | None]:
        if not self.turns.acquire(timeout=0.1):  # a driver's own time limit
            return False, None
        if self._left == 0:
            if self._error is not None:
                raise self._error
            return False, None
        self._left -= 1
        return True, gray_image(self._left)

    def release(self) -> None:
        self.released += 1


def open_fake(camera: FakeCamera, timeout_s: float = 0.3, stale_s: float | None = None) -> LiveSource:
    camera.turns.release()
    return LiveSource(camera, name="fake", kind="camera", timeout_s=timeout_s, stale_s=stale_s or timeout_s)


def wait_for_capture(source: LiveSource, frames: int) -> None:
    end_s = time.monotonic() + 5
    while source.captured < frames:
        assert time.monotonic() < end_s
        time.sleep(0.001)


def test_the_newest_frame_wins_and_the_others_are_counted() -> None:
    camera = FakeCamera(frames=10)
    with open_fake(camera) as source:
        assert source.is_live
        frames = iter(source)
        before_ns = time.time_ns()
        assert (first := next(frames)).index == 0
        camera.turns.release(5)
        wait_for_capture(source, 6)
        newest = next(frames)
        assert (newest.index, newest.image[0, 0, 0], source.dropped) == (5, 4, 4)
        assert first.timestamp_ns < newest.timestamp_ns
        assert before_ns < newest.timestamp_ns <= time.time_ns()
        assert (first.segment, newest.segment, newest.source_id) == (0, 0, "fake")
    assert camera.released == 1


def test_frames_that_come_before_anybody_asks_are_not_dropped_ones() -> None:
    camera = FakeCamera(frames=10)
    with open_fake(camera) as source:
        camera.turns.release(3)
        wait_for_capture(source, 4)
        frame = next(iter(source))
        assert (frame.index, frame.image[0, 0, 0], source.dropped) == (0, 6, 0)


def test_a_camera_that_falls_silent_is_lost_and_gives_no_black_frame() -> None:
    camera = FakeCamera(frames=2)
    with open_fake(camera) as source:
        frames = iter(source)
        next(frames)
        camera.turns.release(1)
        next(frames)
        start_s = time.monotonic()
        with pytest.raises(SourceError, match=r"fake: camera lost: no frame for 0\.3 s"):
            next(frames)
        assert time.monotonic() - start_s >= 0.3


@pytest.mark.parametrize(
    ("fps_hint_hz", "times_s", "segments"),
    [
        (None, (0, 2, 4, 6, 13), (0, 0, 0, 0, 1)),
        (None, (0, 0.1, 0.2, 0.3, 1.2, 2.3, 2.4), (0, 0, 0, 0, 0, 1, 1)),
        (None, (0, 0.1, 0.2, 0.0), (0, 0, 0, 1)),
        (0.5, (0, 6, 8, 14.5), (0, 0, 0, 1)),
        (30, (0, 5, 5.1), (0, 1, 1)),
        (30, (0, 2, 4, 6, 8, 10), (0, 1, 1, 1, 1, 1)),
    ],
    ids=["slow", "quick", "back", "stated slow", "stated quick", "stated quick, but slow"],
)
def test_gaps_are_told_from_a_slow_camera(
    monkeypatch: pytest.MonkeyPatch, fps_hint_hz: float | None, times_s: tuple[float, ...], segments: tuple[int, ...]
) -> None:
    camera = FakeCamera(frames=len(times_s))
    # By the frames given so far, for the clock is read after vain attempts, too.
    monkeypatch.setattr(
        "edgevad.sources.grabber.time.time_ns", lambda: round(times_s[-1 - min(camera._left, len(times_s) - 1)] * 1e9)
    )
    with open_fake(camera) as source:
        source.fps_hint_hz = fps_hint_hz
        seen = []
        for frame in source:
            seen.append(frame.segment)
            if len(seen) == len(times_s):
                break
            camera.turns.release()
    assert tuple(seen) == segments
    assert not source.reads(Path(__file__))


def test_what_a_driver_throws_reaches_the_reader() -> None:
    camera = FakeCamera(frames=1, error=RuntimeError("the driver\nfell over"))
    with open_fake(camera, timeout_s=30) as source:
        frames = iter(source)
        next(frames)
        camera.turns.release(1)
        with pytest.raises(SourceError, match="camera lost: the driver fell over"):
            next(frames)
    assert camera.released == 1


def test_a_camera_without_a_first_frame_is_an_error_at_once() -> None:
    camera = FakeCamera(frames=0)
    with pytest.raises(SourceUnreadableError, match=r"gives no frame within 0\.1 s"):
        open_fake(camera, timeout_s=0.1)
    assert camera.released == 1


def test_closing_from_another_thread_ends_a_waiting_reader() -> None:
    camera = FakeCamera(frames=1)
    source = open_fake(camera, timeout_s=30)
    frames = iter(source)
    next(frames)
    threading.Timer(0.05, source.close).start()
    assert list(frames) == []
    source.close()
    assert camera.released == 1


def test_a_network_stream_gives_frames_until_it_is_lost() -> None:
    with network_camera(rate_hz=50, size_px=(32, 24), frames=30) as url, open_source(url, timeout_s=1) as source:
        assert (source.kind, source.is_live, source.frame_count_hint) == ("stream", True, None)
        frames: list[Frame] = []
        with pytest.raises(SourceError, match="camera lost"):
            frames.extend(source)
    assert len(frames) + source.dropped == source.positions >= 5
    assert all(frame.image.shape == (24, 32, 3) for frame in frames)


@pytest.mark.parametrize("spec", ["63", "/dev/video63", Path("/dev/video63")])
def test_a_camera_that_is_not_there_is_one_clear_error(spec: str | Path) -> None:
    with pytest.raises(SourceNotFoundError, match="/dev/video63: no such camera"):
        open_source(spec)


def test_a_device_that_is_no_camera_is_one_clear_error() -> None:
    with pytest.raises(SourceUnreadableError, match="/dev/null: the camera cannot be opened"):
        open_source("/dev/null")


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_stream_nobody_sends_is_one_clear_error_without_the_password(scheme: str) -> None:
    with pytest.raises(SourceNotFoundError, match="no video stream could be opened") as error:
        open_source(f"{scheme}://user:p@ss@127.0.0.1:1/stream", timeout_s=1)
    assert "***@127.0.0.1" in str(error.value)
    assert "ss@" not in str(error.value)


def test_an_unknown_kind_of_address_is_one_clear_error() -> None:
    with pytest.raises(OptionError, match=r"gopher:// are not supported; expected csi or one of http, .*rtsp"):
        open_source("gopher://host/stream")


@pytest.mark.skipif(has_gstreamer(), reason="this OpenCV has GStreamer")
def test_a_pipeline_without_gstreamer_says_how_to_get_it() -> None:
    with pytest.raises(SourceError, match=r"needs? an OpenCV built with GStreamer.*python3-opencv"):
        open_source("videotestsrc ! videoconvert ! appsink")


def test_a_pipeline_is_handed_to_gstreamer(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[object, ...]] = []

    class Capture(FakeCamera):
        def __init__(self, *arguments: object) -> None:
            super().__init__(frames=3)
            self.turns.release(3)
            opened.append(arguments)

        def isOpened(self) -> bool:  # noqa: N802  (OpenCV's name)
            return True

        def get(self, _: int) -> float:
            return 30.0

    monkeypatch.setattr("edgevad.sources.gstreamer.has_gstreamer", lambda: True)
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    with open_source("rtspsrc location=rtsp://me:secret@cam/1 user-pw=secret ! decodebin", timeout_s=1) as source:
        assert (source.kind, source.fps_hint_hz) == ("pipeline", 30.0)
        assert "secret" not in source.name
        next(iter(source))
    ((pipeline, api),) = opened
    assert api == cv2.CAP_GSTREAMER
    assert str(pipeline).startswith(
        "rtspsrc location=rtsp://me:secret@cam/1 user-pw=secret ! decodebin ! videoconvert ! "
    )
    assert " ! appsink " in str(pipeline)

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any

import cv2
import pytest
from recordings import gray_image
from rtsp import FRAMES_OF_START, RtspServer, lacking, number_in
from system import require

from edgevad.errors import SourceNotFoundError
from edgevad.events import Incident
from edgevad.sources import open_source
from edgevad.sources.live import LiveSource
from edgevad.sources.stream import OPTIONS_VARIABLE, RTSP_OPTIONS, Stream

RTSP_MODULES = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


@pytest.fixture
def server() -> Iterator[RtspServer]:
    require(lacking(RTSP_MODULES))
    with RtspServer() as server:
        yield server


def test_an_rtsp_server_that_is_killed_and_comes_back_with_another_size(server: RtspServer) -> None:
    told: list[Incident] = []
    sizes_px = [(320, 240), (640, 360), (640, 360)]
    server.start(sizes_px[0])
    with open_source(server.url, reconnect=True) as source:
        assert isinstance(source, LiveSource)
        source.on_incident = told.append
        last, start, flowing, back_s = -1, 0, 0, 0.0
        segments: dict[int, set[int]] = {}
        for frame in source:
            number = number_in(frame.image)
            assert number is not None, "a frame that the server did not send"
            assert number > last
            last = number
            if number // FRAMES_OF_START > start:
                start, flowing = number // FRAMES_OF_START, 0
                assert time.monotonic() - back_s < 3
            assert frame.image.shape[1::-1] == sizes_px[start]
            segments.setdefault(start, set()).add(frame.segment)
            flowing += 1
            if flowing == 10:
                if start == len(sizes_px) - 1:
                    break
                server.kill()
                server.start(sizes_px[start + 1])
                back_s = time.monotonic()
    assert segments == {0: {0}, 1: {1}, 2: {2}}
    outages = [incident for incident in told if incident.kind == "camera_lost"]
    assert [incident.lasts for incident in outages] == [True, False, True, False]
    assert len({incident.id for incident in outages}) == 2
    assert sum(incident.kind == "frame_size" for incident in told) == 1


def test_the_newest_frame_of_an_rtsp_camera_is_new(server: RtspServer) -> None:
    """The server sends 25 frames a second: after a pause of ours its newest is about a second further on."""
    server.start((320, 240))
    with open_source(server.url) as source:
        frames = iter(source)
        first = list(islice(frames, 5))
        # Those that were looked at while connecting would come all at once.
        steps_s = [(later.timestamp_ns - earlier.timestamp_ns) / 1e9 for earlier, later in pairwise(first)]
        assert sum(steps_s) > 0.1
        before = number_in(next(frames).image)
        time.sleep(1)
        after = number_in(next(frames).image)
    assert before is not None
    assert after is not None
    assert 15 <= after - before <= 35
    assert source.dropped > 10


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]
    # Hanging up lets go of who still tries to connect, in a thread that was left behind.
    while any(thread.name.startswith("edgevad camera rtsp") for thread in threading.enumerate()):
        time.sleep(0.01)


def test_a_server_that_says_nothing_is_an_error_after_the_time_limit(silent_port: int) -> None:
    before_s = time.monotonic()
    with pytest.raises(SourceNotFoundError, match=r"no video stream could be opened there within 0\.5 s"):
        open_source(f"rtsp://127.0.0.1:{silent_port}/x", timeout_s=0.5)
    assert time.monotonic() - before_s < 2.5


def test_closing_does_not_wait_for_a_server_that_says_nothing(silent_port: int) -> None:
    source = open_source(f"rtsp://127.0.0.1:{silent_port}/x", reconnect=True, wait=True, timeout_s=3)
    time.sleep(0.2)
    before_s = time.monotonic()
    source.close()
    assert time.monotonic() - before_s < 0.5


class RecordingOpenCV:
    """Instead of `cv2.VideoCapture`: what it was opened with, and FFmpeg's options at that moment."""

    opened: list[tuple[Any, ...]]
    pixels = (640, 360)

    def __init__(self, *arguments: Any) -> None:
        type(self).opened.append((*arguments, os.environ.get(OPTIONS_VARIABLE)))

    def isOpened(self) -> bool:  # noqa: N802  (OpenCV's name)
        return True

    def get(self, name: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: self.pixels[0], cv2.CAP_PROP_FRAME_HEIGHT: self.pixels[1]}.get(name, 25.0)

    def grab(self) -> bool:
        return False

    def release(self) -> None: ...


@pytest.fixture
def opencv(monkeypatch: pytest.MonkeyPatch) -> type[RecordingOpenCV]:
    class OpenCV(RecordingOpenCV):
        opened: list[tuple[Any, ...]] = []  # noqa: RUF012

    monkeypatch.delenv(OPTIONS_VARIABLE, raising=False)
    monkeypatch.setattr(cv2, "VideoCapture", OpenCV)
    return OpenCV


def options_of(opened: tuple[Any, ...]) -> dict[int, int]:
    flat = opened[2]
    return dict(zip(flat[::2], flat[1::2], strict=True))


def test_rtsp_goes_over_tcp_with_time_limits_and_without_delay(opencv: type[RecordingOpenCV]) -> None:
    Stream("rtsp://camera/1", timeout_s=5, stale_s=2)()
    (opened,) = opencv.opened
    assert opened[:2] == ("rtsp://camera/1", cv2.CAP_FFMPEG)
    assert options_of(opened) == {
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: 5000,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC: 2000,
        cv2.CAP_PROP_N_THREADS: 1,
    }
    assert "rtsp_transport;tcp" in opened[-1]
    assert OPTIONS_VARIABLE not in os.environ


def test_a_stream_too_large_for_one_thread_is_decoded_by_more(opencv: type[RecordingOpenCV]) -> None:
    opencv.pixels = (3840, 2160)
    Stream("rtsp://camera/1", timeout_s=5, stale_s=2)()
    assert [options_of(opened)[cv2.CAP_PROP_N_THREADS] for opened in opencv.opened] == [1, 4]


def test_ffmpeg_options_of_the_users_own_stand(opencv: type[RecordingOpenCV], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OPTIONS_VARIABLE, "rtsp_transport;udp")
    Stream("rtsp://camera/1", timeout_s=5, stale_s=2)()
    assert opencv.opened[0][-1] == os.environ[OPTIONS_VARIABLE] == "rtsp_transport;udp"


def test_options_for_rtsp_are_not_those_of_other_streams(opencv: type[RecordingOpenCV]) -> None:
    Stream("http://camera/1", timeout_s=5, stale_s=2)()
    assert opencv.opened[0][-1] is None


def test_streams_opened_side_by_side_leave_the_environment_as_it_was(opencv: type[RecordingOpenCV]) -> None:
    both_open = threading.Barrier(2, timeout=5)

    class MeetingOpenCV(opencv):  # type: ignore[misc,valid-type]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            both_open.wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cv2, "VideoCapture", MeetingOpenCV)
        streams = [Stream(f"rtsp://{host}/1", timeout_s=5, stale_s=2) for host in ("left", "right")]
        threads = [threading.Thread(target=stream) for stream in streams]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [opened[-1] for opened in MeetingOpenCV.opened] == [RTSP_OPTIONS] * 2
    assert OPTIONS_VARIABLE not in os.environ


@pytest.mark.parametrize("level", [0, 60, 128, 255])
def test_a_frame_of_nothing_carries_no_number(level: int) -> None:
    """What the tests above stand on: a black, gray or smeared frame is none of the server's."""
    assert number_in(gray_image(level, 320, 240)) is None

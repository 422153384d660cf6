"""Cameras by number and by file. This machine need not have one: OpenCV's part is played by a fake."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from recordings import gray_image

from edgevad.errors import OptionError, SourceError, SourceNotFoundError, SourceUnreadableError
from edgevad.sources import open_source
from edgevad.sources.live import LiveSource
from edgevad.sources.v4l2 import Camera, cameras_present


class Driver:
    """Instead of `cv2.VideoCapture`, a V4L2 camera: says yes to all it is asked for."""

    def __init__(self, device: Any, api: int) -> None:
        self.device, self.api = device, api
        self.asked: list[tuple[int, float]] = []
        self.is_released = False
        drivers.append(self)

    def isOpened(self) -> bool:  # noqa: N802  (OpenCV's name)
        return True

    def set(self, name: int, value: float) -> bool:
        self.asked.append((name, value))
        return True

    def get(self, name: int) -> float:
        if name == cv2.CAP_PROP_POS_MSEC:
            return 1000 * (time.perf_counter() - 0.04)  # as V4L2 stamps a buffer: CLOCK_MONOTONIC, when exposed
        return dict(self.asked).get(name, 0.0)

    def read(self) -> tuple[bool, Any]:
        time.sleep(0.005)
        size_px = int(self.get(cv2.CAP_PROP_FRAME_WIDTH) or 64), int(self.get(cv2.CAP_PROP_FRAME_HEIGHT) or 48)
        return not self.is_released, gray_image(50, *size_px)

    def release(self) -> None:
        self.is_released = True


drivers: list[Driver] = []


@pytest.fixture
def dev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /dev with two cameras, the first of which has a lasting name; and a driver for them."""
    dev = tmp_path / "dev"
    by_id = dev / "v4l" / "by-id"
    by_id.mkdir(parents=True)
    for number in (0, 10, 2):
        (dev / f"video{number}").touch()
    (by_id / "usb-Front_Camera-index0").symlink_to("../../video0")
    monkeypatch.setattr("edgevad.sources.v4l2._DEVICES", dev)
    monkeypatch.setattr("edgevad.sources.v4l2._ON_LINUX", True)
    monkeypatch.setattr(cv2.videoio_registry, "getCameraBackends", lambda: [cv2.CAP_V4L2])
    monkeypatch.setattr(cv2, "VideoCapture", Driver)
    drivers.clear()
    return dev


def test_the_cameras_of_a_machine_are_listed_with_their_lasting_names(dev: Path) -> None:
    assert cameras_present() == [
        f"{dev}/video0 ({dev}/v4l/by-id/usb-Front_Camera-index0)",
        f"{dev}/video2",
        f"{dev}/video10",
    ]


@pytest.mark.parametrize("name", ["7", "{dev}/video7", "{dev}/v4l/by-id/usb-Rear"])
def test_a_camera_that_is_not_there_names_those_that_are(dev: Path, name: str) -> None:
    camera = Camera.from_address(name.format(dev=dev))
    with pytest.raises(SourceNotFoundError, match="no such camera") as error:
        camera()
    assert f"Cameras here: {dev}/video0 ({dev}/v4l/by-id/usb-Front_Camera-index0), {dev}/video2" in str(error.value)


def test_a_machine_without_cameras_says_so(dev: Path) -> None:
    for file in dev.glob("video*"):
        file.unlink()
    with pytest.raises(SourceNotFoundError, match="No camera is connected to this machine"):
        Camera(0)()


def test_what_the_address_asks_for_is_asked_of_the_driver_the_format_first(dev: Path) -> None:
    with open_source("2?width=1280&height=720&fps=29.97&format=MJPG", reconnect=True) as source:
        frame = next(iter(source))
        assert isinstance(source, LiveSource)
        assert (source.kind, source.name, source.fps_hint_hz) == ("camera", f"{dev}/video2", 29.97)
    (driver,) = drivers
    assert (driver.device, driver.api) == (2, cv2.CAP_V4L2)
    assert driver.asked == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
        (cv2.CAP_PROP_FRAME_WIDTH, 1280),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720),
        (cv2.CAP_PROP_FPS, 29.97),
    ]
    assert frame.image.shape == (720, 1280, 3)
    assert driver.is_released


def test_a_frame_is_as_old_as_the_driver_says(dev: Path) -> None:
    with open_source("0") as source:
        frame = next(iter(source))
        now_s, now_ns = time.perf_counter(), time.time_ns()
    assert frame.captured_s is not None
    assert 0.04 <= now_s - frame.captured_s < 1
    assert 0.039 <= (now_ns - frame.timestamp_ns) / 1e9 < 1


def test_the_rate_of_the_address_comes_before_that_of_the_option(dev: Path) -> None:
    assert Camera.from_address("0", fps_hz=15).fps_hz == 15
    assert Camera.from_address("0?fps=30", fps_hz=15).fps_hz == 30


def test_a_lasting_name_is_followed_at_every_opening(dev: Path) -> None:
    link = dev / "v4l" / "by-id" / "usb-Front_Camera-index0"
    camera = Camera.from_address(f"{link}?width=640")
    assert camera.name == str(link)
    camera()
    (dev / "video0").rename(dev / "video4")  # another number after it was unplugged
    with pytest.raises(SourceNotFoundError):
        camera()
    link.unlink()
    link.symlink_to("../../video4")
    camera()
    assert [driver.device for driver in drivers] == [str(link)] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("format=JPG", "format=JPG; expected four letters, for example MJPG or YUYV"),
        ("format=MJP!", "format=MJP!; expected four letters"),
        ("width=-1", "width=-1; expected a whole number from 1"),
        ("fps=0", "fps=0; expected a number above 0"),
        ("flip=1", "flip=1 is no option of a camera; expected width=… & height=… & fps=… & format=…"),
    ],
)
@pytest.mark.parametrize("place", ["0", "/dev/video0"])
def test_an_option_that_cannot_be_is_one_clear_error(place: str, options: str, message: str) -> None:
    with pytest.raises(OptionError) as error:
        open_source(f"{place}?{options}")
    assert f"{place}?{options}: {message}" in str(error.value)


@pytest.mark.parametrize("spec", ["0?width=640", "/dev/v4l/by-id/usb-Front", "/dev/video0?fps=30"])
def test_a_camera_is_no_part_of_a_list(tmp_path: Path, spec: str) -> None:
    (tmp_path / "a.png").write_bytes(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    with pytest.raises(SourceError, match="a live source never ends"):
        open_source([str(tmp_path / "a.png"), spec])


def test_a_camera_that_somebody_else_has_is_one_clear_error(dev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Driver, "isOpened", lambda _: False)
    with pytest.raises(SourceUnreadableError, match="the camera cannot be opened") as error:
        open_source("0")
    assert "no other program" in str(error.value)
    assert drivers[0].is_released


def test_a_real_camera_gives_frames() -> None:
    """v4l2loopback, vivid, or one that is plugged in."""
    present = sorted(Path("/dev").glob("video*"))
    if not present:
        pytest.skip("no camera here, nor a kernel with vivid or v4l2loopback")
    for file in present:
        try:
            with open_source(str(file), timeout_s=3) as source:
                frame = next(iter(source))
        except SourceError:  # the second file of a camera, or one that other programs use
            continue
        assert frame.image.ndim == 3
        return
    pytest.skip(f"none of {', '.join(map(str, present))} gives frames")

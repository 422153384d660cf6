"""Opening what is live: cameras (V4L2), network streams (RTSP, HTTP …) and GStreamer pipelines."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from edgevad.errors import OptionError, SourceError, SourceNotFoundError, SourceUnreadableError
from edgevad.sources.listing import natural_key
from edgevad.sources.live import LiveSource
from edgevad.sources.opencv import cv2, has_gstreamer

__all__ = ["STREAM_SCHEMES", "open_camera", "open_pipeline", "open_stream", "without_password"]

STREAM_SCHEMES = ("http", "https", "rtmp", "rtp", "rtsp", "rtsps", "srt", "tcp", "udp")


def open_camera(
    camera: int | Path, *, fps_hz: float | None = None, gap_s: float = 1.0, timeout_s: float = 5.0
) -> LiveSource:
    """Open a camera by index or device file; `fps_hz` is asked of its driver, which may choose another rate.

    Raises:
        SourceNotFoundError: there is no such camera.
        SourceUnreadableError: it cannot be opened, or gives no frame.
    """
    on_linux = sys.platform.startswith("linux")
    device = camera if isinstance(camera, Path) else Path(f"/dev/video{camera}") if on_linux else None
    name = str(device) if device is not None else f"camera {camera}"
    if device is not None:
        _check_device(device)
    api = cv2.CAP_V4L2 if on_linux and cv2.CAP_V4L2 in cv2.videoio_registry.getCameraBackends() else cv2.CAP_ANY
    capture = cv2.VideoCapture(str(camera) if isinstance(camera, Path) else camera, api)
    if not capture.isOpened():
        capture.release()
        if device is None:
            raise SourceNotFoundError("no such camera", where=name)
        raise SourceUnreadableError(
            "the camera cannot be opened",
            where=name,
            fix="Check that no other program is using it; some cameras have a second device file that gives no frames",
        )
    if fps_hz is not None:
        capture.set(cv2.CAP_PROP_FPS, fps_hz)
    return _live(capture, name=name, kind="camera", gap_s=gap_s, timeout_s=timeout_s)


def open_stream(url: str, *, gap_s: float = 1.0, timeout_s: float = 5.0) -> LiveSource:
    """Open a network stream; connecting and each read are given `timeout_s`.

    Raises:
        OptionError: the address is of a kind that FFmpeg cannot read.
        SourceNotFoundError: nobody answers there, or it is no video stream.
    """
    scheme = url.partition("://")[0].lower()
    name = without_password(url)
    if scheme not in STREAM_SCHEMES:
        raise OptionError(
            f"streams of kind {scheme}:// are not supported", where=name, expected=f"one of {', '.join(STREAM_SCHEMES)}"
        )
    if cv2.CAP_FFMPEG in cv2.videoio_registry.getStreamBackends():
        timeout_ms = max(1, round(timeout_s * 1000))
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
        capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)
    else:
        capture = cv2.VideoCapture(url, cv2.CAP_ANY)
    if not capture.isOpened():
        capture.release()
        raise SourceNotFoundError(
            f"no video stream could be opened there within {timeout_s:g} s",
            where=name,
            fix="Check the address, the password and the network",
        )
    return _live(capture, name=name, kind="stream", gap_s=gap_s, timeout_s=timeout_s)


def open_pipeline(pipeline: str, *, gap_s: float = 1.0, timeout_s: float = 5.0) -> LiveSource:
    """Open a GStreamer pipeline that ends in an appsink (added where it does not).

    Raises:
        SourceError: this OpenCV was built without GStreamer.
        SourceUnreadableError: GStreamer refuses the pipeline, or it gives no frame.
    """
    name = without_password(pipeline)
    if not has_gstreamer():
        raise SourceError(
            f"GStreamer pipelines need an OpenCV built with GStreamer; this one ({cv2.__version__}) is not",
            where=name,
            fix="On a Jetson use the system's python3-opencv, elsewhere build OpenCV with -DWITH_GSTREAMER=ON",
        )
    if "appsink" not in pipeline:
        pipeline = f"{pipeline} ! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
    capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        capture.release()
        raise SourceUnreadableError(
            "GStreamer refuses this pipeline", where=name, fix="Try it with gst-launch-1.0, ending in fakesink"
        )
    return _live(capture, name=name, kind="pipeline", gap_s=gap_s, timeout_s=timeout_s)


def without_password(address: str) -> str:
    return re.sub(r"//[^/\s]*@", "//***@", address)


def _live(capture: cv2.VideoCapture, *, name: str, kind: str, gap_s: float, timeout_s: float) -> LiveSource:
    rate_hz = capture.get(cv2.CAP_PROP_FPS)  # before the reader thread owns the capture
    source = LiveSource(capture, name=name, kind=kind, gap_s=gap_s, timeout_s=timeout_s)
    source.fps_hint_hz = rate_hz if 0 < rate_hz <= 1000 else None
    return source


def _check_device(device: Path) -> None:
    if not device.exists():
        present = sorted((str(path) for path in Path("/dev").glob("video*")), key=natural_key)
        raise SourceNotFoundError(
            "no such camera",
            where=device,
            fix=f"Cameras here: {', '.join(present)}" if present else "No camera is connected to this machine",
        )
    if not os.access(device, os.R_OK | os.W_OK):
        raise SourceUnreadableError(
            "permission denied", where=device, fix="Add yourself to its group: sudo usermod -aG video $USER"
        )

"""GStreamer pipelines, and the cameras that only they reach: CSI cameras."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from edgevad.errors import OptionError, SourceError, SourceUnreadableError
from edgevad.sources.address import number, options_of, whole, without_password
from edgevad.sources.capture import OpenCVCapture
from edgevad.sources.opencv import cv2, has_gstreamer

__all__ = ["GStreamerPipeline", "csi_pipeline", "has_element"]

# One frame waits, and it is the newest.
_SINK = "appsink drop=true max-buffers=1 sync=false"
# nvvidconv's flip-methods, by number, as videoflip's directions; its "method" turns nothing in GStreamer 1.22.
_FLIPS = ("identity", "90l", "180", "90r", "horiz", "ur-ll", "vert", "ul-lr")


@dataclass(frozen=True)
class GStreamerPipeline:
    """A pipeline as for gst-launch-1.0, ending in an appsink (added where it does not); calling it starts it.

    Raises:
        SourceError: on construction, where this OpenCV was built without GStreamer.
    """

    text: str
    name: str

    @classmethod
    def from_text(cls, text: str) -> GStreamerPipeline:
        name = without_password(text)
        _require_gstreamer("GStreamer pipelines", name)
        if "appsink" not in text:
            text = f"{text} ! videoconvert ! video/x-raw,format=BGR ! {_SINK}"
        return cls(text, name)

    @classmethod
    def from_csi(cls, address: str) -> GStreamerPipeline:
        """The CSI camera at "csi://0?width=1280&height=720&fps=30&flip=0".

        Raises:
            OptionError: an option that there is not, or a value that cannot be.
            SourceError: this OpenCV, or this machine, cannot read CSI cameras.
        """
        csi_pipeline(address, "nvarguscamerasrc")  # a wrong address is wrong on every machine
        _require_gstreamer("CSI cameras", address)
        source = next((name for name in ("nvarguscamerasrc", "libcamerasrc") if has_element(name)), None)
        if source is None:
            raise SourceError(
                "CSI cameras need GStreamer's nvarguscamerasrc (a Jetson's) or libcamerasrc; neither is here",
                where=address,
                fix="On a Jetson: sudo apt-get install nvidia-l4t-gstreamer; elsewhere: gstreamer1.0-libcamera",
            )
        return cls(csi_pipeline(address, source), address)

    def __call__(self) -> OpenCVCapture:
        """Start it.

        Raises:
            SourceUnreadableError: GStreamer refuses the pipeline.
        """
        capture = cv2.VideoCapture(self.text, cv2.CAP_GSTREAMER)
        if not capture.isOpened():
            capture.release()
            raise SourceUnreadableError(
                "GStreamer refuses this pipeline", where=self.name, fix="Try it with gst-launch-1.0, ending in fakesink"
            )
        return OpenCVCapture(capture)


def csi_pipeline(address: str, source: str) -> str:
    """The GStreamer pipeline for a CSI camera.

    Args:
        address: "csi://0", with any of width, height (pixels), fps and flip (0 to 7, nvvidconv's flip-method) behind a
            question mark.
        source: "nvarguscamerasrc" or "libcamerasrc".

    Raises:
        OptionError: an option that there is not, or a value that cannot be.
    """
    place, options = options_of(address, ("width", "height", "fps", "flip"))
    sensor = place.partition("://")[2]
    if not (sensor.isascii() and sensor.isdigit() and len(sensor) < 3):
        raise OptionError(f"{place} names no sensor", where=address, expected="for example csi://0")
    width_px, height_px = whole(options, "width", address), whole(options, "height", address)
    fps_hz = number(options, "fps", address)
    flip = whole(options, "flip", address, least=0) or 0
    if flip >= len(_FLIPS):
        raise OptionError(f"flip={flip}", where=address, expected=f"0 to {len(_FLIPS) - 1}")
    wanted = [f"width={width_px}"] if width_px else []
    wanted += [f"height={height_px}"] if height_px else []
    wanted += [f"framerate={_fraction(fps_hz)}"] if fps_hz else []
    if source == "nvarguscamerasrc":
        caps = ",".join(["video/x-raw(memory:NVMM)", "format=NV12", *wanted])
        head = f"nvarguscamerasrc sensor-id={sensor} ! {caps} ! nvvidconv flip-method={flip} ! video/x-raw,format=BGRx"
    else:
        if sensor != "0":
            raise OptionError(
                "libcamera knows cameras by name, not by number",
                where=address,
                fix="Write the pipeline: libcamerasrc camera-name=… ! video/x-raw,width=1280,height=720",
            )
        caps = ",".join(["video/x-raw", *wanted])
        head = f"libcamerasrc ! {caps} ! videoconvert ! videoflip video-direction={_FLIPS[flip]}"
    return f"{head} ! videoconvert ! video/x-raw,format=BGR ! {_SINK}"


def _fraction(rate_hz: float) -> str:
    whole_hz = round(rate_hz)
    if whole_hz != rate_hz and abs(rate_hz - whole_hz / 1.001) < 0.005:  # 29.97 means 30000/1001
        return f"{1000 * whole_hz}/1001"
    fraction = Fraction(rate_hz).limit_denominator(1000)
    return f"{fraction.numerator}/{fraction.denominator}"


@cache
def has_element(name: str) -> bool:
    """Whether GStreamer has an element of this name on this machine. Needs an OpenCV with GStreamer."""
    try:
        library = ctypes.CDLL("libgstreamer-1.0.so.0")
    except OSError:
        return False
    library.gst_init(None, None)
    library.gst_element_factory_find.restype = ctypes.c_void_p
    return library.gst_element_factory_find(name.encode()) is not None


def _require_gstreamer(what: str, name: str) -> None:
    if not has_gstreamer():
        raise SourceError(
            f"{what} need an OpenCV built with GStreamer; this one ({cv2.__version__}, {cv2.__file__}) is not",
            where=name,
            fix="pip's opencv-python never is, and shadows the system's: use a Python environment made with "
            "--system-site-packages, pip uninstall opencv-python in it, and install python3-opencv (a Jetson has "
            "JetPack's); docs/cameras.md has the commands",
        )

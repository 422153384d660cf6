"""Cameras by index or device file (V4L2 on Linux)."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgevad.errors import OptionError, SourceNotFoundError, SourceUnreadableError
from edgevad.sources.address import number, options_of, whole
from edgevad.sources.capture import OpenCVCapture
from edgevad.sources.listing import natural_key
from edgevad.sources.opencv import cv2

__all__ = ["Camera", "cameras_present"]

_DEVICES = Path("/dev")
_ON_LINUX = sys.platform.startswith("linux")


@dataclass(frozen=True)
class Camera:
    """A camera, and what is asked of its driver, which may choose otherwise; calling it opens it.

    Attributes:
        device: index, or device file. A link such as those in /dev/v4l/by-id is followed whenever the camera is opened,
            so that a camera is found again that comes back under another number.
        pixel_format: four letters, such as MJPG: over USB 2 the only way to large frames at a full rate.
    """

    device: int | Path
    width_px: int | None = None
    height_px: int | None = None
    fps_hz: float | None = None
    pixel_format: str | None = None

    @classmethod
    def from_address(cls, address: str, *, fps_hz: float | None = None) -> Camera:
        """ "0", "/dev/video0", "/dev/video0?width=1280&height=720&fps=30&format=MJPG"; `fps_hz` where that states none.

        Raises:
            OptionError: an option that there is not, or a value that cannot be.
        """
        place, options = options_of(address, ("width", "height", "fps", "format"))
        return cls(
            int(place) if place.isdigit() else Path(place),
            whole(options, "width", address),
            whole(options, "height", address),
            number(options, "fps", address) or fps_hz,
            _pixel_format(options, address),
        )

    @property
    def name(self) -> str:
        """The device file, where there are device files."""
        return str(self._file or f"camera {self.device}")

    @property
    def _file(self) -> Path | None:
        if isinstance(self.device, Path):
            return self.device
        return _DEVICES / f"video{self.device}" if _ON_LINUX else None

    def __call__(self) -> OpenCVCapture:
        """Open it.

        Raises:
            SourceNotFoundError: there is no such camera.
            SourceUnreadableError: it cannot be opened.
        """
        if self._file is not None:
            _check(self._file)
        known = cv2.videoio_registry.getCameraBackends()
        api = cv2.CAP_V4L2 if _ON_LINUX and cv2.CAP_V4L2 in known else cv2.CAP_ANY
        capture = cv2.VideoCapture(str(self.device) if isinstance(self.device, Path) else self.device, api)
        if not capture.isOpened():
            capture.release()
            if self._file is None:
                raise SourceNotFoundError("no such camera", where=self.name)
            raise SourceUnreadableError(
                "the camera cannot be opened",
                where=self.name,
                fix="Check that no other program is using it; some cameras have a second device file that gives no "
                "frames",
            )
        # The format first: it decides which sizes there are, and the size which rates.
        if self.pixel_format is not None:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*self.pixel_format))
        if self.width_px is not None:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, self.width_px)
        if self.height_px is not None:
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self.height_px)
        if self.fps_hz is not None:
            capture.set(cv2.CAP_PROP_FPS, self.fps_hz)
        return OpenCVCapture(capture, is_stamped=api == cv2.CAP_V4L2)


def cameras_present() -> list[str]:
    """The camera device files of this machine, each with its lasting name in brackets where it has one."""
    names: dict[Path, str] = {}
    for link in sorted((_DEVICES / "v4l" / "by-id").glob("*")):
        names.setdefault(link.resolve(), str(link))
    files = sorted(_DEVICES.glob("video*"), key=lambda file: natural_key(str(file)))
    return [f"{file} ({names[file.resolve()]})" if file.resolve() in names else str(file) for file in files]


def _check(file: Path) -> None:
    if not file.exists():
        present = cameras_present()
        raise SourceNotFoundError(
            "no such camera",
            where=file,
            fix=f"Cameras here: {', '.join(present)}" if present else "No camera is connected to this machine",
        )
    if not os.access(file, os.R_OK | os.W_OK):
        raise SourceUnreadableError(
            "permission denied", where=file, fix="Add yourself to its group: sudo usermod -aG video $USER"
        )


def _pixel_format(options: Mapping[str, str], address: str) -> str | None:
    name = options.get("format")
    if name is not None and not (len(name) == 4 and name.isascii() and name.isalnum()):
        raise OptionError(f"format={name}", where=address, expected="four letters, for example MJPG or YUYV")
    return name

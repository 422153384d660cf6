"""Opening what is live: which kind of camera a string names, and the source for it.

What OpenCV is needed for is imported in the functions that need it, as in `opening`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from edgevad.errors import SourceError

if TYPE_CHECKING:
    from edgevad.sources.capture import Opener
    from edgevad.sources.live import LiveSource

__all__ = ["LiveOptions", "is_camera_file", "is_live", "live_opener", "open_camera"]

_LARGEST_CAMERA = 99  # a larger number is rather the name of a file or folder, often a date
_WITH_OPTIONS = re.compile(r"([0-9]{1,9}|/dev/[^?]+)\?[a-z_]+=[^?]*")


@dataclass(frozen=True)
class LiveOptions:
    """What `open_source` is told about live sources; see there."""

    fps_hz: float | None = None
    gap_s: float = 1.0
    timeout_s: float = 5.0
    stale_s: float = 5.0
    reconnect: bool = False
    wait: bool = False
    name: str | None = None


def is_camera_file(text: str) -> bool:
    """Whether `text` can only be a camera, connected or not."""
    return text.startswith(("/dev/video", "/dev/v4l/"))


def is_live(text: str) -> bool:
    """Whether `open_source(text)` would open a camera, a stream or a pipeline; nothing is opened."""
    return is_camera_file(text) or live_opener(text, LiveOptions()) is not None


def live_opener(text: str, options: LiveOptions) -> Callable[[], LiveSource] | None:
    """How to open `text` if it is a camera index, a camera with options, a stream or a pipeline."""
    is_index = text.isascii() and text.isdigit() and len(text) < 10
    if is_index:
        is_name = os.path.lexists(text)
        if is_name and int(text) > _LARGEST_CAMERA:
            return None
        return partial(_open_camera_index, text, options, is_name=is_name)
    if " ! " in text:
        return partial(_open_pipeline, text, options)
    if "://" in text:
        return partial(_open_csi if text.startswith("csi://") else _open_stream, text, options)
    if _WITH_OPTIONS.fullmatch(text):
        return partial(open_camera, text, options)
    return None


def _open_camera_index(index: str, options: LiveOptions, *, is_name: bool) -> LiveSource:
    """`is_name`: there is a file or folder called `index`, too, which may have been meant."""
    try:
        return open_camera(index, options)
    except SourceError as error:
        if not is_name:
            raise
        advice = f"For the file or folder of that name write ./{index}"
        fix = f"{error.fix}. {advice}" if error.fix else advice
        raise type(error)(error.what, where=error.where, expected=error.expected, fix=fix) from None


def open_camera(address: str, options: LiveOptions) -> LiveSource:
    """Open a camera by its index or device file, options behind a question mark; see `Camera.from_address`."""
    from edgevad.sources.v4l2 import Camera

    camera = Camera.from_address(address, fps_hz=options.fps_hz)
    return _open_live(camera, camera.name, "camera", options)


def _open_csi(address: str, options: LiveOptions) -> LiveSource:
    from edgevad.sources.gstreamer import GStreamerPipeline

    return _open_live(GStreamerPipeline.from_csi(address), address, "camera", options)


def _open_pipeline(text: str, options: LiveOptions) -> LiveSource:
    from edgevad.sources.gstreamer import GStreamerPipeline

    pipeline = GStreamerPipeline.from_text(text)
    return _open_live(pipeline, pipeline.name, "pipeline", options)


def _open_stream(url: str, options: LiveOptions) -> LiveSource:
    from edgevad.sources.stream import Stream

    stream = Stream(url, options.timeout_s, options.stale_s)
    return _open_live(stream, stream.name, "stream", options)


def _open_live(opener: Opener, name: str, kind: str, options: LiveOptions) -> LiveSource:
    from edgevad.sources.live import LiveSource

    return LiveSource(
        opener,
        name=options.name or name,
        kind=kind,
        gap_s=options.gap_s,
        stale_s=options.stale_s,
        timeout_s=options.timeout_s,
        reconnect=options.reconnect,
        wait=options.wait,
    )

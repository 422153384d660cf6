"""Frames in: cameras, streams, video files, images, Donkeycar tubs. One `Frame` type, one `open_source`.

    with open_source("drive.mp4") as source:
        for frame in source:
            ...

OpenCV is imported when the first source is opened, not before.
"""

from __future__ import annotations

from edgevad.sources.frame import Frame, Image
from edgevad.sources.opening import SourceSpec, open_source
from edgevad.sources.several import open_sources
from edgevad.sources.source import Source

__all__ = ["Frame", "Image", "Source", "SourceSpec", "open_source", "open_sources"]

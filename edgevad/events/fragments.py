"""Clips that a power cut, a kill or a full disk has ended: how far they can be read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import cv2

__all__ = ["boxes", "clip_length_ns", "trim"]


def boxes(path: Path) -> list[tuple[str, int, int]]:
    """Name, start and size of the top-level boxes that are wholly in the file.

    Raises:
        OSError: it cannot be read.
    """
    found: list[tuple[str, int, int]] = []
    with path.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        start = 0
        while start + 8 <= end:
            stream.seek(start)
            header = stream.read(16)
            size = int.from_bytes(header[:4], "big")
            if size == 1:
                size = int.from_bytes(header[8:16], "big")
            if size < 8 or start + size > end:
                break
            found.append((header[4:8].decode("latin-1"), start, size))
            start += size
    return found


def trim(path: Path) -> int:
    """Cut off what follows the last whole fragment (moof, mdat); return how many fragments there are.

    A file without one is left as it is.

    Raises:
        OSError: it cannot be read or written.
    """
    fragments, end, after = 0, 0, ""
    for name, start, size in boxes(path):
        if name == "mdat" and after == "moof":
            fragments, end = fragments + 1, start + size
        elif name == "mfra" and fragments:
            end = start + size
        after = name
    if fragments and end < path.stat().st_size:
        os.truncate(path, end)
    return fragments


def clip_length_ns(path: Path) -> int | None:
    """From a clip's first frame to the last one that can be decoded; None where there is none.

    What a fragmented file holds beyond its last whole fragment is cut off.
    """
    if path.suffix == ".mp4":
        with suppress(OSError):
            trim(path)
    if not path.is_file() or not path.stat().st_size:
        return None
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    last_ms = -1.0
    while capture.grab():
        last_ms = max(last_ms, capture.get(cv2.CAP_PROP_POS_MSEC))
    capture.release()
    return None if last_ms < 0 else round(last_ms * 1e6)

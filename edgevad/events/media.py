"""Clips and pictures of the event store: what they are called, and which files in its folder are its own."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

__all__ = ["MEDIA_NAME", "is_media", "media_files", "media_name", "media_of_runs"]

MEDIA_NAME = "media"
_DAY = re.compile(r"\d{4,}-\d\d-\d\d")
# RUN-ID.jpg, or what a kill has left of writing it (`atomic_file`).
_FILE = re.compile(r"[0-9a-f]{12}-\d+\.(jpg|png|mp4|webm)|\.[0-9a-f]{12}-\d+\.(jpg|png)\.[^/]*\.part")


def media_name(run_id: str, event_id: str, stored_ns: int, suffix: str) -> str:
    """Where such a file lies, relative to the store's folder."""
    day = time.strftime("%Y-%m-%d", time.gmtime(stored_ns / 1e9))
    return f"{MEDIA_NAME}/{day}/{run_id}-{event_id}{suffix}"


def is_media(directory: Path, name: str) -> bool:
    """Whether this path, relative to the store, is that of a file in a day's folder, and not by way of a link.

    A store may come from somebody else, on a card, and what its rows name is copied and deleted, by root perhaps.
    """
    parts = PurePosixPath(name).parts
    if len(parts) != 3 or parts[0] != MEDIA_NAME or not _DAY.fullmatch(parts[1]) or parts[2] == ".." or "\0" in name:
        return False
    return not (directory / MEDIA_NAME / parts[1]).is_symlink() and not (directory / name).is_symlink()


def media_files(directory: Path) -> Iterator[Path]:
    """Every file in a day's folder of the store in `directory`."""
    media = directory / MEDIA_NAME
    if media.is_dir():
        for day in sorted(media.iterdir()):
            if _DAY.fullmatch(day.name) and day.is_dir() and not day.is_symlink():
                yield from (path for path in sorted(day.iterdir()) if path.is_file())


def media_of_runs(directory: Path) -> Iterator[Path]:
    """Those of them that a recorder has made, by their names: somebody's own pictures may lie beside them."""
    return (path for path in media_files(directory) if _FILE.fullmatch(path.name))

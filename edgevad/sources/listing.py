"""What lies in a folder, and in which order people read it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgevad.errors import SourceUnreadableError

__all__ = ["Listing", "is_image", "is_mcap", "is_video", "list_folder", "natural_key", "sort_out"]

_IMAGE_SUFFIXES = frozenset(
    {".bmp", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
_VIDEO_SUFFIXES = frozenset(
    {".264", ".265", ".3gp", ".avi", ".flv", ".h264", ".h265", ".hevc", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv"}
    | {".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"}
)


@dataclass(frozen=True)
class Listing:
    """The images, videos, folders and MCAP files among some paths, each in natural order; all else is left out."""

    images: tuple[Path, ...]
    videos: tuple[Path, ...]
    folders: tuple[Path, ...]
    mcaps: tuple[Path, ...] = ()


def is_image(path: Path) -> bool:
    return path.suffix.lower() in _IMAGE_SUFFIXES


def is_video(path: Path) -> bool:
    return path.suffix.lower() in _VIDEO_SUFFIXES


def is_mcap(path: Path) -> bool:
    return path.suffix.lower() == ".mcap"


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorting key under which frame_2 comes before frame_10."""
    parts = re.split(r"([0-9]+)", text)
    return tuple((1, int(part), part) if part[:1].isdigit() else (0, 0, part) for part in parts)


def sort_out(paths: Iterable[Path]) -> Listing:
    """Sort `paths` by kind, hidden ones left out."""
    visible = sorted((path for path in paths if not path.name.startswith(".")), key=lambda path: natural_key(str(path)))
    folders: list[Path] = []
    files: list[Path] = []
    for path in visible:
        (folders if path.is_dir() else files).append(path)
    return Listing(
        tuple(filter(is_image, files)), tuple(filter(is_video, files)), tuple(folders), tuple(filter(is_mcap, files))
    )


def list_folder(folder: Path) -> Listing:
    """What lies directly in `folder`.

    Raises:
        SourceUnreadableError: it cannot be listed.
    """
    try:
        return sort_out(folder.iterdir())
    except OSError as error:
        reason = "permission denied" if isinstance(error, PermissionError) else error.strerror or str(error)
        raise SourceUnreadableError(f"the folder cannot be read ({reason})", where=folder) from error

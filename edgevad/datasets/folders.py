"""Looking around in the folder of a data set."""

from __future__ import annotations

import re
from pathlib import Path

from edgevad.errors import DatasetError, SourceUnreadableError
from edgevad.sources.listing import Listing, list_folder

__all__ = ["clip_source", "entries", "first_folder", "media"]

_NOTHING = Listing((), (), ())


def entries(folder: Path) -> Listing:
    """The images, videos and folders in `folder`, in natural order, hidden ones left out; nothing where it is missing.

    Raises:
        DatasetError: it is there and cannot be listed.
    """
    if not folder.is_dir():
        return _NOTHING
    try:
        return list_folder(folder)
    except SourceUnreadableError as error:
        raise DatasetError(error.what, where=folder) from error


def first_folder(root: Path, *names: str) -> Path | None:
    """The first of `names`, relative to `root`, that is a folder."""
    return next((root / name for name in names if (root / name).is_dir()), None)


def media(folder: Path, name: str = ".*") -> tuple[Path, ...]:
    """The videos in `folder`, or else its folders, whose name (without a suffix) is matched by `name` as a whole."""
    listing = entries(folder)
    videos = tuple(path for path in listing.videos if re.fullmatch(name, path.stem))
    return videos or tuple(path for path in listing.folders if re.fullmatch(name, path.name))


def clip_source(path: Path) -> str:
    """What to open for the clip at `path`: the file, the folder, or the only video in the folder."""
    inside = entries(path)
    return str(inside.videos[0] if len(inside.videos) == 1 and not inside.images else path)

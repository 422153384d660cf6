"""One string for every source: which kind it is, and opening it.

The modules that import OpenCV are imported in the functions that need them, so that `edgevad --help` stays quick.
"""

from __future__ import annotations

import glob
import math
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path

from edgevad.errors import OptionError, SourceError, SourceNotFoundError, SourceUnreadableError
from edgevad.sources.address import without_password
from edgevad.sources.camera import LiveOptions, is_camera_file, is_live, live_opener, open_camera
from edgevad.sources.chain import ChainSource
from edgevad.sources.listing import Listing, is_image, is_mcap, list_folder, natural_key, sort_out
from edgevad.sources.members import Members
from edgevad.sources.source import Source

__all__ = ["SourceSpec", "open_source"]

SourceSpec = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]

_MEDIA = "images, videos, MCAP files, a Donkeycar tub, or folders of them"
_CAMERA_OF = "?camera="


_STALE_S = 2.0


@dataclass(frozen=True)
class _Options:
    fps_hz: float | None
    gap_s: float
    include_deleted: bool
    live: LiveOptions
    camera: str | None = None


def open_source(
    spec: SourceSpec,
    *,
    fps_hz: float | None = None,
    gap_s: float = 1.0,
    include_deleted: bool = False,
    timeout_s: float = 5.0,
    stale_s: float | None = None,
    reconnect: bool = False,
    wait: bool = False,
    name: str | None = None,
) -> Source:
    """Open anything frames come from.

    `spec` is one of, or a list of recordings among them (see `ChainSource`):

    - "0", "/dev/video0", "/dev/v4l/by-id/…": a camera (above 99 a file or folder of that name comes first); with
      "?width=1280&height=720&fps=30&format=MJPG", or some of these, they are asked of its driver;
    - "csi://0?width=1280&height=720&fps=30&flip=0": a CSI camera;
    - "rtsp://user:password@host/path", "http://…": a network stream;
    - "v4l2src ! videoconvert ! appsink": a GStreamer pipeline, known by its " ! ";
    - a video file, or an image;
    - a Donkeycar tub, v1 or v2;
    - a logged drive: an MCAP file, or the folder of its legs; "DRIVE?camera=front" is one of its cameras, otherwise
      all of them are read, one after the other;
    - a folder of images, or of videos, or of such folders, tubs and drives: each sub-folder is a segment, in natural
      order (2 before 10); hidden files are ignored; members that cannot be read are skipped and counted;
    - "frames/*.jpg", "drives/**/*.mp4": a glob, in natural order; the images of one folder are one sequence. Images
      that are listed one by one count as such a glob too, which is what an unquoted glob becomes in a shell.

    Args:
        fps_hz: frame rate of recordings without a clock of their own: images (default 10), tubs without times
            (default 20), videos whose container states no rate (default 30). Asked of cameras.
        gap_s: a longer gap between two frames, or three frame periods if that is more, starts a new segment.
        include_deleted: read the records that a tub marks as deleted, too.
        timeout_s: how long opening a live source may take, and then its first frame.
        stale_s: how long a live source may give no frame before it is called lost; None is 2 with `reconnect`, else
            `timeout_s`.
        reconnect: open a live source that is lost again, for as long as it takes, instead of ending in
            `CameraLostError`. See `LiveSource`.
        wait: with `reconnect`, wait for a live source that is not there yet, too.
        name: what to call a live source, in `Frame.source_id` too; None is its address, passwords masked.

    Raises:
        OptionError: an option, or an address, that cannot be used.
        SourceNotFoundError: there is nothing there.
        SourceUnreadableError: it holds no frame that can be read; where every single image must be tried to know that,
            the first pass over the source raises it.
    """
    limits = {"fps_hz": fps_hz, "gap_s": gap_s, "timeout_s": timeout_s, "stale_s": stale_s}
    for option, value in limits.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise OptionError(f"{option} is {value}", expected="a number above 0")
    if wait and not reconnect:
        raise OptionError("wait is set and reconnect is not", fix="Set both, or neither")
    if stale_s is None:
        stale_s = _STALE_S if reconnect else timeout_s
    live = LiveOptions(fps_hz, gap_s, timeout_s, stale_s, reconnect, wait, name)
    options = _Options(fps_hz, gap_s, include_deleted, live)
    if isinstance(spec, (str, os.PathLike)):
        return _open_one(os.fspath(spec), options, is_path=isinstance(spec, os.PathLike))
    return _open_list([(os.fspath(item), isinstance(item, os.PathLike)) for item in spec], options)


def _open_one(text: str, options: _Options, *, is_path: bool = False) -> Source:
    if not text.strip():
        raise OptionError("the source is empty", expected="a file, folder, glob, camera or stream")
    if not is_path and (open_live := live_opener(text, options.live)) is not None:
        return open_live()
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise SourceNotFoundError("there is no user of that name", where=without_password(text)) from None
    mode = _mode_of(path)
    if mode is None and _CAMERA_OF in text:
        text, _, camera = text.rpartition(_CAMERA_OF)
        return _open_one(text, replace(options, camera=camera), is_path=True)
    if mode is None:
        if glob.has_magic(text):
            return _open_glob(str(path), options)
        if is_camera_file(text):
            mode = stat.S_IFCHR
        else:
            raise SourceNotFoundError("no such file or folder", where=without_password(text))
    if stat.S_ISCHR(mode):
        return open_camera(str(path), options.live)
    if stat.S_ISDIR(mode):
        return _open_folder(path, options)
    if stat.S_ISREG(mode):
        return _open_file(path, options)
    raise SourceUnreadableError("neither a file, a folder nor a camera", where=text)


def _mode_of(path: Path) -> int | None:
    """What kind of file `path` is, None if there is none."""
    try:
        return path.stat().st_mode
    except PermissionError:
        raise SourceUnreadableError("permission denied", where=path) from None
    except (OSError, ValueError):  # missing, a file where a folder should be, a name that is too long or has a NUL
        return None


def _open_file(path: Path, options: _Options) -> Source:
    if not os.access(path, os.R_OK):
        raise SourceUnreadableError("permission denied", where=path)
    if is_image(path):
        return _images([path], str(path), options)
    if is_mcap(path):
        return _mcap(path, options)
    if path.name == "manifest.json" and any(path.parent.glob("*.catalog")):
        return _open_folder(path.parent, options)
    return _video(path, options)


def _open_folder(folder: Path, options: _Options, *, listing: Listing | None = None) -> Source:
    from edgevad.sources.tub import TubSource, tub_version

    listing = listing or list_folder(folder)
    if tub_version(folder) is not None:
        return TubSource(folder, fps_hz=options.fps_hz, gap_s=options.gap_s, include_deleted=options.include_deleted)
    _refuse_mixture(listing, str(folder), f"{folder}/*.mp4")
    if listing.images:
        return _images(listing.images, str(folder), options)
    if listing.mcaps:
        return _drive(listing.mcaps, str(folder), options)
    if listing.videos:
        source = _open_members(listing.videos, options).chained(str(folder), "folder")
    else:
        source = _open_members(listing.folders, options).chained(str(folder), "folder")
    if source is None:
        what = "the folder is empty" if not any(folder.iterdir()) else "the folder holds nothing to read"
        raise SourceUnreadableError(what, where=folder, expected=_MEDIA)
    return source


def _open_members(paths: Iterable[Path], options: _Options) -> Members:
    """The files among `paths`, and the folders that hold something themselves; a whole tree is not searched."""
    members = Members()
    for path in paths:
        opener = _open_subfolder if path.is_dir() else _mcap if is_mcap(path) else _video
        members.add(path, partial(opener, path, options))
    return members


def _open_subfolder(folder: Path, options: _Options) -> Source | None:
    from edgevad.sources.tub import tub_version

    listing = list_folder(folder)
    if listing.images or listing.videos or listing.mcaps or tub_version(folder) is not None:
        return _open_folder(folder, options, listing=listing)
    return None


def _open_glob(pattern: str, options: _Options) -> Source:
    found = [Path(name) for name in glob.glob(pattern, recursive=True)]  # noqa: PTH207  (Path.glob takes no absolute one)
    listing = sort_out(found)
    _refuse_mixture(listing, pattern, pattern + ".mp4")
    if listing.images:
        return _chain(_image_sequences(listing.images, options), pattern, "glob")
    paths = sorted((*listing.videos, *listing.mcaps, *listing.folders), key=lambda path: natural_key(str(path)))
    source = _open_members(paths, options).chained(pattern, "glob")
    if source is None:
        if found:
            raise SourceUnreadableError("nothing it matches can be read", where=pattern, expected=_MEDIA)
        raise SourceNotFoundError("nothing matches", where=pattern)
    return source


def _open_list(items: Sequence[tuple[str, bool]], options: _Options) -> Source:
    if not items:
        raise OptionError("no source is named", expected="at least one file, folder, glob, camera or stream")
    if len(items) == 1:
        return _open_one(items[0][0], options, is_path=items[0][1])
    members: list[Source] = []
    for single_images, group in groupby(items, key=lambda item: _is_image_file(item[0])):
        if single_images:
            members += _image_sequences(sort_out(Path(text).expanduser() for text, _ in group).images, options)
            continue
        for text, is_path in group:
            if is_camera_file(text) or (not is_path and is_live(text)):
                fix = f"For the file or folder of that name write ./{text}" if os.path.lexists(text) else None
                shown = without_password(text)
                raise SourceError("a live source never ends, so it cannot be one of several", where=shown, fix=fix)
            members.append(_open_one(text, options, is_path=is_path))
    names = [member.name for member in members]
    return _chain(members, ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more", "list")


def _is_image_file(text: str) -> bool:
    path = Path(text).expanduser()
    return is_image(path) and "://" not in text and (mode := _mode_of(path)) is not None and stat.S_ISREG(mode)


def _image_sequences(files: Sequence[Path], options: _Options) -> list[Source]:
    """One sequence for each folder that `files`, in natural order, lie in."""
    return [_images(list(group), str(folder), options) for folder, group in groupby(files, lambda file: file.parent)]


def _refuse_mixture(listing: Listing, where: str, example: str) -> None:
    kinds = {"images": listing.images, "videos": listing.videos, "MCAP files": listing.mcaps}
    found = [f"{kind} ({files[0].name}, …)" for kind, files in kinds.items() if files]
    if len(found) > 1:
        raise SourceUnreadableError(
            f"holds both {' and '.join(found)}",
            where=where,
            expected="one kind",
            fix=f"Name the one you mean, for example {example!r}",
        )


def _images(files: Sequence[Path], name: str, options: _Options) -> Source:
    from edgevad.sources.images import ImagesSource

    return ImagesSource(files, name=name, fps_hz=options.fps_hz, gap_s=options.gap_s)


def _video(path: Path, options: _Options) -> Source:
    from edgevad.sources.video import VideoSource

    return VideoSource(path, fps_hz=options.fps_hz, gap_s=options.gap_s)


def _mcap(path: Path, options: _Options) -> Source:
    return _drive([path], str(path), options)


def _drive(files: Sequence[Path], name: str, options: _Options) -> Source:
    from edgevad.sources.mcap import open_mcap

    return open_mcap(files, name=name, camera=options.camera, gap_s=options.gap_s)


def _chain(members: list[Source], name: str, kind: str) -> Source:
    return members[0] if len(members) == 1 else ChainSource(members, name=name, kind=kind)

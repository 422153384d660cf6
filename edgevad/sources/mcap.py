"""Logged drives, and other MCAP files with compressed images, as recordings.

Of edgevad's own drives each frame has the timestamp, and each segment is a stretch, that the drive log wrote down; of
other files the log time counts. Images are foxglove.CompressedImage (protobuf) or ROS 2's sensor_msgs/CompressedImage.
"""

from __future__ import annotations

import errno
import heapq
import json
import struct
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from edgevad._extras import require
from edgevad.errors import SourceUnreadableError
from edgevad.sources.chain import ChainSource
from edgevad.sources.frame import Frame
from edgevad.sources.opencv import BadImageError, decode_image
from edgevad.sources.source import SegmentCounter, Source, printable

__all__ = ["LoggedFrame", "McapSource", "open_mcap"]

NEEDED_FOR = "Reading MCAP files"

_PROTOBUF = ("foxglove.CompressedImage", "protobuf")
_ROS2 = ("sensor_msgs/msg/CompressedImage", "cdr")
_READABLE = "a channel of foxglove.CompressedImage (protobuf) or sensor_msgs/msg/CompressedImage (ROS 2)"


@dataclass
class _Camera:
    """One camera's channels in one file: of images, each with its encoding, and of what edgevad says about them."""

    images: dict[int, str] = field(default_factory=dict)
    details: set[int] = field(default_factory=set)
    topics: set[str] = field(default_factory=set)
    count: int = 0


@dataclass(frozen=True)
class _File:
    path: Path
    start_ns: int
    cameras: dict[str, _Camera]


class _Entry(NamedTuple):
    """An image as it lies in the file, and what edgevad logged about it, if it did."""

    log_ns: int
    data: bytes
    encoding: str
    details: dict[str, Any] | None

    @property
    def order(self) -> tuple[int, int]:
        # The clock may have been set back between two stretches.
        return (self.details["stretch"] if self.details is not None else 0, self.log_ns)


class LoggedFrame(NamedTuple):
    """A frame with the time at which it was logged, and what edgevad logged about it (`edgevad.Frame`), if it did."""

    frame: Frame
    log_ns: int
    details: dict[str, Any] | None


def open_mcap(paths: Sequence[Path], *, name: str, camera: str | None = None, gap_s: float = 1.0) -> Source:
    """The drive in `paths`, its legs in any order; several cameras come one after the other, unless one is named.

    Raises:
        MissingExtraError: the extra `drives` is not installed.
        SourceUnreadableError: no file can be read, none holds images, or there is no such camera.
    """
    files: list[_File] = []
    unreadable: dict[str, SourceUnreadableError] = {}
    for path in paths:
        try:
            files.append(_index(path))
        except SourceUnreadableError as error:
            unreadable[path.name] = error
    if not files:
        raise next(iter(unreadable.values()))
    cameras = list(dict.fromkeys(camera for file in files for camera in file.cameras))
    if not cameras:
        raise SourceUnreadableError("it holds no images", where=name, expected=_READABLE)
    if camera is not None:
        if camera not in cameras:
            raise SourceUnreadableError(f"there is no camera {camera!r}", where=name, expected=" or ".join(cameras))
        cameras = [camera]
    reasons = [printable(f"{file}: {error.what}") for file, error in unreadable.items()]
    members = [
        McapSource(files, each, name=name if len(cameras) == 1 else f"{name}?camera={each}", gap_s=gap_s)
        for each in cameras
    ]
    if len(members) == 1 and not reasons:
        return members[0]
    return ChainSource(members, name=name, kind="drive", unopened=reasons)


class McapSource(Source):
    """The frames of one camera in the legs of one drive, by log time."""

    def __init__(self, files: Sequence[_File], camera: str, *, name: str, gap_s: float) -> None:
        super().__init__(name, kind="drive")
        self._camera = camera
        self._source_id = printable(camera)
        self._gap_s = gap_s
        self._with_camera = sorted(
            (file for file in files if camera in file.cameras), key=lambda file: (file.start_ns, file.path)
        )
        self.frame_count_hint = sum(file.cameras[camera].count for file in self._with_camera)

    def _files(self) -> Iterable[Path]:
        return (file.path for file in self._with_camera)

    def logged_frames(
        self, wanted: Callable[[int, dict[str, Any] | None], bool] = lambda log_ns, details: True
    ) -> Generator[LoggedFrame, None, None]:
        """One pass over the frames that `wanted`, asked by log time and details, takes; the others are not decoded.

        Raises:
            SourceUnreadableError: a file is damaged.
        """
        segments = SegmentCounter(self._gap_s, follow=True)
        stretches: dict[Any, int] = {}
        with closing(self._entries()) as entries:
            for index, entry in enumerate(entries):
                self.positions = index + 1
                is_wanted = wanted(entry.log_ns, entry.details)
                if is_wanted:
                    try:
                        image = decode_image(_image_bytes(entry))
                    except BadImageError as error:
                        self._skip_reasons[str(error)] += 1
                        continue
                if entry.details is None:
                    timestamp_ns, segment = entry.log_ns, segments.segment_at(entry.log_ns)
                else:
                    # Between sparse images every gap is long; which frames belong together, the log knows.
                    timestamp_ns = entry.details["timestamp_ns"]
                    stretch = entry.details["stretch"]
                    if stretch not in stretches:
                        stretches = {stretch: max(stretches.values(), default=-1) + 1}
                    segment = stretches[stretch]
                if is_wanted:
                    frame = Frame(image, index, timestamp_ns, self._source_id, segment)
                    yield LoggedFrame(frame, entry.log_ns, entry.details)

    def _frames(self) -> Generator[Frame, None, None]:
        with closing(self.logged_frames()) as logged:
            for one in logged:
                yield one.frame

    def _entries(self) -> Generator[_Entry, None, None]:
        """By stretch and log time over all files: a leg may begin with frames from before an event, older than its
        predecessor's last ones."""
        pending = list(reversed(self._with_camera))
        active: list[tuple[tuple[int, int], int, _Entry, Generator[_Entry, None, None]]] = []
        opened = 0
        try:
            while pending or active:
                while pending and (not active or pending[-1].start_ns <= active[0][2].log_ns):
                    entries = self._entries_of(pending.pop())
                    opened += 1
                    if (first := next(entries, None)) is not None:
                        heapq.heappush(active, (first.order, opened, first, entries))
                if not active:
                    continue
                _, number, entry, entries = active[0]
                if (following := next(entries, None)) is None:
                    heapq.heappop(active)
                else:
                    heapq.heapreplace(active, (following.order, number, following, entries))
                yield entry
        finally:
            for *_, entries in active:
                entries.close()

    def _entries_of(self, file: _File) -> Generator[_Entry, None, None]:
        camera = file.cameras[self._camera]
        details: tuple[int, dict[str, Any]] | None = None
        try:
            with file.path.open("rb") as stream:
                for _, channel, message in _reader(stream).iter_messages(topics=camera.topics):
                    if channel.id in camera.details:
                        details = (message.log_time, _checked(json.loads(message.data)))
                    elif (encoding := camera.images.get(channel.id)) is not None:
                        known = details[1] if details is not None and details[0] == message.log_time else None
                        yield _Entry(message.log_time, message.data, encoding, known)
        except _unreadable() as error:
            raise _broken(file.path, error) from error


def _index(path: Path) -> _File:
    """Which cameras the file at `path` holds, by its summary."""
    try:
        with path.open("rb") as stream:
            summary = _reader(stream).get_summary()
    except _unreadable() as error:
        raise _broken(path, error) from error
    if summary is None or summary.statistics is None:
        raise SourceUnreadableError("it has no index", where=path, fix="Make one with: mcap recover (Foxglove's tool)")
    counts = summary.statistics.channel_message_counts
    cameras: dict[str, _Camera] = {}
    for channel in summary.channels.values():
        schema = summary.schemas.get(channel.schema_id)
        kind = (schema.name if schema is not None else "", channel.message_encoding)
        camera = cameras.setdefault(channel.metadata.get("source_id") or channel.topic, _Camera())
        if kind in (_PROTOBUF, _ROS2):
            camera.images[channel.id] = kind[1]
            camera.count += counts.get(channel.id, 0)
        elif kind == ("edgevad.Frame", "json"):
            camera.details.add(channel.id)
        else:
            continue
        camera.topics.add(channel.topic)
    with_images = {name: camera for name, camera in cameras.items() if camera.count}
    return _File(path, summary.statistics.message_start_time, with_images)


def _checked(details: Any) -> dict[str, Any]:
    """Raises ValueError where an edgevad.Frame is not what we write."""
    values = [details.get(name) for name in ("timestamp_ns", "stretch")] if isinstance(details, dict) else [None]
    if not all(isinstance(value, int) and abs(value) < 2**63 for value in values):
        raise ValueError("edgevad.Frame without its times")
    return dict(details)


def _reader(stream: Any) -> Any:
    return require("mcap.reader", extra="drives", needed_for=NEEDED_FOR).make_reader(stream, validate_crcs=True)


def _image_bytes(entry: _Entry) -> bytes:
    """The image file within the message.

    Raises:
        BadImageError: the message is not what its schema says.
    """
    if entry.encoding == "cdr":
        return _ros2_image_bytes(entry.data)
    module = require("foxglove_schemas_protobuf.CompressedImage_pb2", extra="drives", needed_for=NEEDED_FOR)
    error = require("google.protobuf.message", extra="drives", needed_for=NEEDED_FOR).DecodeError
    try:
        return bytes(module.CompressedImage.FromString(entry.data).data)
    except error:
        raise BadImageError("message cannot be decoded") from None


def _ros2_image_bytes(message: bytes) -> bytes:
    """CDR: stamp (2 x 4 bytes), frame_id, format, data; each of the last three after its length, aligned to 4 bytes."""
    order = "<" if message[1:2] == b"\x01" else ">"
    body = message[4:]
    position = 8
    try:
        for _ in range(2):
            position += 4 + struct.unpack_from(f"{order}I", body, position)[0]
            position = -(-position // 4) * 4
        length = struct.unpack_from(f"{order}I", body, position)[0]
    except struct.error:
        raise BadImageError("message cannot be decoded") from None
    return bytes(body[position + 4 : position + 4 + length])


def _unreadable() -> tuple[type[Exception], ...]:
    error = require("mcap.exceptions", extra="drives", needed_for=NEEDED_FOR).McapError
    return (error, OSError, ValueError, KeyError, TypeError, struct.error, OverflowError)


def _broken(path: Path, error: Exception) -> SourceUnreadableError:
    # Where the file is shorter than any end of one, the reader seeks to before its beginning.
    if isinstance(error, OSError) and error.errno != errno.EINVAL:
        return SourceUnreadableError(f"cannot be read ({error.strerror or error})", where=path)
    fix = "A drive that was cut off is made whole by: edgevad drives recover"
    return SourceUnreadableError("the file was cut off, is damaged, or is no MCAP file", where=path, fix=fix)

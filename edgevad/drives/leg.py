"""Writing one leg: an MCAP file that any reader opens, and that a kill cannot spoil."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevad import __version__
from edgevad._extras import require
from edgevad._files import sync_directory
from edgevad.drives.layout import LEG_SUFFIX, PART_SUFFIX
from edgevad.drives.messages import IMAGE, IMAGE_SCHEMA_NAME, SCHEMAS, SCORE, encode_json, image_schema

__all__ = ["CHUNK_BYTES", "LIBRARY", "METADATA_NAME", "RECOVERED_KEY", "LegFacts", "LegWriter"]

METADATA_NAME = "edgevad"
RECOVERED_KEY = "recovered"
LIBRARY = f"edgevad {__version__}"
# More than flush_s brings together by far: chunks end by time.
CHUNK_BYTES = 4_000_000


@dataclass(frozen=True)
class LegFacts:
    """What a closed leg holds.

    Attributes:
        start_ns, end_ns: log times of its first and last message.
        images, frames: how many images, and how many frames' scores.
        cameras: `Frame.source_id` of each.
        sha256: of the whole file, hexadecimal.
    """

    start_ns: int
    end_ns: int
    size_bytes: int
    images: int
    frames: int
    cameras: tuple[str, ...]
    sha256: str


class _HashedFile:
    """A new file that knows its size and checksum, for a writer that only appends."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("xb")
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: bytes) -> int:
        written = self._stream.write(data)
        self._digest.update(data)
        self.size_bytes += written
        return written

    def tell(self) -> int:
        return self.size_bytes

    def flush(self) -> None:
        self._stream.flush()

    def sync(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        self._stream.close()


class LegWriter:
    """The leg under way at `folder`/`name`.part; `finish` gives it its name.

    A message is in a chunk, and the chunk with the operating system, within `flush_s` (a killed process loses no more),
    and on the disk within `sync_s`, as long as `keep_up` is called that often. Chunks are not compressed: images are
    already, and the few scores beside them would not pay for it.

    Every method raises OSError where the disk refuses; the leg is then to be dropped, and recovered later.
    """

    def __init__(self, path: Path, metadata: Mapping[str, str], *, flush_s: float, sync_s: float) -> None:
        assert path.name.endswith(LEG_SUFFIX)
        mcap = require("mcap.writer", extra="drives", needed_for="The drive log")
        self.path = path
        self.part = path.with_name(path.name.removesuffix(LEG_SUFFIX) + PART_SUFFIX)
        self.opened_s = time.monotonic()
        self._flush_s, self._sync_s = flush_s, sync_s
        self._flushed_s = self._synced_s = self.opened_s
        self._channels: dict[tuple[str, str], int] = {}
        self._schemas: dict[str, int] = {}
        self._sources: dict[str, None] = {}
        self._start_ns = self._end_ns = 0
        self._counts = {IMAGE: 0, SCORE: 0}
        self._messages = 0
        self._file = _HashedFile(self.part)
        self._writer: Any = mcap.Writer(self._file, chunk_size=CHUNK_BYTES, compression=mcap.CompressionType.NONE)
        try:
            self._writer.start(library=LIBRARY)
            self._writer.add_metadata(METADATA_NAME, dict(metadata))
            self._file.sync()
            sync_directory(path.parent)
        except BaseException:
            self.drop()
            raise

    @property
    def size_bytes(self) -> int:
        """Of what has been written to the file."""
        return self._file.size_bytes

    def add_json(self, topic: str, message: dict[str, Any], log_ns: int, recorded_ns: int, source_id: str = "") -> None:
        self._add(topic, encode_json(message), log_ns, recorded_ns, source_id)

    def add_image(self, topic: str, data: bytes, log_ns: int, recorded_ns: int, source_id: str) -> None:
        """`data` is a serialised foxglove.CompressedImage."""
        self._add(topic, data, log_ns, recorded_ns, source_id)

    def keep_up(self, *, at_once: bool = False) -> bool:
        """Flush and sync what is due, everything with `at_once`; return whether anything was."""
        now_s = time.monotonic()
        if at_once or now_s - self._synced_s >= self._sync_s:
            self._writer.flush()
            self._file.sync()
            self._flushed_s = self._synced_s = now_s
        elif now_s - self._flushed_s >= self._flush_s:
            self._writer.flush()
            self._flushed_s = now_s
        else:
            return False
        return True

    def finish(self) -> LegFacts | None:
        """Write the index, and give the file its name once all of it is on the disk; None, and no file, where it holds
        nothing."""
        if not self._messages:
            self.drop()
            self.part.unlink(missing_ok=True)
            return None
        self._writer.finish()
        self._file.sync()
        self._file.close()
        self.part.replace(self.path)
        sync_directory(self.path.parent)
        return LegFacts(
            self._start_ns,
            self._end_ns,
            self._file.size_bytes,
            self._counts[IMAGE],
            self._counts[SCORE],
            tuple(self._sources),
            self._file.sha256,
        )

    def drop(self) -> None:
        """Let go of the file as it is, without raising; recovery will finish it."""
        with suppress(OSError):
            self._file.close()

    def _add(self, topic: str, data: bytes, log_ns: int, recorded_ns: int, source_id: str) -> None:
        kind = topic.rpartition("/")[2]
        channel = self._channels.get((topic, source_id))
        if channel is None:
            channel = self._channels[topic, source_id] = self._new_channel(topic, kind, source_id)
        self._writer.add_message(
            channel, log_time=log_ns, data=data, publish_time=max(recorded_ns, 0), sequence=self._messages & 0xFFFFFFFF
        )
        self._start_ns = log_ns if not self._messages else min(self._start_ns, log_ns)
        self._end_ns = max(self._end_ns, log_ns)
        self._messages += 1
        if kind in self._counts:
            self._counts[kind] += 1
        if source_id:
            self._sources[source_id] = None

    def _new_channel(self, topic: str, kind: str, source_id: str) -> int:
        metadata = {"source_id": source_id} if source_id else {}
        encoding = "protobuf" if kind == IMAGE else "json"
        return int(self._writer.register_channel(topic, encoding, self._schema(kind), metadata))

    def _schema(self, kind: str) -> int:
        schema = self._schemas.get(kind)
        if schema is None:
            if kind == IMAGE:
                name, encoding, data = IMAGE_SCHEMA_NAME, "protobuf", image_schema()
            else:
                name, properties = SCHEMAS[kind]
                encoding, data = "jsonschema", encode_json({"title": name, **properties})
            schema = self._schemas[kind] = int(self._writer.register_schema(name, encoding, data))
        return schema

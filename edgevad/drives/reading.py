"""Reading legs back: what a closed one holds, whether it is whole, what is left of one that was cut off."""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from edgevad._extras import require
from edgevad._files import atomic_file, sha256_of
from edgevad._sqlite import MOST, storable
from edgevad.drives.leg import CHUNK_BYTES, LIBRARY, METADATA_NAME, RECOVERED_KEY, LegFacts
from edgevad.drives.messages import EVENTS_TOPIC, IMAGE, SCORE
from edgevad.drives.rows import EventRow
from edgevad.errors import StoreError

__all__ = [
    "NEEDED_FOR",
    "LegContents",
    "check_leg",
    "event_row",
    "facts_of",
    "leg_errors",
    "messages_of",
    "metadata_of",
    "rebuild",
]

NEEDED_FOR = "Reading drives"


@dataclass(frozen=True)
class LegContents:
    """What a leg says about itself, its run and the events told in it."""

    facts: LegFacts
    metadata: dict[str, str]
    events: tuple[EventRow, ...]


def facts_of(path: Path) -> LegContents:
    """What the closed leg at `path` holds, by its own index.

    Raises:
        StoreError: it is no whole leg.
    """
    with leg_errors(path), path.open("rb") as stream:
        reader, summary = _open(stream)
        statistics = summary.statistics
        counts, sources = _tally(summary.channels.values(), statistics.channel_message_counts)
        rows = [
            event_row(path.parent.name, json.loads(message.data))
            for _, _, message in reader.iter_messages(topics=[EVENTS_TOPIC])
        ]
        if statistics.message_end_time > MOST:
            raise ValueError("its times are none")
        metadata = {record.name: record.metadata for record in reader.iter_metadata()}
        facts = LegFacts(
            statistics.message_start_time,
            statistics.message_end_time,
            path.stat().st_size,
            counts[IMAGE],
            counts[SCORE],
            tuple(sources),
            sha256_of(path),
        )
    return LegContents(facts, dict(metadata.get(METADATA_NAME, {})), tuple(row for row in rows if row))


def metadata_of(path: Path) -> dict[str, str]:
    """What the leg at `path` says about its run, cut off or not; empty where it does not get that far."""
    for record in _records(path):
        if isinstance(record, _types().Metadata) and record.name == METADATA_NAME:
            return dict(record.metadata)
    return {}


def messages_of(path: Path, kinds: Sequence[str]) -> Iterator[tuple[str, str, int, bytes]]:
    """Messages about cameras in the closed leg at `path`, by log time: kind, `Frame.source_id`, log time in ns, data.

    `kinds` are last words of topics (`messages.SCORE` …). Data of images are those of the JPEG, of others JSON.

    Raises:
        StoreError: the leg is broken.
        MissingExtraError: the extra `drives` is not installed.
    """
    images = require("foxglove_schemas_protobuf.CompressedImage_pb2", extra="drives", needed_for=NEEDED_FOR)
    decode_error = require("google.protobuf.message", extra="drives", needed_for=NEEDED_FOR).DecodeError
    with leg_errors(path), path.open("rb") as stream:
        reader, summary = _open(stream)
        sources = {
            channel.topic: channel.metadata["source_id"]
            for channel in summary.channels.values()
            if channel.topic.rpartition("/")[2] in kinds and "source_id" in channel.metadata
        }
        for _, channel, message in reader.iter_messages(topics=list(sources)) if sources else ():
            kind, data = channel.topic.rpartition("/")[2], bytes(message.data)
            if kind == IMAGE:
                try:
                    data = bytes(images.CompressedImage.FromString(data).data)
                except decode_error as error:
                    raise ValueError(str(error)) from error
            yield kind, sources[channel.topic], message.log_time, data


def check_leg(path: Path, sha256: str = "") -> None:
    """Read all of the leg at `path`, and hold it against its checksums, its index, and `sha256` unless that is empty.

    Raises:
        StoreError: it is not what was written.
    """
    stream_reader = require("mcap.stream_reader", extra="drives", needed_for=NEEDED_FOR)
    with leg_errors(path), path.open("rb") as stream:
        _, summary = _open(stream)
        stream.seek(0)
        found: Counter[int] = Counter()
        for record in stream_reader.StreamReader(stream, validate_crcs=True).records:
            if isinstance(record, _types().Message):
                found[record.channel_id] += 1
        if dict(found) != {key: count for key, count in summary.statistics.channel_message_counts.items() if count}:
            raise ValueError("it does not hold the messages that its index counts")
        if sha256 and sha256_of(path) != sha256:
            raise ValueError("its SHA-256 is not the catalogue's")


def rebuild(part: Path, target: Path) -> bool:
    """Make a whole leg at `target` of what can be read of the one cut off at `part`, up to its last whole chunk.

    Atomically; `part` stays. False, and no file, where nothing can be read.

    Raises:
        OutputError: `target` cannot be written.
        OSError: the disk does not give `part` back.
    """
    writer_module = require("mcap.writer", extra="drives", needed_for=NEEDED_FOR)
    chunks = _whole_chunks(part)
    first = next(chunks, None)
    if first is None:
        return False
    with atomic_file(target) as stream:
        writer = writer_module.Writer(stream, chunk_size=CHUNK_BYTES, compression=writer_module.CompressionType.NONE)
        writer.start(library=LIBRARY)
        writer.add_metadata(METADATA_NAME, {**metadata_of(part), RECOVERED_KEY: "true"})
        copy = _Copy(writer)
        for records in chain([first], chunks):
            copy.chunk(records)
        writer.finish()
    return True


class _Copy:
    """Writes the records of chunks to another file, chunk by chunk."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._schemas: dict[int, int] = {0: 0}
        self._channels: dict[int, int] = {}

    def chunk(self, records: list[Any]) -> None:
        types = _types()
        for record in records:
            if isinstance(record, types.Schema) and record.id not in self._schemas:
                self._schemas[record.id] = self._writer.register_schema(record.name, record.encoding, record.data)
            elif isinstance(record, types.Channel) and record.id not in self._channels:
                self._channels[record.id] = self._writer.register_channel(
                    record.topic, record.message_encoding, self._schemas[record.schema_id], record.metadata
                )
            elif isinstance(record, types.Message) and record.channel_id in self._channels:
                self._writer.add_message(
                    self._channels[record.channel_id],
                    record.log_time,
                    record.data,
                    record.publish_time,
                    record.sequence,
                )
        self._writer.flush()


def _types() -> Any:
    return require("mcap.records", extra="drives", needed_for=NEEDED_FOR)


def _records(path: Path) -> Iterator[Any]:
    """The records of a file that may end anywhere, chunks unopened."""
    stream_reader = require("mcap.stream_reader", extra="drives", needed_for=NEEDED_FOR)
    with path.open("rb") as stream:
        limit = path.stat().st_size
        reader = stream_reader.StreamReader(stream, emit_chunks=True, record_size_limit=limit)
        try:
            yield from reader.records
        except _unreadable():
            return


def _whole_chunks(path: Path) -> Iterator[list[Any]]:
    """The records of each chunk that is what was written."""
    chunk_type = _types().Chunk
    breakup = require("mcap.stream_reader", extra="drives", needed_for=NEEDED_FOR).breakup_chunk
    for record in _records(path):
        if isinstance(record, chunk_type):
            with suppress(*_unreadable()):
                yield breakup(record, validate_crc=True)


def _open(stream: IO[bytes]) -> tuple[Any, Any]:
    reader = require("mcap.reader", extra="drives", needed_for=NEEDED_FOR).make_reader(stream, validate_crcs=True)
    summary = reader.get_summary()
    if summary is None or summary.statistics is None:
        raise ValueError("it has no index")
    return reader, summary


def _tally(channels: Any, counts: dict[int, int]) -> tuple[Counter[str], dict[str, None]]:
    """Messages by the last word of their topic, and the sources."""
    kinds: Counter[str] = Counter()
    sources: dict[str, None] = {}
    for channel in channels:
        kinds[channel.topic.rpartition("/")[2]] += counts.get(channel.id, 0)
        if "source_id" in channel.metadata:
            sources[channel.metadata["source_id"]] = None
    return kinds, sources


def event_row(drive: str, message: Any) -> EventRow | None:
    """The event that an `edgevad.Event` of the drive tells; None where it is not what we write.

    A leg may come from anywhere, and its images are good all the same.
    """
    if not isinstance(message, dict):
        return None
    names = ("id", "logged_start_ns", "logged_end_ns", "peak_score", "source_id", "cause")
    values: list[Any] = [message.get(name) for name in names]
    number, start_ns, end_ns, peak_score, source_id, cause = values
    if (
        not all(isinstance(value, int) and abs(value) <= MOST for value in (number, start_ns, end_ns))
        or not all(isinstance(value, str) for value in (source_id, cause))
        or not (isinstance(peak_score, int | float) and math.isfinite(peak_score))
    ):
        return None
    end_ns = end_ns if message.get("is_over") else None
    return EventRow(drive, number, storable(source_id), storable(cause), float(peak_score), start_ns, end_ns)


def _unreadable() -> tuple[type[Exception], ...]:
    """What the MCAP reader raises at bytes that are not what was written."""
    error = require("mcap.exceptions", extra="drives", needed_for=NEEDED_FOR).McapError
    return (error, ValueError, KeyError, TypeError, struct.error, OverflowError)


@contextmanager
def leg_errors(path: Path) -> Iterator[None]:
    """Turn whatever reading the leg at `path` raises into one clear `StoreError`."""
    try:
        yield
    except _unreadable() as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StoreError(f"the leg is broken ({reason})", where=path) from error
    except OSError as error:
        raise StoreError(f"cannot be read ({error.strerror or error})", where=path) from error

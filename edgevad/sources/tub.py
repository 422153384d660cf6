"""Donkeycar tubs: v2 (manifest.json, catalogs, images/) and v1 (record_N.json beside its images)."""

from __future__ import annotations

import json
import os
import re
import statistics
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeGuard

from edgevad.errors import SourceUnreadableError
from edgevad.sources.frame import Frame
from edgevad.sources.opencv import BadImageError, read_image
from edgevad.sources.source import SegmentCounter, Source

__all__ = ["DEFAULT_TUB_FPS_HZ", "TubSource", "tub_version"]

DEFAULT_TUB_FPS_HZ = 20.0  # Donkeycar's own default loop rate

_IMAGE_KEY = "cam/image_array"
_RECORD_NAME = re.compile(r"record_(\d+)\.json")
_BROKEN_RECORD = "record cannot be read"
_NO_IMAGE_NAME = "record without an image"


@dataclass(frozen=True, slots=True)
class _Record:
    """One line of a catalog, or one record file: an image and its time, or the reason why there is none."""

    image: Path | None = None
    timestamp_ns: int | None = None
    deleted: bool = False
    problem: str = ""


class TubSource(Source):
    """A Donkeycar tub, v1 or v2, in the order of its records and with their own clock (Unix time).

    `Frame.index` is the position among all records of the tub. Records that Donkeycar's tools marked as deleted
    (`deleted_indexes` of v2, `exclude.json` of v1) are left out and counted in `deleted`, unless `include_deleted`.
    Records without a time follow the last timed one at `fps_hz` (default: the median rate of the others, or 20).

    Raises:
        SourceUnreadableError: on construction, when the manifest or a catalog is missing or broken as a whole.
    """

    def __init__(
        self, folder: Path, *, fps_hz: float | None = None, gap_s: float = 1.0, include_deleted: bool = False
    ) -> None:
        version = tub_version(folder)
        super().__init__(str(folder), kind=f"tub v{version}")
        self._records = _read_v2(folder) if version == 2 else _read_v1(folder)
        if not self._records:
            raise SourceUnreadableError("the tub holds no records", where=folder)
        self._folder = folder
        self._gap_s = gap_s
        self._include_deleted = include_deleted
        times = [record.timestamp_ns for record in self._records if record.timestamp_ns is not None]
        steps = [after - before for before, after in pairwise(times) if after > before]
        rate_hz = 1e9 / statistics.median(steps) if steps else fps_hz or DEFAULT_TUB_FPS_HZ
        self.fps_hint_hz = rate_hz
        self._period_s = 1 / rate_hz
        self._untimed_step_ns = round(1e9 / (fps_hz or rate_hz))
        self.frame_count_hint = sum(include_deleted or not record.deleted for record in self._records)

    def _files(self) -> Iterable[Path]:
        yield from self._folder.glob("*")  # manifest and catalogs, or the record files
        yield from (record.image for record in self._records if record.image is not None)

    def _frames(self) -> Generator[Frame, None, None]:
        segments = SegmentCounter(self._gap_s, self._period_s)
        timed_index, timed_ns = 0, 0
        for index, record in enumerate(self._records):
            self.positions = index + 1
            if record.timestamp_ns is not None:
                timed_index, timed_ns = index, record.timestamp_ns
            if record.deleted and not self._include_deleted:
                self._deleted += 1
                continue
            if record.image is None:
                self._skip_reasons[record.problem] += 1
                continue
            try:
                image = read_image(record.image)
            except BadImageError as error:
                self._skip_reasons[str(error)] += 1
                continue
            timestamp_ns = timed_ns + (index - timed_index) * self._untimed_step_ns
            yield Frame(image, index, timestamp_ns, self.name, segments.segment_at(timestamp_ns))


def tub_version(folder: Path) -> int | None:
    """2 or 1 for a Donkeycar tub, None for any other folder."""
    if (folder / "manifest.json").is_file() and (
        (folder / "images").is_dir() or any(folder.glob("*.catalog")) or _looks_like_manifest(folder / "manifest.json")
    ):
        return 2
    if any(_RECORD_NAME.fullmatch(file.name) for file in folder.glob("record_*.json")):
        return 1
    return None


def _looks_like_manifest(path: Path) -> bool:
    return any(isinstance(line, dict) and "paths" in line for line in _json_lines(path))


def _read_v2(folder: Path) -> list[_Record]:
    manifest = folder / "manifest.json"
    _require_readable(manifest)
    lines = list(_json_lines(manifest))
    catalogs = next((line for line in reversed(lines) if isinstance(line, dict) and "paths" in line), None)
    if catalogs is None or not isinstance(catalogs["paths"], list) or not catalogs["paths"]:
        raise SourceUnreadableError(
            "the tub's manifest is broken: it names no catalog",
            where=manifest,
            expected='a fifth line like {"paths": ["catalog_0.catalog"], …}',
        )
    try:
        deleted = frozenset(int(index) for index in catalogs.get("deleted_indexes", ()))
    except (TypeError, ValueError):
        raise SourceUnreadableError(
            "the tub's manifest is broken: deleted_indexes is not a list of numbers", where=manifest
        ) from None
    key = _image_key(lines)
    records: list[_Record] = []
    for name in catalogs["paths"]:
        records += _read_catalog(folder, str(name), key, deleted, first=len(records))
    return records


def _require_readable(file: Path) -> None:
    if not os.access(file, os.R_OK):
        raise SourceUnreadableError("the tub cannot be read (permission denied)", where=file)


def _read_catalog(folder: Path, name: str, key: str, deleted: frozenset[int], *, first: int) -> list[_Record]:
    catalog = folder / name
    if not catalog.is_file():
        raise SourceUnreadableError(
            "the tub's catalog is missing", where=catalog, fix="Copy the whole tub: manifest, catalogs and images"
        )
    _require_readable(catalog)
    records = []
    for position, line in enumerate(_json_lines(catalog), start=first):
        index = line.get("_index") if isinstance(line, dict) else None
        index = index if isinstance(index, int) else position
        record = _record_from(line, folder / "images", key, ms_key="_timestamp_ms", start_ns=0)
        records.append(_Record(record.image, record.timestamp_ns, index in deleted, record.problem))
    if records and all(record.problem == _BROKEN_RECORD for record in records):
        raise SourceUnreadableError(
            f"the tub's catalog is broken: none of its {len(records)} lines is a record", where=catalog
        )
    return records


def _read_v1(folder: Path) -> list[_Record]:
    numbered = sorted(
        (int(match[1]), file)
        for file in folder.glob("record_*.json")
        if (match := _RECORD_NAME.fullmatch(file.name)) is not None
    )
    meta = next(_json_lines(folder / "meta.json", whole=True), None)
    start_s = meta.get("start") if isinstance(meta, dict) else None
    start_ns = round(start_s * 1e9) if _is_number(start_s) else 0
    excluded = next(_json_lines(folder / "exclude.json", whole=True), None)
    deleted = frozenset(item for item in excluded if isinstance(item, int)) if isinstance(excluded, list) else ()
    records = []
    for number, file in numbered:
        line = next(_json_lines(file, whole=True), None)
        record = _record_from(line, folder, _IMAGE_KEY, ms_key="milliseconds", start_ns=start_ns)
        records.append(_Record(record.image, record.timestamp_ns, number in deleted, record.problem))
    return records


def _record_from(line: object, images: Path, key: str, *, ms_key: str, start_ns: int) -> _Record:
    if not isinstance(line, dict):
        return _Record(problem=_BROKEN_RECORD)
    milliseconds = line.get(ms_key)
    if _is_number(milliseconds):
        timestamp_ns: int | None = start_ns + round(milliseconds * 1_000_000)
    else:
        timestamp_ns = _ns_from_timestamp(line.get("timestamp"))
    name = line.get(key)
    # An absolute or climbing path would read a file outside the tub.
    if not isinstance(name, str) or not name or Path(name).name != name:
        return _Record(timestamp_ns=timestamp_ns, problem=_NO_IMAGE_NAME)
    return _Record(images / name, timestamp_ns)


def _ns_from_timestamp(value: object) -> int | None:
    """Unix time in ns from what Donkeycar versions called a timestamp: seconds, milliseconds, or an ISO date in UTC."""
    if isinstance(value, str):
        value = _seconds_from_text(value)
    if not _is_number(value):
        return None
    return round(value * (1e6 if value > 1e11 else 1e9))


def _seconds_from_text(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.removesuffix("Z"))  # Python 3.10 does not know the Z
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _image_key(lines: list[Any]) -> str:
    """The record field that holds the image's file name: the first of type image_array, by Donkeycar's types line."""
    if len(lines) >= 2 and isinstance(lines[0], list) and isinstance(lines[1], list):
        keys = [key for key, kind in zip(lines[0], lines[1], strict=False) if kind == "image_array"]
        if keys and _IMAGE_KEY not in keys:
            return str(keys[0])
    return _IMAGE_KEY


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15


def _json_lines(path: Path, *, whole: bool = False) -> Iterator[Any]:
    """The JSON value of each line that is not blank (or of the whole file), None where it is broken or not there."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        yield None
        return
    for line in [text] if whole else text.split("\n"):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                yield None

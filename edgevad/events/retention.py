"""How much of the past is kept: quotas of the event store, and what is deleted to hold them.

Media go by age (ages.py) and by size, in the order in which they were stored; rows outlive them. Never touched: what
still lasts or is still being written, what somebody asked to keep, and a clip as long as one of its events is one of
these. A disk that runs low for other reasons deletes nothing: then new clips are refused (recorder.py), for old
evidence cannot be filmed again.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgevad._files import output_errors
from edgevad.errors import OptionError
from edgevad.events.ages import count_too_old
from edgevad.events.media import media_files
from edgevad.events.store import EventFilter, EventStore
from edgevad.events.stored import StoredEvent

__all__ = ["MediaRetention", "Pruned", "media_bytes", "prune"]

_DAY_NS = 86_400 * 10**9


@dataclass(frozen=True)
class MediaRetention:
    """Quotas.

    Attributes:
        max_bytes: of all media together.
        max_age_days: of media.
        max_row_age_days: of rows whose media are gone.

    None sets no limit.

    Raises:
        OptionError: a quota is not above zero.
    """

    max_bytes: int | None = 2_000_000_000
    max_age_days: float | None = 30.0
    max_row_age_days: float | None = 365.0

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_age_days", "max_row_age_days"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise OptionError(f"{name} of {value}", expected="a number above 0")

    def is_beyond(self, size_bytes: int) -> bool:
        """Whether media of this size are more than there may be."""
        return self.max_bytes is not None and size_bytes > self.max_bytes


@dataclass(frozen=True)
class Pruned:
    """What was deleted, or would be.

    Attributes:
        numbers: events whose media went.
        files, freed_bytes: how many files, and their size.
        rows: rows deleted for good; 0 of what only would be.
        left_bytes: media that are left.
    """

    numbers: tuple[int, ...]
    files: int
    freed_bytes: int
    rows: int
    left_bytes: int


def media_bytes(directory: Path) -> int:
    """Size of all media of the store in `directory`, those being written included."""
    return sum(map(_size, media_files(directory)))


def prune(store: EventStore, retention: MediaRetention, *, now_ns: int | None = None, dry_run: bool = False) -> Pruned:
    """Delete what `retention` leaves no room for; with `dry_run` only say what that would be.

    A row lets go of its media before they are deleted, so that none ever names a file that is gone.

    Raises:
        OutputError: the disk refuses.
    """
    now_ns = time.time_ns() if now_ns is None else now_ns
    left_bytes = media_bytes(store.directory)
    moments = store.moments()
    last_old = _last_too_old(moments, now_ns, retention.max_age_days)
    numbers: list[int] = []
    files: list[Path] = []
    freed_bytes = 0
    for group in _deletable(store.events(EventFilter(with_media=True))):
        if group[-1].number > last_old and not retention.is_beyond(left_bytes):
            continue
        paths = [store.directory / name for name in sorted({name for row in group for name in row.media})]
        size = sum(map(_size, paths))
        left_bytes -= size
        freed_bytes += size
        files += paths
        numbers += [row.number for row in group]
    rows = 0
    if not dry_run:
        store.forget_media(numbers)
        for path in files:
            with output_errors(path):
                path.unlink(missing_ok=True)
        if (last_row := _last_too_old(moments, now_ns, retention.max_row_age_days)) > 0:
            rows = store.delete_rows(last_row)
    return Pruned(tuple(numbers), len(files), freed_bytes, rows, left_bytes)


def _last_too_old(moments: Sequence[tuple[int, int]], now_ns: int, max_age_days: float | None) -> int:
    """The last row's number that is beyond this age; 0 for none."""
    if max_age_days is None:
        return 0
    count = count_too_old([stored_ns for _, stored_ns in moments], now_ns, max_age_days * _DAY_NS)
    return moments[count - 1][0] if count else 0


def _deletable(rows: Iterable[StoredEvent]) -> list[list[StoredEvent]]:
    """Rows whose media may go, those that share a clip together, oldest first."""
    groups: dict[str, list[StoredEvent]] = defaultdict(list)
    for row in rows:
        groups[row.clip or f"number {row.number}"].append(row)

    def is_protected(row: StoredEvent) -> bool:
        return row.kept or row.end_ns is None or (row.clip is not None and row.clip_end_ns is None)

    free = [group for group in groups.values() if not any(map(is_protected, group))]
    return sorted(free, key=lambda group: group[-1].number)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # somebody else's pruning, or a hand
        return 0

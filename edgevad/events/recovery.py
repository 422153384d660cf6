"""What a kill or a power cut has left in the event store, brought in order when it is next opened to record."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from edgevad._files import output_errors
from edgevad.events.fragments import clip_length_ns
from edgevad.events.media import media_of_runs
from edgevad.events.store import EventFilter, EventStore
from edgevad.events.stored import StoredEvent

__all__ = ["Recovered", "recover"]


@dataclass(frozen=True)
class Recovered:
    """What was found.

    Attributes:
        interrupted: numbers of the events and incidents that lasted when the program ended.
        clips: half-written clips that can be read and were kept; `unreadable` could not, and were removed.
        orphans: files by the names of our own that no row names, removed.
    """

    interrupted: tuple[int, ...]
    clips: int
    unreadable: int
    orphans: int


def recover(store: EventStore, *, sweep: bool = True) -> Recovered:
    """Close the rows that were left open, save the clips that were cut off, let go of media that are missing.

    Only for the one who records: nothing else may be writing. Without `sweep` no file goes that no row names: in the
    middle of a run, rows may still be on their way.

    Raises:
        OutputError: the disk is full or refuses.
    """
    # Not all of a year's rows: only those that may have something to be brought in order.
    doubtful = [*store.events(EventFilter(lasting=True)), *store.events(EventFilter(with_media=True))]
    rows = list({row.number: row for row in doubtful}.values())
    cut_off = {row.clip: row for row in rows if row.clip is not None and row.clip_end_ns is None}
    ends_ns: dict[str, int | None] = {}
    for clip, row in cut_off.items():
        length_ns = clip_length_ns(store.directory / clip)
        ends_ns[clip] = None if length_ns is None else (row.clip_start_ns or 0) + length_ns
    mended = [_mended(row, store.directory, ends_ns) for row in rows]
    store.write(new for old, new in zip(rows, mended, strict=True) if new != old)
    unreadable = [clip for clip, end_ns in ends_ns.items() if end_ns is None]
    for clip in unreadable:
        with output_errors(store.directory / clip):
            (store.directory / clip).unlink(missing_ok=True)
    return Recovered(
        interrupted=tuple(row.number for row in rows if row.end_ns is None),
        clips=len(ends_ns) - len(unreadable),
        unreadable=len(unreadable),
        orphans=_sweep(store.directory, {name for row in mended for name in row.media}) if sweep else 0,
    )


def _mended(row: StoredEvent, directory: Path, ends_ns: dict[str, int | None]) -> StoredEvent:
    """The row as it is to be: closed, naming only files that are there and can be read."""
    if row.clip in ends_ns:
        row = replace(row, clip_end_ns=ends_ns[row.clip])
    if row.clip is not None and (row.clip_end_ns is None or not (directory / row.clip).is_file()):
        row = replace(row, clip=None, clip_start_ns=None, clip_end_ns=None)
    if row.thumbnail is not None and not (directory / row.thumbnail).is_file():
        row = replace(row, thumbnail=None)
    if row.heatmap is not None and not (directory / row.heatmap).is_file():
        row = replace(row, heatmap=None)
    if row.end_ns is None:
        # Nobody saw its end; the clip's last frame is the last that is known of it.
        row = replace(row, end_ns=max(row.start_ns, row.clip_end_ns or 0), interrupted=True)
    return row


def _sweep(directory: Path, named: set[str]) -> int:
    """Remove media that no row names, and folders that are empty then; return how many files."""
    removed = 0
    with output_errors(directory):
        for path in list(media_of_runs(directory)):
            if path.relative_to(directory).as_posix() not in named:
                path.unlink()
                removed += 1
                with suppress(OSError):
                    path.parent.rmdir()
    return removed

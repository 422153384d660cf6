"""Stored events on the terminal: many as a table, one with everything that is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgevad.events.retention import Pruned
from edgevad.events.stored import StoredEvent

__all__ = ["event_view", "events_table", "lasted", "pruned_text", "when"]


def events_table(rows: Sequence[StoredEvent]) -> RenderableType:
    """A row for each, in the order in which they began."""
    if not rows:
        return Text("No events.")
    table = Table(box=None, pad_edge=False)
    table.add_column("ID", justify="right", no_wrap=True)
    table.add_column("stored", no_wrap=True)
    table.add_column("camera", min_width=8, overflow="fold")
    table.add_column("kind", no_wrap=True)
    table.add_column("cause", no_wrap=True)
    table.add_column("lasted", justify="right", no_wrap=True)
    table.add_column("peak", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        table.add_row(
            str(row.number),
            _clock(row.stored_ns)[:16],
            Text(row.camera or "-"),
            row.kind,
            Text(row.cause),
            lasted(row),
            "-" if row.peak_score is None else f"{row.peak_score:.1f}",
            _marks(row),
        )
    return Group(table, Text("\nMore of one: edgevad events show ID"))


def event_view(row: StoredEvent, directory: Path) -> RenderableType:
    """Every fact about one, and where its media are."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for label, value in _facts(row, directory):
        facts.add_row(label, Text(value))
    return Group(Text(f"Event {row.number}: {row.kind}, {row.cause}\n"), facts)


def pruned_text(pruned: Pruned, *, dry_run: bool) -> str:
    """What was deleted, or would be, in a sentence."""
    verb = "Would free" if dry_run else "Freed"
    rows = "" if dry_run or not pruned.rows else f"; {pruned.rows} rows deleted for good"
    return (
        f"{verb} {pruned.freed_bytes / 1e6:.1f} MB: {pruned.files} files of {len(pruned.numbers)} events{rows}. "
        f"{pruned.left_bytes / 1e6:.1f} MB of media {'would be' if dry_run else 'are'} left."
    )


def when(row: StoredEvent, timestamp_ns: int) -> str:
    """A camera's time as date and local time, a recording's as minutes and seconds since its beginning."""
    if row.run.is_live or row.peak_frame is None:  # incidents tell Unix time in any case
        return _clock(timestamp_ns)
    seconds = timestamp_ns / 1e9
    return f"{int(seconds // 60)}:{seconds % 60:05.2f} into the recording"


def lasted(row: StoredEvent) -> str:
    """How long, in words of a table."""
    if row.duration_s is None:
        return "still lasts"
    text = f"{row.duration_s:.1f} s" if row.duration_s < 600 else f"{row.duration_s / 60:.0f} min"
    return f"> {text}" if row.interrupted else text


def _facts(row: StoredEvent, directory: Path) -> list[tuple[str, str]]:
    end = "still lasts" if row.end_ns is None else when(row, row.end_ns)
    if row.interrupted:
        end += " at least: the program ended before it did"
    facts = [
        ("detail", row.detail),
        ("camera", row.camera),
        ("began", when(row, row.start_ns)),
        ("ended", end),
        ("lasted", lasted(row)),
        ("stored", _clock(row.stored_ns)),
    ]
    if row.peak_score is not None:
        peak = f"{row.peak_score:.2f} at frame {row.peak_frame}; the threshold was {row.run.threshold:.2f}"
        facts.append(("peak", peak))
        facts.append(("frames", f"{row.frames}, from {row.start_frame} to {row.end_frame}"))
    if row.clip is not None and row.clip_start_ns is not None:
        last_ns = row.clip_end_ns
        length = "being written" if last_ns is None else f"{(last_ns - row.clip_start_ns) / 1e9:.1f} s"
        before_s = (row.start_ns - row.clip_start_ns) / 1e9
        facts.append(("clip", f"{directory / row.clip} ({length}, the event begins at {before_s:.1f} s)"))
    pictures = {"thumbnail": row.thumbnail, "heatmap": row.heatmap}
    facts += [(name, str(directory / path)) for name, path in pictures.items() if path is not None]
    facts += [
        ("marked", row.mark),
        ("kept", "yes: it is never deleted" if row.kept else "until the quotas say otherwise"),
        ("run", f"{row.run.run_id}/{row.id} on {row.run.device}, {row.run.engine}"),
        ("bundle", f"{row.run.bundle_name} {row.run.bundle_digest[:12]}".strip()),
    ]
    return [(label, value) for label, value in facts if value]


def _marks(row: StoredEvent) -> str:
    marks = {"clip": row.clip, "picture": row.thumbnail and not row.clip, "kept": row.kept, "cut off": row.interrupted}
    return ", ".join([*([row.mark] if row.mark else []), *(name for name, there in marks.items() if there)])


def _clock(timestamp_ns: int) -> str:
    try:
        return datetime.fromtimestamp(timestamp_ns / 1e9).astimezone().isoformat(" ", "seconds")
    except (ValueError, OverflowError, OSError):  # a clock that was not set
        return f"{timestamp_ns} ns"

"""Drives as tables on the terminal, and as JSON."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgevad.drives.catalogue import Catalogue
from edgevad.drives.rows import DriveRow, LegRow

__all__ = ["drive_json", "drive_table", "drives_table", "legs_table"]


def drive_json(catalogue: Catalogue, drive: DriveRow, *, details: bool = False) -> dict[str, Any]:
    """A drive in numbers; with `details` its legs and events, too."""
    legs = catalogue.legs(drive.name)
    events = catalogue.events(drive.name)
    found = {
        **asdict(drive),
        "cameras": _cameras(legs),
        "legs": len(legs),
        "open": sum(leg.state == "open" for leg in legs),
        "images": sum(leg.images for leg in legs),
        "frames": sum(leg.frames for leg in legs),
        "size_bytes": sum(leg.size_bytes for leg in legs),
        "events": len(events),
        "keep": sum(leg.keep for leg in legs),
        "never_train": sum(leg.never_train for leg in legs),
    }
    if details:
        found["legs"] = [leg.to_json() for leg in legs]
        found["events"] = [asdict(event) for event in events]
    return found


def drives_table(catalogue: Catalogue) -> RenderableType:
    """One row for each drive."""
    table = Table(title=Text(f"Drives in {catalogue.path.parent}"), title_justify="left")
    table.add_column("drive", no_wrap=True)
    for column in ("length", "cameras", "legs", "size", "events", "marks"):
        table.add_column(column, justify="left" if column in ("cameras", "marks") else "right")
    total = 0
    for drive in catalogue.drives():
        legs = catalogue.legs(drive.name)
        size = sum(leg.size_bytes for leg in legs)
        total += size
        under_way = any(leg.state == "open" for leg in legs)
        table.add_row(
            Text(drive.name),
            _length_of(legs),
            Text("\n".join(_cameras(legs))),
            f"{len(legs)}" + (" (1 open)" if under_way else ""),
            _size(size),
            str(len(catalogue.events(drive.name))),
            _marks(legs),
        )
    return Group(table, Text(f"{_size(total)} in all"))


def drive_table(catalogue: Catalogue, drive: DriveRow) -> RenderableType:
    """What a drive is, its legs and its events."""
    info = drive.info
    head = Table(show_header=False, box=None)
    for label, value in (
        ("drive", drive.name),
        ("began", _moment(drive.started_ns)),
        ("ended", "it has not, or was cut off" if drive.ended_ns is None else _moment(drive.ended_ns)),
        ("bundle", f"{info.get('bundle_name', '')} {info.get('bundle_digest', '')[:12]}".strip()),
        ("engine", info.get("engine", "")),
        ("threshold", info.get("threshold", "")),
        ("edgevad", info.get("edgevad", "")),
    ):
        head.add_row(label, Text(value))
    events = catalogue.events(drive.name)
    parts: list[RenderableType] = [head, legs_table(catalogue.legs(drive.name))]
    if events:
        table = Table(title="Events", title_justify="left")
        for column in ("event", "began", "length", "camera", "cause", "peak"):
            table.add_column(column)
        for event in events:
            table.add_row(
                str(event.id),
                _moment(event.start_ns),
                _length(event.start_ns, event.end_ns),
                Text(event.source_id),
                event.cause,
                f"{event.peak_score:.2f}",
            )
        parts.append(table)
    return Group(*parts)


def legs_table(legs: Sequence[LegRow], last: tuple[str, Sequence[str]] | None = None) -> RenderableType:
    """One row for each leg; `last` is the name of one more column and its cells."""
    table = Table(title="Legs", title_justify="left")
    table.add_column("leg", no_wrap=True)
    for column in ("state", "began", "length", "images", "size", "events", "marks"):
        table.add_column(column, justify="right" if column in ("length", "images", "size", "events") else "left")
    if last is not None:
        table.add_column(last[0])
    several = len({leg.drive for leg in legs}) > 1
    for index, leg in enumerate(legs):
        cells: list[RenderableType] = [
            Text(f"{leg.drive}/{leg.number:06d}" if several else f"{leg.number:06d}"),
            leg.state,
            "" if leg.start_ns is None else _moment(leg.start_ns)[-8:],
            "" if leg.start_ns is None else _length(leg.start_ns, leg.end_ns),
            str(leg.images),
            _size(leg.size_bytes),
            str(leg.events),
            _marks([leg]),
        ]
        table.add_row(*cells, *([Text(last[1][index])] if last is not None else []))
    return table


def _cameras(legs: Sequence[LegRow]) -> list[str]:
    return list(dict.fromkeys(camera for leg in legs for camera in leg.cameras))


def _marks(legs: Sequence[LegRow]) -> str:
    words = []
    for word, marked in (("keep", [leg.keep for leg in legs]), ("never train", [leg.never_train for leg in legs])):
        if any(marked):
            words.append(word if all(marked) else f"{word} ({sum(marked)} of {len(marked)})")
    return ", ".join(words)


def _moment(time_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ns / 1e9))


def _length(start_ns: int, end_ns: int | None) -> str:
    if end_ns is None:
        return ""
    seconds = (end_ns - start_ns) / 1e9
    return f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 60:.1f} min"


def _length_of(legs: Sequence[LegRow]) -> str:
    """From the first message to the last, on the log's clock."""
    starts = [leg.start_ns for leg in legs if leg.start_ns is not None]
    ends = [leg.end_ns for leg in legs if leg.end_ns is not None]
    return _length(min(starts), max(ends)) if starts and ends else ""


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes < 1e9 else f"{size_bytes / 1e9:.2f} GB"

"""How a folder of drives is laid out.

    drives/
        catalogue.sqlite            what there is; made anew from the files where it is lost
        .lock                       held by the process that logs here
        20261124-233000-3f9a12bc/   a drive: one run
            000001.mcap             a leg of it, closed
            000002.mcap.part        the leg under way
            marks.json              what people said about it: keep, never train

The files are the truth, the catalogue follows: a file is written, renamed or removed first, its row after.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgevad._files import input_errors, write_json
from edgevad.errors import StoreError
from edgevad.events.run_info import RunInfo

__all__ = [
    "CATALOGUE_NAME",
    "LEG_SUFFIX",
    "MARKS",
    "PART_SUFFIX",
    "DriveMarks",
    "drive_name",
    "leg_name",
    "leg_number",
    "legs_in",
    "marks_in_doubt",
    "read_marks",
    "write_marks",
]

CATALOGUE_NAME = "catalogue.sqlite"
LEG_SUFFIX = ".mcap"
PART_SUFFIX = ".mcap.part"
MARKS_NAME = "marks.json"
MARKS = ("keep", "never_train")

_LEG_NAME = re.compile(r"([0-9]{6,})\.mcap(\.part)?")


def drive_name(run: RunInfo) -> str:
    """A name that sorts by time, and is this run's alone."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(run.started_ns // 10**9))}-{run.run_id[:8]}"


def leg_name(number: int) -> str:
    return f"{number:06d}{LEG_SUFFIX}"


def leg_number(path: Path) -> int | None:
    """None where the file is no leg."""
    match = _LEG_NAME.fullmatch(path.name)
    return None if match is None else int(match[1])


def legs_in(root: Path) -> Iterator[tuple[str, int, Path]]:
    """Every leg below `root`, closed or not: drive, number, file; in the order of drives and numbers."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        for path in sorted(folder.iterdir()):
            number = leg_number(path)
            if number is not None:
                yield folder.name, number, path


@dataclass
class DriveMarks:
    """What people said about a drive: the numbers of its legs that are marked, by mark; 0 stands for all of them."""

    legs: dict[str, set[int]] = field(default_factory=lambda: {mark: set() for mark in MARKS})

    def holds(self, mark: str, number: int) -> bool:
        return bool(self.legs[mark] & {0, number})

    def set(self, mark: str, on: bool, number: int, known: set[int]) -> None:
        """Mark leg `number` or not, 0 for the whole drive; `known` are the legs there are."""
        marked = self.legs[mark]
        if number == 0:
            self.legs[mark] = {0} if on else set()
        elif on:
            marked.add(number)
        elif 0 in marked:
            self.legs[mark] = known - {number}
        else:
            marked.discard(number)


def read_marks(folder: Path) -> DriveMarks:
    """The marks of the drive in `folder`; none where nobody has marked anything.

    Raises:
        StoreError: they cannot be read.
    """
    path = folder / MARKS_NAME
    marks = DriveMarks()
    with input_errors(path, StoreError):
        try:
            found: Any = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return marks
        except ValueError:
            found = None
    numbers = [found.get(mark) for mark in MARKS] if isinstance(found, dict) else [None]
    if not all(isinstance(items, list) and all(isinstance(item, int) for item in items) for items in numbers):
        raise StoreError(
            "the drive's marks cannot be read, so it counts as marked with all of them",
            where=path,
            fix="Remove the file, and mark the drive again: edgevad drives mark",
        )
    for mark, items in zip(MARKS, numbers, strict=True):
        marks.legs[mark] = set(items or ())
    return marks


def marks_in_doubt(folder: Path) -> DriveMarks:
    """As `read_marks`; every mark where they cannot be read: what was marked must be neither removed nor learned."""
    try:
        return read_marks(folder)
    except StoreError:
        return DriveMarks({mark: {0} for mark in MARKS})


def write_marks(folder: Path, marks: DriveMarks) -> None:
    """Atomically.

    Raises:
        OutputError: they cannot be written.
    """
    write_json(folder / MARKS_NAME, {mark: sorted(marks.legs[mark]) for mark in MARKS})

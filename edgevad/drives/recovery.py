"""After a kill, a loss of power or a lost catalogue: every leg whole again, and the catalogue what the files say."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgevad._files import output_errors
from edgevad._sqlite import MOST
from edgevad.drives.catalogue import Catalogue
from edgevad.drives.layout import CATALOGUE_NAME, PART_SUFFIX, leg_name, legs_in, marks_in_doubt
from edgevad.drives.leg import RECOVERED_KEY
from edgevad.drives.reading import facts_of, metadata_of, rebuild
from edgevad.errors import OutputError, StoreError

__all__ = ["Recovery", "open_catalogue", "recover", "remove_folder"]


@dataclass
class Recovery:
    """What was done, as drive/leg.

    Attributes:
        recovered: legs that had been cut off, whole again up to their last chunk.
        removed: legs cut off before anything was in them.
        waiting: legs cut off that cannot be made whole before there is more space.
        added: legs that the catalogue did not know.
        missing: legs that it knew, and that are gone.
        broken: legs that are neither whole nor can be made so; their files stay.
        rebuilt: the catalogue itself was lost or broken, and was made anew.
    """

    recovered: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    rebuilt: bool = False

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


def open_catalogue(root: Path) -> tuple[Catalogue, bool]:
    """The catalogue of `root`, and whether it was broken and begun anew; the broken one is kept beside it.

    Raises:
        StoreError: it is of a newer edgevad.
        OutputError: it cannot be written.
    """
    try:
        return Catalogue(root), False
    except StoreError as error:
        if "newer" in error.what:
            raise
    with output_errors(root):
        for path in [root / f"{CATALOGUE_NAME}{tail}" for tail in ("-wal", "-shm")]:
            path.unlink(missing_ok=True)
        (root / CATALOGUE_NAME).replace(root / f"{CATALOGUE_NAME}.broken")
    return Catalogue(root), True


def recover(root: Path, catalogue: Catalogue, *, current: str | None = None) -> Recovery:
    """Make whole every leg below `root` that was cut off, and the catalogue say what the files hold.

    Call it with the folder's lock held: a leg under way must be nobody's. What cannot be made whole for lack of space
    stays as it is, for the next time.

    Args:
        current: the drive that is being logged; it is not over.

    Raises:
        OutputError: the disk is full, or cannot be written.
    """
    report = Recovery()
    known = {(leg.drive, leg.number): leg for leg in catalogue.legs()}
    drives = {drive.name for drive in catalogue.drives()}
    seen: set[tuple[str, int]] = set()
    with output_errors(root):
        for stray in root.glob("*/.*.part"):  # of a rebuilding that was itself cut off
            stray.unlink(missing_ok=True)
        for drive, number, path in list(legs_in(root)):
            key = (drive, number)
            row = known.get(key)
            was_cut = path.name.endswith(PART_SUFFIX)
            if not was_cut and row is not None and row.state != "open":
                seen.add(key)
                continue
            if (drive, number) in seen:  # the kill came between the two files of a rebuilding
                path.unlink()
                continue
            if _take_up(catalogue, path, drive, number, report, drives, is_new=row is None):
                seen.add(key)
    for drive, number in known.keys() - seen:
        catalogue.remove_leg(drive, number)
        label = f"{drive}/{number:06d}"
        if label not in report.removed:
            report.missing.append(label)
    _conclude(root, catalogue, current)
    return report


def _take_up(
    catalogue: Catalogue, path: Path, drive: str, number: int, report: Recovery, drives: set[str], *, is_new: bool
) -> bool:
    """Bring one leg's file and row to their final state; return whether there is still a file."""
    label = f"{drive}/{number:06d}"
    was_cut = path.name.endswith(PART_SUFFIX)
    target = path.with_name(leg_name(number))
    if was_cut:
        try:
            is_whole = rebuild(path, target)
        except OutputError:
            report.waiting.append(label)
            return True
        if not is_whole:
            path.unlink()
            report.removed.append(label)
            return False
        path.unlink()
    stat = target.stat()
    try:
        contents = facts_of(target)
    except StoreError:
        _ensure_drive(catalogue, drive, drives, metadata_of(target), stat.st_mtime_ns)
        catalogue.break_leg(drive, number, stat.st_size, stat.st_mtime_ns)
        report.broken.append(label)
        return True
    _ensure_drive(catalogue, drive, drives, contents.metadata, contents.facts.start_ns)
    recovered = was_cut or RECOVERED_KEY in contents.metadata
    closed_ns = time.time_ns() if was_cut else stat.st_mtime_ns
    catalogue.close_leg(drive, number, contents.facts, "recovered" if recovered else "closed", closed_ns)
    for event in contents.events:
        catalogue.put_event(event)
    if was_cut:
        report.recovered.append(label)
    elif is_new:
        report.added.append(label)
    return True


def _ensure_drive(catalogue: Catalogue, name: str, drives: set[str], metadata: dict[str, str], start_ns: int) -> None:
    if name in drives:
        return
    drives.add(name)
    started = metadata.get("started_ns", "")
    info = {key: value for key, value in metadata.items() if key not in ("leg", RECOVERED_KEY)}
    is_time = started.isascii() and started.isdigit() and len(started) <= 19 and int(started) <= MOST
    catalogue.add_drive(name, int(started) if is_time else start_ns, info)


def _conclude(root: Path, catalogue: Catalogue, current: str | None) -> None:
    """Drives of which nothing is left go; the others are over, and have the marks that people gave them."""
    with_legs = {leg.drive for leg in catalogue.legs()}
    for drive in catalogue.drives():
        if drive.name == current:
            continue
        if drive.name not in with_legs:
            catalogue.remove_drive(drive.name)
            remove_folder(root / drive.name)
            continue
        if drive.ended_ns is None:
            catalogue.end_drive(drive.name)
        catalogue.apply_marks(drive.name, marks_in_doubt(root / drive.name))


def remove_folder(folder: Path) -> None:
    """Remove a drive's folder that has no legs any more, unless something of somebody else lies in it."""
    with suppress(OSError):
        if not any(path.name != "marks.json" for path in folder.iterdir()):
            (folder / "marks.json").unlink(missing_ok=True)
            folder.rmdir()

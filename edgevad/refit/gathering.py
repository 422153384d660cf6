"""From the names of drives to the footage that may be learned from."""

from __future__ import annotations

import glob
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path

from edgevad.drives.catalogue import Catalogue
from edgevad.drives.layout import CATALOGUE_NAME, DriveMarks, leg_number, legs_in, marks_in_doubt
from edgevad.drives.reading import metadata_of
from edgevad.drives.rows import EventRow, LegRow
from edgevad.errors import EdgevadError, OptionError, StoreError
from edgevad.events.event_filter import EventFilter
from edgevad.events.store import EventStore
from edgevad.events.stored import ANOMALY, EventMark
from edgevad.refit.footage import Footage, Leg, PlainFootage
from edgevad.refit.logged import DriveNotes, LoggedFootage

__all__ = ["Gathered", "gather", "never_train_in"]

# What people said about events: run id, then event id.
_Marks = Mapping[str, Mapping[int, EventMark]]


@dataclass
class Gathered:
    """
    Attributes:
        footage: what may be learned from.
        notes: what was left out and why, in sentences.
    """

    footage: list[Footage]
    notes: list[str]


def gather(
    drives: Sequence[str | PathLike[str]],
    *,
    since_ns: int | None = None,
    cameras: Collection[str] | None = None,
    events: Path | None = None,
    on_leg: Callable[[int], object] = lambda done: None,
) -> Gathered:
    """The footage of `drives`: folders of logged drives, single drives ("DRIVE?camera=front", too) or legs of them,
    globs of these, other recordings. What is named twice is taken once.

    What is marked *never train* is left out, and so are open and broken legs; of the latter a note is made.

    Args:
        since_ns: legs that ended before this Unix time are left out, and other recordings last changed before it.
        cameras: only these, by `Frame.source_id`; None means all.
        events: folder of the event store whose marks count; None where nobody marked any.
        on_leg: told how many legs and recordings have been looked through.

    Raises:
        OptionError: no drive is named.
        SourceError: a recording is missing or cannot be read.
        StoreError: there are no drives in a folder; the event store cannot be read.
    """
    if not drives:
        raise OptionError("no drives are named", expected="a folder of logged drives, or recordings")
    found = Gathered([], [])
    marks = {} if events is None else _marks_in(events)
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        on_leg(done)

    logged: dict[Path, _Logged] = {}
    plain: dict[str, str] = {}
    for name in [fspath(drive) for drive in drives]:
        meant, others = _meant(name)
        for one in meant:
            key = one.folder.resolve()
            logged[key] = one.joined(logged[key]) if key in logged else one
        if not meant:
            plain.setdefault(str(Path(name).resolve()) if Path(name).exists() else name, name)
        found.notes += [f"{other}: no drive; name it by itself if it is to be learned from." for other in others]
    for name in plain.values():
        _gather_plain(name, since_ns, cameras, found)
        advance()
    for one in logged.values():
        _gather_drive(one, since_ns, cameras, marks, found, advance)
    return found


def never_train_in(sources: Iterable[str]) -> list[str]:
    """Drives, or legs of them (DRIVE/000003), among `sources` that are marked *never train*."""
    marked: dict[str, None] = {}
    for source in sources:
        with suppress(OSError, EdgevadError):
            for one in _meant(source)[0]:
                marks = marks_in_doubt(one.folder)
                all_legs = [number for number in map(leg_number, sorted(one.folder.iterdir())) if number is not None]
                legs = [number for number in all_legs if one.legs is None or number in one.legs]
                held = [number for number in legs if marks.holds("never_train", number)]
                is_whole = one.legs is None and len(held) == len(legs)
                names = [one.folder.name] if is_whole else [f"{one.folder.name}/{number:06d}" for number in held]
                marked.update(dict.fromkeys(names))
    return list(marked)


@dataclass(frozen=True)
class _Logged:
    """A logged drive that was named.

    Attributes:
        legs: numbers of those that were; None means all.
        cameras: as `Frame.source_id`; None means all.
    """

    folder: Path
    legs: frozenset[int] | None = None
    cameras: frozenset[str] | None = None

    def joined(self, other: _Logged) -> _Logged:
        """Both, where the drive was named twice."""
        legs = None if self.legs is None or other.legs is None else self.legs | other.legs
        cameras = None if self.cameras is None or other.cameras is None else self.cameras | other.cameras
        return _Logged(other.folder, legs, cameras)


def _meant(name: str) -> tuple[list[_Logged], list[str]]:
    """The logged drives that `name` means, as `open_source` reads it; and what else it does where it is a glob of some.

    Whatever way leads to a leg, its drive's marks and events are found.
    """
    if "://" in name or " ! " in name:
        return [], []
    text, cameras = name, None
    if "?camera=" in name and not Path(name).exists():
        text, _, camera = name.rpartition("?camera=")
        cameras = frozenset([camera]) if camera else None
    with suppress(RuntimeError):  # no user of that name
        text = str(Path(text).expanduser())
    paths = [Path(text)]
    if glob.has_magic(text) and not paths[0].exists():
        paths = [Path(match) for match in sorted(glob.glob(text, recursive=True))]  # noqa: PTH207 - as open_source
    found: list[_Logged] = []
    others: list[str] = []
    for path in paths:
        meant = _meant_by_path(path)
        found += [_Logged(one.folder, one.legs, cameras) for one in meant]
        if not meant and path.name != CATALOGUE_NAME:
            others.append(str(path))
    return found, others if found else []


def _meant_by_path(path: Path) -> list[_Logged]:
    if path.is_file():
        number = leg_number(path)
        return [] if number is None else [_Logged(path.parent, frozenset([number]))]
    if not path.is_dir():
        return []
    if any(leg_number(inner) is not None for inner in path.iterdir()):
        return [_Logged(path)]
    folders = list(dict.fromkeys(path / drive for drive, _, _ in legs_in(path)))
    if not folders and (path / CATALOGUE_NAME).exists():
        raise StoreError("there are no drives", where=path, fix="edgevad run --log DIR logs some")
    return [_Logged(folder) for folder in folders]


def _gather_plain(name: str, since_ns: int | None, cameras: Collection[str] | None, found: Gathered) -> None:
    path = Path(name)
    if "://" in name or " ! " in name:
        raise OptionError("a camera or stream never ends", where=name, fix="Record it first: edgevad run --log DIR")
    if since_ns is not None and path.exists() and path.stat().st_mtime_ns < since_ns:
        found.notes.append(f"{name}: older than asked for.")
        return
    footage = PlainFootage(name)
    if cameras is not None and footage.camera not in cameras:
        found.notes.append(f"{name}: of a camera that was not asked for ({footage.camera}).")
        return
    found.footage.append(footage)


def _gather_drive(
    named: _Logged,
    since_ns: int | None,
    cameras: Collection[str] | None,
    marks: _Marks,
    found: Gathered,
    advance: Callable[[], None],
) -> None:
    folder = named.folder
    rows, run_id, events = _catalogued(folder)
    drive_marks = marks_in_doubt(folder)
    notes = DriveNotes()
    for event in events:  # also of the time in which the log rested
        notes.add_event(event)
    legs: list[Leg] = []
    reasons: dict[str, int] = {}
    for path in sorted(path for path in folder.iterdir() if leg_number(path) is not None):
        number = leg_number(path) or 0
        row = rows.get(number)
        reason = _reason_against(path, row, number, drive_marks, since_ns)
        if named.legs is not None and number not in named.legs:
            reason = "not asked for"
        leg = Leg(path, row.sha256 if row is not None else "")
        try:
            if not path.name.endswith(".part"):
                notes.read(leg, events_only=reason is not None)
                run_id = run_id or metadata_of(path).get("run_id", "")
                if reason is None:
                    legs.append(leg)
        except StoreError:
            notes.forget_images(leg)
            reason = "broken"
        if reason is not None:
            reasons[reason] = reasons.get(reason, 0) + 1
        advance()
    found.notes += [f"{folder.name}: {count} {'legs' if count > 1 else 'leg'} {why}." for why, count in reasons.items()]
    cameras = cameras if named.cameras is None else named.cameras
    for camera in [camera for camera, images in notes.images.items() if images]:
        if cameras is None or camera in cameras:
            found.footage.append(LoggedFootage(folder, camera, legs, notes, marks.get(run_id, {})))


def _reason_against(path: Path, row: LegRow | None, number: int, marks: DriveMarks, since_ns: int | None) -> str | None:
    if path.name.endswith(".part"):
        return "not closed yet"
    if marks.holds("never_train", number):
        return "marked never train"
    if since_ns is not None:
        end_ns = row.end_ns if row is not None and row.end_ns is not None else path.stat().st_mtime_ns
        if end_ns < since_ns:
            return "older than asked for"
    return None


def _catalogued(folder: Path) -> tuple[dict[int, LegRow], str, list[EventRow]]:
    """What the catalogue knows of the drive: its legs by number, its run, its events; nothing where there is none."""
    if not (folder.parent / CATALOGUE_NAME).is_file():
        return {}, "", []
    with suppress(EdgevadError), Catalogue(folder.parent) as catalogue:
        run_id = next((drive.run_id for drive in catalogue.drives() if drive.name == folder.name), "")
        legs = {leg.number: leg for leg in catalogue.legs(folder.name)}
        return legs, run_id, catalogue.events(folder.name)
    return {}, "", []


def _marks_in(directory: Path) -> dict[str, dict[int, EventMark]]:
    marks: dict[str, dict[int, EventMark]] = {}
    with EventStore.open(directory) as store:
        for row in store.events(EventFilter(kind=ANOMALY)):
            if row.mark and row.id.isdecimal():
                marks.setdefault(row.run.run_id, {})[int(row.id)] = row.mark
    return marks

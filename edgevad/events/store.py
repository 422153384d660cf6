"""What happened, for good: a folder with an SQLite file of events and incidents, and their pictures and clips.

events.db            rows (database.py)
media/2026-11-24/    clips, thumbnails, heatmaps, by the day on which they were stored (UTC)
writer.lock          held by the one process that records; readers need no lock
set-aside-…/         a store that could not be used, whole, where a new one was started in its place
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import fields
from os import PathLike
from os.path import samestat
from pathlib import Path
from types import TracebackType
from typing import Any

from edgevad._files import output_errors, sync_directory, try_lock, writable_directory
from edgevad._sqlite import storable
from edgevad.bundle.home import home_directory
from edgevad.errors import StoreError
from edgevad.events.database import (
    DATABASE_NAME,
    DamagedStoreError,
    open_database,
    row_errors,
    store_errors,
    transaction,
)
from edgevad.events.event_filter import EventFilter
from edgevad.events.media import MEDIA_NAME, is_media, media_of_runs
from edgevad.events.run_info import RunInfo
from edgevad.events.stored import EventMark, StoredEvent

__all__ = ["EventFilter", "EventStore", "default_store_directory"]

LOCK_NAME = "writer.lock"

_COLUMNS = tuple(field.name for field in fields(StoredEvent) if field.name not in ("run", "number"))
# What only people, or the first writing, decide.
_FIXED = frozenset({"id", "stored_ns", "kept", "mark"})
_RUN_COLUMNS = tuple(field.name for field in fields(RunInfo))
_INSERT_RUN = f"INSERT OR IGNORE INTO runs ({', '.join(_RUN_COLUMNS)}) VALUES ({', '.join('?' * len(_RUN_COLUMNS))})"
# Not in one statement: an INSERT that comes to be an UPDATE uses up a number all the same.
_CHANGING = tuple(name for name in _COLUMNS if name not in _FIXED)
_UPDATE = f"UPDATE events SET {', '.join(f'{name} = ?' for name in _CHANGING)} WHERE run_id = ? AND id = ?"
_INSERT = f"INSERT INTO events (run_id, {', '.join(_COLUMNS)}) VALUES ({', '.join('?' * (1 + len(_COLUMNS)))})"
_SELECT = (
    f"SELECT events.number, {', '.join(f'events.{name}' for name in _COLUMNS)}, "
    + ", ".join(f"runs.{name} AS run_{name}" for name in _RUN_COLUMNS)
    + " FROM events JOIN runs USING (run_id)"
)


def default_store_directory() -> Path:
    """`events` in edgevad's home.

    Raises:
        OptionError: there is no home folder.
    """
    return home_directory() / "events"


class EventStore:
    """Open with `EventStore.open`; a context manager. One process writes, as many as like read at the same time.

    Attributes:
        directory: its folder.
        set_aside: where the store went that could not be used, when a new one was started in its place, else None.
        set_aside_why: what was wrong with that one.
    """

    def __init__(self, directory: Path, connection: sqlite3.Connection) -> None:
        self.directory = directory
        self.path = directory / DATABASE_NAME
        self.set_aside: Path | None = None
        self.set_aside_why = ""
        self._connection = connection
        self._lock: int | None = None
        with output_errors(self.path):
            self._opened = self.path.stat()

    def is_in_place(self) -> bool:
        """Whether the open file is still the one of that name: folders get removed, and disks are unplugged.

        SQLite writes on into a file that is gone, without an error.
        """
        try:
            return samestat(self._opened, self.path.stat())
        except OSError:
            return False

    @classmethod
    def open(
        cls, directory: str | PathLike[str] | None = None, *, create: bool = False, mend: bool = False
    ) -> EventStore:
        """The store in `directory`, by default in edgevad's home.

        Args:
            create: make one where there is none, and look through one that there is for damage.
            mend: where it cannot be used (broken, another program's, a newer edgevad's), or its database is gone, move
                it aside with its media, nothing deleted, and start a new one: a device must go on recording. Only with
                `create`, by who holds the writer's lock.

        Raises:
            StoreError: there is none, or it cannot be used.
            OutputError: it cannot be created.
        """
        folder = default_store_directory() if directory is None else Path(directory)
        aside, why = None, ""
        if mend and create and _has_lost_its_database(folder):
            # Before there is a new one: nobody could tell then that these are not that one's leavings.
            aside, why = _set_aside(folder), f"{folder / DATABASE_NAME}: is gone or empty, and there are clips of it"
        try:
            connection = open_database(folder / DATABASE_NAME, create=create)
        except DamagedStoreError as error:
            if not (mend and create):
                raise
            aside, why = _set_aside(folder), str(error)
            connection = open_database(folder / DATABASE_NAME, create=True)
        store = cls(folder, connection)
        store.set_aside, store.set_aside_why = aside, why
        return store

    @classmethod
    def open_to_record(cls, directory: str | PathLike[str] | None = None) -> EventStore:
        """The store for the one process that writes to it, made or mended where need be.

        Raises:
            StoreError: another process records into it.
            OutputError: it cannot be written.
        """
        folder = writable_directory(default_store_directory() if directory is None else Path(directory))
        lock = try_lock(folder / LOCK_NAME)
        if lock is None:
            raise StoreError("another edgevad records into this store", where=folder, fix="Name another folder")
        try:
            store = cls.open(folder, create=True, mend=True)
        except BaseException:
            os.close(lock)
            raise
        store._lock = lock
        return store

    def write(self, rows: Iterable[StoredEvent]) -> None:
        """Store rows, or bring those of the same run and id up to date; all or none. On the disk when it returns.

        `kept`, `mark` and `stored_ns` of a row that is there stay.

        Raises:
            OutputError: the disk is full or refuses.
            StoreError: the store is locked or damaged; `RefusedRowError` where a row holds what cannot be stored.
        """
        found = list(rows)
        runs = {row.run.run_id: row.run for row in found}
        with transaction(self._connection, self.path), row_errors(self.path):
            self._connection.executemany(_INSERT_RUN, map(_run_values, runs.values()))
            for row in found:
                values = {name: storable(getattr(row, name)) for name in _COLUMNS}
                run_id = storable(row.run.run_id)
                changing = [values[name] for name in _CHANGING]
                if not self._connection.execute(_UPDATE, [*changing, run_id, values["id"]]).rowcount:
                    self._connection.execute(_INSERT, [run_id, *values.values()])

    def events(self, chosen: EventFilter | None = None) -> list[StoredEvent]:
        """The rows that `chosen` means, all without it, in the order in which they began.

        Raises:
            StoreError: the store cannot be read.
        """
        text, values = (chosen or EventFilter()).to_sql()
        with store_errors(self.path):
            runs: dict[str, RunInfo] = {}
            return [_event_from(self.directory, row, runs) for row in self._connection.execute(_SELECT + text, values)][
                ::-1
            ]

    def event(self, number: int) -> StoredEvent:
        """Raises StoreError where there is no such row."""
        found = self.events(EventFilter(numbers=(number,)))
        if not found:
            raise StoreError(f"there is no event {number}", where=self.directory, fix="See edgevad events list")
        return found[0]

    def find(self, name: str) -> StoredEvent:
        """By its number, or by RUN/ID as messages name it.

        Raises:
            StoreError: there is no such row.
        """
        if name.isascii() and name.isdigit():
            return self.event(int(name[:18]))
        name = storable(name)
        run_id, _, event_id = name.partition("/")
        with store_errors(self.path):
            query = _SELECT + " WHERE events.run_id = ? AND events.id = ?"
            row = self._connection.execute(query, (run_id, event_id)).fetchone()
        if row is None:
            raise StoreError(f"there is no event {name}", where=self.directory, fix="See edgevad events list")
        return _event_from(self.directory, row, {})

    def keep(self, numbers: Sequence[int], *, kept: bool = True) -> None:
        """Never delete these rows and their media; `kept` False takes that back.

        Raises:
            StoreError: one of them is not there; nothing is changed then.
        """
        self._set("kept", kept, numbers)

    def mark(self, numbers: Sequence[int], mark: EventMark) -> None:
        """Note what people say about these events: "confirmed", "dismissed" (a false alarm), or "" for neither.

        Training follows it: nothing is learned from what was confirmed, and what was dismissed counts as normal.

        Raises:
            StoreError: one of them is not there; nothing is changed then.
        """
        self._set("mark", mark, numbers)

    def _set(self, column: str, value: object, numbers: Sequence[int]) -> None:
        with transaction(self._connection, self.path):
            for number in numbers:
                query = f"UPDATE events SET {column} = ? WHERE number = ?"
                if not self._connection.execute(query, (value, number)).rowcount:
                    raise StoreError(f"there is no event {number}", where=self.directory, fix="See edgevad events list")

    def forget_media(self, numbers: Iterable[int]) -> None:
        """These rows have no clip and no pictures any more."""
        nothing = "clip = NULL, clip_start_ns = NULL, clip_end_ns = NULL, thumbnail = NULL, heatmap = NULL"
        with transaction(self._connection, self.path):
            self._connection.executemany(
                f"UPDATE events SET {nothing} WHERE number = ?", ((number,) for number in numbers)
            )

    def moments(self) -> list[tuple[int, int]]:
        """Number and `stored_ns` of every row, in the order in which they were stored."""
        with store_errors(self.path):
            return [
                tuple(row) for row in self._connection.execute("SELECT number, stored_ns FROM events ORDER BY number")
            ]

    def delete_rows(self, last: int) -> int:
        """Delete rows up to this number that are over, have no media and are not kept, and runs without rows."""
        with transaction(self._connection, self.path):
            deleted = self._connection.execute(
                "DELETE FROM events WHERE number <= ? AND kept = 0 AND end_ns IS NOT NULL "
                "AND clip IS NULL AND thumbnail IS NULL AND heatmap IS NULL",
                (last,),
            ).rowcount
            self._connection.execute("DELETE FROM runs WHERE run_id NOT IN (SELECT run_id FROM events)")
        return deleted

    def close(self) -> None:
        """May be called twice."""
        try:
            with store_errors(self.path):
                self._connection.close()
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def __enter__(self) -> EventStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _run_values(run: RunInfo) -> list[Any]:
    return [json.dumps(run.sources) if name == "sources" else storable(getattr(run, name)) for name in _RUN_COLUMNS]


def _event_from(directory: Path, row: sqlite3.Row, runs: dict[str, RunInfo]) -> StoredEvent:
    """`runs` are those that are made already: a run has thousands of events."""
    run = runs.get(row["run_run_id"])
    if run is None:
        facts = {name: row[f"run_{name}"] for name in _RUN_COLUMNS}
        facts.update(sources=tuple(json.loads(facts["sources"])), is_live=bool(facts["is_live"]))
        run = runs[row["run_run_id"]] = RunInfo(**facts)
    values = {name: row[name] for name in _COLUMNS}
    values.update(interrupted=bool(values["interrupted"]), kept=bool(values["kept"]))
    for name in ("clip", "thumbnail", "heatmap"):
        if values[name] is not None and not is_media(directory, values[name]):
            values[name] = None
    return StoredEvent(run=run, number=row["number"], **values)


def _has_lost_its_database(folder: Path) -> bool:
    """As after a loss of power, when a file system comes back with a file of no length."""
    path = folder / DATABASE_NAME
    with output_errors(path):
        if path.exists() and path.stat().st_size:
            return False
        log = path.with_name(f"{DATABASE_NAME}-wal")  # all of a young store may lie there
        return not (log.exists() and log.stat().st_size) and next(media_of_runs(folder), None) is not None


def _set_aside(folder: Path) -> Path:
    """Move a store with its media into a folder of its own beside the new one."""
    name = time.strftime("set-aside-%Y%m%dT%H%M%SZ", time.gmtime())
    aside = next(path for k in range(1000) if not (path := folder / f"{name}{f'-{k}' if k else ''}").exists())
    with output_errors(aside):
        aside.mkdir()
        for part in (MEDIA_NAME, f"{DATABASE_NAME}-wal", f"{DATABASE_NAME}-shm", DATABASE_NAME):
            if (folder / part).exists():
                os.replace(folder / part, aside / part)  # noqa: PTH105 - a folder, too
        sync_directory(aside)
        sync_directory(folder)
    return aside

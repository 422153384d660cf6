"""The catalogue: which drives there are, which legs they have, what happened in them. SQLite, beside the drives.

It only follows the files (`layout.py`): it can be lost, and is made anew from them.
"""

from __future__ import annotations

import json
import sqlite3
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from edgevad._sqlite import MOST, sqlite_address
from edgevad.drives.layout import CATALOGUE_NAME, MARKS, DriveMarks
from edgevad.drives.leg import LegFacts
from edgevad.drives.rows import DriveRow, EventRow, LegRow, LegState
from edgevad.errors import OutputError, StoreError

__all__ = ["Catalogue"]

# Each entry brings the schema from its index to the next version.
_MIGRATIONS = (
    """
    CREATE TABLE drives (
        name TEXT PRIMARY KEY, run_id TEXT NOT NULL, started_ns INTEGER NOT NULL, ended_ns INTEGER, info TEXT NOT NULL
    );
    CREATE TABLE legs (
        drive TEXT NOT NULL REFERENCES drives (name) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('open', 'closed', 'recovered', 'broken')),
        start_ns INTEGER, end_ns INTEGER, closed_ns INTEGER,
        size_bytes INTEGER NOT NULL DEFAULT 0, images INTEGER NOT NULL DEFAULT 0, frames INTEGER NOT NULL DEFAULT 0,
        cameras TEXT NOT NULL DEFAULT '[]', sha256 TEXT NOT NULL DEFAULT '',
        keep INTEGER NOT NULL DEFAULT 0, never_train INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (drive, number)
    ) WITHOUT ROWID;
    CREATE TABLE events (
        drive TEXT NOT NULL REFERENCES drives (name) ON DELETE CASCADE,
        id INTEGER NOT NULL, source_id TEXT NOT NULL, cause TEXT NOT NULL, peak_score REAL NOT NULL,
        start_ns INTEGER NOT NULL, end_ns INTEGER,
        PRIMARY KEY (drive, id)
    ) WITHOUT ROWID;
    """,
)
_FOREVER_NS = MOST
_LEG_COLUMNS = tuple(field.name for field in fields(LegRow) if field.name != "events")


class Catalogue:
    """The catalogue in the folder `root`, made where there is none. Used by one thread at a time.

    Where it may not be written (another user's, a card taken out of the car), it can still be read.

    Raises:
        StoreError: it is broken, or of a newer edgevad (on construction and from every method).
        OutputError: it cannot be written: the disk is full, or permission is denied (the same).
    """

    def __init__(self, root: Path) -> None:
        self.path = root / CATALOGUE_NAME
        self._closed_s: dict[tuple[str, int], float] = {}  # by a clock that nobody sets
        with self._errors():
            # Used by whichever thread holds the sink; two at a time it never sees.
            self._connection = sqlite3.connect(
                sqlite_address(self.path), uri=True, timeout=10.0, isolation_level=None, check_same_thread=False
            )
        try:
            with self._errors():
                self._prepare()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """May be called twice."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def __enter__(self) -> Catalogue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What is in it

    def drives(self) -> list[DriveRow]:
        """In the order in which they began."""
        rows = self._rows("SELECT name, run_id, started_ns, ended_ns, info FROM drives ORDER BY started_ns, name")
        return [DriveRow(row[0], row[1], row[2], row[3], json.loads(row[4])) for row in rows]

    def legs(self, drive: str | None = None, *, margin_ns: int = 0, unsaved: Sequence[EventRow] = ()) -> list[LegRow]:
        """Of one drive or of all, in the order in which they were logged, whatever the clock said.

        `LegRow.events` counts those that lie within `margin_ns`, too, and `unsaved` ones.
        """
        rows = self._rows(
            f"SELECT {', '.join(f'legs.{name}' for name in _LEG_COLUMNS)} FROM legs"
            " JOIN drives ON drives.name = legs.drive WHERE :drive IS NULL OR drive = :drive"
            " ORDER BY drives.rowid, number",
            {"drive": drive},
        )
        count_near = self._event_counter(margin_ns, unsaved)
        legs = []
        for row in rows:
            values = dict(zip(_LEG_COLUMNS, row, strict=True))
            values["cameras"] = tuple(json.loads(values["cameras"]))
            for mark in MARKS:
                values[mark] = bool(values[mark])
            legs.append(LegRow(**values, events=count_near(row[0], values["start_ns"], values["end_ns"])))
        return legs

    def events(self, drive: str) -> list[EventRow]:
        rows = self._rows(
            "SELECT drive, id, source_id, cause, peak_score, start_ns, end_ns FROM events WHERE drive = ?"
            " ORDER BY start_ns, id",
            (drive,),
        )
        return [EventRow(*row) for row in rows]

    # What follows the files

    def add_drive(self, name: str, started_ns: int, info: dict[str, str]) -> None:
        """Where it is there already, it goes on."""
        self._do(
            "INSERT INTO drives (name, run_id, started_ns, info) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET ended_ns = NULL",
            (name, info.get("run_id", ""), started_ns, json.dumps(info)),
        )

    def open_leg(self, drive: str, number: int) -> None:
        self._do("INSERT OR REPLACE INTO legs (drive, number, state) VALUES (?, ?, 'open')", (drive, number))

    def close_leg(
        self, drive: str, number: int, facts: LegFacts, state: LegState, closed_ns: int | None = None
    ) -> None:
        """`closed_ns`: now, unless told otherwise."""
        if closed_ns is None:
            self._closed_s[drive, number] = time.monotonic()
        self._do(
            "INSERT INTO legs (drive, number, state, start_ns, end_ns, closed_ns, size_bytes, images, frames, cameras,"
            " sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (drive, number) DO UPDATE SET"
            " state = excluded.state, start_ns = excluded.start_ns, end_ns = excluded.end_ns,"
            " closed_ns = excluded.closed_ns, size_bytes = excluded.size_bytes, images = excluded.images,"
            " frames = excluded.frames, cameras = excluded.cameras, sha256 = excluded.sha256",
            (
                drive,
                number,
                state,
                facts.start_ns,
                facts.end_ns,
                time.time_ns() if closed_ns is None else closed_ns,
                facts.size_bytes,
                facts.images,
                facts.frames,
                json.dumps(facts.cameras),
                facts.sha256,
            ),
        )

    def break_leg(self, drive: str, number: int, size_bytes: int, closed_ns: int) -> None:
        """There is a file, and it cannot be read."""
        self._do(
            "INSERT INTO legs (drive, number, state, size_bytes, closed_ns) VALUES (?, ?, 'broken', ?, ?)"
            " ON CONFLICT (drive, number) DO UPDATE SET state = 'broken', size_bytes = excluded.size_bytes,"
            " closed_ns = excluded.closed_ns",
            (drive, number, size_bytes, closed_ns),
        )

    def remove_leg(self, drive: str, number: int) -> None:
        self._closed_s.pop((drive, number), None)
        self._do("DELETE FROM legs WHERE drive = ? AND number = ?", (drive, number))

    def remove_drive(self, name: str) -> None:
        self._do("DELETE FROM drives WHERE name = ?", (name,))

    def end_drive(self, name: str, ended_ns: int | None = None) -> None:
        """It is over, and so are its events; at its last leg's end, unless told otherwise."""
        with self._errors(), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(
                "UPDATE drives SET ended_ns = ifnull(?, ifnull((SELECT max(end_ns) FROM legs WHERE drive = name),"
                " started_ns)) WHERE name = ?",
                (ended_ns, name),
            )
            self._connection.execute(
                "UPDATE events SET end_ns = max(start_ns, ifnull((SELECT max(end_ns) FROM legs WHERE legs.drive ="
                " events.drive), start_ns)) WHERE drive = ? AND end_ns IS NULL",
                (name,),
            )

    def put_event(self, event: EventRow) -> None:
        """Add it, or say what has become of it; one that is over stays so."""
        self._do(
            "INSERT INTO events (drive, id, source_id, cause, peak_score, start_ns, end_ns)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (drive, id) DO UPDATE SET cause = excluded.cause, peak_score = excluded.peak_score,"
            " end_ns = excluded.end_ns WHERE excluded.end_ns IS NOT NULL",
            (event.drive, event.id, event.source_id, event.cause, event.peak_score, event.start_ns, event.end_ns),
        )

    def apply_marks(self, drive: str, marks: DriveMarks) -> None:
        numbers = [row[0] for row in self._rows("SELECT number FROM legs WHERE drive = ?", (drive,))]
        with self._errors(), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for mark in MARKS:
                self._connection.executemany(
                    f"UPDATE legs SET {mark} = ? WHERE drive = ? AND number = ?",
                    [(marks.holds(mark, number), drive, number) for number in numbers],
                )

    def closed_ago_s(self, leg: LegRow) -> float | None:
        """How long ago this object was told that the leg was closed; None if it was not."""
        closed_s = self._closed_s.get((leg.drive, leg.number))
        return None if closed_s is None else time.monotonic() - closed_s

    def _event_counter(
        self, margin_ns: int, unsaved: Sequence[EventRow]
    ) -> Callable[[str, int | None, int | None], int]:
        """Counts a drive's events between two times, give or take the margin."""
        # Not in SQL: ten thousand legs took five seconds there, in which the log fell behind.
        starts: defaultdict[str, list[int]] = defaultdict(list)
        ends: defaultdict[str, list[int]] = defaultdict(list)
        times: dict[tuple[str, int], tuple[int, int | None]] = {}
        for drive, number, start_ns, end_ns in self._rows("SELECT drive, id, start_ns, end_ns FROM events"):
            times[drive, number] = start_ns, end_ns
        times.update({(event.drive, event.id): (event.start_ns, event.end_ns) for event in unsaved})
        for (drive, _), (start_ns, end_ns) in times.items():
            starts[drive].append(start_ns)
            # It ends before it began where the clock was set back meanwhile.
            ends[drive].append(_FOREVER_NS if end_ns is None else max(start_ns, end_ns))
        for moments in (*starts.values(), *ends.values()):
            moments.sort()

        def count(drive: str, start_ns: int | None, end_ns: int | None) -> int:
            if start_ns is None or end_ns is None:
                return 0
            begun = bisect_right(starts[drive], end_ns + margin_ns)
            return begun - bisect_left(ends[drive], start_ns - margin_ns)  # less those that were over before

        return count

    def _prepare(self) -> None:
        execute = self._connection.execute
        execute("PRAGMA foreign_keys = ON")
        version = execute("PRAGMA user_version").fetchone()[0]
        if version > len(_MIGRATIONS):
            raise StoreError(
                f"the catalogue is of a newer edgevad (version {version})",
                where=self.path,
                expected=f"version {len(_MIGRATIONS)} or less",
                fix="Update edgevad, or name another folder",
            )
        if version < len(_MIGRATIONS):
            execute("PRAGMA journal_mode = WAL")  # is kept in the file
        execute("PRAGMA synchronous = NORMAL")  # a loss of power may cost the last rows, which the files bring back
        for target, script in enumerate(_MIGRATIONS[version:], start=version + 1):
            self._connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {target}; COMMIT;")
        # Opening reads only the header; what is broken behind it is better told now than in the middle of a drive.
        if (found := execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(found)
        tables = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('drives', 'legs', 'events')"
        if execute(tables).fetchone()[0] != 3:
            raise sqlite3.DatabaseError("its tables are missing")

    def _do(self, statement: str, values: Sequence[Any]) -> None:
        with self._errors():
            self._connection.execute(statement, values)

    def _rows(self, query: str, values: Sequence[Any] | dict[str, Any] = ()) -> list[Any]:
        with self._errors():
            return self._connection.execute(query, values).fetchall()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            full = "full" in str(error)
            raise OutputError(
                "the disk is full" if full else f"the catalogue cannot be written ({error})",
                where=self.path,
                fix="Free some space" if full else None,
            ) from error
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"the catalogue of drives is broken ({error})",
                where=self.path,
                fix=f"Make it anew from the drives: edgevad drives recover --dir {self.path.parent}",
            ) from error

"""The SQLite file of the event store: opening it, its schema, bringing up older ones, what SQLite's errors mean.

`synchronous` is FULL: a car's power is cut without warning, and with NORMAL, SQLite's advice for WAL, the latest events
would be missing after that. They are a few a minute, written by a thread of their own: the fsync costs nobody anything.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgevad._files import writable_directory
from edgevad._sqlite import is_writable, sqlite_address
from edgevad.errors import OutputError, StoreError

__all__ = [
    "DATABASE_NAME",
    "DamagedStoreError",
    "RefusedRowError",
    "open_database",
    "row_errors",
    "store_errors",
    "transaction",
]

DATABASE_NAME = "events.db"
APPLICATION_ID = 0x65766164  # "evad"
BUSY_S = 5.0

_FIRST = (
    """CREATE TABLE runs (
        run_id TEXT PRIMARY KEY,
        started_ns INTEGER NOT NULL,
        bundle TEXT NOT NULL,
        bundle_name TEXT NOT NULL,
        bundle_digest TEXT NOT NULL,
        engine TEXT NOT NULL,
        sources TEXT NOT NULL,
        threshold REAL NOT NULL,
        is_live INTEGER NOT NULL,
        device TEXT NOT NULL)""",
    # AUTOINCREMENT: the number that somebody noted down never comes to name another event.
    """CREATE TABLE events (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id TEXT NOT NULL REFERENCES runs,
        id TEXT NOT NULL,
        kind TEXT NOT NULL,
        cause TEXT NOT NULL,
        detail TEXT NOT NULL,
        camera TEXT NOT NULL,
        start_ns INTEGER NOT NULL,
        end_ns INTEGER,
        start_frame INTEGER,
        end_frame INTEGER,
        frames INTEGER,
        peak_score REAL,
        peak_frame INTEGER,
        clip TEXT,
        clip_start_ns INTEGER,
        clip_end_ns INTEGER,
        thumbnail TEXT,
        heatmap TEXT,
        stored_ns INTEGER NOT NULL,
        interrupted INTEGER NOT NULL,
        kept INTEGER NOT NULL,
        UNIQUE (run_id, id))""",
    "CREATE INDEX events_by_time ON events (stored_ns)",
    "CREATE INDEX events_lasting ON events (number) WHERE end_ns IS NULL",
    """CREATE INDEX events_with_media ON events (number)
        WHERE clip IS NOT NULL OR thumbnail IS NOT NULL OR heatmap IS NOT NULL""",
)

# One tuple of statements for each version of the schema, from 1 on. What is here stays as it is: files of it exist.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    _FIRST,
    ("ALTER TABLE events ADD COLUMN mark TEXT NOT NULL DEFAULT '' CHECK (mark IN ('', 'confirmed', 'dismissed'))",),
)


class DamagedStoreError(StoreError):
    """The file is no event store, not one of this version, or broken: another one can be started in its place."""


class RefusedRowError(StoreError):
    """A row holds what SQLite cannot take, now or ever."""


@contextmanager
def row_errors(path: Path) -> Iterator[None]:
    """Raises RefusedRowError where it is the row's fault."""
    try:
        yield
    except (OverflowError, UnicodeError, sqlite3.IntegrityError, sqlite3.DataError) as error:
        raise RefusedRowError(f"cannot take a row ({error})", where=path) from error
    except (sqlite3.InterfaceError, sqlite3.ProgrammingError) as error:
        if "binding" not in str(error):
            raise
        raise RefusedRowError(f"cannot take a row ({error})", where=path) from error


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors about `path` into one clear error.

    Raises:
        OutputError: the disk is full or refuses.
        StoreError: the file is locked, or cannot be opened; `DamagedStoreError` where it is broken.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(error, path) from error


@contextmanager
def transaction(connection: sqlite3.Connection, path: Path) -> Iterator[None]:
    """All of the statements in the block, or none of them."""
    with store_errors(path):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # SQLite has rolled back by itself where the disk was full
                connection.execute("ROLLBACK")
            raise


def open_database(path: Path, *, create: bool) -> sqlite3.Connection:
    """A connection to the store at `path`, with the schema of this version.

    Raises:
        StoreError: there is none and `create` is false, or it cannot be used.
        OutputError: it cannot be created.
    """
    if create:
        writable_directory(path.parent)
    elif not path.is_file():
        raise StoreError("there is no event store", where=path.parent, fix="edgevad run makes one, with --events")
    with store_errors(path):
        # One thread at a time uses it, but not the one that opened it.
        connection = sqlite3.connect(
            sqlite_address(path), uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            connection.row_factory = sqlite3.Row
            version = _version(connection, path)
            if is_writable(path):
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            if version < len(MIGRATIONS):
                if version and not is_writable(path):
                    raise StoreError(
                        f"was written by an older edgevad (schema {version}), and may not be written here",
                        where=path,
                        fix="Look at it once with the account that edgevad runs under (sudo -u)",
                    )
                _migrate(connection, path)
            if create:
                _check(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the schema, 0 of a file that is still empty."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if application != APPLICATION_ID:
        if application or version or connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise DamagedStoreError("is another program's database", where=path, expected="an event store of edgevad")
        return 0
    if version > len(MIGRATIONS):
        raise DamagedStoreError(
            f"was written by a newer edgevad (schema {version})",
            where=path,
            expected=f"at most schema {len(MIGRATIONS)}",
            fix="Update edgevad, or name another folder",
        )
    return version


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    with transaction(connection, path):
        # Again, now that nobody else can: two processes may have found the same old file.
        version = _version(connection, path)
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _check(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise DamagedStoreError(f"is damaged ({found})", where=path)
    tables = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('runs', 'events')"
    if connection.execute(tables).fetchone()[0] != 2:
        raise DamagedStoreError("is damaged (its tables are missing)", where=path)


def _translated(error: sqlite3.Error, path: Path) -> StoreError | OutputError:
    # Python 3.10 has no sqlite_errorcode; SQLite's texts for these have not changed in twenty years.
    text = str(error)
    if "is full" in text:
        return OutputError("the disk is full", where=path, fix="Free some space or choose another folder")
    if "disk I/O error" in text or "readonly" in text:
        return OutputError(f"cannot be written ({text})", where=path)
    if "locked" in text:
        return StoreError(f"is in use by another process for more than {BUSY_S:g} s", where=path)
    if "unable to open" in text:
        return StoreError("cannot be opened", where=path, fix="Use the account that edgevad runs under (sudo -u)")
    if isinstance(error, sqlite3.OperationalError | sqlite3.ProgrammingError):
        return StoreError(f"cannot be used ({text})", where=path)
    return DamagedStoreError(f"is damaged or no event store ({text})", where=path)

"""Messages on the disk until somebody has taken them, in order.

A message is on the disk when `append` returns (fsync: it outlives a loss of power, too), and leaves it when `done` says
that it was taken. Between a delivery and its `done` the machine may stop: then it is delivered again, with the same
sequence number.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import PathLike
from os.path import samestat
from pathlib import Path

from edgevad._files import output_errors, try_lock, writable_directory
from edgevad.errors import OutputError, SinkError
from edgevad.events.ages import count_too_old

__all__ = ["Message", "Outbox", "OutboxLimits"]

_SCHEMA_VERSION = 1
_SCHEMA = (
    # AUTOINCREMENT: a number is never given twice, not even when everything was delivered in between.
    "CREATE TABLE messages (sequence INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, body BLOB NOT NULL,"
    " created_ns INTEGER NOT NULL)",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
)
# What cannot be written, the disk being full, waits in memory: so many messages of a kilobyte or less.
_MAX_UNSAVED = 1000


@dataclass(frozen=True)
class OutboxLimits:
    """What may wait on the disk; beyond any of these the first messages are dropped, and counted.

    Age is what ages.py makes of clocks, looked at whenever a hundredth of `age_s` has passed.
    """

    count: int = 100_000
    size_bytes: int = 64 << 20
    age_s: float = 7 * 86_400.0


@dataclass(frozen=True)
class Message:
    """One message: `body` is JSON, an object, as it was appended; `sequence` grows by one a message, from 1."""

    sequence: int
    topic: str
    body: bytes
    queue: str

    @property
    def payload(self) -> bytes:
        """The body with the queue's name and the sequence number as its first members."""
        head = f'{{"queue": "{self.queue}", "sequence": {self.sequence}'.encode()
        return head + (b"}" if self.body == b"{}" else b", " + self.body[1:])


class Outbox:
    """A queue in one SQLite file. Methods may be called from any thread; one process at a time can have it open.

    A file that is damaged, or of a newer edgevad, is set aside under another name (`set_aside`), and a new one begun: a
    vehicle that nobody looks after must go on telling. So is one whose folder was removed or unplugged, with what can
    still be read of it.

    Args:
        path: of the file; its folder is made.
        clock_ns: Unix time.

    Attributes:
        id: of this queue, new with every new file: (id, sequence) names a message for good. `sequence` never goes back
            as long as it is open.
        dropped: messages dropped since it was opened, because a limit was passed.
        set_aside: what a damaged file was renamed to, else None.

    Raises:
        OutputError: the folder cannot be written, or the disk is full.
        SinkError: another process has it open.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        limits: OutboxLimits | None = None,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.path = Path(path)
        self.limits = OutboxLimits() if limits is None else limits
        self.dropped = 0
        self.set_aside: Path | None = None
        self._clock_ns = clock_ns
        self._mutex = threading.Lock()
        self._unsaved: deque[tuple[str, bytes, int]] = deque()
        self._claim = -1
        self._looked_ns: int | None = None
        self._last = 0  # the highest number that was given in a file that is gone
        self._open()

    @property
    def waiting(self) -> int:
        """Messages that wait."""
        return int(self._count) + len(self._unsaved)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the bodies that wait on the disk."""
        return int(self._bytes)

    def append(self, topic: str, body: bytes) -> int:
        """Put one message behind all others; how many old ones were dropped for it.

        Raises:
            OutputError: the disk is full or refuses; the message is kept in memory (1000 of them), and written before
                the next one, or by `flush`.
        """
        with self._mutex:
            self._unsaved.append((topic, body, self._clock_ns()))
            before = self.dropped
            if len(self._unsaved) > _MAX_UNSAVED:
                self._unsaved.popleft()
                self.dropped += 1
            self._save()
            return self.dropped - before

    def flush(self) -> None:
        """Write what an earlier `append` could not.

        Raises:
            OutputError: the disk is still full, or refuses.
        """
        with self._mutex:
            if self._unsaved:
                self._save()

    def after(self, sequence: int, count: int) -> list[Message]:
        """The oldest messages on the disk whose number is larger than `sequence`, at most `count`, in order."""
        with self._mutex, self._errors():
            rows = self._db.execute(
                "SELECT sequence, topic, body FROM messages WHERE sequence > ? ORDER BY sequence LIMIT ?",
                (sequence, count),
            ).fetchall()
        return [Message(number, topic, bytes(body), self.id) for number, topic, body in rows]

    def done(self, sequence: int) -> None:
        """All messages up to this one were taken.

        Raises:
            OutputError: the disk refuses; they may be given again after a restart.
        """
        with self._mutex, self._errors():
            # Losing this with the machine's power only means that they are delivered twice: not worth an fsync.
            self._db.execute("PRAGMA synchronous = NORMAL")
            with self._transaction():
                count, size = self._remove("sequence <= ?", sequence)
            self._count -= count
            self._bytes -= size

    def close(self) -> None:
        """May be called twice."""
        with self._mutex:
            if self._claim >= 0:
                with suppress(sqlite3.Error):
                    self._db.close()
                os.close(self._claim)
                self._claim = -1

    def _open(self) -> None:
        writable_directory(self.path.parent)
        claim = try_lock(self.path.with_name(self.path.name + ".lock"), mode=0o600)
        if claim is None:
            raise SinkError(
                "is in use by another run", where=self.path, fix="End that one, or give this one another folder"
            )
        try:
            self._db = self._opened()
            with self._errors(), output_errors(self.path):
                self._file = self.path.stat()
                self.id = self._db.execute("SELECT value FROM facts WHERE name = 'id'").fetchone()[0]
                self._count, self._bytes = self._db.execute(
                    "SELECT count(*), coalesce(sum(length(body)), 0) FROM messages"
                ).fetchone()
        except BaseException:
            os.close(claim)
            raise
        self._claim = claim

    def _is_in_place(self) -> bool:
        """SQLite writes on into a file that is gone, without an error."""
        try:
            return self._claim >= 0 and samestat(self._file, self.path.stat())
        except OSError:
            return False

    def _reopen(self) -> None:
        """The folder was removed, or its disk unplugged: what can still be read goes into the file there is now."""
        last, rest = 0, []
        with suppress(sqlite3.Error):
            last = self._last_sequence()
            rest = self._db.execute("SELECT topic, body, created_ns FROM messages ORDER BY sequence").fetchall()
        with suppress(sqlite3.Error):
            self._db.close()
        if self._claim >= 0:
            os.close(self._claim)
            self._claim = -1
        self._last = max(self._last, last)
        try:
            self._open()
        except BaseException:
            self._unsaved.extendleft(reversed(rest))
            raise
        with self._errors(), self._transaction():
            # Who sends them asks for what follows the last that was taken.
            if self._last_sequence() < self._last:
                self._db.execute("DELETE FROM sqlite_sequence WHERE name = 'messages'")
                self._db.execute("INSERT INTO sqlite_sequence VALUES ('messages', ?)", (self._last,))
        if not self._count:
            self._unsaved.extendleft(reversed(rest))

    def _last_sequence(self) -> int:
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'messages'").fetchone()
        return 0 if row is None else int(row[0])

    def _save(self) -> None:
        if not self._is_in_place():
            self._reopen()
        rows = list(self._unsaved)
        with self._errors():
            self._db.execute("PRAGMA synchronous = FULL")
            with self._transaction():
                self._db.executemany("INSERT INTO messages (topic, body, created_ns) VALUES (?, ?, ?)", rows)
                added = sum(len(body) for _, body, _ in rows)
                dropped, size = self._trim(self._count + len(rows), self._bytes + added)
        self._unsaved.clear()
        self._count += len(rows) - dropped
        self._bytes += added - size
        self.dropped += dropped

    def _trim(self, count: int, size: int) -> tuple[int, int]:
        """Delete the oldest messages beyond the limits; how many, and their bytes."""
        limits = self.limits
        dropped, freed = self._drop_old()
        last = 0
        over, over_bytes = count - dropped - limits.count, size - freed - limits.size_bytes
        if over > 0 or over_bytes > 0:
            for sequence, length in self._db.execute("SELECT sequence, length(body) FROM messages ORDER BY sequence"):
                if over <= 0 and over_bytes <= 0:
                    break
                over, over_bytes, last = over - 1, over_bytes - length, sequence
            more, more_freed = self._remove("sequence <= ?", last)
            dropped, freed = dropped + more, freed + more_freed
        return dropped, freed

    def _drop_old(self) -> tuple[int, int]:
        now_ns, age_ns = self._clock_ns(), self.limits.age_s * 1e9
        # A hundred thousand messages are not looked through with every one that comes.
        if self._looked_ns is not None and abs(now_ns - self._looked_ns) < age_ns / 100:
            return 0, 0
        self._looked_ns = now_ns
        rows = self._db.execute("SELECT sequence, created_ns FROM messages ORDER BY sequence").fetchall()
        count = count_too_old([created_ns for _, created_ns in rows], now_ns, age_ns)
        return self._remove("sequence <= ?", rows[count - 1][0]) if count else (0, 0)

    def _remove(self, condition: str, *values: int) -> tuple[int, int]:
        count, size = self._db.execute(
            f"SELECT count(*), coalesce(sum(length(body)), 0) FROM messages WHERE {condition}", values
        ).fetchone()
        if count:
            self._db.execute(f"DELETE FROM messages WHERE {condition}", values)
        return count, size

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # on a full disk SQLite has rolled back already
                self._db.execute("ROLLBACK")
            raise

    def _opened(self) -> sqlite3.Connection:
        try:
            return self._connected()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise _translated(error, self.path) from error
        self.set_aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        with output_errors(self.path):
            self.path.rename(self.set_aside)
            for ending in ("-wal", "-shm"):
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
        with self._errors():
            return self._connected()

    def _connected(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > _SCHEMA_VERSION:
                raise sqlite3.DatabaseError("of a newer edgevad")
            if version < _SCHEMA_VERSION:
                db.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA:
                    db.execute(statement)
                db.execute("INSERT INTO facts VALUES ('id', ?)", (uuid.uuid4().hex[:12],))
                db.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
                db.execute("COMMIT")
            elif db.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("damaged")
        except BaseException:
            db.close()
            raise
        return db

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _translated(error, self.path) from error


def _translated(error: sqlite3.Error, path: Path) -> OutputError:
    if "is full" in str(error):  # Python 3.10 knows SQLite's codes by their texts alone
        return OutputError("the disk is full", where=path, fix="Free some space")
    return OutputError(f"cannot be written ({error})", where=path)

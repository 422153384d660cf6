"""The event store as its one writer uses it: takes rows at all times, and writes them when the disk lets it."""

from __future__ import annotations

import time
from contextlib import suppress
from os import PathLike
from pathlib import Path

from edgevad._files import atomic_file
from edgevad.errors import OutputError, StoreError
from edgevad.events.database import DamagedStoreError, RefusedRowError
from edgevad.events.disk import DiskFloor, free_bytes
from edgevad.events.incident import Incident
from edgevad.events.recovery import Recovered, recover
from edgevad.events.retention import MediaRetention, prune
from edgevad.events.store import EventStore, default_store_directory
from edgevad.events.stored import StoredEvent

__all__ = ["Shelf"]

# Rows that wait for space on the disk; beyond that the oldest are lost, and memory is not.
MAX_WAITING = 10_000
PRUNE_EVERY_S = 60.0
# With less than this SQLite may not even be able to open its files.
_FULL_BYTES = 4_000_000


class Shelf:
    """Opens the store to record, brings in order what was left there, and holds its quotas.

    Attributes:
        directory: the store's folder.
        store: None as long as a full disk keeps it from being opened.
        floor: of the disk.
        recovered: what was left of earlier runs; None before the store is open.
        notices: what happened when the store was opened and somebody should be told.

    Raises:
        StoreError: another process records into this store.
        OutputError: the folder cannot be written. A full disk raises nothing: opening is tried again with every flush.
    """

    def __init__(
        self,
        directory: str | PathLike[str] | None = None,
        *,
        floor_bytes: int = 0,
        retention: MediaRetention | None = None,
    ) -> None:
        self.directory = default_store_directory() if directory is None else Path(directory)
        self.retention = MediaRetention() if retention is None else retention
        self.floor = DiskFloor(self.directory, floor_bytes)
        self.store: EventStore | None = None
        self.recovered: Recovered | None = None
        self.notices: list[Incident] = []
        self._waiting: dict[tuple[str, str], StoredEvent] = {}
        self._pruned_s = 0.0
        self._is_full = False
        try:
            self._open()
        except OutputError:
            if not self.directory.is_dir() or free_bytes(self.directory) > _FULL_BYTES:
                raise

    def put(self, row: StoredEvent) -> None:
        """Have `row` written at the next flush."""
        self._waiting[row.run.run_id, row.id] = row
        if len(self._waiting) > MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]

    def known(self, row: StoredEvent) -> StoredEvent | None:
        """What is stored under the name of `row`, as by a recorder that this one has replaced; None if nothing is."""
        if self.store is None:
            return None
        with suppress(StoreError):
            return self.store.find(f"{row.run.run_id}/{row.id}")
        return None

    def flush(self) -> None:
        """Write what waits; it goes on waiting where that fails.

        Raises:
            OutputError: the disk is full or refuses.
            StoreError: the store is locked, or was damaged and cannot be set aside.
        """
        store = self._in_place()
        try:
            self._write(store)
        except DamagedStoreError:
            self._let_go(store)
            self._write(self._open())  # which sets it aside

    def write(self, name: str, content: bytes) -> None:
        """Put a file, relative to the store's folder, in place.

        Raises:
            OutputError: there is no room for it above the floor.
            StoreError: the store's folder was taken away, and it cannot be opened anew.
        """
        if self.store is not None:
            self._in_place()  # before there are pictures without a database
        self.floor.demand(len(content))
        with atomic_file(self.directory / name) as stream:
            stream.write(content)

    def demand_quota(self) -> None:
        """Raises OutputError where what must not be deleted leaves a new clip no room within the quota."""
        if self._is_full and self.store is not None:
            self._prune(self.store)  # somebody may have released or removed some
        if self._is_full:
            raise OutputError(
                "events that are kept fill the whole quota",
                where=self.directory,
                fix="Export and release some (edgevad events keep --release), or raise the quota",
            )

    def prune_now_and_then(self) -> None:
        """Hold the quotas; the folder is looked through once a minute at most."""
        now_s = time.monotonic()
        if self.store is not None and now_s - self._pruned_s >= PRUNE_EVERY_S:
            self._pruned_s = now_s
            self._prune(self.store)

    def close(self) -> None:
        """May be called twice. What still waits is lost, unless it can be written now."""
        if self.store is None:
            return
        try:
            self.flush()
        finally:
            self.store.close()

    def _in_place(self) -> EventStore:
        """The store, opened anew where its folder was removed or its disk unplugged."""
        if self.store is not None and not self.store.is_in_place():
            self._let_go(self.store)
            detail = f"{self.directory} was removed or replaced; what was in it is gone, and recording goes on"
            self.notices.append(Incident.once("storage", "store gone", detail))
        return self._open() if self.store is None else self.store

    def _open(self) -> EventStore:
        store = EventStore.open_to_record(self.directory)
        try:
            self.recovered = recover(store, sweep=self.recovered is None)
            self._prune(store)
        except BaseException:
            store.close()
            raise
        if store.set_aside is not None:
            detail = f"{store.set_aside_why}. It is in {store.set_aside} now, and a new one was started"
            self.notices.append(Incident.once("storage", "set aside", detail))
        self.store = store
        return store

    def _write(self, store: EventStore) -> None:
        if not self._waiting:
            return
        try:
            store.write(self._waiting.values())
        except RefusedRowError:
            self._write_singly(store)
        self._waiting.clear()

    def _write_singly(self, store: EventStore) -> None:
        """One row that can never be written must not hold up all others."""
        for key, row in list(self._waiting.items()):
            try:
                store.write([row])
            except RefusedRowError as error:
                detail = f"{row.kind} {row.run.run_id}/{row.id} is lost: {error.what}"
                self.notices.append(Incident.once("storage", "row refused", detail))
            del self._waiting[key]

    def _let_go(self, store: EventStore) -> None:
        self.store = None
        with suppress(StoreError, OutputError):
            store.close()

    def _prune(self, store: EventStore) -> None:
        self._is_full = self.retention.is_beyond(prune(store, self.retention).left_bytes)

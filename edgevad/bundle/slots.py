"""The two places a bundle can be active in, so that there is always a way back (docs/slots.md).

$EDGEVAD_HOME (default ~/.local/share/edgevad)
├── slots/a, slots/b     whole bundles, as folders
├── current              symbolic link to one of them, swapped in one step
├── slots.json           what is remembered of both (slot_state.py)
├── blocked/*.json       bundles that failed here and are not run again (blocked.py)
└── trust/*.pem          whose bundles this device runs (trust.py)

The link alone says what is in use; nothing else is ever asked. Every change is a rename, and they come in an order in
which a process that is killed between two of them leaves a bundle in use that is whole and has proved itself.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from edgevad._files import atomic_directory, input_errors, output_errors, sync_directory
from edgevad.bundle import blocked
from edgevad.bundle.blocked import Blocked, blocked_bundles, check_not_blocked
from edgevad.bundle.bundle import Bundle
from edgevad.bundle.home import home_directory
from edgevad.bundle.members import MANIFEST_NAME, FolderMembers
from edgevad.bundle.slot_state import Record, SlotState, Trial, boot_id, read_records, write_records
from edgevad.errors import BundleError, EdgevadError, OutputError

if TYPE_CHECKING:
    from edgevad.runtime.engines.options import BuildProgress

__all__ = ["SlotInfo", "Slots", "activate", "active_bundle"]

_SLOTS = ("a", "b")
_STAGED = ".staged"
_UNKNOWN = Record("?", "healthy")


@dataclass(frozen=True)
class SlotInfo:
    """A slot and the bundle in it.

    Attributes:
        slot: "a" or "b".
        path: the folder; not the link, so that a later swap does not mix two bundles.
        digest: of the bundle, hexadecimal; empty where its manifest cannot be read.
        name, target: the manifest's; "?" where it cannot be read.
        state: "trial" within its health window, "failed" where that, or somebody, sent it back, else "healthy".
        why: why it was activated, or sent back; "" where nobody said.
        activated_ns: Unix time; 0 where nobody knows.
        trial: how it has done within its health window.
    """

    slot: str
    path: Path
    digest: str
    name: str
    target: str
    state: SlotState
    why: str = ""
    activated_ns: int = 0
    trial: Trial = field(default_factory=Trial)

    def to_json(self) -> dict[str, object]:
        """Plain JSON values; the trial's figures only while it lasts."""
        value: dict[str, object] = {
            "slot": self.slot,
            "path": str(self.path),
            "digest": self.digest,
            "name": self.name,
            "target": self.target,
            "state": self.state,
            "why": self.why,
            "activated_ns": self.activated_ns,
        }
        if self.state == "trial":
            trial = self.trial
            value["trial"] = {
                "running_s": round(trial.running_s, 1),
                "watched_s": round(trial.watched_s, 1),
                "alarms": trial.alarms,
                "alarm_s": round(trial.alarm_s, 1),
                "crashes": trial.crashes,
                "power_cuts": trial.power_cuts,
            }
        return value


class Slots:
    """The slots of a device, as they are on its disk at every moment they are asked; any process may change them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._folder = home / "slots"
        self._link = home / "current"
        self._records = home / "slots.json"

    @classmethod
    def of_device(cls) -> Slots:
        """Those in $EDGEVAD_HOME. Nothing is made or read yet."""
        return cls(home_directory())

    @property
    def current(self) -> SlotInfo | None:
        """The slot in use; None where no bundle is active. Raises BundleError where the home cannot be read."""
        path = self._current_path()
        return None if path is None else self._info(path)

    @property
    def other(self) -> SlotInfo | None:
        """The other one: the way back. None where there is none. Raises BundleError as `current` does."""
        return self._other(self._current_path())

    def blocked(self) -> list[Blocked]:
        """Bundles that are not run again, the latest first. Raises BundleError where that cannot be read."""
        return blocked_bundles()

    def mark(self) -> object:
        """Another value whenever `current` was swapped, whatever to; costs one look at the link."""
        try:
            found = self._link.lstat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def activate(
        self,
        path: str | PathLike[str],
        *,
        trial: bool = True,
        why: str = "",
        unblock: bool = False,
        on_build: BuildProgress | None = None,
    ) -> Bundle:
        """Copy the bundle at `path`, folder or file, into the slot that is not needed, let it prove itself, then swap.

        The proof: somebody whom this device trusts signed it, where it trusts anybody; it is not blocked; checksums
        match; the inference engine loads it; and its self-test gives the scores it was exported with. Where any of that
        fails, both slots and `current` stay as they were. What can be refused without an engine is refused before a
        byte is written.

        With `trial`, and a way back, it is on trial from now on: the service watches it and may go back by itself.
        Where the bundle in use is itself on trial, it makes room, and the way back stays the one it was. A bundle that
        lies in a slot already is not copied, and keeps what is known of it.

        Args:
            why: a sentence for people.
            unblock: run it though it failed on this device before.
            on_build: told what is done where an engine has to be built first.

        Raises:
            SignatureError: this device runs signed bundles only, and this is not one of them.
            BlockedBundleError: it was tried on this device and failed.
            BundleError: the bundle is broken, or its self-test gives other scores on this machine.
            BackendError: the inference engine refuses it.
            OutputError: the home folder cannot be written, or another activation is under way.
        """
        # Imported here: reading a bundle needs no inference engine.
        from edgevad.runtime.selftest import self_test

        source = Bundle.open(path)
        if not unblock:
            check_not_blocked(source.digest, source.path)
        source.check()
        with output_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        wish = _Wish(source.digest, source.manifest.name, trial, why, unblock)
        with _only_one(self.home / ".activate.lock"):
            with self._changing():  # another one's fresh link is not to be swept
                self._sweep()
            # Messages name what the user named: the staged folder is gone by the time they are read.
            there = self._already_there(source.digest)
            if there is not None:
                self_test(Bundle.of(FolderMembers(there), source.path), on_build=on_build)
                with self._changing():
                    if self._already_there(source.digest) == there:
                        self._use(there, wish)
                        return Bundle.open(there)
            with atomic_directory(self._folder / _STAGED) as staged:
                for name, data in source.files().items():
                    (staged / name).write_bytes(data)
                self_test(Bundle.of(FolderMembers(staged), source.path), on_build=on_build)
            with self._changing():
                slot = self._take_in(self._folder / _STAGED, wish)
        return Bundle.open(slot)

    def rollback(self, why: str, *, block: bool = True, leaving: str | None = None, to: str | None = None) -> SlotInfo:
        """Go back to the other slot, and unless told otherwise never run the bundle that is left again.

        Args:
            why: a sentence for people, kept with the bundle that is left.
            leaving: digest of the bundle that is to be left; where another one is in use by now, that stays so.
            to: name of the slot that is meant, for people who want to be sure.

        Returns the slot that is in use then.

        Raises:
            BlockedBundleError: the other bundle failed on this device.
            BundleError: no bundle is active, there is no other one, or it is broken.
            SignatureError: the other one is signed by nobody this device trusts any more.
            OutputError: the home folder cannot be written.
        """
        if self.current is None:
            raise _nothing_active()
        with self._changing():
            current = self.current
            assert current is not None, "the link is never taken away"
            if leaving is not None and current.digest != leaving:
                if block:
                    blocked.block(leaving, read_records(self._records).get(leaving, _UNKNOWN).name, why)
                return current
            if to == current.slot:
                return current
            other = self.other
            if other is None or (to is not None and to != other.slot):
                raise BundleError(
                    "there is no other bundle to go back to",
                    where=self._folder if to is None else self._folder / to,
                    fix="Activate one: edgevad activate BUNDLE",
                )
            Bundle.open(other.path)  # whole, and of somebody who is trusted
            check_not_blocked(other.digest, other.path)
            if block:
                self._block(current, why)
            self._point(other.path)
            return other

    def settle(self, digest: str) -> bool:
        """The bundle of this digest has passed its health window; whether it was on trial. Raises OutputError."""
        return self._remember(digest, lambda record: replace(record, state="healthy", trial=Trial()))

    def update(self, digest: str, change: Callable[[Trial], Trial]) -> bool:
        """Note how the bundle of this digest does, if it is on trial; whether it is. Raises OutputError."""
        return self._remember(digest, lambda record: replace(record, trial=change(record.trial)))

    def started(self) -> SlotInfo | None:
        """The service starts: finish a rollback that was killed, count the start where the bundle is on trial.

        To be called before an engine is opened: what crashes there has been counted then. Returns the slot in use.

        Raises:
            BundleError: the home folder cannot be read.
            OutputError: it cannot be written.
        """
        current = self.current
        if current is None:
            return None
        if current.digest in {one.digest for one in self.blocked()}:
            with suppress(BundleError):  # without a way back it is run all the same: better than nothing
                current = self.rollback(current.why, leaving=current.digest)
        boot = boot_id()
        self.update(current.digest, lambda trial: trial.started(boot))
        return self.current

    def ended(self, digest: str) -> None:
        """The start that was counted came to an end that nobody has to worry about. Raises OutputError."""
        self.update(digest, Trial.ended)

    def _current_path(self) -> Path | None:
        with input_errors(self.home, BundleError):
            return self._link.resolve() if self._link.is_symlink() and self._link.is_dir() else None

    def _other(self, current: Path | None) -> SlotInfo | None:
        if current is None:
            return None
        path = self._folder / next(name for name in _SLOTS if name != current.name)
        with input_errors(self.home, BundleError):
            return self._info(path) if path.is_dir() else None

    def _info(self, path: Path) -> SlotInfo:
        digest, name, target = "", "?", "?"
        with suppress(OSError, ValueError, TypeError, AttributeError):
            data = (path / MANIFEST_NAME).read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            value = json.loads(data)
            name, target = str(value.get("name", "?")), str(value.get("target", "?"))
        record = read_records(self._records).get(digest, Record(name, "healthy"))
        return SlotInfo(
            path.name, path, digest, name, target, record.state, record.why, record.activated_ns, record.trial
        )

    def _already_there(self, digest: str) -> Path | None:
        """The slot that holds this bundle, whole, and signed as this device wants it."""
        for info in (self.current, self.other):
            if info is not None and info.digest == digest:
                with suppress(EdgevadError):
                    return Bundle.open(info.path).path
        return None

    def _use(self, slot: Path, wish: _Wish) -> None:
        """Swap to the bundle that lies in `slot` already."""
        info = self._info(slot)
        current = self.current
        if info == current and info.state == "trial" and not wish.trial:
            self._write({info.digest: wish.record("healthy")})
        elif info.state != "healthy" and info != current:
            state: SlotState = "trial" if self._has_way_back(current, slot) and wish.trial else "healthy"
            self._write({info.digest: wish.record(state)})
        if wish.unblock:
            blocked.unblock(info.digest)
        if current is None or current.path != slot:
            self._point(slot)

    def _take_in(self, staged: Path, wish: _Wish) -> Path:
        """Put the proved bundle in `staged` into the slot that is not needed, and swap to it."""
        current, other = self.current, self.other
        if current is not None and current.state == "trial" and other is not None and self._is_way_back(other):
            self._point(other.path)  # what has not proved itself makes room, and not the way back
            current = other
        slot = self._folder / next(name for name in _SLOTS if current is None or current.path.name != name)
        state: SlotState = "trial" if wish.trial and self._has_way_back(current, slot) else "healthy"
        # Before the folder is there: a record is looked up by its digest and says nothing of any other bundle.
        self._write({wish.digest: wish.record(state)})
        if wish.unblock:
            blocked.unblock(wish.digest)
        with output_errors(slot):
            if slot.exists():
                # Beside it: another user's folder may be renamed there, and not moved anywhere else.
                slot.replace(self._folder / f".{slot.name}.{uuid.uuid4().hex[:8]}.old")
            staged.replace(slot)
            sync_directory(self._folder)
        self._point(slot)
        self._sweep()
        return slot

    def _is_way_back(self, other: SlotInfo) -> bool:
        """Whether the other slot's bundle has proved itself, and may be run now."""
        if other.state != "healthy":
            return False
        try:
            check_not_blocked(other.digest, other.path)
            Bundle.open(other.path)  # whole, and of somebody who is trusted
        except EdgevadError:
            return False
        return True

    def _has_way_back(self, current: SlotInfo | None, to: Path) -> bool:
        return current is not None and current.path != to and current.state == "healthy"

    def _block(self, current: SlotInfo, why: str) -> None:
        if not current.digest:
            return  # a broken one, which nobody can activate again
        # First of all: whatever happens from now on, it is not tried again.
        blocked.block(current.digest, current.name, why)
        self._write({current.digest: Record(current.name, "failed", why, current.activated_ns, current.trial)})

    def _remember(self, digest: str, change: Callable[[Record], Record]) -> bool:
        known = read_records(self._records).get(digest)
        if known is None or known.state != "trial":
            return False  # nor is a disk asked to be written that may not be
        with self._changing():
            record = read_records(self._records).get(digest)
            if record is None or record.state != "trial":
                return False
            self._write({digest: change(record)})
        return True

    def _write(self, changes: Mapping[str, Record]) -> None:
        """Keep the records of what lies in the slots, with these changes."""
        there = {info.digest for info in (self.current, self.other) if info is not None}
        kept = {digest: one for digest, one in read_records(self._records).items() if digest in there}
        write_records(self._records, kept | dict(changes))

    def _point(self, slot: Path) -> None:
        """Make `current` lead to `slot` in one step: a reader finds the old bundle or the new one, never none."""
        fresh = self.home / f".current.{os.getpid()}"
        with output_errors(self._link):
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(Path("slots") / slot.name, target_is_directory=True)
            fresh.replace(self._link)
            sync_directory(self.home)

    def _sweep(self) -> None:
        """What an activation left that was killed: nobody else can be at it, and nothing ever opens it."""
        with suppress(OSError):
            for path in self._folder.iterdir():
                if path.name.startswith(".") and (path.name == _STAGED or path.name.endswith((".part", ".old"))):
                    shutil.rmtree(path, ignore_errors=True)
            for path in self.home.glob(".current.*"):
                path.unlink(missing_ok=True)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Nobody else changes slots, link or records meanwhile; whoever does takes a second at most."""
        with _locked(self.home / ".slots.lock", wait=True):
            yield


@dataclass(frozen=True)
class _Wish:
    """What is to be activated, and how."""

    digest: str
    name: str
    trial: bool
    why: str
    unblock: bool

    def record(self, state: SlotState) -> Record:
        return Record(self.name, state, self.why, time.time_ns())


def active_bundle() -> Path:
    """The folder of the active bundle: the slot itself, not the link, so that a later swap does not mix two bundles.

    Raises:
        BundleError: no bundle is active, or the home folder cannot be read.
    """
    slot = Slots.of_device().current
    if slot is None:
        raise _nothing_active()
    return slot.path


def activate(
    path: str | PathLike[str],
    *,
    trial: bool = True,
    why: str = "",
    unblock: bool = False,
    on_build: BuildProgress | None = None,
) -> Bundle:
    """`Slots.activate` on this device, whose arguments and errors it has."""
    return Slots.of_device().activate(path, trial=trial, why=why, unblock=unblock, on_build=on_build)


def _nothing_active() -> BundleError:
    return BundleError("no bundle is active", fix="Run edgevad activate BUNDLE once, or pass --bundle")


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    try:
        with _locked(lock, wait=False):
            yield
    except BlockingIOError as error:
        raise OutputError("another activation is under way", where=lock, fix="Wait for it to end") from error


@contextmanager
def _locked(lock: Path, *, wait: bool) -> Iterator[None]:
    with output_errors(lock):
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except PermissionError:
            handle = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)  # another user's: it locks all the same
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)

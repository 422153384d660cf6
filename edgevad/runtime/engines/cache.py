"""Engines on disk: found by their key, loaded only when every byte is what was written.

$EDGEVAD_HOME/engines
├── KEY/engine.plan      as TensorRT serialised it
├── KEY/engine.json      its SHA-256, its key in full, when and how it was made
├── timing-….bin         what TensorRT measured on this GPU, so that the next build is quicker
└── .lock                held by the process that builds

A folder is put in place by one rename: a process that dies while it builds or writes leaves nothing that is loaded.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgevad._files import atomic_directory, output_errors, write_json
from edgevad.runtime.engines.key import EngineKey

__all__ = ["CachedEngine", "EngineCache", "EngineEntry", "EngineFacts"]

_PLAN, _FACTS = "engine.plan", "engine.json"
_FORMAT = 1
_LEFT_AFTER_S = 24 * 3600.0  # nothing is built for a day


@dataclass(frozen=True)
class EngineFacts:
    """What is told of an engine beside its key.

    Attributes:
        name: of the bundle, for people.
        made: "built", "refitted" (an earlier engine with new weights) or "adopted" (an earlier engine as it was).
        seconds: how long that took.
        graph_sha256: of the ONNX it was made from.
        structure: see `structure_of`; "" where it is not known.
        refittable: it was to be built so that other weights can be put in; TensorRT may have found that it cannot.
        created: UTC, ISO 8601.
    """

    name: str
    made: str
    seconds: float
    graph_sha256: str
    structure: str
    refittable: bool
    created: str


@dataclass(frozen=True)
class EngineEntry:
    """An engine in the cache, not yet read. `used_s`: when it was last used, in seconds of Unix time."""

    path: Path
    key: EngineKey
    facts: EngineFacts
    bytes: int
    sha256: str
    used_s: float

    def to_json(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "key": self.key.to_json(),
            "bytes": self.bytes,
            "sha256": self.sha256,
            **asdict(self.facts),
        }


class CachedEngine:
    """The bytes of an engine, checked, and a hold on its entry that keeps it from being pruned until `release`."""

    def __init__(self, plan: bytes, entry: EngineEntry, handle: int) -> None:
        self.plan, self.entry = plan, entry
        self._handle: int | None = handle

    def release(self) -> None:
        """May be called twice, and from any thread."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


class EngineCache:
    """The engines of one folder. Reading never fails: what cannot be read is not there, and `why_not` says why."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.why_not: str | None = None

    def find(self, key: EngineKey) -> CachedEngine | None:
        """The engine of exactly this key; where there is none, `why_not` says in one clause why."""
        self.why_not = None
        path = self.folder / key.name
        if not path.exists():
            self.why_not = self._stale(key)
            return None
        try:
            entry = _read_entry(path)
            if entry.key != key:
                raise ValueError("it is the engine of another key")
            return _load(entry)
        except (OSError, ValueError) as error:
            self.why_not = f"the engine in the cache is damaged ({error})"
            return None

    def load(self, entry: EngineEntry) -> CachedEngine | None:
        """The bytes of an entry from `entries`; None where they are damaged or gone."""
        with suppress(OSError, ValueError):
            return _load(entry)
        return None

    def entries(self) -> list[EngineEntry]:
        """Every entry that can be read, the one last used first. Their bytes are not looked at."""
        found = []
        with suppress(OSError):
            for path in sorted(self.folder.iterdir()):
                with suppress(OSError, ValueError):
                    if not path.name.startswith(".") and path.is_dir():
                        found.append(_read_entry(path))
        return sorted(found, key=lambda entry: -entry.used_s)

    def store(self, key: EngineKey, plan: bytes, facts: EngineFacts) -> EngineEntry:
        """Put an engine in place, whole or not at all; an older one of this key is replaced.

        Raises:
            OutputError: the folder cannot be written, or the disk is full.
        """
        path = self.folder / key.name
        value = {
            "format": _FORMAT,
            "key": key.to_json(),
            "facts": asdict(facts),
            "bytes": len(plan),
            "sha256": hashlib.sha256(plan).hexdigest(),
        }
        with atomic_directory(path) as part:
            with output_errors(path):
                (part / _PLAN).write_bytes(plan)
            write_json(part / _FACTS, value)
        return _read_entry(path)

    def prune(self, *, keep: int, spare: EngineKey | None = None) -> list[EngineEntry]:
        """Delete all but the `keep` entries last used; that of `spare`, and what a process runs, are not counted.

        What a dead process left half-written goes too. Returns what was deleted.

        Raises:
            OutputError: an entry cannot be deleted.
        """
        others = [entry for entry in self.entries() if entry.key != spare]
        gone = []
        for entry in others[keep:]:
            if not _in_use(entry):
                with output_errors(entry.path):
                    # Out of sight first, in one step: half an entry must not be found.
                    hidden = entry.path.with_name(f".{entry.path.name}.{os.getpid()}.old")
                    entry.path.replace(hidden)
                    shutil.rmtree(hidden)
                gone.append(entry)
        self._sweep()
        return gone

    @contextmanager
    def building(self, waiting: Callable[[float], None] | None = None, *, every_s: float = 0.2) -> Iterator[bool]:
        """Hold the right to build: one process at a time, since two would disturb each other's measurements.

        `waiting`, called with the seconds waited so far, is told while another process has it. Gives False where the
        folder cannot be written or locked: there is nothing to be agreed on then.
        """
        handle = self._lock_handle()
        if handle is None:
            yield False
            return
        try:
            started_s = time.monotonic()
            while not _try_lock(handle):
                if waiting is not None:
                    waiting(time.monotonic() - started_s)
                time.sleep(every_s)
            yield True
        finally:
            os.close(handle)

    def timing_path(self, key: EngineKey) -> Path:
        """Where measurements are kept that hold for this GPU, power mode, driver and TensorRT."""
        machine = (key.gpu, key.compute_capability, key.tensorrt, key.driver, key.power_mode)
        return self.folder / f"timing-{hashlib.sha256(json.dumps(machine).encode()).hexdigest()[:16]}.bin"

    def _lock_handle(self) -> int | None:
        handle = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            if _try_lock(handle):
                fcntl.flock(handle, fcntl.LOCK_UN)
        except OSError:
            if handle is not None:
                os.close(handle)
            return None
        return handle

    def _stale(self, key: EngineKey) -> str:
        entries = self.entries()
        for entry in entries:
            if entry.key.bundle == key.bundle:
                return "; ".join(key.changes_since(entry.key))
        return "there is no engine of this bundle yet"

    def _sweep(self) -> None:
        """Of a process that was killed while it wrote or deleted."""
        with suppress(OSError):
            for path in self.folder.glob(".*"):
                if path.name.endswith((".part", ".old")) and time.time() - path.stat().st_mtime > _LEFT_AFTER_S:
                    shutil.rmtree(path, ignore_errors=True)


def _read_entry(path: Path) -> EngineEntry:
    """Raises OSError or ValueError."""
    file = path / _FACTS
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        if value["format"] != _FORMAT:
            raise ValueError(f"its format is {value['format']!r}")
        size, sha256 = value["bytes"], value["sha256"]
        if type(size) is not int or not isinstance(sha256, str):
            raise ValueError("its size or its SHA-256 is missing")
        key, facts = EngineKey.from_json(value["key"]), EngineFacts(**value["facts"])
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{file.name} cannot be used: {error}") from error
    used_s = (path / _PLAN).stat().st_mtime
    return EngineEntry(path, key, facts, size, sha256, used_s)


def _load(entry: EngineEntry) -> CachedEngine:
    """Read, check and hold an entry. Raises OSError or ValueError."""
    file = entry.path / _PLAN
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        # Before it is read: what is held now is not deleted while it is read.
        with suppress(OSError):  # some file systems know no locks
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        size = os.fstat(handle).st_size
        if size != entry.bytes:
            raise ValueError(f"it has {size} bytes, not {entry.bytes}")
        with os.fdopen(os.dup(handle), "rb") as stream:
            plan = stream.read()
        if hashlib.sha256(plan).hexdigest() != entry.sha256:
            raise ValueError("its bytes do not have the SHA-256 they were written with")
        with suppress(OSError):  # a read-only folder keeps the old time
            os.utime(file)
    except BaseException:
        os.close(handle)
        raise
    return CachedEngine(plan, entry, handle)


def _in_use(entry: EngineEntry) -> bool:
    try:
        handle = os.open(entry.path / _PLAN, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # nobody knows
    try:
        return not _try_lock(handle)
    except OSError:
        return True
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    """Whether it could be had at once. Raises OSError where the file system knows no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

"""The two places a bundle can be active in, so that there is always a way back.

$EDGEVAD_HOME (default ~/.local/share/edgevad)
├── slots/a, slots/b     whole bundles, as folders
├── current              symbolic link to one of them, swapped in one step
└── trust/*.pem          whose bundles this device runs (see trust.py)
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from edgevad._files import atomic_directory, input_errors, output_errors
from edgevad.bundle.bundle import Bundle
from edgevad.bundle.home import home_directory
from edgevad.bundle.members import FolderMembers
from edgevad.errors import BundleError, OutputError

if TYPE_CHECKING:
    from edgevad.runtime.engines.options import BuildProgress

__all__ = ["activate", "active_bundle"]

_SLOTS = ("a", "b")


def active_bundle() -> Path:
    """The folder of the active bundle: the slot itself, not the link, so that a later swap does not mix two bundles.

    Raises:
        BundleError: no bundle is active, or the home folder cannot be read.
    """
    slot = _current_slot(home_directory())
    if slot is None:
        raise BundleError("no bundle is active", fix="Run edgevad activate BUNDLE once, or pass --bundle")
    return slot


def activate(path: str | PathLike[str], *, on_build: BuildProgress | None = None) -> Bundle:
    """Copy the bundle at `path`, folder or file, into the slot that is not in use, let it prove itself, then swap.

    The proof: somebody whom this device trusts signed it, where it trusts anybody; checksums match; the inference
    engine loads it; and its self-test gives the scores it was exported with. Where any of that fails, both slots and
    `current` stay as they were. What can be refused without an engine is refused before a byte is written.

    `on_build` is told what is done where an engine has to be built first.

    Raises:
        SignatureError: this device runs signed bundles only, and this is not one of them.
        BundleError: the bundle is broken, or its self-test gives other scores on this machine.
        BackendError: the inference engine refuses it.
        OutputError: the home folder cannot be written, or another activation is under way.
    """
    # Imported here: reading a bundle needs no inference engine.
    from edgevad.runtime.selftest import self_test

    source = Bundle.open(path)
    source.check()
    home = home_directory()
    with output_errors(home / "slots"):
        (home / "slots").mkdir(parents=True, exist_ok=True)
    with _only_one(home / ".activate.lock"):
        _sweep(home / "slots")
        current = _current_slot(home)
        free = next(name for name in _SLOTS if current is None or current.name != name)
        slot = home / "slots" / free
        with atomic_directory(slot) as staged:
            for name, data in source.files().items():
                (staged / name).write_bytes(data)
            # Messages name what the user named: the staged folder is gone by the time they are read.
            self_test(Bundle.of(FolderMembers(staged), source.path), on_build=on_build)
        _point(home / "current", Path("slots") / free)
    return Bundle.open(slot)


def _sweep(slots: Path) -> None:
    """What an activation left that was killed: nobody else can be at it, and nothing ever opens it."""
    with suppress(OSError):
        for path in slots.iterdir():
            if path.name.startswith(".") and path.name.endswith((".part", ".old")):
                shutil.rmtree(path, ignore_errors=True)


def _current_slot(home: Path) -> Path | None:
    link = home / "current"
    with input_errors(home, BundleError):
        return link.resolve() if link.is_symlink() and link.is_dir() else None


def _point(link: Path, target: Path) -> None:
    """Make `link` lead to `target` in one step: a reader finds the old bundle or the new one, never none."""
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    with output_errors(link):
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target, target_is_directory=True)
        fresh.replace(link)
        handle = os.open(link.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    with output_errors(lock):
        stream = lock.open("a")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError("another activation is under way", where=lock, fix="Wait for it to end") from error
        yield

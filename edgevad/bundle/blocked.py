"""Bundles that failed on this device, and that it does not run again: `$EDGEVAD_HOME/blocked/<digest>.json`.

The file's name is what blocks; what it holds is for people. So no damaged file lets a bundle through.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from edgevad._files import input_errors, output_errors, sync_directory, write_json
from edgevad.bundle.home import home_directory
from edgevad.errors import BlockedBundleError, BundleError, OptionError

__all__ = ["Blocked", "block", "blocked_bundles", "check_not_blocked", "unblock"]

_NAME = re.compile(r"[0-9a-f]{64}\.json")


@dataclass(frozen=True)
class Blocked:
    """One of them.

    Attributes:
        digest: of the bundle, hexadecimal.
        name: what people call it.
        why: what it failed in, a sentence.
        blocked_ns: Unix time.
    """

    digest: str
    name: str
    why: str
    blocked_ns: int


def blocked_bundles() -> list[Blocked]:
    """All of them, the latest first.

    Raises:
        BundleError: the folder cannot be read.
    """
    folder = _folder()
    with input_errors(folder, BundleError):
        files = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(map(_read, files), key=lambda one: one.blocked_ns, reverse=True)


def check_not_blocked(digest: str, where: Path) -> None:
    """Raises BlockedBundleError, with the reason, where the bundle of this digest is blocked; `where` is named."""
    path = _file(digest)
    with input_errors(path, BundleError):
        is_blocked = path.exists()
    if is_blocked:
        one = _read(path)
        raise BlockedBundleError(
            f"this bundle was tried on this device and failed: {one.why}",
            where=where,
            fix=f"Export another one; or, where that had another cause: edgevad activate --unblock {where}",
        )


def block(digest: str, name: str, why: str) -> Blocked:
    """Never run the bundle of this digest again. One that is blocked already keeps its first reason.

    Raises:
        OutputError: that cannot be written down.
    """
    path = _file(digest)
    with output_errors(path):
        if path.exists():
            return _read(path)
    one = Blocked(digest, name, why, time.time_ns())
    write_json(path, asdict(one))
    sync_directory(path.parent.parent)  # the folder may be new as well
    return one


def unblock(digest: str) -> bool:
    """Let the bundle of this digest be tried again; whether it was blocked. Raises OutputError."""
    path = _file(digest)
    with output_errors(path):
        was_blocked = path.exists()
        path.unlink(missing_ok=True)
    if was_blocked:
        sync_directory(path.parent)
    return was_blocked


def _folder() -> Path:
    return home_directory() / "blocked"


def _file(digest: str) -> Path:
    if not _NAME.fullmatch(f"{digest}.json"):
        raise OptionError(f"no digest of a bundle: {digest[:80]!r}", expected="64 hexadecimal digits")
    return _folder() / f"{digest}.json"


def _read(path: Path) -> Blocked:
    digest = path.name.removesuffix(".json")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return Blocked(digest, str(value["name"]), str(value["why"]), int(value["blocked_ns"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Blocked(digest, "?", "the reason cannot be read any more", 0)

"""What all SQLite files of ours have in common."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

__all__ = ["MOST", "is_writable", "sqlite_address", "storable"]

#: The largest whole number that SQLite takes.
MOST = 2**63 - 1


def is_writable(path: Path) -> bool:
    """Whether SQLite could write to `path`, and make the files that it needs beside it."""
    return not path.exists() or (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))


def sqlite_address(path: Path) -> str:
    """For `sqlite3.connect(…, uri=True)`: readable also on a card that is mounted read-only, or where others write."""
    address = path.absolute().as_uri()
    if is_writable(path):
        return address
    # SQLite takes the log's side files for granted, and cannot make them here: without them nobody writes.
    in_use = path.with_name(f"{path.name}-wal").exists()
    return f"{address}?mode=ro" if in_use else f"{address}?immutable=1"


def storable(value: Any) -> Any:
    """Text as SQLite can take it: names from a driver or a command line may hold bytes that are no text."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value

"""TensorRT's timing measurements as a file: handed back to TensorRT only when every byte is what was written."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgevad._files import atomic_file

__all__ = ["read_timing", "write_timing"]

_MAGIC = b"edgevad timing 1\n"
_MAX_BYTES = 256 << 20


def read_timing(path: Path) -> bytes:
    """The measurements, or b"" where there are none, or none that can be trusted."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return b""
        data = path.read_bytes()
    except OSError:
        return b""
    head, body = data[: len(_MAGIC) + 64], data[len(_MAGIC) + 64 :]
    return body if head == _MAGIC + hashlib.sha256(body).hexdigest().encode() else b""


def write_timing(path: Path, timing: bytes) -> None:
    """Replace the measurements, atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_file(path) as stream:
        stream.write(_MAGIC + hashlib.sha256(timing).hexdigest().encode() + timing)

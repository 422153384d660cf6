"""The files a bundle consists of, whether they lie in a folder or in one `.edgevad` file.

A bundle may come from anywhere, so nothing here believes a name or a size. Names are flat and plain, sizes are known
and capped before anything is read, and what is no regular file is not read.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from edgevad._files import input_errors
from edgevad.errors import BundleError

__all__ = [
    "MANIFEST_NAME",
    "MAX_MANIFEST_BYTES",
    "MAX_MEMBERS",
    "MAX_MEMBER_BYTES",
    "MAX_SIGNATURE_BYTES",
    "MAX_TOTAL_BYTES",
    "SIGNATURE_NAME",
    "FolderMembers",
    "HeldMembers",
    "Members",
    "check_names",
    "check_sizes",
]

MANIFEST_NAME = "manifest.json"
SIGNATURE_NAME = "signature.json"

# A bundle of ours holds up to a dozen files and a few tens of megabytes.
MAX_MEMBERS = 64
MAX_MEMBER_BYTES = 512 << 20
MAX_TOTAL_BYTES = 1 << 30
MAX_MANIFEST_BYTES = 1 << 20
MAX_SIGNATURE_BYTES = 4 << 10

# No separator, no drive, no leading or trailing dot: nothing that means a place on any file system.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
# Names that Windows takes for devices, whatever follows the first dot.
_DEVICE = re.compile(r"(?i)(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?")


class Members(Protocol):
    """Reads the files of one bundle, in place.

    Attributes:
        sizes: bytes of each file by name, the manifest's and the signature's included; known without reading any.
    """

    sizes: Mapping[str, int]

    def read(self, name: str) -> bytes:
        """The bytes of the file `name`, one of `sizes`.

        Raises:
            BundleError: it cannot be read, or is not what it was when the members were listed, as far as that shows.
        """
        ...


class HeldMembers:
    """Files in memory: a bundle that is about to be written."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self.sizes: Mapping[str, int] = {name: len(data) for name, data in files.items()}

    def read(self, name: str) -> bytes:
        """See `Members.read`."""
        return self._files[name]


class FolderMembers:
    """Files in a folder; names that start with a dot are no part of the bundle, and nobody reads them.

    Raises:
        BundleError: the folder cannot be read, or holds what no bundle does.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        sizes: dict[str, int] = {}
        with input_errors(folder, BundleError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if len(sizes) == MAX_MEMBERS:
                    raise BundleError(f"holds more than {MAX_MEMBERS} files", where=folder, expected="a bundle")
                status = entry.stat(follow_symlinks=False)
                _require_regular(status.st_mode, folder / entry.name)
                sizes[entry.name] = status.st_size
        self.sizes: Mapping[str, int] = sizes

    def read(self, name: str) -> bytes:
        """See `Members.read`."""
        path, size = self.folder / name, self.sizes[name]
        with input_errors(path, BundleError):
            try:
                # A link or a pipe may have come in the file's place since the folder was listed.
                handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    _require_regular(stat.S_IFLNK, path)
                raise
            with os.fdopen(handle, "rb") as stream:
                _require_regular(os.fstat(handle).st_mode, path)
                data = stream.read(size + 1)
        if len(data) != size:
            raise BundleError("changed while it was read", where=path, expected=f"{size} bytes", fix="Try again")
        return data


def check_names(names: Iterable[str], where: Path) -> None:
    """Raises BundleError where a name is more than a plain file name, or two of them would be one file somewhere."""
    seen: set[str] = set()
    for name in names:
        if not _NAME.fullmatch(name) or _DEVICE.fullmatch(name):
            raise BundleError(
                f"a member is called {name[:80]!r}",
                where=where,
                expected="plain names of letters, digits, '.', '_' and '-', without folders",
            )
        if name.lower() in seen:
            raise BundleError(f"two members are called {name}", where=where, expected="each name once")
        seen.add(name.lower())


def check_sizes(sizes: Mapping[str, int], where: Path) -> None:
    """Raises BundleError where there are too many files, or they are too large, for a bundle."""
    if len(sizes) > MAX_MEMBERS:
        raise BundleError(f"holds {len(sizes)} files", where=where, expected=f"at most {MAX_MEMBERS}")
    caps = {MANIFEST_NAME: MAX_MANIFEST_BYTES, SIGNATURE_NAME: MAX_SIGNATURE_BYTES}
    for name, size in sizes.items():
        cap = caps.get(name, MAX_MEMBER_BYTES)
        if not 0 <= size <= cap:
            raise BundleError(f"{name} has {size} bytes", where=where, expected=f"at most {cap}")
    total = sum(sizes.values())
    if total > MAX_TOTAL_BYTES:
        raise BundleError(f"its files have {total} bytes", where=where, expected=f"at most {MAX_TOTAL_BYTES}")


def _require_regular(mode: int, path: Path) -> None:
    if stat.S_ISREG(mode):
        return
    what = "a link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "no regular file"
    raise BundleError(f"is {what}", where=path, expected="a regular file: a bundle holds nothing else")

"""A bundle as one `.edgevad` file: a zip archive of stored members, read in place.

Zip archives are read differently by different readers, and that is what their abuse lives on. Here there is one form,
the one that `write_archive` writes. Members follow each other from the first byte on, the directory follows the last of
them, lists them in that order and says of each what its own header says; nothing is before, between, behind or
compressed. Whatever is not in that form is refused, whether or not some unzip could make sense of it.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

from edgevad._files import input_errors
from edgevad.bundle.members import MAX_MEMBERS, MAX_TOTAL_BYTES, check_names
from edgevad.errors import BundleError, ChecksumMismatchError

__all__ = ["ARCHIVE_MAGIC", "ARCHIVE_SUFFIX", "ArchiveMembers", "write_archive"]

ARCHIVE_SUFFIX = ".edgevad"

# PKWARE's APPNOTE.TXT, 4.3.7, 4.3.12 and 4.3.16; little endian.
_LOCAL = struct.Struct("<4s5H3I2H")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
ARCHIVE_MAGIC, _ENTRY_MAGIC, _END_MAGIC = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_MAX_NAME = 100
_ENCRYPTED, _STORED, _DOS_FOLDER = 0x1, 0, 0x10
_FIX = "Copy it again, or make it again with edgevad bundle pack"


class _Member(NamedTuple):
    offset: int  # of its bytes, from the start of the file
    size: int
    crc: int


class ArchiveMembers:
    """Files in one `.edgevad` file.

    Raises:
        BundleError: the file cannot be read, or is not in the form that `write_archive` writes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with input_errors(path, BundleError), path.open("rb") as stream:
            self._members = _Reader(stream, path).members()
        self.sizes: Mapping[str, int] = {name: member.size for name, member in self._members.items()}

    def read(self, name: str) -> bytes:
        """See `Members.read`."""
        member = self._members[name]
        with input_errors(self.path, BundleError), self.path.open("rb") as stream:
            stream.seek(member.offset)
            data = stream.read(member.size)
        if len(data) != member.size:
            raise BundleError(f"became shorter while {name} was read", where=self.path, fix="Try again")
        if zlib.crc32(data) != member.crc:  # of the manifest no other checksum is kept, unless it is signed
            raise ChecksumMismatchError(
                f"{name} was changed or damaged on the way",
                where=self.path,
                expected=f"CRC-32 {member.crc:08x}",
                fix="Copy it again",
            )
        return data


class _Reader:
    """Finds the members of an archive; reads its directory and the headers, none of their bytes."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream = stream
        self._path = path
        self._size = os.fstat(stream.fileno()).st_size

    def members(self) -> dict[str, _Member]:
        if self._at(0, 4) != ARCHIVE_MAGIC:
            raise self._error(f"this is no {ARCHIVE_SUFFIX} file")
        if self._size > MAX_TOTAL_BYTES + (MAX_MEMBERS + 1) * 1024:
            raise self._error(f"has {self._size} bytes", expected=f"at most {MAX_TOTAL_BYTES} of them in its members")
        directory_at, directory, count = self._directory()
        members: dict[str, _Member] = {}
        at = place = 0
        for _ in range(count):
            name, member, place = self._entry(directory, place, at)
            if name.lower() in {known.lower() for known in members}:
                raise self._error(f"two members are called {name}", expected="each name once")
            members[name] = member
            at = member.offset + member.size
        if place != len(directory) or at != directory_at:
            raise self._error("holds more than its members")
        return members

    def _directory(self) -> tuple[int, bytes, int]:
        """Where the directory begins, its bytes, and how many members it lists."""
        end_at = self._size - _END.size
        end = self._at(end_at, _END.size)
        if len(end) < _END.size or end[:4] != _END_MAGIC:
            raise self._error("was cut short, or something was added to its end")
        _, disk, first_disk, here, count, size, at, comment = _END.unpack(end)
        if disk or first_disk or comment or here != count or at + size != end_at:
            raise self._error("its directory does not hold together")
        if not 0 < count <= MAX_MEMBERS or size > MAX_MEMBERS * (_ENTRY.size + _MAX_NAME):
            raise self._error(f"lists {count} members", expected=f"1 to {MAX_MEMBERS}")
        return at, self._at(at, size), count

    def _entry(self, directory: bytes, place: int, expected_at: int) -> tuple[str, _Member, int]:
        """The member that the directory lists at `place`, and the place of the next; its header is at `expected_at`."""
        fixed = directory[place : place + _ENTRY.size]
        if len(fixed) < _ENTRY.size or fixed[:4] != _ENTRY_MAGIC:
            raise self._error("its directory does not hold together")
        _, _, _, flags, method, *times, crc, packed, size, length, extra, comment, disk, _, mode, at = _ENTRY.unpack(
            fixed
        )
        raw = directory[place + _ENTRY.size : place + _ENTRY.size + length]
        name = raw.decode("ascii", "backslashreplace")
        check_names([name], self._path)
        if flags & _ENCRYPTED:
            raise self._error(f"{name} is encrypted", expected="stored members")
        if method != _STORED or packed != size:
            raise self._error(f"{name} is compressed", expected="stored members")
        kind = stat.S_IFMT(mode >> 16)
        if kind not in (0, stat.S_IFREG) or mode & _DOS_FOLDER:
            what = "a link" if kind == stat.S_IFLNK else "no regular file"
            raise self._error(f"{name} is {what}", expected="regular files")
        header = self._at(at, _LOCAL.size + length)
        expected = (ARCHIVE_MAGIC, flags, method, *times, crc, packed, size, length, 0)
        fits = len(header) == _LOCAL.size + length and header[_LOCAL.size :] == raw
        if fits:
            magic, _, *rest = _LOCAL.unpack(header[: _LOCAL.size])
            fits = (magic, *rest) == expected
        if not fits or flags or extra or comment or disk or at != expected_at:
            raise self._error(f"its directory and the header of {name} do not agree")
        return name, _Member(at + _LOCAL.size + length, size, crc), place + _ENTRY.size + length

    def _at(self, offset: int, size: int) -> bytes:
        if not 0 <= offset <= self._size:
            return b""
        self._stream.seek(offset)
        return self._stream.read(size)

    def _error(self, what: str, expected: str | None = None) -> BundleError:
        return BundleError(what, where=self._path, expected=expected, fix=_FIX)


def write_archive(stream: IO[bytes], files: Mapping[str, bytes]) -> None:
    """Write `files`, in their order, as an archive: the same files give the same bytes, wherever and whenever."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # Unix, whatever wrote it
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, data)

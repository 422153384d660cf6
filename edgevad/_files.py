"""Files that are either the old one or the new one, never half of each."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from edgevad.errors import EdgevadError, OutputError

__all__ = [
    "atomic_directory",
    "atomic_file",
    "input_errors",
    "output_errors",
    "sha256_of",
    "sync_directory",
    "try_lock",
    "writable_directory",
    "write_json",
]


@contextmanager
def output_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn the operating system's refusals while writing `path` into one clear `OutputError`."""
    try:
        yield
    except OSError as error:
        raise output_error(error, path) from error


@contextmanager
def input_errors(path: str | os.PathLike[str], kind: type[EdgevadError]) -> Iterator[None]:
    """Turn the operating system's refusals while looking at or reading `path` into one clear error of this kind."""
    try:
        yield
    except OSError as error:
        raise kind(f"cannot be read ({error.strerror or error})", where=path) from error


def output_error(error: OSError, path: str | os.PathLike[str]) -> OutputError:
    """The `OutputError` that tells what `error` means for the user who wanted `path` written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError("the disk is full", where=path, fix="Free some space or choose another output folder")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(
            "cannot be written (permission denied)", where=path, fix="Choose another output folder or change its owner"
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return OutputError("a file is in the way", where=path, expected="a folder", fix="Choose another name")
    if error.errno == errno.EISDIR:
        return OutputError("a folder is in the way", where=path, expected="a file", fix="Choose another name")
    return OutputError(f"cannot be written ({error.strerror or error})", where=path)


def writable_directory(path: str | os.PathLike[str]) -> Path:
    """Create `path` if needed and prove that files can be written there, before hours of work depend on it.

    Raises:
        OutputError: it is not a folder, cannot be created, or refuses a file.
    """
    directory = Path(path)
    with output_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        # Without a buffer: one that a full disk refuses is refused again on closing, and the file stays.
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".write-test-", buffering=0) as probe:
            probe.write(b"edgevad")
    return directory


def try_lock(path: str | os.PathLike[str], *, mode: int = 0o644) -> int | None:
    """A file's lock, held as long as this handle is open: the system takes it back when the process ends, however it
    ends. The file is made where there is none. None where somebody else holds it.

    Raises:
        OutputError: the file cannot be written.
    """
    with output_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
    return handle


@contextmanager
def atomic_file(path: str | os.PathLike[str], mode: str = "wb", *, permissions: int | None = None) -> Iterator[IO[Any]]:
    """Write beside `path`, fsync, rename: readers see the old file or the whole new one.

    `mode` is "wb" or "w" (UTF-8). `permissions`: of the file; None leaves them to the umask. An exception inside the
    block leaves the old file as it was.

    Raises:
        OutputError: the file cannot be written.
    """
    target = Path(path)
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
        part = Path(name)
        try:
            text = "b" not in mode
            encoding, newline = ("utf-8", "") if text else (None, None)
            with os.fdopen(handle, mode, encoding=encoding, newline=newline) as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            part.chmod(0o666 & ~_umask() if permissions is None else permissions)
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync_directory(target.parent)


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Build a folder beside `path` and put it in place only when the block ended well; an older one is replaced.

    Raises:
        OutputError: the folder cannot be written.
    """
    target = Path(path)
    with output_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_dir():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        part = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part"))
        try:
            yield part
            for file in part.rglob("*"):
                if file.is_file():
                    _sync_file(file)
                else:
                    sync_directory(file)
            sync_directory(part)  # its files' names, too, are to outlast the machine
            part.chmod(0o777 & ~_umask())
            if target.exists():
                old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".old"))
                target.replace(old / "replaced")
                try:
                    part.replace(target)
                except OSError:
                    (old / "replaced").replace(target)
                    raise
                finally:
                    shutil.rmtree(old, ignore_errors=True)
            else:
                part.replace(target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        sync_directory(target.parent)


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Write `value` as indented JSON, atomically. NaN and infinity are refused: they are not JSON."""
    with atomic_file(path, "w") as stream:
        json.dump(value, stream, indent=2, allow_nan=False)
        stream.write("\n")


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_file(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def sync_directory(path: Path) -> None:
    """Let the names of the files in `path` outlast the machine."""
    # Some file systems refuse to open or fsync a folder; the rename itself was still atomic.
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

"""What the service's own user may read and write, told before it is made."""

from __future__ import annotations

import grp
import pwd
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from edgevad._files import output_errors
from edgevad.errors import ServiceError
from edgevad.service.unit import USER

__all__ = ["check_reach", "check_writable"]


def check_reach(path: Path) -> None:
    """The service's user can open `path`: every folder on the way lets it through, and the file lets it read."""
    with output_errors(path):
        is_there = path.exists()
    if not is_there:
        raise ServiceError("there is no such file or folder", where=path, fix="Put it there before the service starts")
    real = path.resolve()
    for place in (real, *real.parents):
        if not _lets(place, stat.S_IXOTH if place.is_dir() else stat.S_IROTH):
            raise ServiceError(
                "the service's own user could not read it",
                where=place if place == real else f"{path} (because of {place})",
                fix="Put the program under /opt (python3 -m venv /opt/edgevad), the configuration and what it names"
                f" into /etc/edgevad; a secret is the group's: {_to_group('g+rX', place)}",
            )


def check_writable(folder: Path) -> None:
    """The service's user can write to `folder`, where that is there already."""
    with output_errors(folder):
        is_there = folder.exists()
    if is_there and not _lets(folder, stat.S_IWOTH | stat.S_IXOTH):
        raise ServiceError(
            "the service's own user could not write to it", where=folder, fix=f"Run: {_to_group('g+rwx', folder)}"
        )


def _lets(place: Path, others: int) -> bool:
    """Whether `place` lets the service's user do what these bits allow others, as anybody or by its own name."""
    with output_errors(place):
        found = place.stat()
    allowed = others
    if _name(pwd.getpwuid, found.st_uid) == USER:
        allowed = others << 6
    elif _name(grp.getgrgid, found.st_gid) == USER:
        allowed = others << 3
    return found.st_mode & allowed == allowed


def _name(look_up: Callable[[int], Sequence[object]], number: int) -> str:
    try:
        return str(look_up(number)[0])
    except KeyError:
        return ""


def _to_group(mode: str, path: Path) -> str:
    # Before the first installation there is no such group yet.
    return f"sudo groupadd -fr {USER}; sudo chgrp {USER} {path}; sudo chmod {mode} {path}"

"""TOML files of users: read with a limit, and refused in one clear line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

from edgevad._files import input_errors
from edgevad.errors import EdgevadError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["TomlFile", "read_toml"]

_MAX_BYTES = 100_000


class TomlFile(NamedTuple):
    """What a file holds, and its text, in which lines can be looked for."""

    value: dict[str, Any]
    text: str


def read_toml(path: Path, *, a: str, kind: type[EdgevadError], fix: str) -> TomlFile:
    """Read `path`; `a` is what it should be ("a profile"), for messages, as `fix` is.

    Raises:
        EdgevadError: of this `kind`: the file cannot be read, is too large, or is no TOML.
    """
    noun = a.partition(" ")[2]
    with input_errors(path, kind):
        if path.is_dir():
            raise kind("is a folder", where=path, expected=f"{a} in TOML", fix=fix)
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise kind("is no file", where=path, expected=f"{a} in TOML", fix=fix)
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise kind(f"is too large for a {noun}", where=path, expected=f"at most {_MAX_BYTES} bytes of TOML")
    try:
        # A deeply nested list ends in RecursionError, a value Python cannot hold in ValueError.
        text = data.decode("utf-8")
        return TomlFile(tomllib.loads(text), text)
    except (ValueError, RecursionError) as error:
        raise kind(f"is no TOML ({error})", where=path, expected=a, fix=fix) from error

"""Passwords and tokens: kept in files or environment variables of their own, never in the configuration itself."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgevad._files import input_errors
from edgevad._masking import is_secret_name, without_password
from edgevad.errors import ConfigError

__all__ = ["has_password", "has_place", "read_secret", "two_secrets", "with_password", "without_secrets"]

_MAX_BYTES = 4096


def read_secret(file: Path | None, environment: str | None) -> str | None:
    """The secret in `file` (its first line), or in the environment variable of that name; None where neither is given.

    Raises:
        ConfigError: there is no such file or variable, or it is empty or no text.
    """
    if file is not None:
        with input_errors(file, ConfigError), file.open("rb") as stream:
            data = stream.read(_MAX_BYTES)
        try:
            secret = data.decode("utf-8").partition("\n")[0].rstrip("\r")
        except ValueError as error:
            raise ConfigError("is no text", where=file, expected="a secret in its first line") from error
        if not secret:
            raise ConfigError("is empty", where=file, expected="a secret in its first line")
        return secret
    if environment is None:
        return None
    secret = os.environ.get(environment, "")
    if not secret:
        raise ConfigError(
            f"the environment variable {environment} is not set",
            fix=f"Set it, for the service with: systemctl edit edgevad, [Service] Environment={environment}=...",
        )
    return secret


def two_secrets(name: str, file: Path | None, environment: str | None) -> Iterator[tuple[str, str]]:
    """The conflict of a section that gives both a file and an environment variable."""
    if file is not None and environment is not None:
        yield f"{name}_env", f"stands beside {name}_file. Leave one of them out"


def has_password(address: str) -> bool:
    """Whether there is a password in an address or a pipeline, wherever cameras put them."""
    # What is masked and yet no password: a user's name, and the place that one will be put into.
    shown = _USER.sub("//", address.replace(f":{_PLACE}@", "@")).replace(_PLACE, "***")
    shown = _USER_ID.sub("", shown)
    return without_password(shown) != shown


def has_place(address: str) -> bool:
    """Whether a password can be put into it: at {password}, or behind a user's name that has none."""
    return _PLACE in address or _USER.search(address) is not None


def with_password(address: str, password: str) -> str:
    """`address`, which has a place for one, with this password, quoted as addresses want it; in pipelines as it is."""
    if _PLACE in address:
        return address.replace(_PLACE, password if " ! " in address else quote(password, safe=""))
    return _USER.sub(lambda found: f"//{found[1]}:{quote(password, safe='')}@", address, count=1)


def without_secrets(value: Any) -> Any:
    """JSON values with secrets as "***"; what is none (a path) becomes one. Masked one by one: JSON stays JSON."""
    if isinstance(value, str):
        return without_password(value)
    if isinstance(value, dict):
        return {
            key: "***" if is_secret_name(str(key)) and held else without_secrets(held) for key, held in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_secrets(held) for held in value]
    return value if isinstance(value, int | float | bool) or value is None else without_password(str(value))


_USER = re.compile(r"//([^/\s:@]+)@")
_USER_ID = re.compile(r"\b(?:user|proxy)-id\s*=\s*(?:\"[^\"]*\"|\S+)")
_PLACE = "{password}"

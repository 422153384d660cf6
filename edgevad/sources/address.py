"""What stands behind the question mark of a camera's address, and the address as people are shown it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgevad._masking import without_password
from edgevad.errors import OptionError

__all__ = ["number", "options_of", "whole", "without_password"]

_LARGEST = 100_000


def options_of(address: str, known: Sequence[str]) -> tuple[str, dict[str, str]]:
    """`address` up to its question mark, and the options behind it: "a?x=1&y=2" is ("a", {"x": "1", "y": "2"}).

    Raises:
        OptionError: an option that is not `known`, stated twice, or without a value.
    """
    place, _, text = address.partition("?")
    options: dict[str, str] = {}
    for pair in filter(None, text.split("&")):
        key, _, value = pair.partition("=")
        if key not in known or not value or key in options:
            what = f"{key} is stated twice" if key in options else f"{pair} is no option of a camera"
            raise OptionError(what, where=address, expected=" & ".join(f"{name}=…" for name in known))
        options[key] = value
    return place, options


def number(options: Mapping[str, str], key: str, address: str) -> float | None:
    """The option as a number above 0, None where it is not there."""
    if key not in options:
        return None
    try:
        value = float(options[key])
    except ValueError:
        value = math.nan
    if not 0 < value <= _LARGEST:
        raise OptionError(f"{key}={options[key]}", where=address, expected="a number above 0")
    return value


def whole(options: Mapping[str, str], key: str, address: str, *, least: int = 1) -> int | None:
    """The option as a whole number of at least `least`, None where it is not there."""
    if key not in options:
        return None
    text = options[key]
    if not (text.isascii() and text.isdigit() and least <= int(text[:9]) <= _LARGEST):
        raise OptionError(f"{key}={text}", where=address, expected=f"a whole number from {least}")
    return int(text)

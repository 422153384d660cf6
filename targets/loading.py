"""Finding a profile: by name among those beside this file, or by the path of a user's own."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Any

from edgevad._files import input_errors
from edgevad.errors import OptionError
from edgevad.targets.profile import Target

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["load_target", "target_names"]

_FOLDER = Path(__file__).parent
_MAX_BYTES = 100_000
_PAGE = "See docs/targets.md"


def target_names() -> list[str]:
    """Names of the profiles that come with edgevad, in alphabetical order."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_target(name_or_path: str | Path) -> Target:
    """Read a profile: one of `target_names()`, or a .toml file of one's own.

    Raises:
        OptionError: there is none of that name, or the file is not a valid profile.
    """
    text = str(name_or_path)
    names = target_names()
    if text in names:
        return _read(_FOLDER / f"{text}.toml")
    path = Path(text)
    # A name has no folder and no suffix; anything else can only have been meant as a file.
    if (path.suffix.lower() != ".toml" and path.name == text) or "\0" in text:
        close = difflib.get_close_matches(text.lower(), names, n=2, cutoff=0.5)
        raise OptionError(
            f"unknown target {text[:80]!r}",
            expected="one of " + ", ".join(names) + ", or the path of a .toml file",
            fix="Did you mean " + " or ".join(close) + "?" if close else None,
        )
    return _read(path)


def _read(path: Path) -> Target:
    with input_errors(path, OptionError):
        if path.is_dir():
            raise OptionError("is a folder", where=path, expected="a profile in TOML", fix=_PAGE)
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OptionError("is no file", where=path, expected="a profile in TOML", fix=_PAGE)
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise OptionError("is too large for a profile", where=path, expected=f"at most {_MAX_BYTES} bytes of TOML")
    try:
        # A deeply nested list ends in RecursionError, a value Python cannot hold in ValueError.
        value: dict[str, Any] = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise OptionError(f"is no TOML ({error})", where=path, expected="a profile", fix=_PAGE) from error
    try:
        return Target.from_json(value)
    except KeyError as error:
        raise OptionError(f"the field {error.args[0]} is missing", where=path, fix=_PAGE) from error
    except (TypeError, ValueError) as error:
        unknown = next((name for name in value if name not in Target.__dataclass_fields__), None)
        close = [] if unknown is None else difflib.get_close_matches(unknown, Target.__dataclass_fields__, n=1)
        raise OptionError(str(error), where=path, fix=f"Did you mean {close[0]}?" if close else None) from error

"""Finding a profile: by name among those beside this file, or by the path of a user's own."""

from __future__ import annotations

import difflib
from pathlib import Path

from edgevad._toml import read_toml
from edgevad.errors import OptionError
from edgevad.targets.profile import Target

__all__ = ["load_target", "target_names"]

_FOLDER = Path(__file__).parent
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
    value = read_toml(path, a="a profile", kind=OptionError, fix=_PAGE).value
    try:
        return Target.from_json(value)
    except KeyError as error:
        raise OptionError(f"the field {error.args[0]} is missing", where=path, fix=_PAGE) from error
    except (TypeError, ValueError) as error:
        unknown = next((name for name in value if name not in Target.__dataclass_fields__), None)
        close = [] if unknown is None else difflib.get_close_matches(unknown, Target.__dataclass_fields__, n=1)
        raise OptionError(str(error), where=path, fix=f"Did you mean {close[0]}?" if close else None) from error

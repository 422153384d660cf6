"""Device profiles: what a target can do, in TOML beside this file."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgevad.errors import OptionError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Target", "load_target", "target_names"]

_FOLDER = Path(__file__).parent
_FIELDS: dict[str, type] = {
    "name": str,
    "description": str,
    "backend": str,
    "precisions": list,
    "static_batch": bool,
    "opset_max": int,
}


@dataclass(frozen=True)
class Target:
    """A device profile.

    Attributes:
        name, description: for people.
        backend: the inference engine `edgevad run` uses there.
        precisions: what the device computes in, the default first.
        static_batch: the graph's batch size must be fixed.
        opset_max: newest ONNX opset its engine takes.
    """

    name: str
    description: str
    backend: str
    precisions: tuple[str, ...]
    static_batch: bool
    opset_max: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Target:
        """Raises TypeError where `value` is not what `to_json` gave."""
        return cls(**{**value, "precisions": tuple(value["precisions"])})


def target_names() -> list[str]:
    """Names of the profiles that come with edgevad."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_target(name: str) -> Target:
    """Read a profile.

    Raises:
        OptionError: there is none of that name, or it is not a valid profile.
    """
    if name not in target_names():
        raise OptionError(f"unknown target {name!r}", expected="one of " + ", ".join(target_names()))
    path = _FOLDER / f"{name}.toml"
    try:
        value: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"the profile cannot be read ({error})", where=path) from error
    for field, kind in _FIELDS.items():
        if not isinstance(value.get(field), kind):
            raise OptionError(f"{field} is {value.get(field)!r}", where=path, expected=f"a {kind.__name__}")
    unknown = sorted(set(value) - set(_FIELDS))
    if unknown:
        raise OptionError(f"unknown field {unknown[0]!r}", where=path, expected="one of " + ", ".join(_FIELDS))
    return Target(**{**value, "precisions": tuple(value["precisions"])})

"""What `edgevad doctor` finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgevad.errors import EdgevadError

__all__ = ["Finding", "State", "failed", "good", "of_error", "warning"]

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: what it is about, in a word or two.
        state: "ok"; "warn": it works, but not for long, or not well; "fail": it does not.
        found: what was seen.
        fix: what to do about it; None where there is nothing to do.
    """

    check: str
    state: State
    found: str
    fix: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def good(check: str, found: str) -> Finding:
    return Finding(check, "ok", found)


def warning(check: str, found: str, fix: str | None = None) -> Finding:
    return Finding(check, "warn", found, fix)


def failed(check: str, found: str, fix: str | None = None) -> Finding:
    return Finding(check, "fail", found, fix)


def of_error(check: str, error: EdgevadError, state: State = "fail") -> Finding:
    """What one of our errors says, its fix kept apart."""
    where = "" if error.where is None else f"{error.where}: "
    expected = "" if error.expected is None else f"; expected {error.expected}"
    return Finding(check, state, " ".join(f"{where}{error.what}{expected}".split()), error.fix)

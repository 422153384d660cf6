"""Frozen dataclasses as sections of a TOML file: each field says what it means and what it may be; read with checks.

    @dataclass(frozen=True)
    class Metrics:
        port: int = option("TCP port of the metrics page.", 9464, low=1, high=65535)

Every section is a `Section`; `Section.build` makes the class of another part from it, whose values have these names.
"""

from __future__ import annotations

import difflib
import math
import re
import reprlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from edgevad.errors import EdgevadError
from edgevad.service.secrets import without_secrets

__all__ = [
    "Place",
    "Problem",
    "Rule",
    "Section",
    "base_type",
    "expected_words",
    "nearest",
    "option",
    "read_section",
    "rule_of",
]

T = TypeVar("T")
S = TypeVar("S", bound="Section")

# Patterns that several sections use, and how they are said.
NAME, NAME_WORDS = r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}", "letters, digits, dots, underscores and hyphens, at most 48"
VARIABLE, VARIABLE_WORDS = r"[A-Za-z_][A-Za-z0-9_]{0,99}", "the name of an environment variable"

_MAX_TEXT = 2000
_MAX_ITEMS = 64


@dataclass(frozen=True)
class Rule:
    """What a field means and may be.

    Attributes:
        comment: one or two sentences for people.
        low, high: bounds of a number, both inside; `above` is a bound outside.
        pattern, words: what a text must match, and how that is said.
        zero_is_none: 0 in the file stands for None, "no limit", of the class that a section builds.
        example: a value for the example file, where the default is none.
    """

    comment: str = ""
    low: float | None = None
    high: float | None = None
    above: float | None = None
    pattern: str | None = None
    words: str | None = None
    zero_is_none: bool = False
    example: Any = None


def option(comment: str, default: Any = MISSING, **rule: Any) -> Any:
    """A dataclass field with a `Rule`; without a `default` the file must give it."""
    if default is MISSING:
        return field(metadata={"rule": Rule(comment, **rule)})
    return field(default=default, metadata={"rule": Rule(comment, **rule)})


def rule_of(entry: Field[Any]) -> Rule:
    """The rule that `option` gave a field; an empty one for other fields."""
    found = entry.metadata.get("rule")
    return found if isinstance(found, Rule) else Rule()


@dataclass(frozen=True)
class Section:
    """What sections have in common; each is a frozen dataclass."""

    def build(self, cls: type[T], **more: Any) -> T:
        """A `cls`, a dataclass, of those values here that it has too, and `more`.

        Raises:
            EdgevadError: whatever `cls` raises where values do not fit each other.
        """
        known = {entry.name for entry in fields(cls)}  # type: ignore[arg-type]
        return cls(**{name: value for name, value in self.given().items() if name in known} | more)

    def given(self) -> dict[str, Any]:
        """Values by name, as other classes take them; those that are not set, and stand at no default, are left out."""
        values = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is not None:
                values[entry.name] = None if rule_of(entry).zero_is_none and value == 0 else value
        return values

    def refusals(self, cls: type[Any], **more: Any) -> Iterator[tuple[str, str]]:
        """What a `cls` says against values that do not fit each other, as `conflicts` tells it."""
        try:
            self.build(cls, **more)
        except EdgevadError as error:
            yield "", str(error)

    def conflicts(self) -> Iterator[tuple[str, str]]:
        """Keys that cannot stay as they are beside the others, each with what is wrong."""
        yield from ()


class Problem(NamedTuple):
    """Something in the file that cannot be used. `key` is empty where it is about the section."""

    section: str
    key: str
    what: str
    expected: str | None = None
    fix: str | None = None
    line: int | None = None

    def where(self, path: Path) -> str:
        line = "" if self.line is None else f":{self.line}"
        return f"{path}{line}: " + (f"[{self.section}]" if self.section else "top level")

    def text(self) -> str:
        """What is wrong, expected and to be done, without the place."""
        what = f"{self.key} {self.what}" if self.key else self.what
        return str(EdgevadError(what, expected=self.expected, fix=self.fix))


class Place(NamedTuple):
    """Where a section stands in the file, and where its problems are put down."""

    section: str
    folder: Path
    text: str
    problems: list[Problem]
    nth: int = 0  # which of several [[section]]

    def report(self, key: str, what: str, expected: str | None = None, fix: str | None = None) -> None:
        line = _line_of(self.text, self.section, self.nth, key)
        self.problems.append(Problem(self.section, key, what, expected, fix, line))


def read_section(cls: type[S], table: object, place: Place, elsewhere: Mapping[str, str] | None = None) -> S | None:
    """`table` as a `cls`; None where a problem was reported. `elsewhere` tells which section other keys belong to."""
    if not isinstance(table, dict):
        place.report("", f"is {_short(table)}", "a table of settings")
        return None
    before = len(place.problems)
    known = {entry.name: entry for entry in fields(cls)}
    for key in table:
        if key not in known:
            place.report(key, "is no setting here", fix=nearest(key, known, elsewhere))
    hints = get_type_hints(cls)
    values = {}
    for name, entry in known.items():
        if name in table:
            values[name] = _read(table[name], hints[name], rule_of(entry), name, place)
        elif entry.default is MISSING and entry.default_factory is MISSING:
            place.report(name, "is missing", fix=rule_of(entry).comment or None)
    if len(place.problems) > before:
        return None
    made = cls(**values)
    for key, what in made.conflicts():
        place.report(key, what)
    return made if len(place.problems) == before else None


def base_type(hint: Any) -> Any:
    """`int` of `int | None`."""
    if get_origin(hint) in (Union, UnionType):
        return next(kind for kind in get_args(hint) if kind is not type(None))
    return hint


def expected_words(hint: Any, rule: Rule) -> str:
    """What a value of that type and rule may be, for people: "a whole number from 1 to 65535"."""
    kind = base_type(hint)
    if get_origin(kind) is tuple:
        return f"a list of at most {_MAX_ITEMS}, each {expected_words(get_args(kind)[0], rule)}"
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if kind is bool:
        return "true or false"
    if kind in (int, float):
        words = "a whole number" if kind is int else "a number"
        if rule.above is not None:
            return f"{words} above {rule.above:g}" + ("" if rule.high is None else f", at most {rule.high:g}")
        if rule.low is not None:
            return f"{words} from {rule.low:g}" + (" on" if rule.high is None else f" to {rule.high:g}")
        return words
    return rule.words or ("a path" if kind is Path else f"a text of 1 to {_MAX_TEXT} printable characters")


def _read(value: object, hint: Any, rule: Rule, key: str, place: Place) -> Any:
    kind = base_type(hint)
    if not _is_good(value, kind, rule):
        place.report(key, f"is {_short(value)}", expected_words(hint, rule))
        return None
    if get_origin(kind) is tuple:
        return tuple(_made(item, get_args(kind)[0], place) for item in value)  # type: ignore[attr-defined]
    try:
        return _made(value, kind, place)
    except RuntimeError:
        place.report(key, f"is {_short(value)}", "a path; there is no user of that name, or without a home")
        return None


def _made(value: Any, kind: Any, place: Place) -> Any:
    if kind is Path:
        return place.folder / Path(value).expanduser()
    return float(value) if kind is float else value


def _is_good(value: object, kind: Any, rule: Rule) -> bool:
    origin = get_origin(kind)
    if origin is tuple:
        is_list = isinstance(value, list) and len(value) <= _MAX_ITEMS
        return is_list and all(_is_good(item, get_args(kind)[0], rule) for item in value)  # type: ignore[attr-defined]
    if origin is Literal:
        return value in get_args(kind)
    if kind is bool:
        return isinstance(value, bool)
    if kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
            return False
        return math.isfinite(value) and abs(value) < 1 << 63 and _is_within(value, rule)
    if kind not in (str, Path):
        raise TypeError(f"{kind} cannot be read from TOML")
    good = isinstance(value, str) and 0 < len(value) <= _MAX_TEXT and value.isprintable()
    return good and (rule.pattern is None or re.fullmatch(rule.pattern, str(value)) is not None)


def _is_within(number: float, rule: Rule) -> bool:
    return (
        (rule.low is None or number >= rule.low)
        and (rule.high is None or number <= rule.high)
        and (rule.above is None or number > rule.above)
    )


def nearest(key: str, known: Collection[str], elsewhere: Mapping[str, str] | None = None) -> str:
    """What may have been meant by `key`, as a fix: where it belongs, the nearest known name, or all of them."""
    if elsewhere and key in elsewhere:
        return f"It belongs into [{elsewhere[key]}]"
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"Did you mean {close[0]}?" if close else "Known are " + ", ".join(known)


_HEADER = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]")


def _line_of(text: str, section: str, index: int, key: str) -> int | None:
    """Number of the line that sets `key`, or that opens the section; None where that cannot be told for certain."""
    if '"""' in text or "'''" in text:
        return None  # the lines of a long text may look like anything
    here, count, opened = "", -1, None
    wanted = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]") if key else None
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header is not None:
            here = re.sub(r"[\"'\s]", "", header.group(2))
            if here == section:
                count += 1
                opened = number if count == index else opened
        elif here == section and wanted is not None and max(count, 0) == index and wanted.match(line):
            return number
    return opened


def _short(value: object) -> str:
    """What a message shows of a value: never all of a hostile one, nor a password."""
    if isinstance(value, str | list | dict):
        value = without_secrets(value)  # before it is cut, which might take away what a password is known by
    return str(value).lower() if isinstance(value, bool) else _REPR.repr(value)


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60

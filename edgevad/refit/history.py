"""What was decided about challengers, and why: a line each in history.jsonl, and a folder with a page to look at.

history.jsonl        a JSON object a line, oldest first; of two with one id the later counts
history/<id>/        verdict.json (figures), page.html (figures and pictures, one file)
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgevad._files import atomic_directory, atomic_file, input_errors, output_errors, write_json
from edgevad.errors import OptionError, RefitError
from edgevad.refit.place import RefitHome
from edgevad.refit.verdict import Verdict

__all__ = ["Decision", "decisions", "new_id", "page_of", "remember", "verdict_of"]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VERDICT, _PAGE = "verdict.json", "page.html"
# A page has half a megabyte, a line half a kilobyte.
MOST_PAGES = 100
MOST_LINES = 2000


@dataclass(frozen=True)
class Decision:
    """A line of the history.

    Attributes:
        id: names the folder, too.
        time: UTC, ISO 8601, by the device's clock.
        depth: what the challenger was made by: "recalibrate", "adapt", "refit"; "" where somebody brought it.
        outcome: "passed", "refused", "activated", "written", "nothing", "rolled back" …, one word or two.
        sentence: why.
        champion, challenger: digests of the bundles, hexadecimal; "" where there was none.
        drives: names of the drives it was learnt from or judged by.
        details: anything more, plain JSON.
    """

    id: str
    time: str
    depth: str
    outcome: str
    sentence: str
    champion: str = ""
    challenger: str = ""
    drives: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "drives": list(self.drives), "details": dict(self.details)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Decision:
        """Raises KeyError or TypeError where `value` is not what `to_json` gave."""
        texts = {name: str(value[name]) for name in ("id", "time", "depth", "outcome", "sentence")}
        return cls(
            **texts,
            champion=str(value["champion"]),
            challenger=str(value["challenger"]),
            drives=tuple(str(name) for name in value["drives"]),
            details=dict(value["details"]),
        )


def new_id(what: str = "gate") -> str:
    """A name by the clock: "gate-20260329-071502"; two of one second differ by a number of the process."""
    return f"{what}-{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{os.getpid() % 10000:04d}"


def remember(
    home: RefitHome,
    id: str,
    *,
    outcome: str,
    sentence: str,
    depth: str = "",
    verdict: Verdict | None = None,
    details: Mapping[str, Any] | None = None,
) -> Path | None:
    """Put a decision down; where its page lies, None where there is no verdict to show.

    A page that is there already, from before a run was killed, stays unless `verdict` brings evidence for another.
    What is older than MOST_PAGES pages and MOST_LINES lines goes.

    Raises:
        OptionError: `id` is no plain name.
        OutputError: the history cannot be written.
    """
    if not _ID.fullmatch(id):
        raise OptionError(f"a decision called {id[:80]!r}", expected="letters, digits, '.', '_' and '-'")
    folder = home.history / id
    if verdict is not None and (verdict.evidence is not None or not (folder / _PAGE).exists()):
        from edgevad.report.gate_page import gate_page

        with atomic_directory(folder) as staged:
            write_json(staged / _VERDICT, verdict.to_json())
            (staged / _PAGE).write_text(gate_page(verdict, title=id, depth=depth), encoding="utf-8")
    decision = Decision(
        id,
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
        depth,
        outcome,
        sentence,
        "" if verdict is None else verdict.champion,
        "" if verdict is None else verdict.challenger,
        () if verdict is None else verdict.drives,
        dict(details or {}),
    )
    _append(home.history_lines, decision)
    _prune(home)
    return page_of(home, id)


def decisions(home: RefitHome) -> list[Decision]:
    """All that is put down, oldest first; a line that was cut off by a power failure is passed over.

    Raises:
        RefitError: the history cannot be read.
    """
    if not home.history_lines.exists():
        return []
    with input_errors(home.history_lines, RefitError):
        lines = home.history_lines.read_bytes().splitlines()
    found: dict[str, Decision] = {}
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            decision = Decision.from_json(json.loads(line))
            found.pop(decision.id, None)
            found[decision.id] = decision
    return list(found.values())


def page_of(home: RefitHome, id: str) -> Path | None:
    """The page of a decision, None where it has none (any more)."""
    path = home.history / id / _PAGE
    return path if path.is_file() else None


def verdict_of(home: RefitHome, id: str) -> Verdict | None:
    """The figures of a decision, None where there are none (any more).

    Raises:
        RefitError: they cannot be read.
    """
    path = home.history / id / _VERDICT
    if not _ID.fullmatch(id) or not path.is_file():
        return None
    with input_errors(path, RefitError):
        data = path.read_bytes()
    try:
        return Verdict.from_json(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RefitError(f"the verdict cannot be read ({error})", where=path) from error


def _append(path: Path, decision: Decision) -> None:
    """One write of one line: whole, or cut off at its end where the power went."""
    line = json.dumps(decision.to_json(), allow_nan=False).encode() + b"\n"
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as stream:
            # After one that was cut off the next begins on a line of its own.
            if stream.seek(0, os.SEEK_END) and _last_byte(stream) != b"\n":
                line = b"\n" + line
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())


def _last_byte(stream: Any) -> bytes:
    stream.seek(-1, os.SEEK_END)
    return bytes(stream.read(1))


def _prune(home: RefitHome) -> None:
    kept = decisions(home)
    if len(kept) > MOST_LINES:
        kept = kept[-(MOST_LINES // 2) :]
        with atomic_file(home.history_lines) as stream:
            stream.writelines(json.dumps(decision.to_json()).encode() + b"\n" for decision in kept)
    with_page = [decision.id for decision in kept if page_of(home, decision.id) is not None]
    if not with_page:
        return
    for page in home.history.glob(f"*/{_PAGE}"):
        if page.parent.name not in with_page[-MOST_PAGES:] and not page.parent.name.startswith("."):
            shutil.rmtree(page.parent, ignore_errors=True)

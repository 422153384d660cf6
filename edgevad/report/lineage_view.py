"""Where a re-fitted model comes from, for people: the drives it learnt from, and its ancestors back to the first."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["lineage_rows"]

_MAX_DRIVES, _MAX_ANCESTORS, _MAX_TEXT = 12, 12, 100


def lineage_rows(made: object) -> Iterator[tuple[str, str]]:
    """Label and text for each thing that a manifest's `provenance["refit"]` tells; nothing where it is none of ours.

    Provenance is free form: whatever is not as it should be is left out.
    """
    if not isinstance(made, Mapping):
        return
    yield "made by", _text(made.get("depth"))
    if isinstance(parent := made.get("parent"), str):
        yield "from", _text(parent[:12]) + "…"
    drives = _mappings(made.get("drives"))
    if drives:
        yield "drives", "\n".join(_shortened([_drive(drive) for drive in drives], _MAX_DRIVES))
    ancestors = _mappings(made.get("lineage"))
    if ancestors:
        # The latest first: that is what the reader asks for, and the first training comes last.
        yield "ancestors", "\n".join(_shortened([_ancestor(one) for one in reversed(ancestors)], _MAX_ANCESTORS))


def _drive(drive: Mapping[str, Any]) -> str:
    legs = drive.get("legs")
    count = f", {len(legs)} files by their SHA-256" if isinstance(legs, Mapping) and legs else ""
    return f"{_text(drive.get('name'))}: {_text(drive.get('frames'))} frames{count}"


def _ancestor(one: Mapping[str, Any]) -> str:
    names = [_text(drive.get("name")) for drive in _mappings(one.get("drives"))]
    sources = one.get("sources")
    names += [_text(source) for source in sources] if isinstance(sources, list) else []
    sha256 = one.get("model_sha256", one.get("digest"))
    which = f" {_text(sha256)[:12]}…" if isinstance(sha256, str) else ""
    learnt = f": {', '.join(_shortened(names, 3))}" if names else ""
    return f"{_text(one.get('depth'))}{which}{learnt}"


def _shortened(lines: list[str], most: int) -> list[str]:
    """The first few; where some are left out, the last one all the same."""
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], f"… {len(lines) - most} more …", lines[-1]]


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _text(value: object) -> str:
    """What is free form may hold anything: no control character reaches the terminal."""
    text = value if isinstance(value, str) and value.isprintable() else json.dumps(value)
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"

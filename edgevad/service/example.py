"""The example configuration: written from the sections themselves, so that it can never be out of date."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from edgevad.service.options import expected_words, rule_of
from edgevad.service.sections import SECTIONS

__all__ = ["example_config"]

_HEAD = """\
Configuration of edgevad in a vehicle. Used by: edgevad run --config FILE
Checked by: edgevad config check FILE
A line that starts with "#" and no blank after it is a setting that can be switched on.
Values that stand here are the defaults, but for those of the camera. Relative paths are relative to this file.
"""
_ON = ("run", "camera", "detection", "lens", "governor", "trial", "events", "logging")
_WORDS = {
    "run": "What scores.",
    "camera": "A camera; again for each further one.",
    "detection": "When an event starts and ends. Taken up by a reload (SIGHUP).",
    "lens": "When a lens shows nothing to judge: told as a camera's fault, never as an anomaly. Without it: not asked.",
    "governor": "Looks at fewer frames where the machine gets too slow or too hot. Without it: never.",
    "trial": "What sends a newly activated bundle back to the one before, by itself. Not where [run] names a bundle.",
    "events": "Events are kept, with clips. Without it: not.",
    "drives": "Everything that is seen is logged, as MCAP files. Without it: not.",
    "drift": "Says when the world is no longer the one the bundle was calibrated on. Without it: never.",
    "learning": "What is remembered follows the road, slowly (docs/refit.md). Without it: not.",
    "refit": "Brings the model up to date from logged drives: edgevad refit --config FILE, by hand or by its timer.",
    "mqtt": "Events, incidents and state go to an MQTT broker.",
    "webhook": "Events and incidents are posted to a web server; again for each further one.",
    "metrics": "Counters for Prometheus.",
    "logging": "What is written to stderr, or to the journal.",
}
_PLUGINS = "Sinks of other packages (entry points of the group edgevad.sinks), each with a table of its own."


def example_config() -> str:
    """A configuration that loads, with every key, what it means and its default."""
    lines = [*_comment(_HEAD)]
    for name, cls in SECTIONS.items():
        if cls is not None:
            lines += ["", *_section(name, cls, "" if name in _ON else "#")]
    return "\n".join([*lines, "", *_comment(_PLUGINS), "#[plugins.gpio]", "#line = 7"]) + "\n"


def _section(name: str, cls: type, off: str) -> Iterator[str]:
    yield from _comment(_WORDS[name])
    yield off + (f"[[{name}]]" if name in ("camera", "webhook") else f"[{name}]")
    assert is_dataclass(cls)
    hints = get_type_hints(cls)
    for entry in fields(cls):
        rule = rule_of(entry)
        yield from _comment(f"{rule.comment} ({expected_words(hints[entry.name], rule)})")
        yield _setting(entry, off)


def _setting(entry: Field[Any], off: str) -> str:
    value, rule = entry.default, rule_of(entry)
    if value is MISSING:
        return f"{off}{entry.name} = {_toml(rule.example)}"
    if value is None:
        return f"#{entry.name} = {_toml(rule.example)}"
    return f"{off}{entry.name} = {_toml(value)}"


def _toml(value: Any) -> str:
    # What these values are made of, TOML writes as JSON does.
    return json.dumps(str(value) if isinstance(value, Path) else value)


def _comment(text: str) -> list[str]:
    return [f"# {line}" for part in text.splitlines() for line in textwrap.wrap(part, 116)]

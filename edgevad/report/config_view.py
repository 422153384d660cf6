"""A configuration as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

__all__ = ["config_table"]


def config_table(settings: Mapping[str, Any]) -> Table:
    """What `RunConfig.to_json` gave, a row a key; what is off, and what is not set, says so."""
    table = Table(title=f"Configuration {settings['path']}", title_justify="left")
    table.add_column("section")
    table.add_column("key")
    table.add_column("value", overflow="fold")
    for name, value in settings.items():
        if name == "path":
            continue
        rows = list(_rows(name, value))
        for index, (section, key, held) in enumerate(rows):
            table.add_row(section, key, held, end_section=index == len(rows) - 1)
    return table


def _rows(name: str, value: Any) -> Iterator[tuple[str, str, str]]:
    if not value:
        yield name, "", "off"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _rows(f"{name}[{index}]", item)
    else:
        for index, (key, held) in enumerate(value.items()):
            yield name if index == 0 else "", key, "" if held is None else _text(held)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

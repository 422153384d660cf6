"""The state of the service as a table."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

__all__ = ["service_table"]

_ROWS = (
    ("state", "ActiveState"),
    ("", "SubState"),
    ("says", "StatusText"),
    ("since", "ActiveEnterTimestamp"),
    ("restarts", "NRestarts"),
    ("last result", "Result"),
    ("last sign of life", "WatchdogTimestamp"),
    ("memory", "MemoryCurrent"),
    ("process", "MainPID"),
    ("at boot", "UnitFileState"),
)


def service_table(properties: Mapping[str, str]) -> Table:
    """What systemd says of the service, a row each; what it does not tell is left out."""
    table = Table(title="edgevad.service", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, key in _ROWS:
        value = properties.get(key, "")
        if key == "MemoryCurrent":
            value = f"{int(value) / 1e6:.0f} MB" if value.isdigit() else ""
        if value:
            table.add_row(name, value)
    return table

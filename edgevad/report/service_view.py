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
_REFIT_ROWS = (
    ("refit", "ActiveState"),
    ("last refit", "LastTriggerUSec"),
    ("its result", "Result"),
    ("next refit", "NextElapseUSecRealtime"),
)


def service_table(properties: Mapping[str, str], refit: Mapping[str, str] | None = None) -> Table:
    """What systemd says of the service and of its timer, a row each; what it does not tell is left out."""
    table = Table(title="edgevad.service", title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    rows = [(name, key, properties.get(key, "")) for name, key in _ROWS]
    rows += [(name, key, (refit or {}).get(key, "")) for name, key in _REFIT_ROWS]
    for name, key, value in rows:
        if key == "MemoryCurrent":
            value = f"{int(value) / 1e6:.0f} MB" if value.isdigit() else ""
        if value:
            table.add_row(name, value)
    return table

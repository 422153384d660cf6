"""The slots of a device as tables."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from edgevad.bundle.blocked import Blocked
from edgevad.bundle.slots import SlotInfo

__all__ = ["blocked_table", "slots_table"]


def slots_table(current: SlotInfo | None, other: SlotInfo | None) -> Table:
    """A row for each slot that holds a bundle, the one in use first."""
    table = Table(title="Slots", title_justify="left")
    for column in ("slot", "bundle", "target", "state", "since", "why"):
        table.add_column(column, overflow="fold")
    for info, note in ((current, " in use"), (other, "")):
        if info is not None:
            table.add_row(
                info.slot + note,
                Text(f"{info.name} {info.digest[:12] or 'cannot be read'}"),
                Text(info.target),
                _state(info),
                _time(info.activated_ns),
                Text(info.why),
            )
    return table


def blocked_table(blocked: Sequence[Blocked]) -> Table:
    """A row for each bundle that is not run again."""
    table = Table(title="Failed on this device, and not run again", title_justify="left")
    for column in ("bundle", "since", "why"):
        table.add_column(column, overflow="fold")
    for one in blocked:
        table.add_row(Text(f"{one.name} {one.digest[:12]}"), _time(one.blocked_ns), Text(one.why))
    return table


def _state(info: SlotInfo) -> str:
    if info.state != "trial":
        return info.state
    trial = info.trial
    crashes = f", {trial.crashes} crashes" if trial.crashes else ""
    return f"trial, {trial.running_s / 60:.1f} minutes, {trial.alarms} events{crashes}"


def _time(time_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ns / 1e9)) if time_ns else "-"

"""edgevad slots, edgevad rollback: which bundles a device holds, and the way back."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Optional

import typer

from edgevad.cli._options import Json

__all__ = ["register"]

# ruff: noqa: UP045 - typer on Python 3.10 reads Optional at run time


def register(app: typer.Typer) -> None:
    """Add `slots` and `rollback` to the application."""
    app.command("slots")(slots)
    app.command("rollback")(rollback)


def slots(json_output: Json = False) -> None:
    """Show both slots, which of them is in use, and the bundles that failed on this device."""
    from edgevad.bundle import Slots

    device = Slots.of_device()
    current, other, blocked = device.current, device.other, device.blocked()
    if json_output:
        shown = [None if one is None else one.to_json() for one in (current, other)]
        print(json.dumps({"current": shown[0], "other": shown[1], "blocked": [asdict(one) for one in blocked]}))
        return
    if current is None and not blocked:
        print("No bundle is active. Run: edgevad activate BUNDLE")
        return
    from rich.console import Console

    from edgevad.report.slots_view import blocked_table, slots_table

    console = Console()
    console.print(slots_table(current, other))
    if blocked:
        console.print(blocked_table(blocked))


def rollback(
    to: Annotated[
        Optional[str],
        typer.Option("--to", metavar="SLOT", help="Slot to go back to, a or b.", show_default="the other one"),
    ] = None,
    block: Annotated[bool, typer.Option("--block/--no-block", help="Never run the bundle again that is left.")] = True,
    why: Annotated[str, typer.Option("--why", help="A sentence that is kept with it.")] = "sent back by hand",
    json_output: Json = False,
) -> None:
    """Go back to the bundle in the other slot; a service that runs takes it up between two frames."""
    from edgevad.bundle import Slots
    from edgevad.errors import BundleError, OptionError

    if to not in (None, "a", "b"):
        raise OptionError(f"no slot {to!r}", expected="a or b")
    device = Slots.of_device()
    before = device.current
    after = device.rollback(why, block=block, to=to)
    if before is None or before.digest == after.digest:
        raise BundleError(f"slot {after.slot} is in use already", where=after.path)
    if json_output:
        print(json.dumps({"left": before.to_json(), "current": after.to_json(), "blocked": block}))
        return
    blocked = "; it is not run again (edgevad activate --unblock lifts that)" if block else ""
    print(f"Active: {after.name} {after.digest[:12]} in {after.path}.")
    print(f"Left: {before.name} {before.digest[:12]}{blocked}.")

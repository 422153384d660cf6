"""What a run that brings a model up to date came to, as a table on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgevad.refit.cycle import CycleResult

__all__ = ["cycle_table"]

_MAX_DRIVES = 8
_WORDS = {
    "activated": "active now, on trial",
    "written": "passed the gate, and written",
    "refused": "refused; the old bundle stays",
    "nothing": "nothing to do",
    "tried": "a dry run; nothing was learnt",
}


def cycle_table(result: CycleResult) -> RenderableType:
    """The outcome and why; then the steps with what each took."""
    facts = _grid()
    facts.add_row("outcome", Text(_WORDS.get(result.outcome, result.outcome), style="bold"))
    facts.add_row("why", Text(result.sentence))
    chosen = result.steps.get("choose", {})
    if chosen:
        facts.add_row("learnt from", Text(_chosen(chosen)))
        facts.add_row("drives", Text("\n".join(_drives(chosen["drives"]))))
        for note in chosen["notes"]:
            facts.add_row("", Text(note, style="dim"))
    if result.bundle is not None:
        facts.add_row("bundle", Text(str(result.bundle)))
    if result.page is not None:
        facts.add_row("page", Text(str(result.page)))
    table = Table(box=None)
    for name, justify in (("step", "left"), ("seconds", "right"), ("memory", "right"), ("", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name, found in result.steps.items():
        passed = {True: "passed", False: "refused", None: ""}[found.get("passed")]
        table.add_row(name, f"{found['took_s']:.1f}", f"{found['peak_mb']} MB", passed)
    return Group(Text(f"{result.depth} {result.id}", style="bold"), facts, table)


def _grid() -> Table:
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    return table


def _chosen(chosen: dict[str, Any]) -> str:
    return (
        f"{chosen['learnable']} frames, {chosen['held_out']} more kept for the gate; "
        f"{chosen['in_events']} inside events, which count for less"
    )


def _drives(drives: list[dict[str, Any]]) -> list[str]:
    lines = [f"{drive['name']}: {drive['frames']} frames; {drive['reason']}" for drive in drives[:_MAX_DRIVES]]
    more = len(drives) - len(lines)
    return [*lines, f"and {more} more (--json lists them)"] if more > 0 else lines

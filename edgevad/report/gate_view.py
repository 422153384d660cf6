"""A verdict, and the history of verdicts, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgevad.refit.history import Decision
from edgevad.refit.verdict import Check, Verdict

__all__ = ["history_table", "verdict_view"]

_MARKS = {True: ("ok", "green"), False: ("no", "bold red"), None: ("-", "dim")}


def verdict_view(verdict: Verdict) -> RenderableType:
    """A row for each check, and what follows from them."""
    table = Table(title="edgevad gate", title_justify="left")
    table.add_column("")
    table.add_column("check", no_wrap=True)
    table.add_column("challenger", justify="right", no_wrap=True)
    table.add_column("champion", justify="right", no_wrap=True)
    table.add_column("what was found", overflow="fold")
    for check in verdict.checks:
        mark, style = _MARKS[check.passed]
        numbers = (_number(check, check.challenger), _number(check, check.champion))
        table.add_row(Text(mark, style=style), check.name, *numbers, Text(check.sentence))
    word = Text("passed", style="bold green") if verdict.passed else Text("refused", style="bold red")
    return Group(table, Text.assemble("The challenger is ", word, ". ", verdict.why))


def history_table(decisions: Sequence[Decision]) -> RenderableType:
    """A row for each decision, the latest last."""
    table = Table(title="edgevad history", title_justify="left")
    for name in ("when (UTC)", "id", "depth", "outcome"):
        table.add_column(name, no_wrap=True)
    table.add_column("why", overflow="fold")
    for one in decisions:
        style = {"activated": "green", "passed": "green", "written": "green", "refused": "red"}.get(one.outcome, "")
        outcome = Text(one.outcome, style=style)
        table.add_row(one.time[:19].replace("T", " "), Text(one.id), Text(one.depth), outcome, Text(one.sentence))
    return table


def _number(check: Check, value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"

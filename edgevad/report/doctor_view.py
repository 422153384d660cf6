"""What `edgevad doctor` found, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from edgevad.service.finding import Finding

__all__ = ["findings_table"]

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def findings_table(findings: Sequence[Finding]) -> Table:
    """A row each, its fix beneath it."""
    table = Table(title="edgevad doctor", title_justify="left")
    table.add_column("check", overflow="fold")
    table.add_column("state")
    table.add_column("found, and what to do", overflow="fold")
    for finding in findings:
        text = Text(finding.found)
        if finding.fix is not None:
            text.append(f"\n→ {finding.fix}", style="cyan")
        table.add_row(finding.check, Text(finding.state, style=_STYLES[finding.state]), text)
    return table

from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgevad.report.build_progress import build_progress
from edgevad.runtime.engines.options import BuildStep

STEPS = [
    BuildStep("another process builds an engine; waiting for 0 s"),
    BuildStep("another process builds an engine; waiting for 1 s"),
    BuildStep("Building Engine", None, 0, 2),
    BuildStep("Tactic [bold]Timing", "Building Engine", 1, 4),
    BuildStep("Building Engine", None, 1, 2),
]


def drawn(*, terminal: bool, quiet: bool = False, steps: list[BuildStep] = STEPS) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100)
    with build_progress(console=console, quiet=quiet) as progress:
        for step in steps:
            progress(step)
    return stream.getvalue()


def test_a_log_gets_a_line_for_each_phase() -> None:
    assert drawn(terminal=False).splitlines() == [
        "edgevad: another process builds an engine",
        "edgevad: Building Engine",
    ]


def test_a_terminal_gets_a_bar_that_goes_away() -> None:
    text = drawn(terminal=True)
    assert "Building Engine" in text
    assert text.endswith("\x1b[2K") or "\x1b[?25h" in text  # cleared, the cursor is back


@pytest.mark.parametrize("terminal", [False, True])
def test_nothing_is_drawn_where_nothing_is_built_or_quiet_was_asked_for(terminal: bool) -> None:
    assert drawn(terminal=terminal, steps=[]) == ""
    assert drawn(terminal=terminal, quiet=True) == ""

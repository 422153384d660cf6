from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgevad.report.progress import frame_progress


def drawn(*, terminal: bool, total: int | None) -> str:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=80, color_system=None)
    with frame_progress("scoring", total, console=console) as on_frame:
        on_frame(7)
    return screen.getvalue()


@pytest.mark.parametrize(("total", "count"), [(20, "7/20"), (None, "7/?")])
def test_a_terminal_shows_what_is_done_of_how_many(total: int | None, count: str) -> None:
    screen = drawn(terminal=True, total=total)
    assert "scoring" in screen
    assert count in screen


def test_a_pipe_shows_nothing() -> None:
    assert drawn(terminal=False, total=20).strip() == ""

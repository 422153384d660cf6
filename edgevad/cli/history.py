"""edgevad history: what was decided about challengers, and why."""

from __future__ import annotations

import json
from typing import Annotated, Optional

import typer

from edgevad.cli._options import Json

__all__ = ["register"]

# ruff: noqa: UP045 - typer on Python 3.10 reads Optional at run time


def register(app: typer.Typer) -> None:
    """Add `history` to the application."""
    app.command("history")(history)


def history(
    id: Annotated[
        Optional[str], typer.Argument(metavar="[ID]", help="A decision to show in full.", show_default="all of them")
    ] = None,
    last: Annotated[int, typer.Option("--last", min=1, help="Show so many of the latest.")] = 20,
    json_output: Json = False,
) -> None:
    """What was decided about challengers, and why; with ID every figure of one, and where its page lies."""
    from rich.console import Console

    from edgevad.errors import RefitError
    from edgevad.refit.history import decisions, page_of, verdict_of
    from edgevad.refit.place import RefitHome
    from edgevad.report.gate_view import history_table, verdict_view

    home = RefitHome.of_device()
    found = decisions(home)
    if id is None:
        if json_output:
            print(json.dumps({"decisions": [one.to_json() for one in found[-last:]]}))
        elif found:
            Console().print(history_table(found[-last:]))
        else:
            print("Nothing has been decided yet. Next: edgevad gate CHALLENGER")
        return
    decision = next((one for one in found if one.id == id), None)
    if decision is None:
        raise RefitError(f"no decision is called {id!r}", where=home.history_lines, fix="See: edgevad history")
    verdict, page = verdict_of(home, id), page_of(home, id)
    if json_output:
        value = {"page": None if page is None else str(page), "verdict": None if verdict is None else verdict.to_json()}
        print(json.dumps({**decision.to_json(), **value}))
        return
    Console().print(history_table([decision]))
    if verdict is not None:
        Console().print(verdict_view(verdict))
    print(f"Page: {page}" if page is not None else "It has no page (any more).")

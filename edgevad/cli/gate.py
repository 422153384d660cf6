"""edgevad gate: is a challenger at least as good as the bundle in use?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edgevad.cli._options import BackendName, Json

if TYPE_CHECKING:
    from edgevad.bundle.bundle import Bundle
    from edgevad.bundle.replay import Replay
    from edgevad.refit.observer import RefitObserver
    from edgevad.refit.selection import Selection

__all__ = ["register"]

# ruff: noqa: UP045 - typer on Python 3.10 reads Optional at run time


def register(app: typer.Typer) -> None:
    """Add `gate` to the application."""
    app.command("gate")(gate)


def gate(
    challenger: Annotated[
        Path,
        typer.Argument(metavar="CHALLENGER", help="Bundle to judge: a folder or an .edgevad file.", show_default=False),
    ],
    champion: Annotated[
        Optional[Path], typer.Option("--champion", help="Bundle to hold it against.", show_default="the active one")
    ] = None,
    drives: Annotated[
        Optional[list[str]],
        typer.Option(
            "--drives",
            help="Recent drives that neither has learnt from: folder of the drive log, or recordings; again for more.",
            show_default="drives in edgevad's own folder",
        ),
    ] = None,
    model: Annotated[
        Optional[Path],
        typer.Option(
            "--model", help="The champion's model folder, whose replay is larger.", show_default="the bundle's replay"
        ),
    ] = None,
    frames: Annotated[int, typer.Option(help="Frames of each kind to judge by, at most.")] = 1500,
    seed: Annotated[int, typer.Option(help="Of the controlled anomalies.")] = 0,
    without_replay: Annotated[
        bool, typer.Option("--without-replay", help="Judge a champion that brings no frames of what it learned.")
    ] = False,
    backend: BackendName = None,
    threads: Annotated[Optional[int], typer.Option(help="Threads of one inference.", show_default="1")] = None,
    json_output: Json = False,
) -> None:
    """Hold CHALLENGER against the bundle in use; nothing is activated. Exit code 1 where it is refused."""
    from edgevad._allocator import keep_freed_memory
    from edgevad.bundle import Bundle, active_bundle
    from edgevad.refit.gate import judge
    from edgevad.refit.history import new_id, remember
    from edgevad.refit.limits import Limits
    from edgevad.refit.place import RefitHome
    from edgevad.refit.scratch import scratch_folder
    from edgevad.report.gate_view import verdict_view
    from edgevad.report.refit_progress import refit_progress

    keep_freed_memory()
    limits = Limits(frames=frames, seed=seed, require_replay=not without_replay)
    first = Bundle.open(active_bundle() if champion is None else champion)
    second = Bundle.open(challenger)
    home, id = RefitHome.of_device(), new_id()
    with refit_progress() as observer, scratch_folder(home.path) as work:
        selection = _selection(first, list(drives or []), work, frames, observer)
        verdict = judge(
            first,
            second,
            selection,
            _replay(first, model),
            limits=limits,
            observer=observer,
            backend=backend,
            threads=threads,
        )
    outcome = "passed" if verdict.passed else "refused"
    page = remember(home, id, outcome=outcome, sentence=verdict.why, verdict=verdict)
    if json_output:
        print(json.dumps({"id": id, "page": None if page is None else str(page), **verdict.to_json()}))
    else:
        from rich.console import Console

        Console().print(verdict_view(verdict))
        print(f"Page: {page}")
    if not verdict.passed:
        raise typer.Exit(1)


def _selection(champion: Bundle, drives: list[str], work: Path, frames: int, observer: RefitObserver) -> Selection:
    """Frames of the drives, at the champion's input size, all held out: whoever brings a challenger knows by what."""
    from dataclasses import replace

    import numpy as np

    from edgevad.cli._options import absolute_sources
    from edgevad.drives.folder import default_drives_directory
    from edgevad.refit.choosing import select

    named = absolute_sources(drives) if drives else (str(default_drives_directory()),)
    found = select(named, champion.manifest.input, work, bundle=champion, budget_frames=frames, observer=observer)
    return replace(found, held_out=np.ones(len(found), np.bool_))


def _replay(champion: Bundle, model: Path | None) -> Replay | None:
    if model is None:
        return champion.replay()
    from edgevad.model.folder import ModelFolder

    return ModelFolder(model).read_replay() or champion.replay()

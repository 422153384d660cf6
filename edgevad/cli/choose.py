"""edgevad drives choose: what a refit would learn from, and whether that is to be trusted."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from edgevad.cli._options import Json

if TYPE_CHECKING:
    from edgevad.bundle import Bundle
    from edgevad.refit.selection import Selection
    from edgevad.refit.trust import Trust

__all__ = ["choose"]

# ruff: noqa: UP045 - typer on Python 3.10 reads Optional at run time


def choose(
    drives: Annotated[
        Optional[list[str]],
        typer.Argument(
            metavar="[DRIVE]...", help="Drives, folders of them, other recordings.", show_default="those in --dir"
        ),
    ] = None,
    directory: Annotated[
        Optional[Path],
        typer.Option("--dir", help="Folder of the drives.", show_default="drives in edgevad's own folder"),
    ] = None,
    bundle: Annotated[
        Optional[Path],
        typer.Option(help="Folder or .edgevad file: what it knows is not new.", show_default="the active one"),
    ] = None,
    budget_frames: Annotated[
        Optional[int], typer.Option("--budget-frames", min=1, help="Frames at most.", show_default="2500")
    ] = None,
    since: Annotated[
        Optional[str],
        typer.Option(help="Only what ended since: 12h or 7d ago, or a date as 2026-11-24.", show_default=False),
    ] = None,
    camera: Annotated[
        Optional[list[str]], typer.Option(help="Only this camera; again for more.", show_default=False)
    ] = None,
    events: Annotated[
        Optional[Path],
        typer.Option(help="Event store whose marks count (edgevad events mark).", show_default=False),
    ] = None,
    blur_faces: Annotated[
        Optional[str],
        typer.Option(
            "--blur-faces", help="A face detector's model (.onnx, .xml), or the name of a plug-in.", show_default=False
        ),
    ] = None,
    out: Annotated[Optional[Path], typer.Option(help="Keep the frames in this new folder.", show_default=False)] = None,
    json_output: Json = False,
) -> None:
    """Say what a refit would learn from, and whether that is to be trusted; nothing is learned.

    Exit code 1 where it would be refused.
    """
    from rich.console import Console

    from edgevad.bundle import Bundle
    from edgevad.drives.folder import default_drives_directory
    from edgevad.errors import OptionError
    from edgevad.events.when import parse_when
    from edgevad.refit.blurring import open_blur
    from edgevad.report.choice_view import choice_json, choice_view

    if out is not None and out.exists():
        raise OptionError("there is something there already", where=out, fix="Choose a new folder")
    opened = _active() if bundle is None else Bundle.open(bundle)
    options: dict[str, Any] = {
        "since_ns": None if since is None else parse_when(since, option="--since"),
        "cameras": camera,
        "events": events,
        "blur": None if blur_faces is None else open_blur(blur_faces),
    }
    named = drives or [str(default_drives_directory() if directory is None else directory)]
    selection, trust = _chosen(named, opened, budget_frames, options, out)
    if json_output:
        print(json.dumps(choice_json(selection, trust)))
    else:
        Console().print(choice_view(selection, trust))
    if trust is not None and not trust.trusted:
        raise typer.Exit(1)


def _active() -> Bundle | None:
    """The active bundle; without one, drives are only compared with each other."""
    from edgevad.bundle import Bundle, active_bundle
    from edgevad.errors import BundleError

    path = None
    with suppress(BundleError):
        path = active_bundle()
    return None if path is None else Bundle.open(path)


def _chosen(
    drives: list[str], bundle: Bundle | None, budget_frames: int | None, options: dict[str, Any], out: Path | None
) -> tuple[Selection, Trust | None]:
    """What is chosen, kept in `out` if that is named, and whether to trust it; nobody is asked without a bundle."""
    from edgevad.refit.choosing import BUDGET_FRAMES, select
    from edgevad.refit.trust import contamination
    from edgevad.report.choice_view import choice_progress
    from edgevad.spec import InputSpec

    spec = InputSpec() if bundle is None else bundle.manifest.input
    with TemporaryDirectory() as work, choice_progress() as observer:
        selection = select(
            drives,
            spec,
            Path(work),
            bundle=bundle,
            budget_frames=budget_frames or BUDGET_FRAMES,
            observer=observer,
            **options,
        )
        trust = None if bundle is None else contamination(selection, bundle, observer=observer)
        if out is not None:
            selection.save(out)
    return selection, trust

"""edgevad dataset: what a public data set on disk holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edgevad.cli._options import Json, LayoutName

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add `dataset` to the application."""
    app.command("dataset")(dataset)


def dataset(
    path: Annotated[Path, typer.Argument(help="Folder of a data set, as it was unpacked.", show_default=False)],
    layout: LayoutName = None,
    clips: Annotated[bool, typer.Option("--clips", help="One row for each clip.")] = False,
    json_output: Json = False,
) -> None:
    """Say what a data set holds: clips, frames, anomalous frames, pixel labels."""
    from edgevad.datasets import open_dataset
    from edgevad.datasets.summary import summarize
    from edgevad.report.progress import frame_progress

    found = open_dataset(path, layout)
    with frame_progress("clips", len(found.train) + len(found.test)) as on_clip:
        summary = summarize(found, on_clip=on_clip)
    if json_output:
        print(json.dumps(summary.to_json()))
        return
    from rich.console import Console

    from edgevad.report.dataset_view import dataset_table

    Console().print(dataset_table(summary, clips=clips))

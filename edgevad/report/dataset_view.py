"""A data set as a table on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgevad.datasets.summary import ClipSummary, DatasetSummary

__all__ = ["dataset_table"]


def dataset_table(summary: DatasetSummary, *, clips: bool = False) -> RenderableType:
    """One row for each split, or with `clips` for each clip, then what there is to know about the split."""
    dataset = summary.dataset
    table = Table(title=Text(f"{dataset.name} ({dataset.layout}): {dataset.path}"), title_justify="left")
    table.add_column("clip" if clips else "split", overflow="fold")
    for column in (() if clips else ("clips",)) + ("frames", "anomalous", "ambiguous"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("pixel labels")
    for split, members in (("train", summary.train), ("test", summary.test)):
        if clips:
            for clip in members:
                table.add_row(Text(f"{split} {clip.name}"), *_cells([clip]))
        else:
            table.add_row(split, str(len(members)), *_cells(members))
    return Group(table, Text(dataset.note)) if dataset.note else table


def _cells(clips: Sequence[ClipSummary]) -> tuple[str, str, str, str]:
    masked = sum(clip.pixel_labels for clip in clips)
    pixels = "no" if not masked else "yes" if masked == len(clips) else f"{masked} of {len(clips)} clips"
    return (
        _total([clip.frames for clip in clips]),
        _total([clip.anomalous for clip in clips]),
        _total([clip.ambiguous for clip in clips]),
        pixels,
    )


def _total(counts: Sequence[int | None]) -> str:
    """The sum; "-" where not one is known, "… or more" where some are not."""
    known = [count for count in counts if count is not None]
    if not known:
        return "-" if counts else "0"
    return f"{sum(known)}" + ("" if len(known) == len(counts) else " or more")

"""edgevad synth: a drive with labelled anomalies, rendered on the spot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgevad.cli._options import Json

if TYPE_CHECKING:
    from edgevad.synth import SynthConfig, WrittenDrive

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add `synth` to the application."""
    app.command("synth")(synth)


def synth(
    out: Annotated[Path, typer.Option("--out", help="Folder for drive.mp4, labels.csv and synth.json.")],
    seconds: Annotated[float, typer.Option(help="Length of the drive.")] = 240.0,
    fps: Annotated[float, typer.Option(help="Frames per second.")] = 10.0,
    size: Annotated[str, typer.Option(metavar="WxH", help="Size of the frames in pixels.")] = "160x120",
    seed: Annotated[int, typer.Option(help="Chooses course, traffic, light and anomalies.")] = 0,
    anomaly_share: Annotated[float, typer.Option(help="Share of anomalous frames, 0 to 0.3.")] = 0.1,
    road: Annotated[
        int | None,
        typer.Option(help="Chooses course and scenery alone: the same road on another day.", show_default="seed"),
    ] = None,
    season: Annotated[float, typer.Option(help="Time of the year: 0 summer, 0.5 autumn, 1 winter.")] = 0.0,
    mount_deg: Annotated[float, typer.Option("--mount-deg", help="How far the camera turned in its mount.")] = 0.0,
    json_output: Json = False,
) -> None:
    """Render a procedural drive with labelled anomalies."""
    from edgevad.synth import SynthConfig, parse_size

    width_px, height_px = parse_size(size)
    config = SynthConfig(seconds, fps, width_px, height_px, seed, anomaly_share, road, season, mount_deg)
    drive = _write(config, out)
    if json_output:
        files = {"video": str(drive.video), "labels": str(drive.labels), "manifest": str(drive.manifest)}
        typer.echo(json.dumps({**drive.summary, **files}))
    else:
        _show(drive)


def _write(config: SynthConfig, out: Path) -> WrittenDrive:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from edgevad.synth import write_drive

    columns = TextColumn("rendering"), BarColumn(), MofNCompleteColumn(), TextColumn("frames"), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("rendering", total=config.frame_count)
        return write_drive(config, out, lambda done, total: bar.update(task, completed=done, total=total))


def _show(drive: WrittenDrive) -> None:
    from rich.console import Console
    from rich.table import Table

    summary = drive.summary
    table = Table("anomaly", "events", "seconds")
    for kind, count in summary["events_by_kind"].items():
        spans = [event for event in summary["events"] if event["event"] == kind]
        length_s = sum(event["end_s"] - event["start_s"] for event in spans)
        table.add_row(kind, str(count), f"{length_s:.1f}")
    Console().print(table)
    notes = Console(stderr=True, highlight=False, soft_wrap=True)
    share = summary["anomalous_frames"] / summary["frames"]
    notes.print(
        f"{drive.video}: {summary['frames']} frames, {summary['laps']} laps, {share:.1%} anomalous; "
        f"labels in {drive.labels}",
        markup=False,
    )
    if summary["note"]:
        notes.print(f"Note: {summary['note']}", markup=False)

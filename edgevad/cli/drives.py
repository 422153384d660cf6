"""edgevad drives: what was logged, whether it is whole, and how long it is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from edgevad.cli._options import Json, bytes_of_gigabytes
from edgevad.cli.choose import choose

__all__ = ["register"]

# ruff: noqa: UP045 - typer on Python 3.10 reads Optional at run time

Folder = Annotated[
    Optional[Path],
    typer.Option("--dir", help="Folder of the drives.", show_default="drives in edgevad's own folder"),
]
DriveName = Annotated[str, typer.Argument(metavar="DRIVE", help="Name of a drive, see edgevad drives list.")]


def register(app: typer.Typer) -> None:
    """Add `drives` and its sub-commands to the application."""
    group = typer.Typer(
        help="Logged drives: list, show and verify them, recover and prune them, mark them, choose what to learn from."
    )
    group.command("list")(list_drives)
    group.command("show")(show)
    group.command("verify")(verify)
    group.command("recover")(recover)
    group.command("prune")(prune)
    group.command("mark")(mark)
    group.command("choose")(choose)
    app.add_typer(group, name="drives", no_args_is_help=True)


def list_drives(directory: Folder = None, json_output: Json = False) -> None:
    """One line for each drive: when, how long, which cameras, how large, how many events."""
    from edgevad.drives.folder import open_drives
    from edgevad.report.drives_view import drive_json, drives_table

    root = _root(directory)
    with open_drives(root) as catalogue:
        if json_output:
            drives = [drive_json(catalogue, drive) for drive in catalogue.drives()]
            print(json.dumps({"dir": str(root), "drives": drives}))
        else:
            _print(drives_table(catalogue))


def show(name: DriveName, directory: Folder = None, json_output: Json = False) -> None:
    """A drive's bundle, its legs and its events."""
    from edgevad.drives.folder import open_drives
    from edgevad.errors import StoreError
    from edgevad.report.drives_view import drive_json, drive_table

    root = _root(directory)
    with open_drives(root) as catalogue:
        drive = next((drive for drive in catalogue.drives() if drive.name == name), None)
        if drive is None:
            raise StoreError(f"there is no drive {name!r}", where=root, fix="See: edgevad drives list")
        if json_output:
            print(json.dumps(drive_json(catalogue, drive, details=True)))
        else:
            _print(drive_table(catalogue, drive))


def verify(
    names: Annotated[
        Optional[list[str]], typer.Argument(metavar="[DRIVE]...", help="Drives to read.", show_default="all")
    ] = None,
    directory: Folder = None,
    json_output: Json = False,
) -> None:
    """Read every leg and hold it against its checksums; exit code 1 where one is broken, missing or unknown."""
    from edgevad.drives.folder import open_drives
    from edgevad.drives.folder import verify as verify_drives
    from edgevad.report.progress import frame_progress

    root = _root(directory)
    with open_drives(root) as catalogue, frame_progress("legs", len(catalogue.legs())) as on_leg:
        verdicts = verify_drives(root, catalogue, names or (), on_leg=on_leg)
    bad = [verdict for verdict in verdicts if verdict.verdict not in ("whole", "open")]
    whole = sum(verdict.verdict == "whole" for verdict in verdicts)
    open_legs = sum(verdict.verdict == "open" for verdict in verdicts)
    if json_output:
        print(json.dumps({"dir": str(root), "legs": [verdict.to_json() for verdict in verdicts]}))
    else:
        for verdict in bad:
            print(f"{verdict.drive}/{verdict.number:06d}: {verdict.verdict} ({verdict.reason})")
        print(f"{whole} legs whole, {open_legs} open, {len(bad)} not as they should be.")
    if bad:
        raise typer.Exit(1)


def recover(directory: Folder = None, json_output: Json = False) -> None:
    """Make legs whole that a kill or a power cut left unfinished, and the catalogue say what the files hold.

    Every run that logs does this by itself when it starts.
    """
    from edgevad.drives.lock import FolderLock
    from edgevad.drives.recovery import open_catalogue
    from edgevad.drives.recovery import recover as recover_drives
    from edgevad.errors import StoreError

    root = _root(directory)
    if not root.is_dir():
        raise StoreError("there are no drives", where=root)
    lock = FolderLock(root)
    lock.acquire()
    try:
        catalogue, rebuilt = open_catalogue(root)
        with catalogue:
            report = recover_drives(root, catalogue)
    finally:
        lock.release()
    report.rebuilt = rebuilt
    if json_output:
        print(json.dumps({"dir": str(root), **report.to_json()}))
        return
    if rebuilt:
        print("The catalogue was broken and has been made anew.")
    for word, legs in report.to_json().items():
        if legs and word != "rebuilt":
            print(f"{word}: {', '.join(legs)}")
    if not any(report.to_json().values()):
        print("Everything was as it should be.")


def prune(
    directory: Folder = None,
    max_gb: Annotated[
        Optional[float],
        typer.Option("--max-gb", help="Of legs away from events.", show_default=False),
    ] = None,
    max_age_days: Annotated[
        Optional[float],
        typer.Option("--max-age-days", help="Of legs away from events.", show_default=False),
    ] = None,
    event_max_gb: Annotated[
        Optional[float],
        typer.Option("--event-max-gb", help="Of legs near events.", show_default=False),
    ] = None,
    event_max_age_days: Annotated[
        Optional[float],
        typer.Option("--event-max-age-days", help="Of legs near events.", show_default=False),
    ] = None,
    margin_s: Annotated[float, typer.Option("--margin", help="How close to an event is near, in s.")] = 10.0,
    floor_gb: Annotated[
        Optional[float],
        typer.Option("--floor-gb", help="Stays free on the disk.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    json_output: Json = False,
) -> None:
    """Remove the oldest legs until the limits named hold; never the leg under way, nor what is marked "keep"."""
    from edgevad.drives.folder import open_drives
    from edgevad.drives.policy import LegRetention
    from edgevad.drives.retention import prune as prune_drives
    from edgevad.errors import OptionError
    from edgevad.report.drives_view import legs_table

    if all(limit is None for limit in (max_gb, max_age_days, event_max_gb, event_max_age_days, floor_gb)):
        # Those of the service may be wider than any default of ours.
        raise OptionError("no limit is named", expected="--max-gb, --max-age-days, --event-max-gb, … or --floor-gb")
    retention = LegRetention(
        max_bytes=bytes_of_gigabytes(max_gb, "--max-gb"),
        max_age_days=max_age_days,
        event_max_bytes=bytes_of_gigabytes(event_max_gb, "--event-max-gb"),
        event_max_age_days=event_max_age_days,
        event_margin_s=margin_s,
        floor_bytes=bytes_of_gigabytes(floor_gb, "--floor-gb") or 0,
    )
    root = _root(directory)
    with open_drives(root) as catalogue:
        gone = prune_drives(root, catalogue, retention, dry_run=dry_run)
    if json_output:
        legs = [{**removal.leg.to_json(), "reason": removal.reason} for removal in gone]
        print(json.dumps({"dir": str(root), "dry_run": dry_run, "removed": legs}))
        return
    if gone:
        _print(legs_table([removal.leg for removal in gone], ("limit", [removal.reason for removal in gone])))
    size_mb = sum(removal.leg.size_bytes for removal in gone) / 1e6
    print(f"{len(gone)} legs {'would go' if dry_run else 'removed'}, {size_mb:.1f} MB.")


def mark(
    name: Annotated[str, typer.Argument(metavar="DRIVE[/LEG]", help="A drive, or one leg of it: DRIVE/3.")],
    directory: Folder = None,
    keep: Annotated[
        Optional[bool], typer.Option("--keep/--no-keep", help="No limit removes it.", show_default="as it is")
    ] = None,
    never_train: Annotated[
        Optional[bool],
        typer.Option("--never-train/--may-train", help="Nothing is learned from it.", show_default="as it is"),
    ] = None,
    json_output: Json = False,
) -> None:
    """Mark a drive, or a leg of it: to be kept, or never to be trained on. Works while it is being logged, too."""
    from edgevad.drives.folder import mark as mark_drive
    from edgevad.drives.folder import open_drives
    from edgevad.errors import OptionError
    from edgevad.report.drives_view import legs_table

    if keep is None and never_train is None:
        raise OptionError("no mark is named", expected="--keep, --no-keep, --never-train or --may-train")
    root = _root(directory)
    with open_drives(root) as catalogue:
        drive = mark_drive(root, catalogue, name, keep=keep, never_train=never_train)
        legs = catalogue.legs(drive)
    if json_output:
        print(json.dumps({"drive": drive, "legs": [leg.to_json() for leg in legs]}))
    else:
        _print(legs_table(legs))


def _root(directory: Path | None) -> Path:
    from edgevad.drives.folder import default_drives_directory

    return default_drives_directory() if directory is None else directory


def _print(what: Any) -> None:
    from rich.console import Console

    Console().print(what)

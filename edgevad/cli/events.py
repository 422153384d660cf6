"""edgevad events: what was recorded on this device."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edgevad.cli._options import Json, bytes_of_gigabytes

if TYPE_CHECKING:
    from edgevad.events.store import EventStore
    from edgevad.events.stored import EventMark, StoredEvent

__all__ = ["register"]

# ruff: noqa: UP045 - typer on Python 3.10 reads Optional at run time

Store = Annotated[
    Optional[Path], typer.Option("--dir", help="Folder of the event store.", show_default="events, in edgevad's home")
]
Since = Annotated[
    Optional[str],
    typer.Option(help="Stored since then: 30m, 12h or 7d ago, or a date as 2026-11-24T08:30.", show_default=False),
]
Until = Annotated[Optional[str], typer.Option(help="Stored before then, as --since.", show_default=False)]
Camera = Annotated[Optional[str], typer.Option(help="Only of this camera.", show_default=False)]
Kind = Annotated[
    Optional[str], typer.Option(help="Only of this kind: anomaly, camera_lost, storage …", show_default=False)
]
RunId = Annotated[Optional[str], typer.Option("--run", help="Only of this run.", show_default=False)]
Last = Annotated[Optional[int], typer.Option(min=1, help="Only the latest so many.", show_default=False)]
EventId = Annotated[str, typer.Argument(metavar="ID", help="Its number, or RUN/ID as messages name it.")]


def register(app: typer.Typer) -> None:
    """Add `events` and its sub-commands to the application."""
    group = typer.Typer(help="Look at what was recorded on this device; take it away, keep it, make room.")
    group.command("list")(list_events)
    group.command("show")(show)
    group.command("export")(export)
    group.command("keep")(keep)
    group.command("mark")(mark)
    group.command("prune")(prune)
    app.add_typer(group, name="events", no_args_is_help=True)


def list_events(
    since: Since = None,
    until: Until = None,
    camera: Camera = None,
    kind: Kind = None,
    run_id: RunId = None,
    last: Last = None,
    store: Store = None,
    json_output: Json = False,
) -> None:
    """List events and incidents, the latest at the end."""
    from edgevad.events.store import EventStore

    with EventStore.open(store) as opened:
        rows = _chosen(opened, (), since, until, camera, kind, run_id, last)
    if json_output:
        values = [row.to_json(opened.directory) for row in rows]
        print(json.dumps({"store": str(opened.directory), "events": values}))
        return
    from rich.console import Console

    from edgevad.report.events_view import events_table

    Console().print(events_table(rows))


def show(event: EventId, store: Store = None, json_output: Json = False) -> None:
    """Everything about one event, and where its clip and pictures are."""
    from edgevad.events.store import EventStore

    with EventStore.open(store) as opened:
        row = opened.find(event)
    if json_output:
        print(json.dumps(row.to_json(opened.directory)))
        return
    from rich.console import Console

    from edgevad.report.events_view import event_view

    Console().print(event_view(row, opened.directory))


def export(
    out: Annotated[Path, typer.Option(help="New folder to write.", show_default=False)],
    events: Annotated[
        Optional[list[str]], typer.Argument(metavar="[ID]...", help="Which; or name filters.", show_default=False)
    ] = None,
    since: Since = None,
    until: Until = None,
    camera: Camera = None,
    kind: Kind = None,
    run_id: RunId = None,
    last: Last = None,
    store: Store = None,
    json_output: Json = False,
) -> None:
    """Copy events with their clips and pictures into a folder, with a page to look at them in a browser."""
    from edgevad.events.store import EventStore
    from edgevad.report.events_export import export_events

    with EventStore.open(store) as opened:
        rows = _chosen(opened, events or (), since, until, camera, kind, run_id, last)
        files = export_events(opened.directory, rows, out)
    if json_output:
        print(json.dumps({"path": str(out), "events": len(rows), "files": [str(path) for path in files]}))
        return
    print(f"Exported {len(rows)} events ({len(files)} files). Look at them: {out / 'index.html'}")


def keep(
    events: Annotated[list[str], typer.Argument(metavar="ID...", help="Numbers, or RUN/ID.", show_default=False)],
    release: Annotated[bool, typer.Option("--release", help="Let the quotas have them again.")] = False,
    store: Store = None,
    json_output: Json = False,
) -> None:
    """Never delete these events, whatever the quotas say."""
    from edgevad.events.store import EventStore

    with EventStore.open(store) as opened:
        numbers = [opened.find(event).number for event in events]
        opened.keep(numbers, kept=not release)
    if json_output:
        print(json.dumps({"numbers": numbers, "kept": not release}))
        return
    names = ", ".join(map(str, numbers))
    print(f"Left to the quotas again: {names}" if release else f"Kept for good: {names}")


def mark(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="ID... MARK",
            help="Numbers, or RUN/ID; then confirmed (it was one), dismissed (a false alarm) or none.",
            show_default=False,
        ),
    ],
    store: Store = None,
    json_output: Json = False,
) -> None:
    """Say of events whether they were any: nothing is learned from confirmed ones, dismissed ones count as normal."""
    from edgevad.errors import OptionError
    from edgevad.events.store import EventStore

    marks: dict[str, EventMark] = {"confirmed": "confirmed", "dismissed": "dismissed", "none": ""}
    *events, word = words
    if word not in marks or not events:
        raise OptionError(
            f"{word!r} is no mark" if word not in marks else "no event is named",
            expected="edgevad events mark ID... confirmed, dismissed or none",
        )
    with EventStore.open(store) as opened:
        numbers = [opened.find(event).number for event in events]
        opened.mark(numbers, marks[word])
    if json_output:
        print(json.dumps({"numbers": numbers, "mark": marks[word]}))
        return
    names = ", ".join(map(str, numbers))
    print(f"Marked as {word}: {names}" if marks[word] else f"No mark any more: {names}")


def prune(
    max_gb: Annotated[Optional[float], typer.Option(help="Most gigabytes (1e9) of media.", show_default=False)] = None,
    max_age_days: Annotated[Optional[float], typer.Option(help="Oldest media, in days.", show_default=False)] = None,
    max_row_age_days: Annotated[
        Optional[float], typer.Option(help="Oldest events without media, in days.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    store: Store = None,
    json_output: Json = False,
) -> None:
    """Delete the oldest media beyond a quota; never of an event that lasts, or that is kept."""
    from edgevad.errors import OptionError
    from edgevad.events import retention
    from edgevad.events.store import EventStore
    from edgevad.report.events_view import pruned_text

    if max_gb is None and max_age_days is None and max_row_age_days is None:
        # Those of the service may be wider than any default of ours.
        raise OptionError("no quota is named", expected="--max-gb, --max-age-days or --max-row-age-days")
    spec = retention.MediaRetention(bytes_of_gigabytes(max_gb, "--max-gb"), max_age_days, max_row_age_days)
    with EventStore.open(store) as opened:
        pruned = retention.prune(opened, spec, dry_run=dry_run)
    if json_output:
        from dataclasses import asdict

        print(json.dumps({**asdict(pruned), "dry_run": dry_run}))
        return
    print(pruned_text(pruned, dry_run=dry_run))


def _chosen(
    store: EventStore,
    names: Sequence[str],
    since: str | None,
    until: str | None,
    camera: str | None,
    kind: str | None,
    run_id: str | None,
    last: int | None,
) -> list[StoredEvent]:
    """What the ids and filters of a command line mean together."""
    from edgevad.events.store import EventFilter
    from edgevad.events.when import parse_when

    return store.events(
        EventFilter(
            since_ns=None if since is None else parse_when(since, option="--since"),
            until_ns=None if until is None else parse_when(until, option="--until"),
            camera=camera,
            kind=kind,
            run_id=run_id,
            numbers=tuple(store.find(name).number for name in names) if names else None,
            last=last,
        )
    )

"""Stored events as a folder to take away: clips and pictures, events.json, events.csv, and a page that shows them."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgevad._files import atomic_directory, output_errors, write_json
from edgevad.errors import OptionError
from edgevad.events.stored import StoredEvent
from edgevad.report.events_view import lasted, when

__all__ = ["export_events"]

_MEDIA = ("clip", "thumbnail", "heatmap")
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1.5rem }
article { border: 1px solid #ddd; padding: .75rem } h2 { font-size: 1rem; margin: 0 0 .5rem }
video, img { width: 100% } p { margin: .25rem 0; color: #555 } .none { color: #999 }
"""


def export_events(directory: Path, rows: Sequence[StoredEvent], out: Path) -> list[Path]:
    """Copy the media of `rows` out of the store in `directory` into the new folder `out`; return all files written.

    Files are called by the events' numbers; a clip that several share is copied once.

    Raises:
        OptionError: `out` holds something, or lies within the store.
        OutputError: it cannot be written.
    """
    with output_errors(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise OptionError("there is something in it already", where=out, fix="Choose a new folder")
        if out.resolve().is_relative_to(directory.resolve()):
            raise OptionError("it lies within the store", where=out, fix="Choose a folder elsewhere")
    with atomic_directory(out) as folder:
        names: dict[str, str] = {}
        values = [_copied(directory, row, folder, names) for row in rows]
        write_json(folder / "events.json", {"events": values})
        _write_csv(folder / "events.csv", values)
        (folder / "index.html").write_text(_page(rows, values), encoding="utf-8")
        written = sorted(path.name for path in folder.iterdir())
    return [out / name for name in written]


def _copied(directory: Path, row: StoredEvent, folder: Path, names: dict[str, str]) -> dict[str, Any]:
    """The row as plain values, its media called as they are in `folder`; `names` knows what is there already."""
    value = row.to_json()
    for kind in _MEDIA:
        source = value[kind]
        if source is not None and source not in names:
            name = f"{row.number}-{kind}{Path(source).suffix}"
            with suppress(FileNotFoundError):  # pruned meanwhile
                shutil.copyfile(directory / source, folder / name)
                names[source] = name
        value[kind] = names.get(source)
    return value


def _write_csv(path: Path, values: Sequence[dict[str, Any]]) -> None:
    columns = list(values[0]) if values else ["number"]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows({name: _harmless(value) for name, value in row.items()} for row in values)


def _harmless(value: object) -> object:
    """Text that a spreadsheet would take for a formula is quoted: a camera's name may come from anywhere."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _page(rows: Sequence[StoredEvent], values: Sequence[dict[str, Any]]) -> str:
    articles = "".join(_article(row, value) for row, value in zip(rows, values, strict=True))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>edgevad events</title><style>{_STYLE}</style></head><body>
<h1>{len(rows)} events</h1>
<p>Also here: <a href="events.csv">events.csv</a>, <a href="events.json">events.json</a>.</p>
<main>
{articles}</main></body></html>
"""


def _article(row: StoredEvent, value: dict[str, Any]) -> str:
    peak = "" if row.peak_score is None else f", peak {row.peak_score:.1f}"
    clip, thumbnail, heatmap = (None if value[kind] is None else quote(value[kind]) for kind in _MEDIA)
    if clip is not None:
        poster = "" if thumbnail is None else f' poster="{thumbnail}"'
        seen = f'<video controls preload="none" src="{clip}"{poster}></video>'
    elif thumbnail is not None:
        seen = f'<img src="{thumbnail}" alt="Frame of the peak" loading="lazy">'
    else:
        seen = '<p class="none">no pictures</p>'
    links = {"clip": clip, "frame of the peak": thumbnail, "heatmap": heatmap}
    files = ", ".join(f'<a href="{link}">{name}</a>' for name, link in links.items() if link is not None)
    camera = f"{row.camera}, " if row.camera else ""
    mark = f", {row.mark}" if row.mark else ""
    return f"""<article><h2>{row.number}: {escape(row.kind)}, {escape(row.cause)}{mark}</h2>
{seen}
<p>{escape(camera + when(row, row.start_ns))}, {lasted(row)}{peak}</p>
<p>{escape(row.detail)}{files}</p></article>
"""

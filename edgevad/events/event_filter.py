"""Which rows of the event store are meant."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from edgevad._sqlite import MOST, storable

__all__ = ["EventFilter"]


@dataclass(frozen=True)
class EventFilter:
    """Which rows are meant; None leaves a condition out, and all that are given must hold.

    Attributes:
        since_ns, until_ns: `stored_ns` from, and before; Unix time.
        camera, kind, run_id, mark: exactly these.
        numbers: any of these.
        lasting: only those that are not over.
        with_media: only those that have a clip or pictures.
        last: of what is left only the latest so many.
    """

    since_ns: int | None = None
    until_ns: int | None = None
    camera: str | None = None
    kind: str | None = None
    run_id: str | None = None
    mark: str | None = None
    numbers: tuple[int, ...] | None = None
    lasting: bool = False
    with_media: bool = False
    last: int | None = None

    def to_sql(self) -> tuple[str, list[Any]]:
        """Conditions, order and limit of a query, newest first, and its values."""
        named = {
            "events.stored_ns >= ?": self.since_ns,
            "events.stored_ns < ?": self.until_ns,
            "events.camera = ?": self.camera,
            "events.kind = ?": self.kind,
            "events.run_id = ?": self.run_id,
            "events.mark = ?": self.mark,
        }
        given = {text: value for text, value in named.items() if value is not None}
        conditions, values = list(given), list(given.values())
        if self.lasting:
            conditions.append("events.end_ns IS NULL")
        if self.with_media:
            conditions.append("(events.clip IS NOT NULL OR events.thumbnail IS NOT NULL OR events.heatmap IS NOT NULL)")
        if self.numbers is not None:
            # As one value: SQLite takes no more than a thousand.
            conditions.append("events.number IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(self.numbers))
        text = (" WHERE " + " AND ".join(conditions) if conditions else "") + " ORDER BY events.number DESC"
        if self.last is not None:
            text, values = text + " LIMIT ?", [*values, min(self.last, MOST)]
        return text, list(map(storable, values))

"""One row of the event store."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.events.run_info import RunInfo

__all__ = ["ANOMALY", "EventMark", "StoredEvent"]

#: `StoredEvent.kind` of what was seen; other kinds are those of incidents.
ANOMALY = "anomaly"

#: What people said about an event: nothing yet, it was one, it was none.
EventMark = Literal["", "confirmed", "dismissed"]


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event, or an incident, as the store has it.

    Attributes:
        run: which run it is of; `run.run_id` and `id` name it for good, here and in every message.
        id: `Event.id` or `Incident.id`, as text.
        kind: "anomaly", or the incident's kind.
        cause, detail: the part that stood out, or what the incident says.
        camera: `source_id`.
        start_ns, end_ns: Unix time for cameras, time since its beginning for a recording; `end_ns` is None while it
            lasts. Where it was interrupted, the end is the last moment that is known.
        start_frame, end_frame, frames, peak_score, peak_frame: None for incidents.
        clip, thumbnail, heatmap: paths relative to the store's folder, None where there is none (any more).
        clip_start_ns, clip_end_ns: times of the clip's first and last frame, as `start_ns`; the end is None while the
            clip is being written.
        stored_ns: Unix time at which it was first written down.
        interrupted: the program ended before it did.
        kept: somebody asked never to delete it.
        mark: what people said about it, see `EventStore.mark`.
        number: short name within this store; 0 before it is stored.
    """

    run: RunInfo
    id: str
    kind: str
    cause: str
    start_ns: int
    end_ns: int | None
    stored_ns: int
    detail: str = ""
    camera: str = ""
    start_frame: int | None = None
    end_frame: int | None = None
    frames: int | None = None
    peak_score: float | None = None
    peak_frame: int | None = None
    clip: str | None = None
    clip_start_ns: int | None = None
    clip_end_ns: int | None = None
    thumbnail: str | None = None
    heatmap: str | None = None
    interrupted: bool = False
    kept: bool = False
    mark: EventMark = ""
    number: int = 0

    @classmethod
    def of_event(cls, run: RunInfo, event: Event, stored_ns: int, *, lasts: bool) -> StoredEvent:
        return cls(
            run=run,
            id=str(event.id),
            kind=ANOMALY,
            cause=event.cause,
            start_ns=event.start_ns,
            end_ns=None if lasts else event.end_ns,
            stored_ns=stored_ns,
            camera=event.source_id,
            start_frame=event.start_frame,
            end_frame=event.end_frame,
            frames=event.end_frame - event.start_frame + 1,
            peak_score=event.peak_score,
            peak_frame=event.peak_frame,
        )

    @classmethod
    def of_incident(cls, run: RunInfo, incident: Incident, stored_ns: int) -> StoredEvent:
        return cls(
            run=run,
            id=incident.id,
            kind=incident.kind,
            cause=incident.cause,
            start_ns=incident.start_ns,
            end_ns=incident.end_ns,
            stored_ns=stored_ns,
            detail=incident.detail,
            camera=incident.source_id,
        )

    @property
    def duration_s(self) -> float | None:
        """None while it lasts."""
        return None if self.end_ns is None else (self.end_ns - self.start_ns) / 1e9

    @property
    def media(self) -> tuple[str, ...]:
        """Its files, relative to the store's folder."""
        return tuple(path for path in (self.clip, self.thumbnail, self.heatmap) if path is not None)

    def to_json(self, directory: Path | None = None) -> dict[str, Any]:
        """Everything as plain values; paths relative to the store, or absolute where its folder is given."""
        value: dict[str, Any] = {"number": self.number, "run_id": self.run.run_id}
        value.update({field.name: getattr(self, field.name) for field in fields(self) if field.name != "run"})
        value["duration_s"] = self.duration_s
        if directory is not None:
            for name in ("clip", "thumbnail", "heatmap"):
                value[name] = None if value[name] is None else str(directory / value[name])
        run = self.run
        value.update(device=run.device, is_live=run.is_live, threshold=run.threshold, engine=run.engine)
        return {**value, "bundle_name": run.bundle_name, "bundle_digest": run.bundle_digest}

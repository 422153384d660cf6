"""What happened to the system that watches, as opposed to what it saw."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field, replace
from typing import Any, Literal

__all__ = ["Incident", "IncidentKind"]

IncidentKind = Literal[
    "camera_lost",  # a camera gives no frames: unplugged, network down, driver hangs
    "camera_fault",  # it gives frames that show nothing: black, frozen, covered, blurred
    "frame_size",  # its frames have another size than before
    "frame_rate",  # the governor looks at more or fewer frames a second
    "storage",  # a disk is full, or cannot be written
    "sink",  # an outlet cannot be reached or fails
    "config",  # settings were loaded anew, or could not be
    "bundle",  # another bundle is in use, has passed its trial, or was gone back from
    "drift",  # the world is no longer the one the bundle was calibrated on
]


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that began, lasts or is over: a camera lost and found again is one incident, told twice.

    Attributes:
        kind: see `IncidentKind`.
        cause: one word or two within the kind, for machines: "black", "stale", "full", "temperature".
        detail: one sentence for people.
        source_id: the camera it is about, as `Frame.source_id`; empty where it is about the device.
        start_ns: when it began, Unix time in nanoseconds.
        end_ns: when it was over; equal to `start_ns` where it has no duration, None while it lasts.
        id: the same whenever the same incident is told again.
    """

    kind: IncidentKind
    cause: str
    detail: str
    source_id: str = ""
    start_ns: int = field(default_factory=time.time_ns)
    end_ns: int | None = None
    id: str = field(default_factory=_new_id)

    @classmethod
    def once(cls, kind: IncidentKind, cause: str, detail: str, source_id: str = "") -> Incident:
        """One that has no duration, now."""
        now_ns = time.time_ns()
        return cls(kind, cause, detail, source_id, now_ns, now_ns)

    @property
    def lasts(self) -> bool:
        """It has begun, and will be told again."""
        return self.end_ns is None

    @property
    def is_new(self) -> bool:
        """It is told for the first time."""
        return self.end_ns is None or self.end_ns == self.start_ns

    def ended(self, detail: str | None = None, *, end_ns: int | None = None) -> Incident:
        """The same incident, over (now, unless told otherwise), and later than it began, whatever the clock did."""
        return replace(
            self,
            end_ns=max(time.time_ns() if end_ns is None else end_ns, self.start_ns + 1),
            detail=self.detail if detail is None else detail,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "kind": self.kind,
            "cause": self.cause,
            "detail": self.detail,
            "source_id": self.source_id,
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
        }

"""How many frames went where."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["FrameCounters"]


@dataclass(frozen=True)
class FrameCounters:
    """Of one source, at one moment.

    Of a camera, `captured` = `given` + `dropped` + `waiting`, and `waiting` is 0 when the pipeline is closed.

    Attributes:
        source_id: its name.
        captured: frames that left the driver, or were read.
        given: frames the pipeline gave a result for; `scored` of them have scores, `faulty` show nothing to judge.
        dropped: frames replaced by a newer one, or left when the run ended; 0 for recordings.
        waiting: frames on their way.
        skipped: frames that could not be read.
        is_lost: the camera gives no frames at the moment.
    """

    source_id: str
    captured: int
    given: int
    scored: int
    faulty: int
    dropped: int
    waiting: int
    skipped: int
    is_lost: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

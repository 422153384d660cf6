"""An interval in which the anomaly score stayed beyond the threshold."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Event"]


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one segment.

    Attributes:
        id: counted from 1 within a run.
        start_ns, end_ns: timestamps of its first and last frame, both inside.
        start_frame, end_frame: their `Frame.index`, both inside.
        peak_score: its largest anomaly score.
        peak_frame: `Frame.index` where that was.
        cause: the part of the frame score that stood out most there.
        source_id, segment: of all its frames.
    """

    id: int
    start_ns: int
    end_ns: int
    start_frame: int
    end_frame: int
    peak_score: float
    peak_frame: int
    cause: str
    source_id: str
    segment: int

    @property
    def duration_s(self) -> float:
        """From its first frame to its last; 0 for an event of one frame."""
        return (self.end_ns - self.start_ns) / 1e9

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "duration_s": self.duration_s}

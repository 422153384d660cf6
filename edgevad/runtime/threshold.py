"""From anomaly scores to events: a threshold with hysteresis, decided frame by frame without looking ahead.

An event starts with the first frame at or above `threshold` and ends with the last frame that was still at or above the
lower `exit_level`. Whether a frame is inside is known at once; only the *record* of the event waits:

- it is given out `merge_gap_s` of recorded time after the event's last frame, because an event that starts again
  within that gap is the same event going on. The frames in between were not inside, and stay so;
- an event shorter than `min_duration_s` is dropped from the record; its frames were inside, and stay so;
- a new segment or another source ends the event at its last frame, at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgevad.errors import OptionError
from edgevad.events.event import Event
from edgevad.sources.frame import Frame

__all__ = ["EventDetector", "Hysteresis"]


@dataclass(frozen=True)
class Hysteresis:
    """When an event starts and ends.

    Attributes:
        threshold: anomaly score at or above which an event starts.
        exit_ratio: in [0, 1]; the event lasts while the score is at or above
            threshold - (1 - exit_ratio) * |threshold|.
        merge_gap_s: events closer than this, in seconds of recorded time, are one.
        min_duration_s: shorter events are not recorded; an event of one frame lasts 0 s.
    """

    threshold: float
    exit_ratio: float = 0.7
    merge_gap_s: float = 1.0
    min_duration_s: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise OptionError(f"threshold {self.threshold}", expected="a finite number")
        if not 0.0 <= self.exit_ratio <= 1.0:
            raise OptionError(f"exit ratio {self.exit_ratio}", expected="a number from 0 to 1")
        for name, value in (("merge gap", self.merge_gap_s), ("least duration", self.min_duration_s)):
            if not (math.isfinite(value) and value >= 0):
                raise OptionError(f"{name} of {value} s", expected="a finite number of seconds, 0 or more")

    @property
    def exit_level(self) -> float:
        return self.threshold - (1.0 - self.exit_ratio) * abs(self.threshold)


class EventDetector:
    """Follows one stream of anomaly scores; holds at most one event."""

    def __init__(self, spec: Hysteresis) -> None:
        self._enter = spec.threshold
        self._exit = spec.exit_level
        self._gap_ns = round(spec.merge_gap_s * 1e9)
        self._min_ns = round(spec.min_duration_s * 1e9)
        self._given = 0
        self._inside = False
        self._stream: tuple[str, int] | None = None
        self._start: tuple[int, int] | None = None  # index and timestamp of the event's first frame
        self._last_index = self._last_ns = 0
        self._peak = 0.0
        self._peak_index = 0
        self._cause = ""

    @property
    def inside(self) -> bool:
        """Whether the last frame pushed is part of an event."""
        return self._inside

    def push(self, score: float, frame: Frame, cause: str = "score") -> Event | None:
        """Take the next frame's anomaly score and the part behind it; return the event that is now over, if any."""
        closed = None
        stream = (frame.source_id, frame.segment)
        if stream != self._stream:
            closed = self.finish()
            self._stream = stream
        inside = score >= (self._exit if self._inside else self._enter)
        goes_on = inside and self._inside
        if self._start is not None and not goes_on and frame.timestamp_ns - self._last_ns > self._gap_ns:
            closed = self.finish()
        self._inside = inside
        if inside:
            self._extend(score, frame, cause)
        return closed

    def finish(self) -> Event | None:
        """End the event that is still held, if any: the stream is over."""
        start, self._start = self._start, None
        self._inside = False
        if start is None or self._stream is None or self._last_ns - start[1] < self._min_ns:
            return None
        self._given += 1
        return Event(
            id=self._given,
            start_ns=start[1],
            end_ns=self._last_ns,
            start_frame=start[0],
            end_frame=self._last_index,
            peak_score=self._peak,
            peak_frame=self._peak_index,
            cause=self._cause,
            source_id=self._stream[0],
            segment=self._stream[1],
        )

    def _extend(self, score: float, frame: Frame, cause: str) -> None:
        if self._start is None:
            self._start = (frame.index, frame.timestamp_ns)
            self._peak = -math.inf
        if score > self._peak:
            self._peak, self._peak_index, self._cause = score, frame.index, cause
        self._last_index, self._last_ns = frame.index, frame.timestamp_ns

"""From anomaly scores to events: a threshold with hysteresis, decided frame by frame without looking ahead.

An event starts with the first frame at or above `threshold` and ends with the last frame that was still at or above the
lower `exit_level`. Whether a frame is inside is known at once; only the *record* of the event waits:

- it is given out `merge_gap_s` of recorded time after the event's last frame, because an event that starts again
  within that gap is the same event going on. The frames in between were not inside, and stay so;
- an event shorter than `min_duration_s` is dropped from the record; its frames were inside, and stay so;
- a new segment or another source ends the event at its last frame, at once;
- after an event, none starts for `cool_down_s`, and none in the first `warm_up_s` of a segment.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

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
        cool_down_s: seconds of recorded time after an event's last frame in which no other one starts.
        warm_up_s: seconds of recorded time from a segment's first frame in which no event starts: a camera that has
            just come back is still finding its exposure, and the window holds little.
    """

    threshold: float
    exit_ratio: float = 0.7
    merge_gap_s: float = 1.0
    min_duration_s: float = 0.0
    cool_down_s: float = 0.0
    warm_up_s: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise OptionError(f"threshold {self.threshold}", expected="a finite number")
        if not 0.0 <= self.exit_ratio <= 1.0:
            raise OptionError(f"exit ratio {self.exit_ratio}", expected="a number from 0 to 1")
        for name, value in (
            ("merge gap", self.merge_gap_s),
            ("least duration", self.min_duration_s),
            ("cool-down", self.cool_down_s),
            ("warm-up", self.warm_up_s),
        ):
            if not (math.isfinite(value) and value >= 0):
                raise OptionError(f"{name} of {value} s", expected="a finite number of seconds, 0 or more")

    @property
    def exit_level(self) -> float:
        return self.threshold - (1.0 - self.exit_ratio) * abs(self.threshold)


class EventDetector:
    """Follows one stream of anomaly scores; holds at most one event.

    `ids` numbers the events; cameras that run together share one.

    Attributes:
        inside: whether the last frame pushed is part of an event.
        began: the event, so far, that the last frame pushed made certain to be recorded, or None.
    """

    def __init__(self, spec: Hysteresis, ids: Iterator[int] | None = None) -> None:
        self._ids = count(1) if ids is None else ids
        self.inside = False
        self.began: Event | None = None
        self._stream: tuple[str, int] | None = None
        self._stream_ns = 0  # when it began
        self._quiet_ns: int | None = None  # until then no event starts
        self._is_to_warm_up = False
        self._start: tuple[int, int] | None = None  # index and timestamp of the event's first frame
        self._id: int | None = None  # once it is certain
        self._last_index = self._last_ns = 0
        self._peak = 0.0
        self._peak_index = 0
        self._cause = ""
        self.apply(spec)

    def apply(self, spec: Hysteresis) -> None:
        """Decide by `spec` from the next frame on; an event under way goes on."""
        self._enter = spec.threshold
        self._exit = spec.exit_level
        self._gap_ns = round(spec.merge_gap_s * 1e9)
        self._min_ns = round(spec.min_duration_s * 1e9)
        self._cool_ns = round(spec.cool_down_s * 1e9)
        self._warm_ns = round(spec.warm_up_s * 1e9)

    def warm_up_again(self) -> None:
        """As at a segment's beginning, no event starts for the warm-up from the next frame on.

        One under way goes on.
        """
        self._is_to_warm_up = True

    def is_warm(self, frame: Frame) -> bool:
        """Whether an event may start at `frame`, as far as the time since its segment's beginning goes."""
        if self._warm_ns == 0:
            return True
        stream = (frame.source_id, frame.segment)
        return stream == self._stream and frame.timestamp_ns - self._stream_ns >= self._warm_ns

    def push(self, score: float, frame: Frame, cause: str = "score") -> Event | None:
        """Take the next frame's anomaly score and the part behind it; return the event that is now over, if any."""
        closed = self.pass_over(frame)
        inside = score >= (self._exit if self.inside else self._enter)
        goes_on = inside and self.inside
        if self._start is not None and not goes_on and frame.timestamp_ns - self._last_ns > self._gap_ns:
            closed = self.finish()
        self.inside = inside and (self._start is not None or self._may_start(frame.timestamp_ns))
        if self.inside:
            self._extend(score, frame, cause)
        return closed

    def pass_over(self, frame: Frame) -> Event | None:
        """Take a frame that says nothing (lens covered, no score); return the event that is now over, if any."""
        closed = self.began = None
        stream = (frame.source_id, frame.segment)
        if stream != self._stream:
            closed = self.finish()
            self._stream, self._stream_ns, self._quiet_ns = stream, frame.timestamp_ns, None
        elif self._is_to_warm_up:
            self._stream_ns = frame.timestamp_ns
        self._is_to_warm_up = False
        return closed

    def interrupt(self, frame: Frame) -> Event | None:
        """Like `pass_over`, and no event goes on across it."""
        closed = self.pass_over(frame)
        return closed or self.finish()

    def finish(self) -> Event | None:
        """End the event that is still held, if any: the stream is over."""
        start, self._start = self._start, None
        self.inside = False
        if start is None or self._stream is None:
            return None
        if self._id is None:
            return None  # too short to be recorded, and to keep others off
        self._quiet_ns = self._last_ns + self._cool_ns
        return self._event(start)

    def _may_start(self, timestamp_ns: int) -> bool:
        if timestamp_ns - self._stream_ns < self._warm_ns:
            return False
        return self._cool_ns == 0 or self._quiet_ns is None or timestamp_ns >= self._quiet_ns

    def _extend(self, score: float, frame: Frame, cause: str) -> None:
        if self._start is None:
            self._start = (frame.index, frame.timestamp_ns)
            self._peak = -math.inf
            self._id = None
        if score > self._peak:
            self._peak, self._peak_index, self._cause = score, frame.index, cause
        self._last_index, self._last_ns = frame.index, frame.timestamp_ns
        if self._id is None and self._last_ns - self._start[1] >= self._min_ns:
            self._id = next(self._ids)
            self.began = self._event(self._start)

    def _event(self, start: tuple[int, int]) -> Event:
        assert self._id is not None
        assert self._stream is not None
        return Event(
            id=self._id,
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

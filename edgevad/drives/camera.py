"""One camera of a drive: its clock, its stretches, and which of its frames have their images logged."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from edgevad.drives.policy import LogPolicy
from edgevad.errors import OutputError
from edgevad.sources.frame import Frame, Image
from edgevad.sources.source import SegmentCounter

__all__ = ["CameraLog", "LoggedImage", "encode_image"]

# Times before this are a recording's own, counted from its start; all others are Unix time.
_UNIX_FROM_NS = 946_684_800 * 10**9  # the year 2000
_GAP_S = 1.0
_BETWEEN_NS = 10**9  # between recordings that are logged one after another
_OFFSETS_KEPT = 8


@dataclass(frozen=True)
class LoggedImage:
    """An image to be logged, with what the log says of its frame."""

    log_ns: int
    recorded_ns: int
    jpeg: bytes
    details: dict[str, Any]


class CameraLog:
    """Follows one camera's frames.

    Args:
        new_stretch: gives the next number of a stretch; no two stretches of a drive have the same.

    Attributes:
        state: last logged of it.
        leg: number of the leg in which its last frame is.
        went_back: the clock was set back before the last frame.
    """

    def __init__(self, source_id: str, policy: LogPolicy, new_stretch: Callable[[], int]) -> None:
        self.source_id = source_id
        self.state: tuple[str, str | None] | None = None
        self.leg = 0
        self.went_back = False
        self._policy = policy
        self._new_stretch = new_stretch
        self._stretch: int | None = None
        self._segments = SegmentCounter(_GAP_S, follow=True)
        self._segment: tuple[int, int] | None = None
        self._offsets: dict[int, int] = {}  # log time less recorded time, of the last segments
        self._last_ns = 0
        self._count = 0
        self._next_ns: int | None = None
        self._around_until_ns = -1
        self._anomaly_ns = 0  # when the anomaly under way began, and when it was last seen
        self._last_anomaly_ns: int | None = None
        self._waiting: deque[LoggedImage] = deque()
        self._period_ns = 0 if policy.image_fps_hz is None else round(1e9 / policy.image_fps_hz)

    def interrupt(self) -> None:
        """What comes next is not what followed: the log rested."""
        self._stretch = None
        self._waiting.clear()

    def log_time_ns(self, frame: Frame, earliest_ns: int) -> int:
        """When `frame` is logged, Unix time; of a recording that counts from 0, from `earliest_ns` on."""
        offset = self._offsets.get(frame.segment)
        if frame.timestamp_ns >= _UNIX_FROM_NS:
            offset = 0
        elif offset is None:
            offset = next(reversed(self._offsets.values()), earliest_ns - frame.timestamp_ns)
            if frame.timestamp_ns + offset <= self._last_ns:  # its clock starts anew
                offset = self._last_ns + _BETWEEN_NS - frame.timestamp_ns
        if frame.segment not in self._offsets:
            self._offsets[frame.segment] = offset
            if len(self._offsets) > _OFFSETS_KEPT:
                del self._offsets[next(iter(self._offsets))]
        last_ns, self._last_ns = self._last_ns, frame.timestamp_ns + offset
        self.went_back = self._last_ns < last_ns
        return self._last_ns

    def log_time_of(self, segment: int, timestamp_ns: int) -> int:
        """The log's time for a recorded time of this camera."""
        return timestamp_ns + self._offsets.get(segment, 0)

    def images(
        self, frame: Frame, log_ns: int, *, state: str, is_anomaly: bool, encode: Callable[[Image], bytes]
    ) -> list[LoggedImage]:
        """What is to be logged now that `frame` has come: often nothing, at an event's start also frames before it."""
        policy = self._policy
        due = self._is_due(log_ns)
        stretch = self._stretch_at(frame)
        before: list[LoggedImage] = []
        if is_anomaly:
            before = self._begin_anomaly(log_ns)
            self._last_anomaly_ns = log_ns
            if log_ns - self._anomaly_ns <= policy.event_s * 1e9:
                self._around_until_ns = log_ns + round(policy.post_roll_s * 1e9)
        around = log_ns <= self._around_until_ns
        if not (due or around or policy.pre_roll_s):
            return []
        height, width = frame.image.shape[:2]
        image = LoggedImage(
            log_ns,
            frame.timestamp_ns,
            encode(frame.image),
            {
                "frame": frame.index,
                "timestamp_ns": frame.timestamp_ns,
                "segment": frame.segment,
                "stretch": stretch,
                "state": state,
                "around_event": around,
                "width_px": width,
                "height_px": height,
            },
        )
        if due or around:
            return [*before, image]
        self._waiting.append(image)
        while log_ns - self._waiting[0].log_ns > policy.pre_roll_s * 1e9:
            self._waiting.popleft()
        return []

    def _begin_anomaly(self, log_ns: int) -> list[LoggedImage]:
        """The frames from before an anomaly, if this is its first frame; one that flickers is one."""
        if self._last_anomaly_ns is not None and log_ns - self._last_anomaly_ns <= self._policy.post_roll_s * 1e9:
            return []
        self._anomaly_ns = log_ns
        before = [
            replace(waiting, details={**waiting.details, "around_event": True})
            for waiting in self._waiting
            if log_ns - waiting.log_ns <= self._policy.pre_roll_s * 1e9
        ]
        self._waiting.clear()
        return before

    def _stretch_at(self, frame: Frame) -> int:
        """By the gaps between the frames that were scored: those between images only show the policy."""
        segment = (frame.segment, self._segments.segment_at(frame.timestamp_ns))
        if self._stretch is None or segment != self._segment:
            self._stretch, self._segment = self._new_stretch(), segment
            self._waiting.clear()
            self._last_anomaly_ns = None
        return self._stretch

    def _is_due(self, log_ns: int) -> bool:
        self._count += 1
        if (self._count - 1) % self._policy.every_nth:
            return False
        if self._next_ns is None or abs(log_ns - self._next_ns) > self._period_ns:
            self._next_ns = log_ns  # the first frame, or a leap in time
        if log_ns < self._next_ns:
            return False
        self._next_ns += self._period_ns
        return True


def encode_image(image: Image, policy: LogPolicy) -> bytes:
    """`image` as JPEG, not wider than the policy says.

    Raises:
        OutputError: OpenCV cannot encode it.
    """
    from edgevad.sources.opencv import cv2

    height, width = image.shape[:2]
    # By a whole number: any other ratio takes several times as long, more than the encoding.
    factor = -(-width // policy.image_width_px)
    size = (max(width // factor, 1), max(height // factor, 1))
    small = image if factor == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, policy.jpeg_quality])
    if not done:
        raise OutputError(f"an image of {width}x{height} px cannot be encoded as JPEG")
    return bytes(data.tobytes())

"""The pictures of one camera: the last seconds in memory, the clip being written, the frame of an event's peak."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from edgevad.errors import EdgevadError
from edgevad.events.clip import Clip, open_clip
from edgevad.events.disk import DiskFloor
from edgevad.events.fragments import clip_length_ns
from edgevad.events.recorder_spec import RecorderSpec
from edgevad.report.overlay import blend_heat
from edgevad.sources.frame import Frame, Image

if TYPE_CHECKING:
    from edgevad.runtime.pipeline import Result

__all__ = ["ClosedClip", "Footage", "Peak"]

JPEG_QUALITY = 85
# Beyond the pre-roll: an event is certain only after its minimum duration.
SLACK_S = 2.0


@dataclass(frozen=True)
class ClosedClip:
    """A clip that gets no more frames.

    Attributes:
        events: ids of the events that it shows.
        end_ns: timestamp of its last frame; None where nothing of it can be read, and the file is gone.
        error: why it ended before its time, if it did.
    """

    path: Path
    events: frozenset[int]
    end_ns: int | None
    error: EdgevadError | None = None


@dataclass(frozen=True)
class Peak:
    """The frame of the highest score so far: picture, as in clips, and heatmap."""

    index: int
    score: float
    picture: Image
    heatmap: npt.NDArray[np.float32] | None

    def thumbnail(self) -> bytes:
        """JPEG with the heat laid over it."""
        picture = self.picture.copy()
        if self.heatmap is not None:
            blend_heat(picture, self.heatmap)
        return _encoded(".jpg", picture)

    def heat_image(self) -> bytes | None:
        """PNG in gray of the heatmap's own size: 100 stands for a local error that alone would raise an alarm."""
        if self.heatmap is None:
            return None
        return _encoded(".png", np.rint(100 * np.clip(self.heatmap, 0, 2.55)).astype(np.uint8))


class Footage:
    """Takes all results of one camera, in order.

    Nothing in it reaches over a gap in time or over a change of the frames' size: there the clip ends and the memory of
    what was before is dropped.

    Attributes:
        last_ns: timestamp of the last frame; 0 before the first.
        peak: the highest frame of the event under way, or of the latest one; None where there was none.
        pictured: the peak whose thumbnail was written last.
        clip: being written, or None.
        missed: events that should have a clip and could not be given one yet.
    """

    def __init__(self, spec: RecorderSpec) -> None:
        self.last_ns = 0
        self.peak: Peak | None = None
        self.pictured: Peak | None = None
        self.clip: Clip | None = None
        self.missed: set[int] = set()
        self._spec = spec
        self._ring: deque[tuple[int, bytes]] = deque()
        self._ring_bytes = 0
        self._stretch: tuple[int, tuple[int, ...]] | None = None  # segment, shape of the frames
        self._due_ns = 0
        self._is_inside = False
        self._hold_ns: int | None = None  # where an event began that is not certain yet: its pre-roll is held
        self._events: set[int] = set()  # that the clip shows
        self._open: set[int] = set()  # of these, those that last
        self._until_ns: int | None = None  # of a clip whose events are over

    def push(self, result: Result) -> ClosedClip | None:
        """Take one result; return the clip that has ended by it, if one has."""
        frame = result.frame
        closed = None
        stretch = (frame.segment, frame.shape)
        if stretch != self._stretch:
            closed = self.close_clip()
            self._stretch, self._due_ns = stretch, frame.timestamp_ns
            self._ring.clear()
            self._ring_bytes = 0
        self.last_ns = frame.timestamp_ns
        self._follow(result)
        period_ns = round(1e9 / self._spec.clip_fps_hz)
        if frame.timestamp_ns < self._due_ns - period_ns // 4:
            return closed
        # In step with the wanted rate where the frames allow it, and never faster.
        self._due_ns = max(self._due_ns + period_ns, frame.timestamp_ns + period_ns // 2)
        picture = self._picture(frame)
        self._remember(frame.timestamp_ns, _encoded(".jpg", picture))
        return closed or self._film(picture, frame.timestamp_ns)

    def start_clip(self, path: Path, event: int, start_ns: int, floor: DiskFloor) -> Clip:
        """Begin a clip with what is remembered from the pre-roll of an event that began at `start_ns`.

        Raises:
            OutputError: there is no room for it; nothing is left of it.
        """
        since_ns = start_ns - round(self._spec.pre_roll_s * 1e9)
        frames = [(ts, jpeg) for ts, jpeg in self._ring if ts >= since_ns] or list(self._ring)[-1:]
        first = _decoded(frames[0][1])
        size = (first.shape[1], first.shape[0])
        clip = open_clip(path, size, frames[0][0], fps_hz=self._spec.clip_fps_hz, floor=floor)
        try:
            for timestamp_ns, jpeg in frames:
                clip.write(_decoded(jpeg), timestamp_ns)
        except EdgevadError:
            path.unlink(missing_ok=True)
            raise
        self.missed.discard(event)
        self._hold_ns = None
        self.clip, self._events, self._open, self._until_ns = clip, {event}, {event}, None
        return clip

    def can_join(self) -> bool:
        """Whether there is a clip that has at least half of its time before it."""
        return self.clip is not None and self.last_ns - self.clip.start_ns <= self._spec.max_clip_s * 1e9 / 2

    def films(self, event: int) -> bool:
        """Whether the clip being written shows this event."""
        return event in self._events

    def join_clip(self, event: int) -> None:
        """The clip that is being written shows this event, too."""
        self.missed.discard(event)
        self._hold_ns = None
        self._events.add(event)
        self._open.add(event)
        self._until_ns = None

    def event_over(self, event: int, end_ns: int) -> ClosedClip | None:
        """The event ended then: its clip has the post-roll left, or nothing."""
        self.missed.discard(event)
        if event not in self._open:
            return None
        self._open.discard(event)
        if not self._open:
            self._until_ns = end_ns + round(self._spec.post_roll_s * 1e9)
        return self._close_if_due()

    def close_clip(self, error: EdgevadError | None = None) -> ClosedClip | None:
        """End the clip where it is; None where there is none."""
        if self.clip is None:
            return None
        clip, self.clip = self.clip, None
        try:
            clip.close()
        except EdgevadError as failure:
            error = error or failure
        end_ns: int | None = clip.last_ns
        if error is not None:
            length_ns = clip_length_ns(clip.path)
            end_ns = None if length_ns is None else clip.start_ns + length_ns
            if end_ns is None:
                clip.path.unlink(missing_ok=True)
        closed = ClosedClip(clip.path, frozenset(self._events), end_ns, error)
        self._events, self._open, self._until_ns = set(), set(), None
        return closed

    def _film(self, picture: Image, timestamp_ns: int) -> ClosedClip | None:
        if self.clip is None or timestamp_ns <= self.clip.last_ns:
            return None
        try:
            self.clip.write(picture, timestamp_ns)
        except EdgevadError as error:
            return self.close_clip(error)
        return self._close_if_due()

    def _close_if_due(self) -> ClosedClip | None:
        if self.clip is None:
            return None
        is_over = self._until_ns is not None and self.last_ns >= self._until_ns
        if is_over or self.last_ns - self.clip.start_ns >= self._spec.max_clip_s * 1e9:
            return self.close_clip()
        return None

    def _follow(self, result: Result) -> None:
        score, now_ns = result.anomaly_score, result.frame.timestamp_ns
        if not result.is_anomaly or score is None:
            self._is_inside, self._hold_ns = False, None
            return
        if not self._is_inside:
            self._is_inside, self._hold_ns = True, now_ns
            if not self._open and not self.missed:
                self.peak = None  # it was another event's
        if self.peak is None or score > self.peak.score:
            heatmap = None if result.heatmap is None else result.heatmap.copy()
            self.peak = Peak(result.frame.index, score, self._picture(result.frame).copy(), heatmap)

    def _remember(self, timestamp_ns: int, jpeg: bytes) -> None:
        self._ring.append((timestamp_ns, jpeg))
        self._ring_bytes += len(jpeg)
        since_ns = timestamp_ns if self._hold_ns is None else self._hold_ns
        since_ns -= round((self._spec.pre_roll_s + SLACK_S) * 1e9)
        while len(self._ring) > 1 and (self._ring[0][0] < since_ns or self._ring_bytes > self._spec.ring_bytes):
            self._ring_bytes -= len(self._ring.popleft()[1])

    def _picture(self, frame: Frame) -> Image:
        """The frame at the clips' size, even in both directions, as video codecs want it."""
        height, width = frame.image.shape[:2]
        scale = min(1.0, self._spec.max_width_px / width)
        size = max(2 * round(width * scale / 2), 2), max(2 * round(height * scale / 2), 2)
        if size == (width, height):
            return frame.image
        return np.asarray(cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _encoded(suffix: str, picture: Image) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix == ".jpg" else []
    return bytes(cv2.imencode(suffix, picture, options)[1])


def _decoded(jpeg: bytes) -> Image:
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)

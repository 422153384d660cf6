"""Made-up cameras for the tests of what records them: each frame says in its gray level how bright it was to be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from edgevad.errors import EdgevadError
from edgevad.events import Event, RunInfo
from edgevad.events.recorder import Recorder, RecorderSpec
from edgevad.runtime.pipeline import Result
from edgevad.sources import Frame

SECOND_NS = 10**9
START_NS = 1_800_000_000 * SECOND_NS
SMALL = RecorderSpec(pre_roll_s=1.0, post_roll_s=1.0, max_clip_s=20.0, floor_bytes=0)


def run_info(run_id: str = "0123456789ab", *, is_live: bool = True) -> RunInfo:
    return RunInfo("bundle", "road", "feed", "onnxruntime fp32", ("front",), 4.0, is_live, run_id)


def result(
    index: int,
    *,
    score: float | None = 1.0,
    inside: bool = False,
    camera: str = "front",
    fps_hz: float = 10.0,
    at_s: float | None = None,
    segment: int = 0,
    size: tuple[int, int] = (64, 48),
) -> Result:
    """`index` sets the gray level: 10 more with every frame, and around again at 250."""
    image = np.full((size[1], size[0], 3), 10 * (index % 25), np.uint8)
    timestamp_ns = START_NS + round((index / fps_hz if at_s is None else at_s) * SECOND_NS)
    heat = None if score is None else np.full((4, 6), score / 4, np.float32)
    row = () if score is None else (score,)
    state = "anomaly" if inside else "normal"
    frame = Frame(image, index, timestamp_ns, camera, segment)
    return Result(frame, row, row, score, score, "residual", inside, state, heat, 0.0, None)  # type: ignore[arg-type]


@dataclass
class Scene:
    """Feeds a recorder as a run does; tells it of events by itself."""

    recorder: Recorder
    fps_hz: float = 10.0
    camera: str = "front"
    next: int = 0
    events: int = 0
    errors: list[EdgevadError] = field(default_factory=list)
    _event: Event | None = None

    def quiet(self, frames: int, **facts: object) -> None:
        for _ in range(frames):
            self.push(result(self.next, camera=self.camera, fps_hz=self.fps_hz, **facts))  # type: ignore[arg-type]

    def push(self, one: Result) -> None:
        with self.noting():
            self.recorder.push(one)
        self.next += 1

    def begin(self, *, score: float = 6.0) -> Event:
        """One frame of an event, which begins with it."""
        self.events += 1
        first = self.next
        self.push(result(first, score=score, inside=True, camera=self.camera, fps_hz=self.fps_hz))
        at_ns = START_NS + round(first / self.fps_hz * SECOND_NS)
        self._event = Event(self.events, at_ns, at_ns, first, first, score, first, "residual", self.camera, 0)
        with self.noting():
            self.recorder.event_began(self._event)
        return self._event

    def last(self, frames: int, *, score: float = 5.0) -> None:
        for _ in range(frames):
            self.push(result(self.next, score=score, inside=True, camera=self.camera, fps_hz=self.fps_hz))

    def end(self) -> Event:
        """The event ended with the latest frame."""
        assert self._event is not None
        first = self._event
        last = self.next - 1
        end_ns = START_NS + round(last / self.fps_hz * SECOND_NS)
        over = Event(
            first.id, first.start_ns, end_ns, first.start_frame, last, 6.0, first.peak_frame, "residual", self.camera, 0
        )
        with self.noting():
            self.recorder.event(over)
        self._event = None
        return over

    @contextmanager
    def noting(self) -> Iterator[None]:
        try:
            yield
        except EdgevadError as error:
            self.errors.append(error)


def frames_of(path: Path) -> list[tuple[float, int]]:
    """Seconds since the clip's beginning, and gray level, of every frame that can be decoded."""
    capture = cv2.VideoCapture(str(path))
    found = []
    while True:
        ok, image = capture.read()
        if not ok:
            break
        found.append((capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3, round(float(image.mean()))))
    capture.release()
    return found

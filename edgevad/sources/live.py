"""Live frames: the newest frame wins, and a camera that is lost is opened again."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from typing import NamedTuple

from edgevad.events.incident import Incident
from edgevad.sources.backoff import Backoff
from edgevad.sources.capture import Opener
from edgevad.sources.frame import Frame, Image
from edgevad.sources.keeper import Keeper
from edgevad.sources.source import SegmentCounter, Source

__all__ = ["Counts", "LiveSource"]

_CLOSING_S = 0.3


class Counts(NamedTuple):
    """Frames of a pass, at one moment: captured == taken + dropped + waiting."""

    captured: int
    taken: int
    dropped: int
    waiting: int


class _Grab(NamedTuple):
    image: Image
    number: int  # of this pass
    taken_ns: int
    taken_s: float
    opening: int


class LiveSource(Source):
    """The newest frames of a camera, each given once.

    A thread opens the camera and reads it without pause; another one watches. When no frame comes for `stale_s`, or the
    driver says that there are no more, the camera is lost: no frame is ever made up. Without `reconnect` the pass ends
    in `CameraLostError`. With it, the camera is opened again, at the pace of `backoff`, for as long as it takes; the
    pass goes on with its next frame, in a new segment. A frame of another size than before starts a new segment, too.

    `Frame.index` counts the frames captured since the pass began, those dropped in favour of a newer one included.
    `Frame.timestamp_ns` is Unix time: the driver's own time of the frame where it states one, else that of its arrival.

    Args:
        opener: opens the camera, in a thread of its own; raises where it cannot.
        stale_s: seconds without a frame after which a camera is lost; three frame periods if that is more.
        timeout_s: how long opening may take, and then the first frame.
        wait: for a camera that has never given a frame, too, instead of raising; needs `reconnect`.

    Attributes:
        captured: frames of this pass that left the driver.

    Raises:
        SourceError: on construction, unless `wait`: what `opener` raised; or `SourceUnreadableError`, where no first
            frame comes.
    """

    is_live = True

    def __init__(
        self,
        opener: Opener,
        *,
        name: str,
        kind: str,
        gap_s: float = 1.0,
        stale_s: float = 2.0,
        timeout_s: float = 5.0,
        reconnect: bool = False,
        wait: bool = False,
        backoff: Backoff | None = None,
    ) -> None:
        # A signal handler may close what its own thread iterates.
        self._lock = threading.RLock()
        self._fresh = threading.Condition(self._lock)
        super().__init__(name, kind=kind)
        self.captured = 0
        self._gap_s = gap_s
        self._newest: _Grab | None = None
        self._keeper = Keeper(
            opener,
            self,
            self._lock,
            name=self.name,
            stale_s=stale_s,
            timeout_s=timeout_s,
            reconnect=reconnect,
            wait=wait and reconnect,
            backoff=backoff or Backoff(),
        )
        self._keeper.start()
        if not (wait and reconnect):
            self._await_first_frame()

    @property
    def on_incident(self) -> Callable[[Incident], None] | None:
        """Told each outage when it begins and again (same id) when it is over, and each change of size once.

        Called from a thread of the source's, one call after the other, outside its lock. What happened before it was
        set is told then. What it raises is raised by the pass.
        """
        with self._lock:
            return self._keeper.on_incident

    @on_incident.setter
    def on_incident(self, told: Callable[[Incident], None] | None) -> None:
        with self._lock:
            self._keeper.on_incident = told
            self._keeper.look()

    @property
    def is_lost(self) -> bool:
        """The camera gives no frames at present."""
        with self._lock:
            return self._keeper.lost is not None or self._keeper.failure is not None

    @property
    def skip_reasons(self) -> Mapping[str, int]:
        with self._lock:
            return Counter(self._skip_reasons)

    def counts(self) -> Counts:
        """The counters of this pass, all read at the same moment."""
        with self._lock:
            waiting = int(self._newest is not None)
            return Counts(self.captured, self.captured - self.dropped - waiting, self.dropped, waiting)

    def pass_over_older(self, age_s: float) -> None:
        """Drop the frame that waits if it was taken longer ago than this, so that the next one given is fresh."""
        with self._lock:
            if self._newest is not None and time.perf_counter() - self._newest.taken_s > age_s:
                self._newest = None
                self.dropped += 1

    def reset(self) -> None:
        with self._lock:
            super().reset()
            if self._newest is not None:
                self._newest = self._newest._replace(number=0)
            self.captured = int(self._newest is not None)

    def close(self) -> None:
        """As `Source.close`, and wakes whoever waits for a frame; a driver that hangs holds it up for 0.3 s."""
        with self._lock:
            self._closed = True
            self._fresh.notify_all()
        super().close()
        self._keeper.close(_CLOSING_S)

    def _await_first_frame(self) -> None:
        try:
            with self._lock:
                self._fresh.wait_for(self._has_news)
                failure = self._keeper.failure
            if failure is not None:
                raise failure
        except BaseException:
            self.close()
            raise

    def _has_news(self) -> bool:
        return self._newest is not None or self._keeper.failure is not None or self._closed

    def _frames(self) -> Generator[Frame, None, None]:
        period_s = 1 / self.fps_hint_hz if self.fps_hint_hz else None
        segments = SegmentCounter(self._gap_s, period_s, follow=True)
        before: tuple[int, tuple[int, ...]] | None = None
        while True:
            with self._lock:
                self._fresh.wait_for(self._has_news)
                if self._closed:
                    return
                grab, self._newest = self._newest, None
                if grab is not None:
                    self.positions = grab.number + 1
                elif self._keeper.failure is not None:
                    raise self._keeper.failure
            if grab is None:
                continue
            stretch = (grab.opening, grab.image.shape)
            if before is not None and stretch != before:
                segments.cut()
            before = stretch
            segment = segments.segment_at(grab.taken_ns)
            yield Frame(grab.image, grab.number, grab.taken_ns, self.name, segment, grab.taken_s)

    # What the keeper gives, under the lock.

    def take_rate(self, rate_hz: float | None) -> None:
        self.fps_hint_hz = rate_hz

    def take(self, image: Image, taken_ns: int, taken_s: float, opening: int) -> None:
        if self._closed:
            return
        if self._newest is not None:
            self.dropped += 1
        self._newest = _Grab(image, self.captured, taken_ns, taken_s, opening)
        self.captured += 1
        self._fresh.notify_all()

    def take_damaged(self) -> None:
        self._skip_reasons["frame damaged"] += 1

    def take_failure(self) -> None:
        self._fresh.notify_all()

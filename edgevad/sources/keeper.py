"""Keeping a camera open: it is watched, and opened again when it is lost."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from edgevad.errors import CameraLostError, SourceError, SourceUnreadableError
from edgevad.events.incident import Incident
from edgevad.sources.backoff import Backoff
from edgevad.sources.capture import Opener
from edgevad.sources.frame import Image
from edgevad.sources.grabber import Grabber

__all__ = ["Keeper", "Receiver"]

# Threads that hang in a driver are left behind; with this many of them no further one is started.
MOST_HUNG = 3
# A driver keeps to its own time limit for opening, and says more clearly what is wrong: it comes first.
_OPENING_GRACE_S = 1.0
_UNTOLD = 64
_SIZES_EVERY_S = 5.0


class Receiver(Protocol):
    """Who takes what the camera gives; called under the lock, and never waits."""

    def take_rate(self, rate_hz: float | None) -> None:
        """The camera is open and states this frame rate, in Hz."""

    def take(self, image: Image, taken_ns: int, taken_s: float, opening: int) -> None:
        """A frame, its Unix time in ns and by `time.perf_counter()`, and how often the camera had been opened."""

    def take_damaged(self) -> None: ...

    def take_failure(self) -> None:
        """There will be no more: see `Keeper.failure`."""


class Keeper:
    """Opens a camera, each time in a new thread, and a thread that watches whether it gives frames.

    Everything but opening, reading and telling happens under `lock`.

    Args: as for `LiveSource`.

    Attributes:
        failure: why there will be no more frames, None as long as there may be.
        lost: the outage that lasts, None while the camera gives frames.
        on_incident: see `LiveSource`.
    """

    def __init__(
        self,
        opener: Opener,
        receiver: Receiver,
        lock: threading.RLock,
        *,
        name: str,
        stale_s: float,
        timeout_s: float,
        reconnect: bool,
        wait: bool,
        backoff: Backoff,
    ) -> None:
        self.failure: Exception | None = None
        self.lost: Incident | None = None
        self._lost_s = 0.0
        self._rate_hz: float | None = None
        self.on_incident: Callable[[Incident], None] | None = None
        self._opener = opener
        self._receiver = receiver
        self._lock = lock
        self._changed = threading.Condition(lock)  # something to do for the thread that watches
        self._name = name
        self._stale_s = stale_s
        self._timeout_s = timeout_s
        self._reconnect = reconnect
        self._wait = wait
        self._backoff = backoff
        self._untold: deque[Incident] = deque(maxlen=_UNTOLD)
        self._closed = False
        self._shape: tuple[int, ...] | None = None  # of the latest frame
        self._sizes = 0  # changes that are not told yet
        self._size_told_s = -math.inf
        self._grabber: Grabber | None = None
        self._left: list[Grabber] = []  # told to leave, and perhaps hanging
        self._openings = 0
        self._failures = 0  # in a row
        self._is_open = False
        self._heard_s = self._opened_s = self._retry_s = time.perf_counter()
        self._frames_of_opening = 0
        self._watcher = threading.Thread(target=self._watch, name=f"edgevad watch {name}", daemon=True)

    def start(self) -> None:
        self._watcher.start()

    def look(self) -> None:
        """Let the watching thread see what was changed, under the lock, from outside."""
        self._changed.notify()

    def close(self, timeout_s: float) -> None:
        """Let go of the camera. A driver that hangs is waited for no longer than `timeout_s`."""
        with self._lock:
            self._closed = True
            grabbers = list(self._left)
            if self._grabber is not None:
                self._grabber.leave()
                grabbers.append(self._grabber)
            self._changed.notify()
        end_s = time.perf_counter() + timeout_s
        for grabber in grabbers:
            grabber.join(max(0.0, end_s - time.perf_counter()))
        if self._watcher is not threading.current_thread():  # who is told an incident may close the source
            self._watcher.join(max(0.0, end_s - time.perf_counter()))

    # What grabbers tell. One that was left behind is not listened to: its frames are of the past.

    def opened(self, grabber: Grabber, rate_hz: float | None) -> None:
        with self._lock:
            if grabber is self._grabber:
                self._receiver.take_rate(rate_hz)
                self._rate_hz = rate_hz
                self._is_open = True
                self._opened_s = time.perf_counter()
                self._changed.notify()

    def grabbed(self, grabber: Grabber, image: Image, taken_ns: int, taken_s: float) -> None:
        with self._lock:
            if grabber is not self._grabber or self._closed:
                return
            self._heard_s = time.perf_counter()
            self._frames_of_opening += 1
            if self._frames_of_opening == 1:
                self._changed.notify()  # the time limit is another one from now on
            if self.lost is not None:
                self._find(taken_s)
            if self._shape is not None and image.shape != self._shape:
                self._tell_size(self._shape, image.shape)
            self._shape = image.shape
            self._receiver.take(image, taken_ns, taken_s, self._openings)

    def spoilt(self, grabber: Grabber) -> None:
        with self._lock:
            if grabber is self._grabber:
                self._receiver.take_damaged()

    def ended(self, grabber: Grabber, error: Exception | None) -> None:
        with self._lock:
            if grabber is not self._grabber or self._closed:
                return
            if error is None:
                self._lose("ended", "the stream ended")
            elif isinstance(error, SourceError):
                self._lose("unreachable", error.what, error)
            else:
                self._lose("driver", " ".join(str(error).split()) or type(error).__name__)

    # What the watching thread does. All of it but the telling is done under the lock.

    def _watch(self) -> None:
        going = True
        while going:
            try:
                going = self._watch_once()
            except Exception as error:  # of whoever is told, or no further thread can be started
                with self._lock:
                    self.failure = error
                    self._receiver.take_failure()

    def _watch_once(self) -> bool:
        """Do what is due, and wait or tell; False where the source is closed."""
        with self._lock:
            if self._closed:
                return False
            wait_s = self._look(time.perf_counter())
            tell = self.on_incident
            if tell is None or not self._untold:
                self._changed.wait(wait_s)
                return True
            told = list(self._untold)
            self._untold.clear()
        for incident in told:
            tell(incident)
        return True

    def _look(self, now_s: float) -> float | None:
        """Do what is due, and return after how many seconds to look again; None: when something happens."""
        if self.failure is not None:
            return None
        if self._grabber is None:
            self._left = [grabber for grabber in self._left if grabber.is_alive]
            if len(self._left) >= MOST_HUNG:
                return self._backoff.most_s
            if now_s < self._retry_s:
                return self._retry_s - now_s
            self._open(now_s)
        due_s, cause, what = self._limit()
        if now_s >= due_s:
            self._lose(cause, what)
            return 0.0
        if self.lost is None and not self._frames_of_opening:
            # Opening may take longer than a camera may be silent; that is an outage already.
            silent_s = self._heard_s + self._stale_after_s()
            if self._wait and now_s >= silent_s:
                self._begin_outage("absent", "it has given no frame yet")
                return 0.0
            due_s = min(due_s, silent_s) if self._wait else due_s
        return max(due_s - now_s, 0.001)

    def _limit(self) -> tuple[float, str, str]:
        """When the present opening is given up, why, and what to say then."""
        if not self._is_open:
            limit_s = self._timeout_s + _OPENING_GRACE_S
            return self._opened_s + limit_s, "hung", f"it cannot be opened within {limit_s:g} s"
        if not self._frames_of_opening:
            what = f"it opens but gives no frame within {self._timeout_s:g} s"
            return self._opened_s + self._timeout_s, "silent", what
        stale_s = self._stale_after_s()
        return self._heard_s + stale_s, "stale", f"no frame for {stale_s:g} s"

    def _stale_after_s(self) -> float:
        # Of a slow camera three periods, but drivers state nonsense, too.
        return max(self._stale_s, min(3 / self._rate_hz, 10 * self._stale_s) if self._rate_hz else 0.0)

    def _open(self, now_s: float) -> None:
        self._openings += 1
        self._frames_of_opening = 0
        self._is_open = False
        self._opened_s = now_s
        first_s, end_s = min(self._stale_s, self._timeout_s), self._stale_s / 4
        grabber = Grabber(self._opener, self, name=self._name, first_s=first_s, end_s=end_s)
        grabber.start()
        self._grabber = grabber

    def _lose(self, cause: str, what: str, error: SourceError | None = None) -> None:
        now_s = time.perf_counter()
        assert self._grabber is not None
        self._grabber.leave()
        self._left.append(self._grabber)
        self._grabber = None
        if not self._reconnect or (self._shape is None and not self._wait):
            self.failure = error or self._error(what)
            self._receiver.take_failure()
        else:
            # A camera that came back for a moment only is not new to us.
            lived = self._frames_of_opening and now_s - self._opened_s > self._stale_s
            self._failures = 1 if lived else self._failures + 1
            self._retry_s = now_s + self._backoff.delay_s(self._failures)
            if self.lost is None:
                self._begin_outage(cause if self._shape is not None else "absent", what)
        self._changed.notify()

    def _error(self, what: str) -> SourceError:
        if self._shape is not None:
            return CameraLostError(f"camera lost: {what}", where=self._name)
        return SourceUnreadableError(
            what, where=self._name, fix="Check the cable, and that no other program is using the camera"
        )

    def _begin_outage(self, cause: str, what: str) -> None:
        silent_ns = round((time.perf_counter() - self._heard_s) * 1e9)
        self._lost_s = self._heard_s
        self.lost = Incident("camera_lost", cause, f"camera lost: {what}", self._name, time.time_ns() - silent_ns)
        self._untold.append(self.lost)
        self._changed.notify()

    def _find(self, taken_s: float) -> None:
        assert self.lost is not None
        # By the clock that nobody sets: a vehicle's time of day is often put right while it drives.
        lasted_s = max(0.0, taken_s - self._lost_s)
        detail = f"camera back after {lasted_s:.1f} s ({self.lost.detail.removeprefix('camera lost: ')})"
        self._untold.append(self.lost.ended(detail, end_ns=self.lost.start_ns + round(lasted_s * 1e9)))
        self.lost = None
        self._changed.notify()

    def _tell_size(self, before: tuple[int, ...], now: tuple[int, ...]) -> None:
        self._sizes += 1
        now_s = time.perf_counter()
        if now_s - self._size_told_s < _SIZES_EVERY_S:
            return  # a camera that cannot make up its mind is told now and then
        detail = f"frames are {now[1]}x{now[0]} px now, {before[1]}x{before[0]} before"
        if self._sizes > 1:
            detail += f"; {self._sizes} changes since this was last told"
        self._sizes, self._size_told_s = 0, now_s
        self._untold.append(Incident.once("frame_size", "changed", detail, self._name))
        self._changed.notify()

"""Cameras made of arithmetic: numbered frames at a given rate, and every way in which a camera fails.

    camera = SimulatedCamera(rate_hz=60)
    source = LiveSource(camera, name="front", kind="camera", reconnect=True)
    camera.unplug()    # reads fail, opening fails
    camera.plug_in()
    camera.hang()      # reads and opening never return, until `go_on`
    camera.error = RuntimeError("the driver fell over")  # the next read raises it, once

The number of a frame can be read from its pixels (`number_of`), so a test knows a frame that no camera gave.
`FaultyCamera` does all of this by itself, at random moments that its seed decides.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np

from edgevad.errors import SourceNotFoundError
from edgevad.sources import Image
from edgevad.sources.capture import Capture

__all__ = ["FaultyCamera", "SimulatedCamera", "number_of", "numbered_image"]

_BITS = 32


def numbered_image(number: int, size_px: tuple[int, int] = (64, 48)) -> Image:
    """A frame of (width, height) >= (32, 2): a gray ramp, and `number` in its first row, a bit a column."""
    width_px, height_px = size_px
    image = np.repeat(np.linspace(40, 200, width_px, dtype=np.uint8)[None], height_px, axis=0)
    image[0, :_BITS] = [255 * (number >> bit & 1) for bit in range(_BITS)]
    return np.ascontiguousarray(np.repeat(image[..., None], 3, axis=2))


def number_of(image: Image) -> int:
    """Which frame this is, by its pixels."""
    return sum(1 << bit for bit in range(_BITS) if image[0, bit, 0] > 127)


class SimulatedCamera:
    """A camera that tests may break; calling it opens it, as often as one likes.

    Args:
        rate_hz: frames a second; None: as many as are read.
        size_px: (width, height) of its frames; may be changed at any time.

    Attributes:
        produced: frames that left it, over all openings; the next one's number.
        openings, releases: how often it was opened (not counting attempts in vain), and let go of.
    """

    def __init__(self, *, rate_hz: float | None = None, size_px: tuple[int, int] = (64, 48)) -> None:
        self.rate_hz = rate_hz
        self.size_px = size_px
        self.produced = 0
        self.openings = self.releases = 0
        self.error: Exception | None = None
        self.lock = threading.Lock()
        self._is_there = True
        self._going = threading.Event()
        self._going.set()

    def __call__(self) -> Capture:
        self._going.wait()
        with self.lock:
            if not self._is_there:
                raise SourceNotFoundError("no such camera", where="simulated")
            self.openings += 1
        return _SimulatedCapture(self)

    def unplug(self) -> None:
        with self.lock:
            self._is_there = False

    def plug_in(self) -> None:
        with self.lock:
            self._is_there = True

    def hang(self) -> None:
        self._going.clear()

    def go_on(self) -> None:
        self._going.set()

    def next_pixels(self) -> tuple[bool, object]:
        """What a read gives, at once."""
        self._going.wait()
        with self.lock:
            if self.error is not None:
                error, self.error = self.error, None
                raise error
            if not self._is_there:
                return False, None
            self.produced += 1
            return True, numbered_image(self.produced - 1, self.size_px)


class _SimulatedCapture(Capture):
    def __init__(self, camera: SimulatedCamera) -> None:
        self._camera = camera
        self.rate_hz = camera.rate_hz
        self._next_s = time.perf_counter()

    def read(self) -> tuple[bool, object]:
        if self._camera.rate_hz is not None:
            self._next_s = max(self._next_s + 1 / self._camera.rate_hz, time.perf_counter() - 0.1)
            time.sleep(max(0.0, self._next_s - time.perf_counter()))
        return self._camera.next_pixels()

    def taken_s(self) -> float | None:
        return self._camera.taken_s() if isinstance(self._camera, FaultyCamera) else None

    def release(self) -> None:
        with self._camera.lock:
            self._camera.releases += 1


class FaultyCamera(SimulatedCamera):
    """A simulated camera that breaks by itself; what it does is a function of `seed` and of how often it is read.

    About every `mean_frames` frames one of these happens: the stream ends and opening fails a few times; a read or an
    opening hangs for `hang_s`; a read raises; frames change size; a frame is damaged (none, empty, of a wrong kind).
    Its clock jitters all the time: stamps that go back, lie ahead, or are of another clock.

    Attributes:
        faults: how often each kind of fault has happened.
    """

    SIZES: Sequence[tuple[int, int]] = ((64, 48), (96, 54), (40, 40))
    KINDS = ("gone", "hang", "hang opening", "raise", "size", "damaged")

    def __init__(self, seed: int, *, rate_hz: float | None = None, mean_frames: int = 500, hang_s: float = 0.1) -> None:
        super().__init__(rate_hz=rate_hz)
        self.faults = dict.fromkeys(self.KINDS, 0)
        self._random = np.random.default_rng(seed)
        self._mean_frames = mean_frames
        self._hang_s = hang_s
        self._vain = 0  # openings yet to fail
        self._hangs_opening = False
        self._ended = False

    def __call__(self) -> Capture:
        with self.lock:
            hangs, self._hangs_opening = self._hangs_opening, False
            if self._vain:
                self._vain -= 1
                raise SourceNotFoundError("nobody answers", where="simulated")
            self._ended = False
        if hangs:
            time.sleep(self._hang_s)
        return super().__call__()

    def next_pixels(self) -> tuple[bool, object]:
        with self.lock:
            if self._ended:
                return False, None
            kind = None
            if self._random.random() < 1 / self._mean_frames:
                kind = str(self._random.choice(self.KINDS))
                self.faults[kind] += 1
            if kind in ("gone", "hang opening"):
                self._ended = True
                self._vain = int(self._random.integers(0, 4)) if kind == "gone" else 0
                self._hangs_opening = kind == "hang opening"
                return False, None
            if kind == "size":
                others = [size for size in self.SIZES if size != self.size_px]
                self.size_px = others[int(self._random.integers(len(others)))]
            if kind == "damaged":
                damaged = (None, np.empty((0, 0, 3), np.uint8), np.zeros((4, 4, 3)), np.zeros(7, np.uint8))
                return True, damaged[int(self._random.integers(len(damaged)))]
        if kind == "raise":
            raise RuntimeError("the driver fell over")
        if kind == "hang":
            time.sleep(self._hang_s)
        return super().next_pixels()

    def taken_s(self) -> float | None:
        """When the latest frame was taken, as this camera's bad clock has it."""
        with self.lock:
            age_s = float(self._random.choice([0.0, 0.001, 0.02, -0.5, 1e9]))
        return None if age_s == 0.0 else time.perf_counter() - age_s

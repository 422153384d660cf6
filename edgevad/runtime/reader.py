"""Decoding and preparing frames in threads of their own, while the consumer scores.

A reader puts what it has into the inbox that all readers of a pipeline share, and the consumer hands it back to that
reader to receive frames. Recordings are read ahead in batches; a camera's frame is asked for when it is wanted.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from queue import SimpleQueue
from typing import Any, NamedTuple

from edgevad.errors import SourceError
from edgevad.runtime.preprocess import ModelInput, Preprocessor
from edgevad.runtime.turns import wake_in_time
from edgevad.sources.frame import Frame
from edgevad.sources.live import LiveSource
from edgevad.sources.source import Source
from edgevad.spec import InputSpec

__all__ = ["CameraReader", "Inbox", "PreparedFrame", "Reader", "RecordingReader", "reader_of"]

# A recording's frame is decoded in the end; a camera's reader that hangs is left behind.
_JOIN_TIMEOUT_S, _CAMERA_JOIN_S = 10.0, 0.3
# Of a recording, besides the one being consumed: one waits, and the decoder has another in hand. Decoding speeds differ
# from frame to frame; this evens them out.
READ_AHEAD_BATCHES = 2
# Of frames larger than this a batch holds half as many: their memory counts, and beside their decoding the model's time
# does not.
LARGE_BYTES = 3 * 640 * 360
# Small pictures are prepared so many at once: their working set stays in a core's cache.
AT_ONCE_FRAMES = 4
# A source slower than this is worth waking the consumer for at every frame.
PATIENCE_S = 0.02
# A frame that is held back by a limit of the rate is replaced by the next one when it is older than this.
_FRESH_S = 0.02
_LOOK_S = 0.05


class PreparedFrame(NamedTuple):
    """A frame, its model input (None while motion has no predecessor), and two times.

    `decoded_s` is when it was decoded, by `time.perf_counter()`; `preparing_s` how long its preparation took.
    """

    frame: Frame
    input: ModelInput | None
    decoded_s: float
    preparing_s: float


# Which reader it comes from, and what that reader wants back. SimpleQueue waits in C and may be written from a signal
# handler.
Inbox = SimpleQueue[tuple["Reader | None", Any]]


class _End(NamedTuple):
    """After the last frame: nothing more, or what went wrong."""

    error: BaseException | None


class Reader(ABC):
    """Reads one source, once, into `inbox`; from `start` to `close`."""

    _join_s = _JOIN_TIMEOUT_S

    def __init__(self, source: Source, inbox: Inbox) -> None:
        self.source = source
        self._inbox = inbox
        self._stopping = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @abstractmethod
    def receive(self, item: Any) -> list[PreparedFrame] | None:
        """What became of an item that this reader put into the inbox: at least one frame; None after the last one.

        Called by the consumer. What goes wrong while reading is raised here, after the frames that came before it.
        """

    def ask(self) -> None:
        """The consumer is done with what it received."""
        return

    def limit_rate(self, rate_hz: float | None) -> None:
        """Give at most so many frames a second from now on; None: as many as can be scored. Cameras only."""
        return

    @abstractmethod
    def retarget(self, spec: InputSpec, last: Frame | None) -> None:
        """Prepare frames for another model from the next one on that the consumer receives, those included that wait.

        `last` is the frame before that, for motion to look back to; None where there was none. Called by the consumer.
        """

    @abstractmethod
    def prepared_again(self, frames: list[PreparedFrame]) -> list[PreparedFrame]:
        """Frames that the consumer has in its hands, prepared for the model of the latest `retarget`, in order."""

    def stop(self) -> None:
        """Read no further. Safe in a signal handler."""
        self._stopping = True

    def close(self) -> None:
        """Stop, close the source, wait for the threads. May be called twice."""
        self.stop()
        # A live source waits for its next frame in there: closing it wakes it.
        self.source.close()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(self._join_s)

    def _thread(self, name: str, target: Any) -> None:
        self._threads.append(threading.Thread(target=target, name=f"edgevad {name}", daemon=True))

    def _put(self, item: Any) -> None:
        self._inbox.put((self, item))


def reader_of(source: Source, spec: InputSpec, inbox: Inbox, *, batch: int) -> Reader:
    """The reader that suits `source`; `batch` is how many frames of a recording are handed over at once, at most."""
    return CameraReader(source, spec, inbox) if source.is_live else RecordingReader(source, spec, inbox, batch=batch)


class CameraReader(Reader):
    """Takes the newest frame of a live source whenever the consumer asks, and prepares it.

    Asked for while the consumer is still busy, it would grow old until the consumer is not.

    Attributes:
        unusable: frames that could not be prepared (a few pixels in size); others follow them.
        preparing_since_s: by `time.perf_counter()`, while a frame is in its hands; else None.
    """

    _join_s = _CAMERA_JOIN_S

    def __init__(self, source: Source, spec: InputSpec, inbox: Inbox) -> None:
        super().__init__(source, inbox)
        # A camera's frame is wanted soon, and nobody else wants the cores meanwhile.
        self._preprocessor = Preprocessor(spec, alone=False)
        self._wanted: SimpleQueue[None] = SimpleQueue()
        self._period_s = 0.0
        self.unusable = 0
        self.preparing_since_s: float | None = None
        self._thread("decoder", self._read)

    def start(self) -> None:
        self.ask()
        super().start()

    def ask(self) -> None:
        self._wanted.put(None)

    def limit_rate(self, rate_hz: float | None) -> None:
        self._period_s = 0.0 if rate_hz is None else 1.0 / rate_hz

    def stop(self) -> None:
        super().stop()
        self._wanted.put(None)

    def receive(self, item: Any) -> list[PreparedFrame] | None:
        if not isinstance(item, _End):
            prepared, preprocessor = item
            return [prepared] if preprocessor is self._preprocessor else self.prepared_again([prepared])
        if item.error is not None and not self._stopping:
            raise item.error
        return None

    def retarget(self, spec: InputSpec, last: Frame | None) -> None:
        # The thread takes up the new one with its next frame, which it is asked for only after the one that waits, or
        # is in its hands, was received: there is never a moment in which both threads prepare with one.
        self._preprocessor = _primed(spec, last, alone=False)

    def prepared_again(self, frames: list[PreparedFrame]) -> list[PreparedFrame]:
        return [_again(self._preprocessor, one) for one in frames]

    def _read(self) -> None:
        end = _End(None)
        try:
            with closing(iter(self.source)) as frames:
                due_s = time.perf_counter()
                while True:
                    self._wanted.get()
                    self._hold_back(due_s)
                    while not self._stopping and (frame := next(frames, None)) is not None:
                        taken_s = self.preparing_since_s = time.perf_counter()
                        preprocessor = self._preprocessor
                        if (prepared := _usable(preprocessor, frame)) is not None:
                            break
                        self.unusable += 1
                    else:
                        break
                    # From when it was due, not from when it came: a limit of 10 Hz on a camera of 15 is then held on
                    # average, not only approached from below.
                    due_s = max(due_s + self._period_s, taken_s - self._period_s)
                    preparing_s = time.perf_counter() - taken_s
                    self._put((PreparedFrame(frame, prepared[0], taken_s, preparing_s), preprocessor))
                    self.preparing_since_s = None
        except BaseException as error:
            end = _End(error)
        self._put(end)

    def _hold_back(self, due_s: float) -> None:
        """Wait as long as the limit of the rate asks for, which may be lifted meanwhile."""
        has_waited = False
        while not self._stopping and (left_s := due_s + self._period_s - time.perf_counter()) > 0:
            has_waited = True
            time.sleep(min(left_s, _LOOK_S))  # an Event's lock must not be taken in a signal handler
        if has_waited and isinstance(self.source, LiveSource):
            # What came meanwhile has aged: that would look like latency, and lower the rate further.
            self.source.pass_over_older(min(self._period_s / 4, _FRESH_S))


def _usable(preprocessor: Preprocessor, frame: Frame) -> tuple[ModelInput | None] | None:
    """None where the frame cannot be used; a camera must not be given up for that."""
    try:
        return (preprocessor(frame),)
    except SourceError:
        return None


def _primed(spec: InputSpec, last: Frame | None, *, alone: bool) -> Preprocessor:
    """A preprocessor that has seen `last`: as at the beginning of a segment, motion looks back to the one there is."""
    preprocessor = Preprocessor(spec, alone=alone)
    if last is not None and spec.motion is not None:
        _usable(preprocessor, last)
    return preprocessor


def _again(preprocessor: Preprocessor, one: PreparedFrame) -> PreparedFrame:
    started_s = time.perf_counter()
    prepared = preprocessor(one.frame)
    return one._replace(input=prepared, preparing_s=one.preparing_s + time.perf_counter() - started_s)


class _Batch:
    """Frames in order: first those that were prepared already, then the others with the times of their decoding."""

    def __init__(self) -> None:
        self.ready: list[PreparedFrame] = []
        self.decoded: deque[tuple[Frame, float]] = deque()

    def __len__(self) -> int:
        return len(self.ready) + len(self.decoded)


class RecordingReader(Reader):
    """Reads a recording ahead of its consumer, in batches of up to `batch` frames.

    Waking the other thread for every frame cost a third of a millisecond on two cores, more than the model.

    One thread decodes and, where the model uses motion, another one prepares; both work outside Python's lock. Without
    motion there is little to prepare, and whoever has the time does it: the decoder while the consumer lets it wait,
    and otherwise the consumer. Handing a frame on once more cost as much on two cores; and where the decoder prepared
    every frame, fresh from the cache, 960x540 was a tenth slower: FFmpeg's threads get their packets from it, too.
    The consumer gives a credit whenever it receives a batch; a batch is handed over against one.
    """

    def __init__(self, source: Source, spec: InputSpec, inbox: Inbox, *, batch: int) -> None:
        super().__init__(source, inbox)
        self._batch = batch
        self._preprocessor = Preprocessor(spec, alone=True)
        # The credits are what bounds the queues.
        self._credits: SimpleQueue[None] = SimpleQueue()
        for _ in range(READ_AHEAD_BATCHES - 1):
            self._credits.put(None)
        self._prepares_aside = spec.motion is not None
        # Of another model, since one was given: the consumer prepares then, whatever was prepared before.
        self._late: Preprocessor | None = None
        self._failure: BaseException | None = None  # while preparing in the consumer
        self._decoded: SimpleQueue[_Batch | _End] = SimpleQueue()
        self._thread("decoder", self._decode)
        if self._prepares_aside:
            self._thread("preprocessor", self._prepare)

    def receive(self, item: Any) -> list[PreparedFrame] | None:
        if self._failure is not None:
            raise self._failure
        if isinstance(item, _End):
            if item.error is not None and not self._stopping:
                raise item.error
            return None
        self._credits.put(None)
        if self._prepares_aside and self._late is None:
            batch: list[PreparedFrame] = item
            return batch
        ready, self._failure = self._prepared_late(item) if self._late is not None else self._prepared_all(item)
        if self._failure is not None:
            if not ready:
                raise self._failure
            self._put(_End(self._failure))  # the decoder's next batch may be long in coming
        return ready

    def stop(self) -> None:
        super().stop()
        self._credits.put(None)
        self._decoded.put(_End(None))

    def retarget(self, spec: InputSpec, last: Frame | None) -> None:
        # Batches that were read ahead lie in up to three places, and motion needs them in order: from now on they are
        # prepared where they all come through. A recording whose model is changed under way is rare.
        self._late = _primed(spec, last, alone=True)

    def prepared_again(self, frames: list[PreparedFrame]) -> list[PreparedFrame]:
        assert self._late is not None
        return [_again(self._late, one) for one in frames]

    def _decode(self) -> None:
        clock, credit = time.perf_counter, self._credits.get
        give = self._decoded.put if self._prepares_aside else self._put
        batch = _Batch()
        end = _End(None)
        try:
            with closing(iter(self.source)) as frames:
                handed_s = clock()
                known = False
                while not self._stopping and (frame := next(frames, None)) is not None:
                    decoded_s = clock()
                    if not known:
                        known = True
                        # Of large pictures the decoder's own threads would be held up.
                        if frame.nbytes <= LARGE_BYTES:
                            wake_in_time()
                    batch.decoded.append((frame, decoded_s))
                    if len(batch) < self._most(frame) and decoded_s - handed_s <= PATIENCE_S:
                        continue
                    while batch.decoded and self._credits.empty() and self._prepare_in_advance(batch):
                        pass
                    credit()
                    give(batch)
                    batch = _Batch()
                    handed_s = clock()
        except BaseException as error:
            end = _End(error)
        if len(batch):
            give(batch)
        give(end)

    def _most(self, frame: Frame) -> int:
        """How many frames like this one a batch holds."""
        return self._batch if frame.nbytes <= LARGE_BYTES else -(-self._batch // 2)

    def _prepare_in_advance(self, batch: _Batch) -> bool:
        """Prepare the next frames of `batch` in the decoder's thread, if that is no other's task and goes well."""
        if self._prepares_aside or self._late is not None:
            return False
        try:
            batch.ready += self._prepared(batch)
        except Exception:
            # It goes wrong again with the consumer, in its turn.
            return False
        return True

    def _prepare(self) -> None:
        take, give = self._decoded.get, self._put
        try:
            while True:
                batch = take()
                if isinstance(batch, _End):
                    give(batch)
                    return
                ready, error = self._prepared_all(batch)
                if ready:
                    give(ready)
                if error is not None:
                    give(_End(error))
                    return
        except BaseException as error:
            give(_End(error))

    def _prepared_all(self, batch: _Batch) -> tuple[list[PreparedFrame], BaseException | None]:
        """The batch as far as it could be prepared, and what went wrong then."""
        ready = batch.ready
        try:
            while batch.decoded:
                if self._late is None:
                    ready += self._prepared(batch)
                else:
                    frame, decoded_s = batch.decoded.popleft()
                    ready.append(PreparedFrame(frame, None, decoded_s, 0.0))  # the consumer's task by now
        except BaseException as error:
            return ready, error
        return ready, None

    def _prepared_late(self, item: _Batch | list[PreparedFrame]) -> tuple[list[PreparedFrame], BaseException | None]:
        """As `_prepared_all`, for another model than the one that some of the frames may have been prepared for."""
        if isinstance(item, _Batch):
            waiting = item.ready + [PreparedFrame(frame, None, decoded_s, 0.0) for frame, decoded_s in item.decoded]
        else:
            waiting = item
        ready: list[PreparedFrame] = []
        try:
            for one in waiting:
                ready += self.prepared_again([one])
        except BaseException as error:
            return ready, error
        return ready, None

    def _prepared(self, batch: _Batch) -> list[PreparedFrame]:
        """The next frame of `batch`, or a few at once; they are taken out of it where that goes well."""
        started_s = time.perf_counter()
        some = list(islice(batch.decoded, AT_ONCE_FRAMES))
        inputs: Sequence[ModelInput | None] | None = self._preprocessor.at_once([frame for frame, _ in some])
        if inputs is None:
            some = some[:1]
            inputs = [self._preprocessor(some[0][0])]
        each_s = (time.perf_counter() - started_s) / len(some)
        for _ in some:
            batch.decoded.popleft()
        return [PreparedFrame(frame, item, at_s, each_s) for (frame, at_s), item in zip(some, inputs, strict=True)]

"""Decoding and preparing frames in a thread of their own, while the consumer scores."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from queue import SimpleQueue
from typing import Any, NamedTuple

from edgevad.runtime.preprocess import ModelInput, Preprocessor
from edgevad.sources.frame import Frame
from edgevad.sources.source import Source
from edgevad.spec import InputSpec

__all__ = ["FrameReader", "PreparedFrame"]

_JOIN_TIMEOUT_S = 10.0
# Of a recording, besides the one being consumed: one waits, and the decoder has another in hand. Decoding speeds differ
# from frame to frame; this evens them out.
READ_AHEAD_BATCHES = 2
# Of frames larger than this a batch holds half as many: their memory counts, and beside their decoding the model's time
# does not.
LARGE_BYTES = 3 * 640 * 360
# A source slower than this is worth waking the consumer for at every frame.
PATIENCE_S = 0.02


class PreparedFrame(NamedTuple):
    """A frame, its model input (None while motion has no predecessor), and two times.

    `decoded_s` is when it was decoded, by `time.perf_counter()`; `preparing_s` how long its preparation took.
    """

    frame: Frame
    input: ModelInput | None
    decoded_s: float
    preparing_s: float


class _Batch:
    """Frames in order: first those that were prepared already, then the others with the times of their decoding."""

    def __init__(self) -> None:
        self.ready: list[PreparedFrame] = []
        self.decoded: deque[tuple[Frame, float]] = deque()

    def __len__(self) -> int:
        return len(self.ready) + len(self.decoded)


class FrameReader:
    """Reads ahead of its consumer; iterate it once, then close it.

    A recording is read ahead in batches of up to `batch` frames: waking the other thread for every frame cost a third
    of a millisecond on two cores, more than the model. A live source gives its frames one by one, and is asked for its
    newest at the moment the consumer starts on the previous one.

    One thread decodes and, where the model uses motion, another one prepares; both work outside Python's lock. Without
    motion there is little to prepare, and whoever has the time does it: the decoder while the consumer lets it wait,
    and otherwise the consumer. Handing a frame on once more cost as much on two cores; and where the decoder prepared
    every frame, fresh from the cache, 960x540 was a tenth slower: FFmpeg's threads get their packets from it, too.
    The consumer gives a credit whenever it takes a batch. A batch of a recording is handed over, and a live source's
    next frame is asked for, against one.
    What goes wrong while reading is raised in the consumer, after the frames that came before it.
    """

    def __init__(self, source: Source, spec: InputSpec, *, batch: int) -> None:
        self._source = source
        self._is_live = source.is_live
        self._batch = 1 if self._is_live else batch
        # A camera's frame is wanted soon, and nobody else wants the cores meanwhile.
        self._preprocessor = Preprocessor(spec, alone=not self._is_live)
        # SimpleQueue waits in C and may be written from a signal handler; the credits are what bounds it.
        self._credits: SimpleQueue[None] = SimpleQueue()
        self._decoded: SimpleQueue[_Batch | _End] = SimpleQueue()
        self._ready: SimpleQueue[list[PreparedFrame] | _End] = SimpleQueue()
        self._stopping = False
        self._prepares_aside = spec.motion is not None
        for _ in range(1 if self._is_live else READ_AHEAD_BATCHES - 1):
            self._credits.put(None)
        targets = {"decoder": self._decode}
        if self._prepares_aside:
            targets["preprocessor"] = self._prepare
        self._threads = [
            threading.Thread(target=target, name=f"edgevad {name}", daemon=True) for name, target in targets.items()
        ]
        self._started = False

    def __iter__(self) -> Iterator[list[PreparedFrame]]:
        """Batches of at least one frame, in order."""
        if not (self._started or self._stopping):
            self._started = True
            for thread in self._threads:
                thread.start()
        give = self._credits.put
        queue: SimpleQueue[Any] = self._ready if self._prepares_aside else self._decoded
        while True:
            batch: Any = queue.get()
            if isinstance(batch, _End):
                if batch.error is not None and not self._stopping:
                    raise batch.error
                return
            give(None)
            if self._stopping:
                return
            if self._prepares_aside:
                yield batch
                continue
            ready, error = self._prepared_all(batch)
            if ready:
                yield ready
            if error is not None:
                raise error

    def stop(self) -> None:
        """End the iteration at the next batch; frames read ahead are forgotten. Safe in a signal handler."""
        self._stopping = True
        self._credits.put(None)
        self._decoded.put(_End(None))
        self._ready.put(_End(None))

    def close(self) -> None:
        """Stop, wait for the threads, close the source. May be called twice."""
        self.stop()
        # A live source waits for its next frame in there: closing it wakes it.
        self._source.close()
        if self._started:
            for thread in self._threads:
                thread.join(_JOIN_TIMEOUT_S)

    def _decode(self) -> None:
        clock, credit, give = time.perf_counter, self._credits.get, self._decoded.put
        batch = _Batch()
        end = _End(None)
        try:
            with closing(iter(self._source)) as frames:
                if self._is_live:
                    credit()
                handed_s = clock()
                while not self._stopping and (frame := next(frames, None)) is not None:
                    decoded_s = clock()
                    batch.decoded.append((frame, decoded_s))
                    if len(batch) < self._most(frame) and decoded_s - handed_s <= PATIENCE_S:
                        continue
                    if not self._is_live:
                        while batch.decoded and self._credits.empty() and self._prepare_in_advance(batch):
                            pass
                        credit()
                    give(batch)
                    batch = _Batch()
                    if self._is_live:
                        credit()
                    handed_s = clock()
        except BaseException as error:
            end = _End(error)
        if len(batch):
            give(batch)
        give(end)

    def _most(self, frame: Frame) -> int:
        """How many frames like this one a batch holds."""
        return self._batch if frame.image.nbytes <= LARGE_BYTES else -(-self._batch // 2)

    def _prepare_in_advance(self, batch: _Batch) -> bool:
        """Prepare the next frame of `batch` in the decoder's thread, if that is no other's task and goes well."""
        if self._is_live or self._prepares_aside:
            return False
        try:
            batch.ready.append(self._prepared(*batch.decoded[0]))
        except Exception:
            # It goes wrong again with the consumer, in its turn.
            return False
        batch.decoded.popleft()
        return True

    def _prepare(self) -> None:
        take, give = self._decoded.get, self._ready.put
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
            for item in batch.decoded:
                ready.append(self._prepared(*item))
        except BaseException as error:
            return ready, error
        return ready, None

    def _prepared(self, frame: Frame, decoded_s: float) -> PreparedFrame:
        started_s = time.perf_counter()
        prepared = self._preprocessor(frame)
        return PreparedFrame(frame, prepared, decoded_s, time.perf_counter() - started_s)


class _End(NamedTuple):
    """After the last frame: nothing more, or what went wrong."""

    error: BaseException | None

"""Decoding and preparing frames in a thread of their own, while the consumer scores."""

from __future__ import annotations

import threading
import time
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


class PreparedFrame(NamedTuple):
    """A frame, its model input (None while motion has no predecessor), and two times.

    `decoded_s` is when it was decoded, by `time.perf_counter()`; `preparing_s` how long its preparation took.
    """

    frame: Frame
    input: ModelInput | None
    decoded_s: float
    preparing_s: float


class FrameReader:
    """Reads at most `depth` frames ahead of its consumer; iterate it once, then close it.

    One thread decodes and, where the model uses motion, another one prepares; both work outside Python's lock. Without
    motion there is little to prepare, and the consumer does it: handing a frame on once more cost as much on two cores.
    A frame is decoded only against a credit, and the consumer gives one back whenever it takes a frame. With a depth of
    1, a live source is thus asked for its newest frame at the moment the consumer starts on the previous one.
    What goes wrong while reading is raised in the consumer, after the frames that came before it.
    """

    def __init__(self, source: Source, spec: InputSpec, *, depth: int) -> None:
        self._source = source
        self._preprocessor = Preprocessor(spec)
        # SimpleQueue waits in C and may be written from a signal handler; the credits are what bounds it.
        self._credits: SimpleQueue[None] = SimpleQueue()
        self._decoded: SimpleQueue[tuple[Frame, float] | _End] = SimpleQueue()
        self._ready: SimpleQueue[PreparedFrame | _End] = SimpleQueue()
        self._stopping = False
        self._prepares_aside = spec.motion is not None
        for _ in range(depth):
            self._credits.put(None)
        targets = {"decoder": self._decode}
        if self._prepares_aside:
            targets["preprocessor"] = self._prepare
        self._threads = [
            threading.Thread(target=target, name=f"edgevad {name}", daemon=True) for name, target in targets.items()
        ]
        self._started = False

    def __iter__(self) -> Iterator[PreparedFrame]:
        if not (self._started or self._stopping):
            self._started = True
            for thread in self._threads:
                thread.start()
        give = self._credits.put
        queue: SimpleQueue[Any] = self._ready if self._prepares_aside else self._decoded
        while True:
            item: PreparedFrame | tuple[Frame, float] | _End = queue.get()
            if isinstance(item, _End):
                if item.error is not None and not self._stopping:
                    raise item.error
                return
            if self._stopping:
                return
            give(None)
            yield item if isinstance(item, PreparedFrame) else self._prepared(*item)

    def stop(self) -> None:
        """End the iteration at the next frame; frames read ahead are forgotten. Safe in a signal handler."""
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
        try:
            with closing(iter(self._source)) as frames:
                while True:
                    credit()
                    frame = None if self._stopping else next(frames, None)
                    if frame is None:
                        break
                    give((frame, clock()))
            give(_End(None))
        except BaseException as error:
            give(_End(error))

    def _prepare(self) -> None:
        take, give = self._decoded.get, self._ready.put
        try:
            while True:
                item = take()
                if isinstance(item, _End):
                    give(item)
                    return
                give(self._prepared(*item))
        except BaseException as error:
            give(_End(error))

    def _prepared(self, frame: Frame, decoded_s: float) -> PreparedFrame:
        started_s = time.perf_counter()
        prepared = self._preprocessor(frame)
        return PreparedFrame(frame, prepared, decoded_s, time.perf_counter() - started_s)


class _End(NamedTuple):
    """After the last frame: nothing more, or what went wrong."""

    error: BaseException | None

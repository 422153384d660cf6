"""Frame by frame: frame score, sliding window, anomaly score, event; one engine for any number of sources."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from queue import Empty
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgevad.bundle.manifest import Calibration
from edgevad.errors import BackendError
from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.runtime.backends.backend import BATCH_FRAMES
from edgevad.runtime.counters import FrameCounters
from edgevad.runtime.reader import CameraReader, Inbox, PreparedFrame, Reader, reader_of
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.stream import RawScores, Result, State, StreamState
from edgevad.runtime.threshold import Hysteresis
from edgevad.sources.frame import Frame
from edgevad.sources.live import LiveSource
from edgevad.sources.source import Source

if TYPE_CHECKING:
    from edgevad.runtime.governor import Governor
    from edgevad.runtime.lens import LensSpec
    from edgevad.runtime.power import MachineReading

__all__ = ["Pipeline", "Result", "State"]

# So often the heart beats where no frame comes.
_HEARTBEAT_S = 0.5
# Resizing takes milliseconds, optical flow tens of them.
_STUCK_S = 5.0


class _Stream:
    """A source with its reader, what was decided about it so far, and what became of its frames."""

    def __init__(self, reader: Reader, state: StreamState) -> None:
        self.reader = reader
        self.state = state
        self.given = self.scored = self.faulty = self.discarded = 0
        self.over = False
        self.last: Frame | None = None  # that was decided about

    def counters(self) -> FrameCounters:
        source = self.reader.source
        if not isinstance(source, LiveSource):
            return FrameCounters(
                source.name, self.given, self.given, self.scored, self.faulty, 0, 0, source.skipped, is_lost=False
            )
        given = self.given  # before the source's own figures: it may give more meanwhile, never fewer
        counts = source.counts()
        unusable = self.reader.unusable if isinstance(self.reader, CameraReader) else 0
        dropped = counts.dropped + unusable + self.discarded
        return FrameCounters(
            source.name,
            counts.captured,
            given,
            self.scored,
            self.faulty,
            dropped,
            counts.captured - dropped - given,
            source.skipped + unusable,
            source.is_lost or self.over,
        )

    def discard(self) -> None:
        """The run is over: frames that nobody will see count as dropped."""
        self.discarded += self.counters().waiting


class _Call(NamedTuple):
    """Something the iterating thread is to do between two frames."""

    function: Callable[[], None]


class _Swap(NamedTuple):
    """Another model, to be taken up between two frames."""

    scorer: Scorer
    hysteresis: Hysteresis
    done: Callable[[], None] | None


_Received = list[tuple[_Stream, list[PreparedFrame]]]


class Pipeline:
    """Scores the frames of its sources, once.

        with Pipeline(scorer, source) as pipeline:
            for result in pipeline:
                ...
            events = pipeline.finish()

    Frames are decoded, and motion is computed, in threads; everything else, the backend included, runs in the one that
    iterates. Of a recording every frame counts; a live source gives its newest whenever the scorer is free, and those
    it replaced are counted. Cameras share the engine and nothing else: each has its windows, events and lens.
    Memory does not grow with the number of frames. Leaving the `with` block, or the loop, at any frame ends the threads
    and closes the sources.

    Args:
        hysteresis: when events start and end; None means at the scorer's calibrated threshold.
        lens: how to tell a lens that shows nothing; None does not ask. Frames that show nothing raise no anomaly.
        governor: lowers the frame rate of cameras where this machine gets too slow or too hot.
        on_incident: told what happens to the sources and the machine, in the iterating thread.
        on_event: told events that are over without a frame that shows it, since their camera was lost; also in the
            iterating thread. Without it, `finish` gives them.
        on_failure: asked in the iterating thread what to go on with where the engine fails or gives no numbers: another
            scorer and its hysteresis, by which the very frames that failed are scored; None ends the run with the
            error.
        heartbeat: called in the iterating thread after every batch, and twice a second where no frames come: as long as
            it is called, frames are scored or would be. Not while a camera's reader hangs with a frame in its hands.

    Attributes:
        stopped: `stop` was called.
        on_replaced: called in the iterating thread when another scorer is in use.
        on_scored: given every frame as it went to the model, and the verdict on it, in the iterating thread; None: no
            one is (edgevad/runtime/shadow.py).
    """

    def __init__(
        self,
        scorer: Scorer,
        source: Source | Sequence[Source],
        *,
        hysteresis: Hysteresis | None = None,
        lens: LensSpec | None = None,
        governor: Governor | None = None,
        on_incident: Callable[[Incident], None] | None = None,
        on_event: Callable[[Event], None] | None = None,
        on_failure: Callable[[BackendError], tuple[Scorer, Hysteresis] | None] | None = None,
        heartbeat: Callable[[], None] | None = None,
    ) -> None:
        self.scorer = scorer
        self.sources = (source,) if isinstance(source, Source) else tuple(source)
        self.hysteresis = Hysteresis(scorer.calibration.threshold) if hysteresis is None else hysteresis
        self.on_incident = on_incident
        self.on_event = on_event
        self.on_failure = on_failure
        self.on_replaced: Callable[[], None] | None = None
        self.heartbeat = heartbeat
        self.stopped = False
        self.on_scored: Callable[[PreparedFrame, Result], None] | None = None
        self._governor = governor
        self._untold: list[Event] = []
        self._swaps: deque[_Swap] = deque()
        self._inbox: Inbox = Inbox()
        self._streams: dict[Reader, _Stream] = {}
        ids = count(1)
        for one in self.sources:
            reader = reader_of(one, scorer.input, self._inbox, batch=BATCH_FRAMES)
            if isinstance(one, LiveSource):
                one.on_incident = self.report
            state = StreamState(
                scorer.calibration, self.hysteresis, ids=ids, lens=lens, is_live=one.is_live, where=scorer.path
            )
            self._streams[reader] = _Stream(reader, state)
        self._is_started = self._is_closed = False

    @property
    def is_live(self) -> bool:
        """Whether there is a camera among the sources."""
        return any(source.is_live for source in self.sources)

    @property
    def is_over(self) -> bool:
        """No further frame will be decided about."""
        return self.stopped or self._is_closed

    @property
    def rate_hz(self) -> float | None:
        """Frames a second that the governor allows each camera; None where it lets all pass."""
        return None if self._governor is None else self._governor.rate_hz

    def __iter__(self) -> Iterator[Result]:
        """Raises SourceError where the (last) source fails, BackendError where the engine does."""
        if self._is_closed:
            return
        if not self._is_started:
            self._is_started = True
            for reader in self._streams:
                reader.start()
        try:
            while not self.stopped and not all(stream.over for stream in self._streams.values()):
                while self._swaps:
                    self._switch(self._swaps.popleft())
                received = self._receive()
                if received:
                    yield from self._results(received)
                if self.heartbeat is not None and not self._is_stuck():
                    self.heartbeat()
        finally:
            self.close()

    def finish(self) -> list[Event]:
        """After the last frame: the events that were still open, closed at their last frames."""
        self.close()
        self._settle()
        incidents = []
        for stream in self._streams.values():
            event, incident = stream.state.finish()
            if event is not None:
                self._untold.append(event)
            if incident is not None:
                incidents.append(incident)
        for incident in incidents:
            self._tell(incident)  # what that raises costs no event: they are given when this is called again
        events, self._untold = self._untold, []
        return events

    def counters(self) -> list[FrameCounters]:
        """What became of each source's frames so far. May be asked by any thread."""
        return [stream.counters() for stream in self._streams.values()]

    def report(self, incident: Incident) -> None:
        """Have `on_incident` told in the iterating thread, in its turn. Any thread may call this."""
        self.call(lambda: self._took(incident))

    def call(self, function: Callable[[], None]) -> None:
        """Have `function` called in the iterating thread, between two frames. Any thread or signal handler may."""
        self._inbox.put((None, _Call(function)))

    def apply(self, calibration: Calibration, hysteresis: Hysteresis) -> None:
        """Decide by these from the next frame on; no frame is lost. To be called between two frames (see `call`)."""
        self.hysteresis = hysteresis
        for stream in self._streams.values():
            stream.state.apply(calibration, hysteresis)

    def replace(self, scorer: Scorer, hysteresis: Hysteresis, *, done: Callable[[], None] | None = None) -> None:
        """Go on with another model between two frames: none is lost, and none is scored twice. Any thread may call it.

        Frames that wait are prepared anew where the new model takes others. The event under way goes on, windows start
        empty, and no event starts for the warm-up. The old scorer is not closed; `done` is called in the iterating
        thread when it is not used any more (never, where the run ends before).
        """
        self.call(lambda: self._swaps.append(_Swap(scorer, hysteresis, done)))

    def machine(self, reading: MachineReading) -> None:
        """Let the governor know how the machine is. Any thread may call this."""
        governor = self._governor
        if governor is not None:
            self.call(lambda: self._govern(governor.read(reading, time.monotonic())))

    def stop(self) -> None:
        """Make the iteration end at the next frame. Safe in a signal handler or another thread."""
        self.stopped = True
        for reader in self._streams:
            reader.stop()
        self._inbox.put((None, _Call(lambda: None)))

    def close(self) -> None:
        """End the threads and close the sources. May be called twice."""
        if self._is_closed:
            return
        self._is_closed = True
        for reader in self._streams:
            reader.stop()
        # At once: a driver that hangs is waited for a moment, and sixteen of them, one after the other, would be felt.
        closing = [threading.Thread(target=reader.close, name="edgevad close") for reader in self._streams]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _receive(self) -> _Received:
        """What is ready of any source; nothing where nothing came for a heartbeat, or only something to do."""
        try:
            items = [self._inbox.get(timeout=_HEARTBEAT_S)]
        except Empty:
            return []
        room = len(self._streams) - 1
        while room > 0 and not self._inbox.empty():
            items.append(self._inbox.get())
            room -= 1
        received = []
        for reader, item in items:
            if reader is None:
                item.function()
            elif (frames := self._received(self._streams[reader], item)) is not None:
                received.append((self._streams[reader], frames))
        return received

    def _received(self, stream: _Stream, item: Any) -> list[PreparedFrame] | None:
        if stream.over:
            return None
        try:
            frames = stream.reader.receive(item)
        except Exception as error:
            stream.over = True
            # One source that fails must not take the others with it.
            if all(other.over for other in self._streams.values()):
                raise
            self._tell(Incident.once("camera_lost", "failed", str(error), stream.reader.source.name))
            return None
        stream.over = frames is None
        return frames

    def _results(self, received: _Received) -> Iterator[Result]:
        received, found, call_s = self._scored(received)
        share_s = call_s / max(len(found), 1)
        scored = iter(found)
        for stream, frames in received:
            raw = [next(scored) if one.input is not None else None for one in frames]
            heat = iter(stream.state.heat([one for one in raw if one is not None]))
            for prepared, one in zip(frames, raw, strict=True):
                if self.stopped:
                    return
                result, incident = stream.state.decide(
                    prepared, one, next(heat, None) if one is not None else None, share_s, call_s
                )
                self._count(stream, result)
                if incident is not None:
                    self._tell(incident)
                if self.on_scored is not None:
                    self.on_scored(prepared, result)
                yield result
            stream.reader.ask()

    def _scored(self, received: _Received) -> tuple[_Received, list[RawScores], float]:
        """The frames, what the engine says of those that have an input, and how many seconds its call took.

        Where it fails, and `on_failure` knows another one, the same frames are prepared and scored for that one.
        """
        while True:
            try:
                found, call_s = self._score([one for _, frames in received for one in frames])
                if self.on_failure is not None:
                    _check_sound(received, found)
                return received, found, call_s
            except Exception as error:
                if self.on_failure is None:
                    raise
                told = error if isinstance(error, BackendError) else BackendError(str(error) or type(error).__name__)
                instead = self.on_failure(told)
                if instead is None:
                    raise
                if self._switch(_Swap(*instead, None)):
                    received = [(stream, stream.reader.prepared_again(frames)) for stream, frames in received]

    def _switch(self, swap: _Swap) -> bool:
        """Use another scorer from here on; whether frames have to be prepared in another way for it."""
        before, after = self.scorer.input, swap.scorer.input
        resized = (before.height_px, before.width_px) != (after.height_px, after.width_px)
        is_other = resized or before.motion != after.motion
        self.scorer, self.hysteresis = swap.scorer, swap.hysteresis
        for reader, stream in self._streams.items():
            if is_other:
                reader.retarget(after, stream.last)
            stream.state.replace(swap.scorer.calibration, swap.hysteresis, where=swap.scorer.path, resized=resized)
        if swap.done is not None:
            swap.done()
        if self.on_replaced is not None:
            self.on_replaced()
        return is_other

    def _count(self, stream: _Stream, result: Result) -> None:
        stream.given += 1
        stream.last = result.frame
        if result.state == "fault":
            stream.faulty += 1
        elif result.anomaly_score is not None:
            stream.scored += 1
            if self._governor is not None and stream.reader.source.is_live:
                self._govern(self._governor.observe(result.latency_s, time.monotonic()))

    def _govern(self, change: Incident | None) -> None:
        if change is not None and self._governor is not None:
            for reader in self._streams:
                reader.limit_rate(self._governor.rate_hz)
            self._tell(change)

    def _took(self, incident: Incident) -> None:
        if incident.kind == "camera_lost" and incident.lasts:
            # Whoever waits for the end of an event must not wait for the camera.
            lost = [one for one in self._streams.values() if one.reader.source.name == incident.source_id]
            for event in filter(None, (stream.state.lose() for stream in lost)):
                if self.on_event is None:
                    self._untold.append(event)
                else:
                    self.on_event(event)
        self._tell(incident)

    def _is_stuck(self) -> bool:
        """Whether a camera's frame has not come through its preparation for so long that it never will."""
        now_s = time.perf_counter()
        sinces_s = [r.preparing_since_s for r in self._streams if isinstance(r, CameraReader)]
        return any(since_s is not None and now_s - since_s > _STUCK_S for since_s in sinces_s)

    def _tell(self, incident: Incident) -> None:
        if self.on_incident is not None:
            self.on_incident(incident)

    def _settle(self) -> None:
        """Of what still lies in the inbox: do what is to be done, and count the frames that nobody will see."""
        while not self._inbox.empty():
            reader, item = self._inbox.get()
            if reader is None:
                item.function()
        for stream in self._streams.values():
            stream.discard()

    def _score(self, frames: list[PreparedFrame]) -> tuple[list[RawScores], float]:
        """What the engine says of those frames that have an input, and how many seconds that took."""
        started_s = time.perf_counter()
        items = [one.input for one in frames if one.input is not None]
        fixed = self.scorer.backend.batch
        size = fixed or max(len(items), 1)
        found: list[RawScores] = []
        for start in range(0, len(items), size):
            chunk = items[start : start + size]
            wanted = len(chunk)
            if fixed is not None:
                chunk = chunk + chunk[-1:] * (fixed - wanted)  # filled up with its last frame
            motion = [item.motion for item in chunk if item.motion is not None]
            scores = self.scorer.backend.score(
                np.stack([item.image for item in chunk]), np.stack(motion) if motion else None
            )
            seen = np.asarray(np.isfinite(scores.heatmap).all(axis=(1, 2, 3))).tolist()
            rows = scores.score[:wanted].tolist()
            found += [RawScores(tuple(rows[k]), scores.heatmap[k], seen[k]) for k in range(wanted)]
        return found, time.perf_counter() - started_s


def _check_sound(received: _Received, found: list[RawScores]) -> None:
    """Raises BackendError where the engine gave something of one of the frames that nothing can be decided by."""
    scored = iter(found)
    for stream, frames in received:
        for one in frames:
            if one.input is not None and (error := stream.state.unsound(one.frame, next(scored))) is not None:
                raise error

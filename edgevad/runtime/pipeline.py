"""Frame by frame: frame score, sliding window, anomaly score, event."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgevad.errors import BackendError
from edgevad.events.event import Event
from edgevad.runtime.heat import HeatScale
from edgevad.runtime.reader import FrameReader, PreparedFrame
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.threshold import EventDetector, Hysteresis
from edgevad.runtime.window import SlidingWindow
from edgevad.sources.frame import Frame
from edgevad.sources.source import Source

__all__ = ["Pipeline", "Result", "State"]

State = Literal["warm-up", "normal", "anomaly"]

# Decoding speeds differ from frame to frame (key frames); this evens them out.
READ_AHEAD_BATCHES, BATCH_FRAMES = 2, 4


@dataclass(frozen=True, slots=True)
class Result:
    """What the pipeline decided about one frame.

    Attributes:
        frame: as the source gave it.
        parts: (P,) raw scores of the frame by itself, in the order of the calibration's parts; empty in "warm-up".
        deviates: (P,) the same after the sliding window, as normal deviates; empty in state "warm-up".
        frame_score: the largest deciding deviate of the frame by itself, before any window; None in state "warm-up".
        anomaly_score: the largest of `deviates` among the parts that decide; None in state "warm-up".
        cause: name of that part, i.e. what was rare; None in state "warm-up".
        is_anomaly: the frame is inside an event.
        state: "warm-up" while motion has no earlier frame of this segment to look back to, else "normal" or "anomaly".
        heatmap: (hh, hw) float32 >= 0, local errors, 1 where they alone would raise an alarm; None in state "warm-up".
        latency_s: from the decoded frame to this decision. Of recordings, which are read ahead, the time the frame lay
            waiting is left out.
        event: the event that this frame showed to be over (it ended at an earlier frame), or None.
    """

    frame: Frame
    parts: tuple[float, ...]
    deviates: tuple[float, ...]
    frame_score: float | None
    anomaly_score: float | None
    cause: str | None
    is_anomaly: bool
    state: State
    heatmap: npt.NDArray[np.float32] | None
    latency_s: float
    event: Event | None


class Pipeline:
    """Scores the frames of one source, once.

        with Pipeline(scorer, source) as pipeline:
            for result in pipeline:
                ...
        last = pipeline.finish()

    Frames are decoded, and motion is computed, in threads; everything else, the backend included, runs in the one that
    iterates. Of a recording every frame counts; a live source gives its newest. Memory does not grow with the number
    of frames. Leaving the `with` block, or the loop, at any frame ends the threads and closes the source.

    Args:
        hysteresis: when events start and end; None means at the scorer's calibrated threshold.

    Attributes:
        stopped: `stop` was called.
    """

    def __init__(self, scorer: Scorer, source: Source, *, hysteresis: Hysteresis | None = None) -> None:
        self.scorer = scorer
        self.source = source
        self.hysteresis = Hysteresis(scorer.calibration.threshold) if hysteresis is None else hysteresis
        self.stopped = False
        self._calibration = scorer.calibration
        self._windows = [SlidingWindow(scorer.calibration.window) for _ in scorer.calibration.parts]
        self._heat = HeatScale(scorer.calibration, self.hysteresis.threshold)
        self._detector = EventDetector(self.hysteresis)
        self._is_live = source.is_live
        depth, batch = (1, 1) if source.is_live else (READ_AHEAD_BATCHES, BATCH_FRAMES)
        self._reader = FrameReader(source, scorer.input, depth=depth, batch=batch)

    def __iter__(self) -> Iterator[Result]:
        """Raises SourceError where the source fails, BackendError where the engine does."""
        try:
            for prepared in self._reader:
                yield self._decide(prepared)
        finally:
            self._reader.close()

    def finish(self) -> Event | None:
        """After the last frame: the event that was still open, closed at its last frame; None where there is none."""
        return self._detector.finish()

    def stop(self) -> None:
        """Make the iteration end at the next frame. Safe in a signal handler or another thread."""
        self.stopped = True
        self._reader.stop()

    def close(self) -> None:
        """End the threads and close the source. May be called twice."""
        self._reader.close()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _decide(self, prepared: PreparedFrame) -> Result:
        frame, item, decoded_s, preparing_s = prepared
        taken_s = time.perf_counter()
        # Live, the wait for the consumer is part of the latency; of a recording it only means that reading is quicker.
        origin_s = decoded_s if self._is_live else taken_s - preparing_s
        if item is None:
            elapsed_s = time.perf_counter() - origin_s
            return Result(frame, (), (), None, None, None, False, "warm-up", None, elapsed_s, None)
        motion = None if item.motion is None else item.motion[None]
        scores = self.scorer.backend.score(item.image[None], motion)
        parts = tuple(scores.score[0].tolist())
        if not all(map(math.isfinite, parts)) or len(parts) != len(self._windows):
            raise BackendError(
                f"frame {frame.index} of {frame.source_id} scores {parts}",
                where=self.scorer.path,
                expected="finite numbers, " + ", ".join(self._calibration.names),
                fix="Train the model again",
            )
        segment = (frame.source_id, frame.segment)
        windowed = [
            window.push(score, frame.timestamp_ns, segment) for window, score in zip(self._windows, parts, strict=True)
        ]
        deviates = self._calibration.deviates(windowed)
        leading = self._calibration.leading(deviates)
        anomaly_score, cause = deviates[leading], self._calibration.parts[leading].name
        single = self._calibration.deviates(parts)
        event = self._detector.push(anomaly_score, frame, cause)
        inside = self._detector.inside
        return Result(
            frame,
            parts,
            tuple(deviates),
            single[self._calibration.leading(single)],
            anomaly_score,
            cause,
            inside,
            "anomaly" if inside else "normal",
            self._heat(scores.heatmap[0], parts),
            time.perf_counter() - origin_s,
            event,
        )

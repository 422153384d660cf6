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
        frame_score: None in state "warm-up".
        windowed_score: the frame score after the sliding window; None in state "warm-up".
        anomaly_score: the windowed score, standardised; None in state "warm-up".
        is_anomaly: the frame is inside an event.
        state: "warm-up" while motion has no earlier frame of this segment to look back to, else "normal" or "anomaly".
        heatmap: (hh, hw) float32 >= 0, the local errors behind the frame score; None in state "warm-up".
        latency_s: from the decoded frame to this decision. Of recordings, which are read ahead, the time the frame lay
            waiting is left out.
        event: the event that this frame showed to be over (it ended at an earlier frame), or None.
    """

    frame: Frame
    frame_score: float | None
    windowed_score: float | None
    anomaly_score: float | None
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
        self._window = SlidingWindow(scorer.calibration.window)
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
            return Result(frame, None, None, None, False, "warm-up", None, time.perf_counter() - origin_s, None)
        motion = None if item.motion is None else item.motion[None]
        scores = self.scorer.backend.score(item.image[None], motion)
        frame_score = float(scores.score[0])
        if not math.isfinite(frame_score):
            raise BackendError(
                f"frame {frame.index} of {frame.source_id} scores {frame_score}",
                where=self.scorer.path,
                expected="a finite number",
                fix="Train the model again",
            )
        windowed = self._window.push(frame_score, frame.timestamp_ns, (frame.source_id, frame.segment))
        anomaly_score = self._calibration.standardise(windowed)
        event = self._detector.push(anomaly_score, frame)
        inside = self._detector.inside
        return Result(
            frame,
            frame_score,
            windowed,
            anomaly_score,
            inside,
            "anomaly" if inside else "normal",
            scores.heatmap[0],
            time.perf_counter() - origin_s,
            event,
        )

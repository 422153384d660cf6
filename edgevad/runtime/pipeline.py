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
from edgevad.runtime.backends.backend import BATCH_FRAMES
from edgevad.runtime.heat import HeatScale
from edgevad.runtime.preprocess import ModelInput
from edgevad.runtime.reader import FrameReader, PreparedFrame
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.threshold import EventDetector, Hysteresis
from edgevad.runtime.window import SlidingWindow
from edgevad.sources.frame import Frame
from edgevad.sources.source import Source

__all__ = ["Pipeline", "Result", "State"]

State = Literal["warm-up", "normal", "anomaly", "fault"]
# Scores (P,) and heat (hh, hw) of one frame; no heat where the scores are none.
_FrameScores = tuple[list[float], npt.NDArray[np.float32] | None]


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
        state: "warm-up" while motion has no earlier frame of this segment to look back to, and while no event may start
            yet; "fault" where the camera's lens shows nothing to judge; else "normal" or "anomaly".
        heatmap: (hh, hw) float32 >= 0, local errors, 1 where they alone would raise an alarm; None in state "warm-up".
        latency_s: from the decoded frame to this decision. Of recordings, which are read ahead and scored in batches,
            the time the frame lay waiting is left out, and its share of the batch's scoring counts.
        event: the event that this frame showed to be over (it ended at an earlier frame), or None.
        event_began: the event, so far, that this frame made certain to be recorded, or None.
        fault: what is wrong with the lens in state "fault" ("black", "frozen", "covered", "blurred"), else None.
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
    event_began: Event | None = None
    fault: str | None = None


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
        self._reader = FrameReader(source, scorer.input, batch=BATCH_FRAMES)

    def __iter__(self) -> Iterator[Result]:
        """Raises SourceError where the source fails, BackendError where the engine does."""
        try:
            for batch in self._reader:
                scores, scoring_s = self._score([one.input for one in batch if one.input is not None])
                scored = iter(scores)
                for prepared in batch:
                    if self.stopped:
                        return
                    yield self._decide(prepared, next(scored) if prepared.input is not None else None, scoring_s)
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

    def _score(self, items: list[ModelInput]) -> tuple[list[_FrameScores], float]:
        """Raw scores and heat of some frames, and how many seconds one of them took."""
        started_s = time.perf_counter()
        fixed = self.scorer.backend.batch
        size = fixed or max(len(items), 1)
        found: list[_FrameScores] = []
        for start in range(0, len(items), size):
            chunk = items[start : start + size]
            count = len(chunk)
            if fixed is not None:
                chunk = chunk + chunk[-1:] * (fixed - count)  # filled up with its last frame
            motion = [item.motion for item in chunk if item.motion is not None]
            scores = self.scorer.backend.score(
                np.stack([item.image for item in chunk]), np.stack(motion) if motion else None
            )
            rows = scores.score[:count].tolist()
            seen = np.asarray(np.isfinite(scores.heatmap).all(axis=(1, 2, 3)))
            sound = next((k for k, row in enumerate(rows) if not (seen[k] and self._are_sound(row))), len(rows))
            found += zip(rows[:sound], self._heat(scores.heatmap[:sound], rows[:sound]) if sound else (), strict=True)
            found += [(row, None) for row in rows[sound:]]
        return found, (time.perf_counter() - started_s) / max(len(items), 1)

    def _are_sound(self, parts: list[float]) -> bool:
        return len(parts) == len(self._windows) and all(map(math.isfinite, parts))

    def _decide(self, prepared: PreparedFrame, found: _FrameScores | None, scoring_s: float) -> Result:
        frame, _, decoded_s, preparing_s = prepared
        # Live, the wait for the consumer is part of the latency; of a recording it only means that reading is quicker.
        started_s = time.perf_counter()
        origin_s = decoded_s if self._is_live else started_s - preparing_s - scoring_s
        if found is None:
            elapsed_s = time.perf_counter() - origin_s
            return Result(frame, (), (), None, None, None, False, "warm-up", None, elapsed_s, None)
        parts, heat = tuple(found[0]), found[1]
        if heat is None:
            raise BackendError(
                f"frame {frame.index} of {frame.source_id} scores {parts}"
                + (" and has a heatmap that is not all numbers" if self._are_sound(list(parts)) else ""),
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
            heat,
            time.perf_counter() - origin_s,
            event,
            self._detector.began,
        )

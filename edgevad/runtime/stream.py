"""What the pipeline keeps for each source: windows, lens, events."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgevad.bundle.manifest import Calibration
from edgevad.errors import BackendError
from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.runtime.heat import HeatScale
from edgevad.runtime.lens import LensMonitor, LensSpec
from edgevad.runtime.reader import PreparedFrame
from edgevad.runtime.threshold import EventDetector, Hysteresis
from edgevad.runtime.window import SlidingWindow
from edgevad.sources.frame import Frame

__all__ = ["RawScores", "Result", "State", "StreamState"]

State = Literal["warm-up", "normal", "anomaly", "fault"]


@dataclass(frozen=True, slots=True)
class Result:
    """What the pipeline decided about one frame.

    Attributes:
        frame: as the source gave it.
        parts: (P,) raw scores of the frame by itself, in the order of the calibration's parts; empty where it has none.
        deviates: (P,) the same after the sliding window, as normal deviates; empty where it has none.
        frame_score: the largest deciding deviate of the frame by itself, before any window; None where it has none.
        anomaly_score: the largest of `deviates` among the parts that decide; None where there are none.
        cause: name of that part, i.e. what was rare; None where there is none.
        is_anomaly: the frame is inside an event.
        state: "warm-up" while motion has no earlier frame of this segment to look back to, which has no scores, and
            while no event may start yet; "fault" where the lens shows nothing to judge, which has none either; else
            "normal" or "anomaly".
        heatmap: (hh, hw) float32 >= 0, local errors, 1 where they alone would raise an alarm; None without scores.
        latency_s: of a camera's frame from the driver to this decision; of recordings, which are read ahead and scored
            in batches, from the decoded frame, the time it lay waiting left out, and its share of the batch counted.
        event: the event that this frame showed to be over (it ended at an earlier frame), or None.
        event_began: the event, so far, that this frame made certain to be recorded, or None.
        fault: what is wrong with the lens in state "fault" ("black", "frozen", "covered", "blurred"), else None.
        work_s: what of the latency this machine worked: preparing the frame, and the engine's call that scored it. No
            camera, and no wait, adds to it.
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
    work_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RawScores:
    """What the engine said of one frame: scores (P,), and its heatmaps (Q, hh, hw), whether they are all numbers."""

    parts: tuple[float, ...]
    heatmap: npt.NDArray[np.float32]
    seen: bool


class StreamState:
    """Turns the raw scores of one source's frames, in order, into results."""

    def __init__(
        self,
        calibration: Calibration,
        hysteresis: Hysteresis,
        *,
        ids: Iterator[int],
        lens: LensSpec | None,
        is_live: bool,
        where: str,
    ) -> None:
        self._is_live = is_live
        self._where = where
        self._lens = None if lens is None else LensMonitor(lens)
        self._detector = EventDetector(hysteresis, ids)
        self._calibration = calibration
        self._windows: list[SlidingWindow] = []
        self._set_calibration(calibration, hysteresis)

    def apply(self, calibration: Calibration, hysteresis: Hysteresis) -> None:
        """Decide by these from the next frame on. The event under way goes on; another window starts empty."""
        self._detector.apply(hysteresis)
        self._set_calibration(calibration, hysteresis)

    def replace(self, calibration: Calibration, hysteresis: Hysteresis, *, where: str, resized: bool) -> None:
        """Decide by these, of another model, from the next frame on. The event under way goes on.

        Scores of two models are never averaged: windows start empty, and as after a camera's return no event starts for
        the warm-up. `resized`: the model looks at another size, so that what is known of the lens does not hold.
        """
        self._where = where
        self._windows = []
        self._set_calibration(calibration, hysteresis)
        self._detector.apply(hysteresis)
        self._detector.warm_up_again()
        if self._lens is not None and resized:
            self._lens.learn_again()

    def _set_calibration(self, calibration: Calibration, hysteresis: Hysteresis) -> None:
        if not self._windows or calibration.window != self._calibration.window:
            self._windows = [SlidingWindow(calibration.window) for _ in calibration.parts]
        self._calibration = calibration
        self._heat = HeatScale(calibration, hysteresis.threshold)

    def lose(self) -> Event | None:
        """No frame comes for now, and the next one in a new segment: the event under way, over at its last frame."""
        return self._detector.finish()

    def finish(self) -> tuple[Event | None, Incident | None]:
        """After the last frame: the event and the lens's fault that were still open, over with their last frames."""
        return self._detector.finish(), None if self._lens is None else self._lens.finish()

    def heat(self, found: list[RawScores]) -> list[npt.NDArray[np.float32]]:
        """Of some frames in order, as many as are sound: local errors in units of an alarm."""
        sound = next((k for k, one in enumerate(found) if not (one.seen and self._are_sound(one.parts))), len(found))
        if not sound:
            return []
        return list(self._heat(np.stack([one.heatmap for one in found[:sound]]), [one.parts for one in found[:sound]]))

    def unsound(self, frame: Frame, found: RawScores) -> BackendError | None:
        """What is to be raised where `found`, of `frame`, is nothing to decide by; None where it is."""
        if found.seen and self._are_sound(found.parts):
            return None
        return BackendError(
            f"frame {frame.index} of {frame.source_id} scores {found.parts}"
            + (" and has a heatmap that is not all numbers" if self._are_sound(found.parts) else ""),
            where=self._where,
            expected="finite numbers, " + ", ".join(self._calibration.names),
            fix="Train the model again",
        )

    def _are_sound(self, parts: tuple[float, ...]) -> bool:
        return len(parts) == len(self._windows) and all(map(math.isfinite, parts))

    def decide(
        self,
        prepared: PreparedFrame,
        found: RawScores | None,
        heat: npt.NDArray[np.float32] | None,
        scoring_s: float,
        call_s: float = 0.0,
    ) -> tuple[Result, Incident | None]:
        """The verdict on the next frame, and what its lens gave cause to tell.

        `scoring_s` is the frame's share of the engine's call that scored it, `call_s` all of that.

        Raises:
            BackendError: the scores are no numbers, or of other parts than the calibration's.
        """
        frame, item, decoded_s, preparing_s = prepared
        # Live, the wait for the consumer is part of the latency; of a recording it only means that reading is quicker.
        if self._is_live:
            origin_s = decoded_s if frame.captured_s is None else frame.captured_s
        else:
            origin_s = time.perf_counter() - preparing_s - scoring_s
        if found is None or item is None:
            event = self._detector.pass_over(frame)
            elapsed_s = time.perf_counter() - origin_s
            return Result(frame, (), (), None, None, None, False, "warm-up", None, elapsed_s, event), None
        if heat is None:
            raise self.unsound(frame, found) or BackendError("a frame has no heatmap", where=self._where)
        incident = None
        if self._lens is not None:
            verdict = self._lens.push(frame, item.image)
            incident = verdict.incident
            if verdict.fault is not None:
                begins = incident is not None and incident.lasts
                event = self._detector.interrupt(frame) if begins else self._detector.pass_over(frame)
                elapsed_s = time.perf_counter() - origin_s
                return (
                    Result(
                        frame, (), (), None, None, None, False, "fault", None, elapsed_s, event, fault=verdict.fault
                    ),
                    incident,
                )
        return self._judge(frame, found.parts, heat, origin_s, preparing_s + call_s), incident

    def _judge(
        self, frame: Frame, parts: tuple[float, ...], heat: npt.NDArray[np.float32], origin_s: float, work_s: float
    ) -> Result:
        segment = (frame.source_id, frame.segment)
        windowed = [
            window.push(score, frame.timestamp_ns, segment) for window, score in zip(self._windows, parts, strict=True)
        ]
        calibration, detector = self._calibration, self._detector
        deviates = calibration.deviates(windowed)
        leading = calibration.leading(deviates)
        anomaly_score, cause = deviates[leading], calibration.parts[leading].name
        single = calibration.deviates(parts)
        event = detector.push(anomaly_score, frame, cause)
        state: State = "anomaly" if detector.inside else "normal" if detector.is_warm(frame) else "warm-up"
        return Result(
            frame,
            parts,
            tuple(deviates),
            single[calibration.leading(single)],
            anomaly_score,
            cause,
            detector.inside,
            state,
            heat,
            time.perf_counter() - origin_s,
            event,
            detector.began,
            work_s=work_s,
        )

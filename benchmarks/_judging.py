"""Frame scores against labels, as `edgevad evaluate` judges them, but from arrays."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks._recordings import LabelledCache
from edgevad.bundle.manifest import Calibration
from edgevad.calibration.threshold import windowed_scores
from edgevad.evaluation.events import labelled_events, match_events
from edgevad.evaluation.metrics import centred_mean, series_metrics
from edgevad.events.event import Event
from edgevad.runtime.threshold import EventDetector, Hysteresis
from edgevad.sources.frame import Frame

__all__ = ["Judged", "judge"]

CENTRED_S = 0.9
_NO_IMAGE = np.zeros((1, 1, 3), np.uint8)


@dataclass(frozen=True)
class Judged:
    """
    Attributes:
        auroc: micro, through the calibration's own window; the headline.
        frame, centred: the same without a window, and centred over 9 frames.
        by_clip: micro AUROC after scaling each clip to [0, 1], as papers do.
        average_precision, best_f1: of the headline series.
        events, events_found: labelled events, and those that the runtime's events meet at the threshold.
        false_alarms, false_alarms_per_h: events that meet nothing labelled.
    """

    auroc: float
    frame: float
    centred: float
    by_clip: float
    average_precision: float
    best_f1: float
    events: int
    events_found: int
    false_alarms: int
    false_alarms_per_h: float

    def to_json(self) -> dict[str, Any]:
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(self).items()}


def judge(part: LabelledCache, scores: npt.NDArray[np.floating], calibration: Calibration) -> Judged:
    """Judge raw frame scores (N, P), which were calibrated elsewhere."""
    cache = part.cache
    segment = cache.segment.astype(np.int64)
    windowed = calibration.anomaly_scores(windowed_scores(scores, cache.timestamp_ns, segment, calibration.window))
    columns = [centred_mean(column, cache.timestamp_ns, segment, CENTRED_S) for column in scores.astype(np.float64).T]
    centred = calibration.anomaly_scores(np.stack(columns, 1))
    headline = series_metrics(windowed, part.level, segment)
    series = [series_metrics(one, part.level, segment).auroc for one in (calibration.anomaly_scores(scores), centred)]
    # A clip is scaled by what of it is here; the centred series, as in the papers.
    by_clip = series_metrics(centred, part.level, segment).normalised_auroc
    events = [(event.start_frame, event.end_frame) for event in _events(part, windowed, calibration)]
    match = match_events(labelled_events(part.level, part.event, segment), part.level, events)
    hours = cache.duration_s / 3600
    false_alarms = sum(match.false_alarms)
    figures = (headline.auroc, *series, by_clip, headline.average_precision, headline.best_f1)
    return Judged(
        *(float("nan") if figure is None else float(figure) for figure in figures),
        events=len(match.found),
        events_found=sum(match.found),
        false_alarms=false_alarms,
        false_alarms_per_h=false_alarms / hours,
    )


def _events(part: LabelledCache, anomaly: npt.NDArray[np.float64], calibration: Calibration) -> list[Event]:
    """What the runtime's own detector makes of the scores; frames are numbered by their row here."""
    detector = EventDetector(Hysteresis(calibration.threshold))
    found = []
    rows = zip(anomaly.tolist(), part.cache.timestamp_ns.tolist(), part.cache.segment.tolist(), strict=True)
    for row, (score, timestamp_ns, segment) in enumerate(rows):
        found.append(detector.push(score, Frame(_NO_IMAGE, row, timestamp_ns, part.name, segment)))
    return [event for event in (*found, detector.finish()) if event is not None]

"""Score a labelled recording as the runtime would, and hold the result against its labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgevad.errors import OptionError, SourceError
from edgevad.evaluation.events import EventMatch, event_kinds, labelled_events, match_events
from edgevad.evaluation.labels import AMBIGUOUS, ANOMALY, Labels
from edgevad.evaluation.metrics import (
    Detection,
    SeriesMetrics,
    auroc_by_kind,
    centred_mean,
    detection,
    series_metrics,
    sklearn_metrics,
)
from edgevad.evaluation.segments import with_segments
from edgevad.evaluation.table import FrameTable, FrameTableBuilder
from edgevad.evaluation.top_frames import TopFrame, TopFrames
from edgevad.events.event import Event
from edgevad.runtime.pipeline import Pipeline
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.window import WindowSpec
from edgevad.sources.source import Source

__all__ = ["SERIES", "Evaluation", "KindMetrics", "SeriesName", "evaluate"]

SeriesName = Literal["frame", "window", "centred"]
SERIES: tuple[SeriesName, ...] = ("frame", "window", "centred")


@dataclass(frozen=True)
class KindMetrics:
    """One kind of anomaly: its events found and in all, its frames, and their AUROC against all normal frames."""

    name: str
    events_found: int
    events: int
    frames: int
    auroc: dict[SeriesName, float | None]

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model is worth on a labelled recording.

    Attributes:
        name, path: of the model or bundle.
        source: the recording, as a person would name it.
        labels: the label file.
        window: sliding window of the runtime.
        threshold: anomaly score at which events start.
        alarms_per_hour: the false-alarm budget the threshold was set for; None where it was given by hand.
        series: metrics of three series of scores: "frame", each frame by itself; "window", the anomaly scores as the
            runtime computes them, looking back only; "centred", the same standardisation of a mean that looks as far
            ahead as back.
        parts: AUROC of each part's windowed deviates by themselves, where there is more than one part.
        detection: frames inside an event, as the runtime decided, against the labels.
        kinds: one entry for each kind of anomaly.
        match: labelled events against the runtime's.
        events: the runtime's events.
        frames: what is kept of each frame.
        centred: (N,) float64, the series of that name.
        top_frames: the highest-scoring frames, for a picture.
    """

    name: str
    path: str
    source: str
    labels: str | None
    window: WindowSpec
    threshold: float
    alarms_per_hour: float | None
    series: dict[SeriesName, SeriesMetrics]
    parts: dict[str, float | None]
    detection: Detection
    kinds: tuple[KindMetrics, ...]
    match: EventMatch
    events: tuple[Event, ...]
    frames: FrameTable
    centred: npt.NDArray[np.float64]
    top_frames: tuple[TopFrame, ...]

    @property
    def auroc(self) -> float | None:
        """The headline: frame AUROC, micro, of the anomaly scores as the runtime computes them."""
        return self.series["window"].auroc

    @property
    def scored(self) -> int:
        """Frames that have a score."""
        return int((~np.isnan(self.frames.frame_score)).sum())

    @property
    def skipped(self) -> int:
        """Frames that could not be read, or that a tub marks as deleted."""
        return int((~self.frames.seen).sum())

    @property
    def warming_up(self) -> int:
        """Frames that came before the model had what it needs to score."""
        return len(self.frames) - self.skipped - self.scored

    @property
    def false_alarms(self) -> int:
        """Predicted events that overlap nothing labelled as anomaly or ambiguous."""
        return sum(self.match.false_alarms)

    @property
    def false_alarms_per_hour(self) -> float | None:
        """False alarms an hour of recording; None for a recording without duration."""
        hours = self.frames.duration_s / 3600
        return self.false_alarms / hours if hours > 0 else None

    def scores(self, series: SeriesName) -> npt.NDArray[np.float64]:
        """(N,) float64, NaN where a frame has no score."""
        if series == "frame":
            return self.frames.frame_score
        return self.frames.anomaly_score if series == "window" else self.centred

    def to_json(self) -> dict[str, Any]:
        """Everything but the frames; numbers are finite, what is undefined is null."""
        level = self.frames.level
        return {
            "model": self.name,
            "path": self.path,
            "source": self.source,
            "labels": self.labels,
            "frames": len(self.frames),
            "scored": self.scored,
            "left_out": {
                "ambiguous": int((level == AMBIGUOUS).sum()),
                "warming_up": self.warming_up,
                "skipped": self.skipped,
            },
            "anomalous": int((level == ANOMALY).sum()),
            "segments": len(np.unique(self.frames.segment)),
            "duration_s": round(self.frames.duration_s, 3),
            "window": {"kind": self.window.kind, "length_s": self.window.length_s},
            "threshold": self.threshold,
            "alarms_per_hour": self.alarms_per_hour,
            "auroc": self.auroc,
            "series": {name: metrics.to_json() for name, metrics in self.series.items()},
            "parts": self.parts,
            "at_threshold": {
                **vars(self.detection),
                "events": len(self.match.labelled),
                "events_found": sum(self.match.found),
                "event_recall": self.match.recall,
                "predicted_events": len(self.events),
                "false_alarms": self.false_alarms,
                "false_alarms_per_hour": self.false_alarms_per_hour,
            },
            "kinds": [kind.to_json() for kind in self.kinds],
        }


def evaluate(
    scorer: Scorer,
    source: Source,
    labels: Labels,
    *,
    top_frames: int = 6,
    on_frame: Callable[[int], None] | None = None,
) -> Evaluation:
    """Run `scorer` over `source` exactly as `edgevad run` would, and judge what comes out by `labels`.

    The source is read once and closed; a few numbers a frame are kept, and the images of the `top_frames` highest frame
    scores. Where the labels know of gaps in the recording, nothing is smoothed across them. `on_frame` is told
    how many frames are done.

    Raises:
        LabelError: the labels are of another length than the recording.
        OptionError: the source is live, which no label file can describe.
        SourceError: the source fails, or no frame of it can be scored.
        BackendError: the engine fails.
        MissingExtraError: scikit-learn is not installed.
    """
    sklearn_metrics()
    if source.is_live:
        raise OptionError(f"{source.name} is live", expected="a recording, which labels can be about")
    if labels.segment is not None:
        source = with_segments(source, labels.segment)
    builder, top = FrameTableBuilder(scorer.calibration.names), TopFrames(top_frames)
    events: list[Event] = []
    with Pipeline(scorer, source) as pipeline:
        for done, result in enumerate(pipeline, start=1):
            if result.frame.index >= len(labels) and not labels.open_ended:
                raise labels.length_error(_at_least(result.frame.index + 1, source), source.name)
            builder.push(result)
            top.push(result)
            if result.event is not None:
                events.append(result.event)
            if on_frame is not None:
                on_frame(done)
    events += pipeline.finish()
    frames = builder.table(labels.fitted(source.positions, source.name))
    if np.isnan(frames.frame_score).all():
        raise SourceError("not one frame could be scored", where=source.name, fix="The recording is too short")
    return _judged(scorer, source.name, labels.path, frames, tuple(events), top.best())


def _at_least(count: int, source: Source) -> str:
    hint = source.frame_count_hint
    return str(hint) if hint is not None and hint >= count else f"at least {count}"


def _judged(
    scorer: Scorer,
    source: str,
    labels: str | None,
    frames: FrameTable,
    events: tuple[Event, ...],
    top_frames: tuple[TopFrame, ...],
) -> Evaluation:
    calibration = scorer.calibration
    length_s = calibration.window.length_s
    means = [centred_mean(part, frames.timestamp_ns, frames.segment, length_s) for part in frames.parts.T]
    centred = calibration.anomaly_scores(np.stack(means, axis=1))
    scores: dict[SeriesName, npt.NDArray[np.float64]] = {
        "frame": frames.frame_score,
        "window": frames.anomaly_score,
        "centred": centred,
    }
    match = match_events(
        labelled_events(frames.level, frames.event, frames.segment),
        frames.level,
        [(event.start_frame, event.end_frame) for event in events],
    )
    return Evaluation(
        name=scorer.name,
        path=scorer.path,
        source=source,
        labels=labels,
        window=calibration.window,
        threshold=calibration.threshold,
        alarms_per_hour=calibration.alarms_per_hour,
        series={name: series_metrics(scores[name], frames.level, frames.segment) for name in SERIES},
        parts=_parts(frames),
        detection=detection(frames.is_anomaly, frames.anomaly_score, frames.level),
        kinds=_kinds(frames, scores, match),
        match=match,
        events=events,
        frames=frames,
        centred=centred,
        top_frames=top_frames,
    )


def _parts(frames: FrameTable) -> dict[str, float | None]:
    if len(frames.names) == 1:
        return {}
    columns = zip(frames.names, frames.deviates.T, strict=True)
    return {name: series_metrics(column, frames.level, frames.segment).auroc for name, column in columns}


def _kinds(
    frames: FrameTable, scores: dict[SeriesName, npt.NDArray[np.float64]], match: EventMatch
) -> tuple[KindMetrics, ...]:
    kind = event_kinds(frames.level, frames.event)
    auroc = {name: auroc_by_kind(series, frames.level, kind) for name, series in scores.items()}
    return tuple(
        KindMetrics(name, found, total, int((kind == name).sum()), {series: auroc[series][name] for series in SERIES})
        for name, (found, total) in match.by_kind().items()
    )

"""What a data set holds, in numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgevad.datasets.clip import Clip
from edgevad.datasets.dataset import Dataset
from edgevad.evaluation.labels import AMBIGUOUS, ANOMALY

__all__ = ["ClipSummary", "DatasetSummary", "summarize"]


@dataclass(frozen=True)
class ClipSummary:
    """One clip in numbers.

    Attributes:
        name, source, fps_hz: of the clip.
        frames: images in its folder, labels, or else what the video announces; None where nothing tells.
        anomalous, ambiguous: frames labelled so; None where the clip is unlabelled.
        pixel_labels: there are masks.
    """

    name: str
    source: str
    fps_hz: float | None
    frames: int | None
    anomalous: int | None
    ambiguous: int | None
    pixel_labels: bool

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class DatasetSummary:
    """A data set in numbers."""

    dataset: Dataset
    train: tuple[ClipSummary, ...]
    test: tuple[ClipSummary, ...]

    def to_json(self) -> dict[str, Any]:
        dataset = self.dataset
        return {
            "name": dataset.name,
            "layout": dataset.layout,
            "path": dataset.path,
            "note": dataset.note,
            "pixel_labels": dataset.has_pixel_labels,
            "train": [clip.to_json() for clip in self.train],
            "test": [clip.to_json() for clip in self.test],
        }


def summarize(dataset: Dataset, *, on_clip: Callable[[int], None] | None = None) -> DatasetSummary:
    """Read all labels, and the beginning of each video; `on_clip` is told how many clips are done.

    Raises:
        LabelError: labels are missing, broken or do not fit.
        MissingExtraError: reading them needs a package that is not installed.
        SourceError: a clip cannot be opened.
    """
    clips: Sequence[Clip] = (*dataset.train, *dataset.test)
    done = []
    for clip in clips:
        done.append(_summary(clip))
        if on_clip is not None:
            on_clip(len(done))
    cut = len(dataset.train)
    return DatasetSummary(dataset, tuple(done[:cut]), tuple(done[cut:]))


def _summary(clip: Clip) -> ClipSummary:
    labels = clip.labels
    frames = clip.frame_count
    if frames is None and labels is not None and not labels.open_ended:
        frames = len(labels)
    if frames is None:
        with clip.open() as source:
            frames = source.frame_count_hint
    return ClipSummary(
        clip.name,
        clip.source,
        clip.fps_hz,
        frames,
        None if labels is None else int((labels.level == ANOMALY).sum()),
        None if labels is None else int((labels.level == AMBIGUOUS).sum()),
        clip.has_pixel_labels,
    )

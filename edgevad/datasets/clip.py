"""One clip of a data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from edgevad.datasets.truth import Mask, Truth
from edgevad.evaluation.labels import ANOMALY, Labels
from edgevad.evaluation.segments import with_segments
from edgevad.sources import Source, open_source
from edgevad.sources.listing import list_folder

__all__ = ["Clip"]


@dataclass(frozen=True, eq=False)
class Clip:
    """A recording of a data set, with what is known of it.

    Attributes:
        name: as the data set calls it.
        source: what `edgevad.sources.open_source` takes: a folder of images, or a video file.
        fps_hz: frame rate where the source does not know its own, as image folders do not.
        truth: where labels and masks come from; None for an unlabelled clip.
    """

    name: str
    source: str
    fps_hz: float | None = None
    truth: Truth | None = None

    @cached_property
    def frame_count(self) -> int | None:
        """How many images a folder holds; None for a video, which tells for certain only when it is read to its end."""
        folder = Path(self.source)
        return len(list_folder(folder).images) or None if folder.is_dir() else None

    @cached_property
    def labels(self) -> Labels | None:
        """One level a frame: 0 normal, 1 ambiguous, 2 anomaly; read when first asked for. None where unlabelled.

        Anomalies without a name of their own are called "clip NAME".

        Raises:
            LabelError: they are missing, cannot be read, or are of another length than the clip.
            MissingExtraError: reading them needs a package that is not installed.
        """
        if self.truth is None:
            return None
        labels = self.truth.labels()
        if self.frame_count is not None:
            labels = labels.covering(self.frame_count, self.source)
        named = zip(labels.level, labels.event, strict=True)
        event = tuple(f"clip {self.name}" if at == ANOMALY and not name else name for at, name in named)
        return replace(labels, event=event)

    @property
    def has_pixel_labels(self) -> bool:
        """Whether `mask` has something to tell of at least one frame."""
        return self.truth is not None and self.truth.has_pixels

    def mask(self, frame_index: int) -> Mask | None:
        """Which pixels of a frame are anomalous: (H, W) bool at the size of the ground truth, None where not drawn.

        Raises:
            LabelError: it cannot be read, or there is no such frame.
            MissingExtraError: reading it needs a package that is not installed.
        """
        return None if self.truth is None else self.truth.mask(frame_index)

    def open(self, *, fps_hz: float | None = None) -> Source:
        """Open the frames, in the segments that the labels know of; `fps_hz` overrides the clip's own.

        Raises:
            SourceError: they cannot be read.
            LabelError: see `labels`.
        """
        # As a path: a folder may be called like a camera or a stream.
        source = open_source(Path(self.source), fps_hz=fps_hz or self.fps_hz)
        if self.labels is None or self.labels.segment is None:
            return source
        return with_segments(source, self.labels.segment)

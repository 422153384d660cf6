"""Figures of a running camera's frames: scores of one a second, its image once in two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgevad.refit.drift_reference import SCORE_EVERY_S, DriftReference
from edgevad.refit.drift_sample import Sample, SampleBuilder
from edgevad.runtime.shrinking import shrink
from edgevad.spec import InputSpec

if TYPE_CHECKING:
    from edgevad.runtime.pipeline import Result

__all__ = ["IMAGE_EVERY_S", "FrameTaker", "is_due"]

# Reading and decoding an image takes milliseconds; five of them are enough for a block.
IMAGE_EVERY_S = 2.0


class FrameTaker:
    """Takes the results of one camera, in order.

    Attributes:
        driven_s: seconds between the frames taken, gaps left out.
        stretch: number of the stretch that the last frame lies in.
    """

    def __init__(self, reference: DriftReference, spec: InputSpec, *, stretch: int = 0) -> None:
        self.driven_s = 0.0
        self.stretch = stretch
        self._reference = reference
        self._size = (spec.width_px, spec.height_px)
        self._builder = SampleBuilder(len(reference.figures))
        self._segment: int | None = None
        self._score_ns: int | None = None
        self._image_ns: int | None = None

    def push(self, result: Result) -> None:
        """Of most frames nothing is taken.

        Raises:
            BackendError: the memory's graph fails.
        """
        reference, frame = self._reference, result.frame
        now_ns = frame.timestamp_ns
        if frame.segment != self._segment:
            self._segment, self._score_ns, self._image_ns = frame.segment, None, None
            self.stretch += 1
        faulty = result.state == "fault"
        if is_due(self._score_ns, now_ns, SCORE_EVERY_S):
            if self._score_ns is not None:
                self.driven_s += max(now_ns - self._score_ns, 0) / 1e9
            self._score_ns = now_ns
            known = result.deviates if len(result.deviates) == reference.first_image_column else ()
            self._builder.add(now_ns, self.stretch, values=known, faulty=faulty)
        if reference.has_frames and not faulty and is_due(self._image_ns, now_ns, IMAGE_EVERY_S):
            self._image_ns = now_ns
            figures = reference.figures_of(shrink(frame.image, self._size, alone=True))
            self._builder.add(now_ns, self.stretch, at=reference.first_image_column, values=figures)

    def taken(self) -> Sample:
        """What was taken since the last call."""
        sample = self._builder.sample()
        self._builder = SampleBuilder(len(self._reference.figures))
        return sample


def is_due(last_ns: int | None, now_ns: int, every_s: float) -> bool:
    """A clock that was set back starts anew."""
    return last_ns is None or now_ns < last_ns or now_ns - last_ns >= every_s * 1e9

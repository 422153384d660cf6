"""Gaps that only the labels know of, told to everything that reads the frames."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgevad.sources.frame import Frame
from edgevad.sources.source import Source

__all__ = ["with_segments"]


def with_segments(source: Source, segment: Sequence[int] | npt.NDArray[np.integer]) -> Source:
    """`source` with a new segment wherever `segment` (N,) changes, besides those it finds by itself.

    A video file numbers its frames as if the recording had never paused; `segment[k]`, about the frame with index k,
    says where it did. Frames beyond N belong to the segment of the last one. Closing the result closes `source`.
    """
    return _SegmentedSource(source, np.asarray(segment))


class _SegmentedSource(Source):
    def __init__(self, inner: Source, segment: npt.NDArray[np.integer]) -> None:
        super().__init__(inner.name, kind=inner.kind)
        self._inner = inner
        self._segment = segment
        self.is_live = inner.is_live
        self.frame_count_hint = inner.frame_count_hint
        self.fps_hint_hz = inner.fps_hint_hz

    @property
    def skip_reasons(self) -> Mapping[str, int]:
        return self._inner.skip_reasons

    @property
    def deleted(self) -> int:
        return self._inner.deleted

    def close(self) -> None:
        super().close()
        self._inner.close()

    def _frames(self) -> Generator[Frame, None, None]:
        last: tuple[str, int, int] | None = None
        number = -1
        frames = iter(self._inner)
        try:
            for frame in frames:
                self.positions, self.dropped = self._inner.positions, self._inner.dropped
                labelled = int(self._segment[min(frame.index, len(self._segment) - 1)])
                stretch = (frame.source_id, frame.segment, labelled)
                if stretch != last:
                    number, last = number + 1, stretch
                yield frame.placed(frame.index, number)
            # Frames skipped after the last one that could be read count, too.
            self.positions = self._inner.positions
        finally:
            frames.close()

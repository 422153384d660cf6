"""Image files as a recording: a single one, a folder, a glob."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from pathlib import Path

from edgevad.sources.frame import Frame
from edgevad.sources.opencv import BadImageError, read_image
from edgevad.sources.source import SegmentCounter, Source

__all__ = ["DEFAULT_IMAGES_FPS_HZ", "ImagesSource"]

DEFAULT_IMAGES_FPS_HZ = 10.0


class ImagesSource(Source):
    """Image files in the given order, one frame each, at a constant rate: images carry no clock.

    Frame k is taken at k / `fps_hz` seconds, whether or not the frames before it could be read, so a long run of
    unreadable images is a gap and starts a new segment.
    """

    def __init__(self, files: Sequence[Path], *, name: str, fps_hz: float | None = None, gap_s: float = 1.0) -> None:
        super().__init__(name, kind="images")
        self._files_in_order = tuple(files)
        self._fps_hz = fps_hz or DEFAULT_IMAGES_FPS_HZ
        self._gap_s = gap_s
        self.frame_count_hint = len(self._files_in_order)
        self.fps_hint_hz = self._fps_hz

    def _files(self) -> Iterable[Path]:
        return self._files_in_order

    def _frames(self) -> Generator[Frame, None, None]:
        segments = SegmentCounter(self._gap_s, 1 / self._fps_hz)
        for index, file in enumerate(self._files_in_order):
            self.positions = index + 1
            try:
                image = read_image(file)
            except BadImageError as error:
                self._skip_reasons[str(error)] += 1
                continue
            timestamp_ns = round(index * 1e9 / self._fps_hz)
            yield Frame(image, index, timestamp_ns, self.name, segments.segment_at(timestamp_ns))

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pytest

from edgevad.errors import SourceUnreadableError
from edgevad.evaluation.segments import with_segments
from edgevad.sources import Frame, Source


class Listed(Source):
    """Frames with the given (index, segment); `positions` ends at `total`."""

    def __init__(self, frames: list[tuple[int, int]], total: int) -> None:
        super().__init__("listed", kind="images")
        self.listed, self.total = frames, total
        self.fps_hint_hz = 10.0
        self.frame_count_hint = total
        self.closed = False

    def close(self) -> None:
        super().close()
        self.closed = True

    def _frames(self) -> Generator[Frame, None, None]:
        self._skip_reasons["broken"] += self.total - len(self.listed)
        for index, segment in self.listed:
            self.positions = index + 1
            yield Frame(np.zeros((8, 8, 3), np.uint8), index, index * 10**8, "listed", segment)
        self.positions = self.total


def test_both_kinds_of_gap_start_a_segment() -> None:
    source = with_segments(Listed([(k, k // 4) for k in range(8)], 8), [5, 5, 9, 9, 9, 9, 5, 5])
    assert [frame.segment for frame in source] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [frame.segment for frame in source] == [0, 0, 1, 1, 2, 2, 3, 3]  # a second pass is like the first


def test_skipped_frames_keep_their_place() -> None:
    inner = Listed([(0, 0), (3, 0), (4, 0)], 6)
    source = with_segments(inner, [0, 0, 1, 1, 1, 1])
    assert [(frame.index, frame.segment) for frame in source] == [(0, 0), (3, 1), (4, 1)]
    assert source.positions == 6
    assert source.skipped == 3
    assert (source.name, source.kind, source.fps_hint_hz, source.frame_count_hint) == ("listed", "images", 10.0, 6)


def test_frames_beyond_the_labels_go_on_with_the_last_segment() -> None:
    assert [frame.segment for frame in with_segments(Listed([(0, 0), (1, 0), (2, 0)], 3), [0, 1])] == [0, 1, 1]


def test_closing_closes_the_source_inside() -> None:
    inner = Listed([(0, 0)], 1)
    with with_segments(inner, [0]) as source:
        assert not source.is_live
    assert inner.closed


def test_an_unreadable_source_stays_one() -> None:
    with pytest.raises(SourceUnreadableError, match="2 broken"):
        list(with_segments(Listed([], 2), [0, 0]))

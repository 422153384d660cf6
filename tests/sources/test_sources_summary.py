from __future__ import annotations

from pathlib import Path

import pytest
from recordings import START_MS, make_images, make_tub_v2, make_video

from edgevad.sources import open_source
from edgevad.sources.summary import summarize


def test_time_between_segments_does_not_count(tmp_path: Path) -> None:
    times_ms = [START_MS + offset for offset in (0, 100, 200, 60_000, 60_100)]
    with open_source(make_tub_v2(tmp_path / "tub", times_ms=times_ms, deleted=[4])) as source:
        summary = summarize(source)
    assert (summary.frames, summary.deleted, summary.segments, summary.complete) == (4, 1, 2, True)
    assert summary.fps_hz == pytest.approx(10)
    assert summary.duration_s == pytest.approx(0.4)
    assert summary.sizes_px == {(32, 24): 4}


def test_reading_stops_where_told(tmp_path: Path) -> None:
    seen: list[int] = []
    with open_source(make_video(tmp_path / "drive.mp4", frames=9)) as source:
        summary = summarize(source, max_frames=4, on_frame=seen.append)
    assert (summary.frames, summary.complete, seen) == (4, False, [1, 2, 3, 4])


def test_one_frame_has_no_rate(tmp_path: Path) -> None:
    make_images(tmp_path, ["1.png"])
    with open_source(tmp_path) as source:
        summary = summarize(source)
    assert (summary.fps_hz, summary.duration_s, summary.segments) == (None, 0.0, 1)
    assert ("frame rate", "unknown") in summary.rows()

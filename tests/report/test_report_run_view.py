from __future__ import annotations

import io
import time
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from edgevad.events import Event, Incident, RunInfo
from edgevad.report.run_view import (
    LinesView,
    LiveView,
    event_line,
    incident_line,
    score_bar,
    sparkline,
    summary_table,
)
from edgevad.runtime.pipeline import Result
from edgevad.runtime.session import RunSummary
from edgevad.sources import Frame, Source

RUN = RunInfo("bundle", "b", "", "onnxruntime", ("drive.mp4",), 5.0, is_live=False)
EVENT = Event(3, 2 * 10**9, 5 * 10**9, 20, 50, 9.25, 31, "view", "a", 0)


class Named(Source):
    def _frames(self):  # type: ignore[no-untyped-def]
        yield from ()


def result(score: float | None = 2.0) -> Result:
    state = "warm-up" if score is None else "normal"
    frame = Frame(np.zeros((8, 8, 3), np.uint8), 0, 0, "a")
    row = () if score is None else (score,)
    cause = None if score is None else "patch"
    return Result(frame, row, row, score, score, cause, False, state, None, 0.002, None)  # type: ignore[arg-type]


@pytest.fixture
def source() -> Source:
    named = Named("drive.mp4", kind="video")
    named.frame_count_hint = 100
    return named


def test_a_log_gets_few_lines_and_every_event(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("edgevad.report.run_view.time.monotonic", lambda: now[0])
    text = io.StringIO()
    with LinesView(Console(file=text), [source], 5.0) as view:
        for _ in range(50):
            now[0] += 0.25
            view.push(result())
        view.event(EVENT)
    assert text.getvalue().splitlines() == [
        "40 of 100 frames, 4 fps, latency p50 2.0 ms, p95 2.0 ms, score 2.00, normal",
        "event 3: frames 20 to 50 (3.0 s from 2.0 s), peak score 9.2 (view)",
    ]


def test_the_terminal_view_shows_score_state_and_events(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("edgevad.report.run_view.time.monotonic", lambda: now[0])
    text = io.StringIO()
    with LiveView(Console(file=text, force_terminal=True, width=100, color_system=None), [source], 5.0) as view:
        view.event(EVENT)
        for score in (None, 2.0):
            now[0] += 1.0
            view.push(result(score))
        drawn = text.getvalue()
    for part in ("drive.mp4", "2 of 100 frames", "2.00 / 5.00", "no score", "warm-up", "normal", "event 3"):
        assert part in drawn


@pytest.mark.parametrize(("score", "cells"), [(0.0, 0), (-3.0, 0), (5.0, 20), (2.5, 10), (1e9, 40)])
def test_the_middle_of_the_bar_is_the_threshold(score: float, cells: int) -> None:
    assert score_bar(score, 5.0).plain.count("█") == cells


def test_sparks_are_red_from_the_threshold_on() -> None:
    line = sparkline(deque([0.0, 4.9, 5.0, 100.0]), 5.0)
    assert line.plain[0] == "▁"
    assert line.plain[-1] == "█"
    assert [span.style for span in line.spans] == ["green", "green", "red", "red"]


def test_a_camera_s_event_has_a_time_of_day() -> None:
    line = event_line(replace(EVENT, start_ns=1_795_565_258_000_000_000, end_ns=1_795_565_261_000_000_000))
    assert line == (
        f"event 3: frames 20 to 50 (3.0 s from {time.strftime('%H:%M:%S', time.localtime(1_795_565_258))}), "
        "peak score 9.2 (view)"
    )


@pytest.mark.parametrize(
    ("incident", "line"),
    [
        (Incident("camera_lost", "stale", "no frame for 2 s", "front", 5), "camera_lost: front: no frame for 2 s"),
        (Incident("camera_lost", "stale", "back", "front", 0, 10**9), "camera_lost: front: back (over, 1.0 s)"),
        (Incident("config", "loaded", "new settings", "", 5, 5), "config: new settings"),
    ],
)
def test_an_incident_in_words(incident: Incident, line: str) -> None:
    assert incident_line(incident) == line


def test_the_summary_names_ten_events_and_counts_the_rest() -> None:
    summary = RunSummary(RUN, None, frames=10, scored=9, skipped=2, event_count=12)
    summary.skip_reasons = {"image [cut] off": 2}
    summary.events.extend([EVENT] * 12)
    text = io.StringIO()
    Console(file=text, width=120).print(summary_table(summary, ["out/frames.jsonl"]))
    table = text.getvalue()
    assert table.count("event 3:") == 10
    for part in ("and 2 more", "10, 9 scored; 2 skipped", "image [cut] off", "5.00 (given)", "out/frames.jsonl"):
        assert part in table

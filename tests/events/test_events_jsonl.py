from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from edgevad.errors import OutputError
from edgevad.events import Event, Incident, JsonlSink, RunInfo
from edgevad.runtime.pipeline import Result
from edgevad.runtime.session import RunSummary
from edgevad.sources import Frame

IMAGE = np.zeros((8, 8, 3), np.uint8)
RUN = RunInfo("bundle", "b", "", "onnxruntime", ("drive.mp4",), 5.0, is_live=False)
EVENT = Event(1, 10, 20, 1, 2, 3.5, 2, "detail", "a", 0)


def result(index: int, score: float | None, source: str = 'ä "quoted".mp4') -> Result:
    frame = Frame(IMAGE, index, index * 10**8, source, 2)
    state = "warm-up" if score is None else "normal"
    parts = () if score is None else (4.0, 1.0)
    deviates = () if score is None else (score, -1 / 3)
    cause = None if score is None else "detail"
    return Result(frame, parts, deviates, score, score, cause, False, state, None, 0.00125, None)  # type: ignore[arg-type]


def test_every_frame_and_event_is_one_line_of_json(tmp_path: Path) -> None:
    score = float(np.float32(0.1234567))
    with JsonlSink(tmp_path / "out") as sink:
        sink.push(result(0, None))
        sink.push(result(1, score))
        sink.push(result(2, 1e-12, source="b"))
        sink.event(EVENT)
        sink.incident(Incident("camera_lost", "stale", "no frame for 2 s", "a", 5, None, "0123456789ab"))

    assert json.loads(sink.incidents_path.read_text(encoding="utf-8")) == {
        "id": "0123456789ab",
        "kind": "camera_lost",
        "cause": "stale",
        "detail": "no frame for 2 s",
        "source_id": "a",
        "start_ns": 5,
        "end_ns": None,
    }
    rows = [json.loads(line) for line in sink.frames_path.read_text(encoding="utf-8").splitlines()]
    assert rows[0] == {
        "frame": 0,
        "timestamp_ns": 0,
        "source_id": 'ä "quoted".mp4',
        "segment": 2,
        "frame_score": None,
        "anomaly_score": None,
        "cause": None,
        "fault": None,
        "deviates": [],
        "is_anomaly": False,
        "state": "warm-up",
        "latency_ms": 1.25,
    }
    assert np.float32(rows[1]["frame_score"]) == np.float32(score)
    assert np.float32(rows[1]["anomaly_score"]) == np.float32(score)
    assert (rows[1]["cause"], rows[1]["deviates"]) == ("detail", [0.12346, -0.33333])
    assert (rows[2]["source_id"], rows[2]["frame_score"]) == ("b", 1e-12)
    [event] = [json.loads(line) for line in sink.events_path.read_text().splitlines()]
    assert event == {**EVENT.to_json(), "cause": "detail", "duration_s": 1e-8}


def test_every_line_is_there_at_once_and_events_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, int]] = []
    fsync = os.fsync

    def watched(handle: int) -> None:
        synced.append((Path(f"/proc/self/fd/{handle}").readlink().name, os.fstat(handle).st_size))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    with JsonlSink(tmp_path) as sink:
        for k in range(3):
            sink.push(result(k, 1.0))
            # The camera may stall after any frame: nothing waits for the next one.
            assert len(sink.frames_path.read_text().splitlines()) == k + 1
        assert synced == []
        sink.event(EVENT)
        assert len(sink.events_path.read_text().splitlines()) == 1
        assert synced == [("events.jsonl", sink.events_path.stat().st_size)]


def test_events_may_go_into_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "events.jsonl")
    reader = os.open(tmp_path / "events.jsonl", os.O_RDONLY | os.O_NONBLOCK)
    with JsonlSink(tmp_path) as sink:
        sink.event(EVENT)
        assert json.loads(os.read(reader, 10_000))["id"] == 1
    os.close(reader)


def test_an_earlier_summary_goes_when_the_sink_opens_and_the_new_one_comes_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{}")
    with JsonlSink(tmp_path) as sink:
        assert not sink.summary_path.exists()
        sink.finish(RunSummary(RUN, None, error="camera lost"))
        assert json.loads(sink.summary_path.read_text())["error"] == "camera lost"


@pytest.mark.parametrize("name", ["frames.jsonl", "events.jsonl"])
def test_a_full_disk_is_one_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/dev/full")
    sink = JsonlSink(tmp_path)
    with pytest.raises(OutputError, match=rf"{name}: the disk is full"):  # noqa: PT012
        sink.push(result(0, 1.0))
        sink.event(EVENT)
    sink.abandon()


def test_a_disk_that_fills_up_is_noticed_at_once(tmp_path: Path) -> None:
    (tmp_path / "frames.jsonl").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="the disk is full"), JsonlSink(tmp_path) as sink:
        sink.push(result(0, 1.0))


def test_a_file_in_the_way_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputError, match="a file is in the way"):
        JsonlSink(tmp_path / "out")
    (tmp_path / "folder" / "events.jsonl").mkdir(parents=True)
    with pytest.raises(OutputError, match="a folder is in the way"):
        JsonlSink(tmp_path / "folder")

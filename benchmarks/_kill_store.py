"""A subject of benchmarks.kills: the recorder, fed with two made-up cameras in which something happens all the time."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks._kills import Verdict, acknowledge
from edgevad.events.clip import clip_suffix
from edgevad.events.database import DATABASE_NAME
from edgevad.events.event import Event
from edgevad.events.fragments import clip_length_ns
from edgevad.events.incident import Incident
from edgevad.events.recorder import Recorder, RecorderSpec
from edgevad.events.run_info import RunInfo
from edgevad.events.shelf import Shelf
from edgevad.runtime.pipeline import Result
from edgevad.sources.frame import Frame

__all__ = ["check", "run"]

CAMERAS = ("front", "rear")
FPS_HZ = 20
# Of every cycle of so many frames, an event lasts over these; it is certain, and told to be over, a little later.
CYCLE, EVENT, LATER = 240, range(100, 180), 10
SPEC = RecorderSpec(pre_roll_s=2.0, post_roll_s=2.0, floor_bytes=0)


def run(directory: Path) -> None:
    """Feed a recorder until killed."""
    recorder = Recorder(directory, SPEC)
    started_ns = time.time_ns()
    info = RunInfo("bundle", "bundle", "0123", "made up", CAMERAS, 4.0, True)
    recorder.start(info)
    index = 0
    while True:
        for number, camera in enumerate(CAMERAS):
            _step(recorder, info, camera, index + number * CYCLE // 3, started_ns + index * 10**9 // FPS_HZ)
        index += 1


def _step(recorder: Recorder, info: RunInfo, camera: str, index: int, now_ns: int) -> None:
    """One frame of one camera, and what comes with it."""
    cycle, at = divmod(index, CYCLE)
    inside = at in EVENT
    recorder.push(_result(camera, index, now_ns, inside))
    event_id = 1 + cycle * len(CAMERAS) + CAMERAS.index(camera)
    begin_ns = now_ns - (at - EVENT.start) * 10**9 // FPS_HZ
    end = min(at, EVENT.stop - 1)
    end_ns = begin_ns + (end - EVENT.start) * 10**9 // FPS_HZ
    event = Event(event_id, begin_ns, end_ns, index, index, 9.0, index, "residual", camera, 0)
    facts: dict[str, Any] = {"run_id": info.run_id, "id": str(event_id), "camera": camera, "timestamp_ns": now_ns}
    if at == EVENT.start + LATER and index > CYCLE // 3:
        recorder.event_began(event)
        acknowledge(**facts, did="began")
    elif at == EVENT.stop + LATER and index > CYCLE:
        recorder.event(event)
        acknowledge(**facts, did="ended")
    elif at == 0:
        recorder.incident(Incident.once("frame_rate", "made up", "a test", camera))
    is_filmed = EVENT.start + LATER <= at < EVENT.stop + (SPEC.post_roll_s - 0.5) * FPS_HZ
    acknowledge(**facts, did="filmed" if is_filmed else "seen")


def _result(camera: str, index: int, now_ns: int, inside: bool) -> Result:
    image = np.full((240, 320, 3), 60 + index % 100, np.uint8)
    cv2.circle(image, (index % 320, 120), 30, (0, 0, 255) if inside else (0, 255, 0), -1)
    score = 5.0 + index % 7 if inside else 1.0
    heat = np.full((16, 16), score / 4, np.float32)
    state = "anomaly" if inside else "normal"
    row = (score,)
    return Result(Frame(image, index, now_ns, camera), row, row, score, score, "residual", inside, state, heat, 0, None)  # type: ignore[arg-type]


def check(directory: Path, acknowledged: Sequence[dict[str, Any]]) -> Verdict:
    """Open the store as the next start would, and hold it against what was acknowledged."""
    verdict = Verdict()
    shelf = Shelf(directory)
    assert shelf.store is not None
    rows = {(row.run.run_id, row.id): row for row in shelf.store.events()}
    shelf.close()
    if shelf.notices:
        verdict.problems.append(f"the store was set aside: {shelf.notices[0].detail}")
    with sqlite3.connect(directory / DATABASE_NAME) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()
    if found != "ok":
        verdict.problems.append(f"the database is damaged: {found}")
    verdict.problems += [f"{row.id} is still open" for row in rows.values() if row.end_ns is None]
    named = {name for row in rows.values() for name in row.media}
    there = {path.relative_to(directory).as_posix() for path in (directory / "media").rglob("*") if path.is_file()}
    verdict.problems += [f"{name} is missing" for name in named - there]
    verdict.problems += [f"{name} is nobody's" for name in there - named]
    lives = {fact["run_id"] for fact in acknowledged}
    for row in rows.values():
        if row.clip is not None and row.run.run_id in lives:
            assert row.clip_start_ns is not None
            length_ns = clip_length_ns(directory / row.clip)
            if length_ns is None or abs(row.clip_start_ns + length_ns - (row.clip_end_ns or 0)) > 2e6:
                verdict.problems.append(f"{row.clip} does not hold what its row says")
    began = {fact["id"] for fact in acknowledged if fact["did"] == "began"}
    ended = {fact["id"] for fact in acknowledged if fact["did"] == "ended"}
    last = {fact["camera"]: fact for fact in acknowledged}
    for fact in acknowledged:
        row = rows.get((fact["run_id"], fact["id"]))
        if fact["did"] == "began" and row is None:
            verdict.problems.append(f"event {fact['id']} is lost")
        if fact["did"] == "ended" and fact["id"] in began and (row is None or row.interrupted):
            verdict.problems.append(f"the end of event {fact['id']} is lost")
    for fact in last.values():
        row = rows.get((fact["run_id"], fact["id"]))
        if fact["did"] != "filmed" or fact["id"] not in began or (fact["id"] in ended and row is None):
            continue
        if row is None or row.clip_end_ns is None:
            verdict.problems.append(f"the clip of event {fact['id']} is lost")
        else:
            verdict.lost_s.append(max(fact["timestamp_ns"] - row.clip_end_ns, 0) / 1e9)
    if clip_suffix() == ".mp4":
        verdict.problems += [f"{lost:.2f} s of video are lost" for lost in verdict.lost_s if lost > 1.0]
    return verdict

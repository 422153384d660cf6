"""A subject of benchmarks.kills: the drive log, fed in real time with two cameras of which every frame is logged.

Legs are small and limits tight, so that kills come while legs are closed and removed, too.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._kills import Verdict, acknowledge
from edgevad.drives.catalogue import Catalogue
from edgevad.drives.folder import verify
from edgevad.drives.lock import FolderLock
from edgevad.drives.log import DriveLog
from edgevad.drives.policy import LegRetention, LogPolicy
from edgevad.drives.recovery import recover
from edgevad.errors import EdgevadError
from edgevad.events.event import Event
from edgevad.events.run_info import RunInfo
from edgevad.runtime.pipeline import Result
from edgevad.sources.frame import Frame
from edgevad.sources.opening import open_source

__all__ = ["check", "run"]

CAMERAS = ("front", "rear")
FPS_HZ = 30
CYCLE, EVENT = 20, range(5, 12)
POLICY = LogPolicy(image_fps_hz=None, leg_bytes=1_000_000)
LIMITS = LegRetention(max_bytes=10_000_000, event_max_bytes=10_000_000, event_margin_s=0.2, floor_bytes=0)


def run(directory: Path) -> None:
    """Feed a drive log until killed."""
    log = DriveLog(directory, POLICY, LIMITS)
    info = RunInfo("bundle", "bundle", "0123", "made up", CAMERAS, 4.0, True)
    log.start(info)
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    index = 0
    while True:
        for camera in CAMERAS:
            now_ns = time.time_ns()
            log.push(_result(camera, image, index, now_ns))
            acknowledge(run_id=info.run_id, camera=camera, timestamp_ns=now_ns)
        cycle, at = divmod(index, CYCLE)
        if at in (EVENT.start, EVENT.stop):
            event = Event(1 + cycle, now_ns - 10**7, now_ns, index, index, 9.0, index, "residual", camera, 0)
            (log.event_began if at == EVENT.start else log.event)(event)
            acknowledge(run_id=info.run_id, event=event.id, start_ns=event.start_ns)
        index += 1
        time.sleep(1 / FPS_HZ)


def _result(camera: str, image: np.ndarray[Any, np.dtype[np.uint8]], index: int, now_ns: int) -> Result:
    inside = camera == CAMERAS[-1] and index % CYCLE in EVENT
    score, state = (5.0, "anomaly") if inside else (1.0, "normal")
    frame = Frame(image, index, now_ns, camera)
    return Result(frame, (score,), (score,), score, score, "residual", inside, state, None, 0.0, None)  # type: ignore[arg-type]


def check(directory: Path, acknowledged: Sequence[dict[str, Any]]) -> Verdict:
    """Recover as the next start would, and hold what is there against what was acknowledged."""
    verdict = Verdict()
    lock = FolderLock(directory)
    lock.acquire()
    try:
        with Catalogue(directory) as catalogue:
            _recover(directory, catalogue, verdict)
            frames = [fact for fact in acknowledged if "camera" in fact]
            if frames:
                drives = [drive.name for drive in catalogue.drives() if drive.run_id == frames[-1]["run_id"]]
                _compare(directory, catalogue, drives, acknowledged, verdict)
    except EdgevadError as error:
        verdict.problems.append(str(error))
    finally:
        lock.release()
    verdict.problems += [f"{lost:.2f} s of video are lost" for lost in verdict.lost_s if lost > 1.0]
    return verdict


def _recover(directory: Path, catalogue: Catalogue, verdict: Verdict) -> None:
    with sqlite3.connect(catalogue.path) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()
    if found != "ok":
        verdict.problems.append(f"the catalogue is damaged: {found}")
    # A file may be gone, or new, of which the row is not yet: kills come in between. Never is a closed one not whole.
    verdict.problems += [f"before recovery: {one}" for one in verify(directory, catalogue) if one.verdict == "broken"]
    report = recover(directory, catalogue)
    verdict.problems += [f"broken: {leg}" for leg in report.broken]
    verdict.problems += [f"after recovery: {one}" for one in verify(directory, catalogue) if one.verdict != "whole"]
    verdict.problems += [f"left over: {path}" for path in directory.glob("*/*") if path.suffix == ".part"]


def _compare(
    directory: Path, catalogue: Catalogue, drives: Sequence[str], facts: Sequence[dict[str, Any]], verdict: Verdict
) -> None:
    last_ns = {fact["camera"]: fact["timestamp_ns"] for fact in facts if "camera" in fact}
    first_ns = min(fact["timestamp_ns"] for fact in facts if "camera" in fact)
    read_ns = dict.fromkeys(last_ns, first_ns)
    if drives:
        with open_source(directory / drives[0]) as source:
            for frame in source:
                read_ns[frame.source_id] = max(read_ns.get(frame.source_id, 0), frame.timestamp_ns)
    verdict.lost_s += [max(last_ns[camera] - read_ns[camera], 0) / 1e9 for camera in last_ns]
    events = {event.id: event for drive in drives for event in catalogue.events(drive)}
    for fact in facts:
        if "event" in fact and fact["event"] not in events:
            verdict.problems.append(f"event {fact['event']} is lost")
    verdict.problems += [f"event {event.id} is still open" for event in events.values() if event.end_ns is None]

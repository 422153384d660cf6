"""Drives to test with: frames of noise, pushed as if a pipeline had scored them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from edgevad.drives.log import DriveLog
from edgevad.drives.policy import LegRetention, LogPolicy
from edgevad.events import Event, RunInfo
from edgevad.runtime.pipeline import Result
from edgevad.sources import Frame

START_NS = 1_800_000_000 * 10**9
NO_FLOOR = LegRetention(floor_bytes=0)
FPS_HZ = 10


def run_info(run_id: str = "0123456789ab", *, is_live: bool = True) -> RunInfo:
    return RunInfo(
        "car.edgevad", "car", "d1ge57", "onnxruntime fp32", ("front",), 2.5, is_live, run_id, START_NS, "car-17"
    )


def result(
    index: int,
    *,
    camera: str = "front",
    anomaly: bool = False,
    timestamp_ns: int | None = None,
    segment: int = 0,
    size: tuple[int, int] = (64, 48),
) -> Result:
    """Of frame `index` of a camera at 10 Hz; `size` is width and height in px."""
    # The level tells frames apart after JPEG, too.
    image = np.full((size[1], size[0], 3), index % 250, np.uint8)
    time_ns = START_NS + index * 10**9 // FPS_HZ if timestamp_ns is None else timestamp_ns
    score = 3.0 if anomaly else 0.5
    state = "anomaly" if anomaly else "normal"
    frame = Frame(image, index, time_ns, camera, segment)
    return Result(frame, (1.0,), (score,), score, score, "detail", anomaly, state, None, 0.001, None)  # type: ignore[arg-type]


def event(first: int, last: int, *, number: int = 1, camera: str = "front") -> Event:
    """From frame `first` to `last`."""
    start_ns, end_ns = (START_NS + index * 10**9 // FPS_HZ for index in (first, last))
    return Event(number, start_ns, end_ns, first, last, 3.0, first, "detail", camera, 0)


def write_drive(
    root: Path,
    frames: int = 100,
    *,
    policy: LogPolicy | None = None,
    anomalies: Iterable[int] = (),
    cameras: tuple[str, ...] = ("front",),
    run_id: str = "0123456789ab",
) -> Path:
    """Log a drive below `root` and return its folder; its event, if any, is the first camera's."""
    inside = sorted(anomalies)
    with DriveLog(root, policy, NO_FLOOR) as log:
        log.start(run_info(run_id))
        for index in range(frames):
            for camera in cameras:
                log.push(result(index, camera=camera, anomaly=index in inside and camera == cameras[0]))
            if inside and index == inside[0]:
                log.event_began(event(index, index, camera=cameras[0]))
            if inside and index == inside[-1] + 1:
                log.event(event(inside[0], inside[-1], camera=cameras[0]))
    return next(path for path in root.iterdir() if path.name.endswith(run_id[:8]))

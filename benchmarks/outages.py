"""Whether the pipeline survives its camera: an RTSP server is killed and started again, and again.

Every second time it comes back with frames of another size. Each frame carries its number, and which start of the
server sent it, so a frame that nobody sent would be seen. A bundle of a few bytes scores; the camera is what is looked
at.
Needs GStreamer's RTSP server: scripts/packages installs it on Debian and Ubuntu.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks._common import Row, add_json_option, guarded, report
from edgevad.events.incident import Incident
from edgevad.runtime.pipeline import Pipeline
from edgevad.runtime.scorer import Scorer
from edgevad.sources import open_source
from edgevad.spec import InputSpec
from tests.rtsp import FRAMES_OF_START, RtspServer, lacking, number_in
from tests.tiny import write_tiny_bundle

SIZES_PX = ((640, 360), (320, 240))
RTSP_MODULES = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
# Memory is compared from this outage on: by then everything that is loaded once has been loaded, for both sizes.
WARM_STARTS = 4


def size_of(start: int) -> tuple[int, int]:
    """(width, height) of what the server sends after its start number `start`."""
    return SIZES_PX[start // 2 % len(SIZES_PX)]


@dataclass
class Watched:
    """What came out of the pipeline.

    Attributes:
        recoveries_s: from the moment the server takes connections again to the first result of one of its frames.
        foreign: frames that are none of the server's: unreadable, of the wrong size, or not newer than the one before.
        stuck: frames that were in another segment than the others of their start, or in the same as those of another.
        memory_mb, threads, files: one figure a start, once its frames flow.
    """

    recoveries_s: list[float] = field(default_factory=list)
    frames: int = 0
    foreign: int = 0
    stuck: int = 0
    memory_mb: list[float] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)


class Power:
    """Cuts the server's power, and brings it back in a thread of its own."""

    def __init__(self, server: RtspServer, seed: int) -> None:
        self._server = server
        self._random = random.Random(seed)
        self.back_s: dict[int, float] = {}

    def cut(self) -> None:
        threading.Thread(target=self._cut, args=(self._random.uniform(0.2, 4.0),)).start()

    def _cut(self, outage_s: float) -> None:
        self._server.kill()
        time.sleep(outage_s)
        start = self._server.starts
        self._server.start(size_of(start))
        self.back_s[start] = time.perf_counter()


def watch(pipeline: Pipeline, power: Power, restarts: int, frames_each: int) -> Watched:
    """Take results until the server has been killed `restarts` times and its frames flow again."""
    watched = Watched()
    own = psutil.Process()
    last = start = -1
    segments: dict[int, int] = {}
    flowing = 0
    for result in pipeline:
        frame = result.frame
        watched.frames += 1
        number = number_in(frame.image)
        if number is None or number <= last or frame.image.shape[1::-1] != size_of(number // FRAMES_OF_START):
            watched.foreign += 1
            continue
        last = number
        if number // FRAMES_OF_START != start:
            start, flowing = number // FRAMES_OF_START, 0
            if start:
                watched.recoveries_s.append(time.perf_counter() - power.back_s[start])
            watched.stuck += frame.segment in segments.values()
            segments[start] = frame.segment
        watched.stuck += segments[start] != frame.segment
        flowing += 1
        if flowing == frames_each:
            watched.memory_mb.append(own.memory_info().rss / 1e6)
            watched.threads.append(own.num_threads())
            watched.files.append(own.num_fds())
            if start == restarts:
                break
            power.cut()
    return watched


def rows_of(watched: Watched, incidents: list[Incident], restarts: int) -> list[Row]:
    told: dict[str, list[Incident]] = defaultdict(list)
    for incident in incidents:
        told[incident.id].append(incident)
    outages = [both for both in told.values() if both[0].kind == "camera_lost"]
    whole = sum(len(both) == 2 and both[0].lasts and not both[1].lasts for both in outages)
    sizes = sum(both[0].kind == "frame_size" for both in told.values())
    changes = sum(size_of(start) != size_of(start - 1) for start in range(1, restarts + 1))
    warm_mb = watched.memory_mb[min(WARM_STARTS, restarts - 1) :]
    return [
        Row("recovery after the server's return", watched.recoveries_s, "s"),
        Row("slowest recovery", [max(watched.recoveries_s)], "s", "slowest recovery of a stream (s)"),
        Row("frames scored", [watched.frames]),
        Row("frames nobody sent", [watched.foreign], bar="frames nobody sent"),
        Row("frames in a wrong segment", [watched.stuck], bar="frames nobody sent"),
        Row("outages told, off by", [abs(len(outages) - restarts) + abs(whole - restarts)], bar="incidents, off by"),
        Row("changes of size told, off by", [abs(sizes - changes)], bar="incidents, off by"),
        Row(
            f"resident memory from start {len(watched.memory_mb) - len(warm_mb)} on, largest deviation",
            [max(abs(mb - warm_mb[0]) for mb in warm_mb)],
            "MB",
            "resident memory, largest deviation (MB)",
        ),
        Row("threads of the process", watched.threads),
        Row("open files of the process", watched.files),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench outages", description=__doc__)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--frames", type=int, default=40, help="frames scored before each cut (25 are sent a second)")
    parser.add_argument("--seed", type=int, default=0, help="of how long each outage lasts, 0.2 to 4 s")
    add_json_option(parser)
    arguments = parser.parse_args()
    if (reason := lacking(RTSP_MODULES)) is not None:
        print(f"benchmarks: no RTSP server ({reason}); scripts/packages installs it", file=sys.stderr)
        return 2
    incidents: list[Incident] = []
    with tempfile.TemporaryDirectory() as folder, RtspServer() as server:
        bundle = write_tiny_bundle(Path(folder) / "bundle", InputSpec(32, 32)).path
        server.start(size_of(0))
        source = open_source(server.url, reconnect=True)
        with (
            Scorer.from_bundle(bundle) as scorer,
            Pipeline(scorer, source, on_incident=incidents.append) as pipeline,
        ):
            watched = watch(pipeline, Power(server, arguments.seed), arguments.restarts, arguments.frames)
    rows = rows_of(watched, incidents, arguments.restarts)
    facts = {"restarts": arguments.restarts, "causes": ", ".join(sorted({incident.cause for incident in incidents}))}
    return report("an RTSP camera that dies and comes back", rows, as_json=arguments.json, facts=facts)


if __name__ == "__main__":
    sys.exit(guarded(main))

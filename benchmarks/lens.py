"""Whether faults of a lens are told from real driving: none on real recordings, all that are put into them.

    scripts/bench lens [--size 64] [--places 5] [--json]

Every recording is played whole, as one camera; that has to bring no camera_fault. At some places of it, spread evenly,
each fault is put into the eight seconds that follow (on a copy of the monitor as it is then), and
then taken away again. The delay is the recorded time from the fault's first frame to the incident, the recovery
that from the first good frame to its end. Recordings shorter than half a minute are played several times over; the
frames of the tub, whose timestamps lie 3 ms apart, are taken as 20 a second.
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks._common import ROOT, Row, add_json_option, guarded, report
from benchmarks._lens_faults import FAULTS, HARMLESS, UNTOLD, Injected
from edgevad.runtime.lens import LensMonitor, LensVerdict
from edgevad.runtime.shrinking import shrink
from edgevad.sources import open_source
from edgevad.sources.frame import Frame, Image

# Name -> what to open below EDGEVAD_DATA, and frames a second.
RECORDINGS: dict[str, tuple[tuple[str, ...], float]] = {
    "udacity white": (("udacity_lane/solidWhiteRight.mp4",), 25.0),
    "udacity curves": (("udacity_lane/test_video.mp4",), 25.0),
    "donkey track": (("donkey_track_1124/video.mp4",), 10.0),
    "donkey usi": (("donkey_usi_mit/video.mp4",), 10.0),
    "donkey tub": (("donkey_official_tub",), 20.0),
    "Ped2 train": (("ucsd_ped2/train_all.mp4",), 10.0),
    "Ped2 test": (tuple(f"ucsd_ped2/test/{number:02d}" for number in range(1, 13)), 10.0),
}
LEAST_S = 30.0
FAULT_S, AFTER_S = 8.0, 5.0
# Enough for every model size; wider frames only cost time here.
WIDEST_PX = 240


@dataclass
class Trial:
    """One fault at one place."""

    name: str
    injected: Injected
    monitor: LensMonitor
    start_ns: int
    frozen: Image
    delay_s: float | None = None
    recovery_s: float | None = None
    wrong: list[str] = field(default_factory=list)

    def push(self, frame: Frame, size_px: int) -> bool:
        """Take the next real frame; False once the trial is over."""
        since_s = (frame.timestamp_ns - self.start_ns) / 1e9
        if since_s >= FAULT_S + AFTER_S:
            return False
        image = frame.image
        if since_s < FAULT_S:
            make = self.injected.make
            image = self.frozen if make is None else make(image, frame.index)
        shown = Frame(image, frame.index, frame.timestamp_ns, frame.source_id)
        verdict = self.monitor.push(shown, shrink(image, (size_px, size_px)))
        self._note(verdict, since_s)
        return True

    def _note(self, verdict: LensVerdict, since_s: float) -> None:
        incident = verdict.incident
        if incident is None:
            return
        if incident.cause not in self.injected.causes:
            self.wrong.append(incident.cause)
        elif incident.lasts and self.delay_s is None:
            self.delay_s = since_s
        elif not incident.lasts and self.recovery_s is None:
            self.recovery_s = since_s - FAULT_S


@dataclass
class Played:
    """What one recording brought."""

    frames: int = 0
    incidents: list[str] = field(default_factory=list)
    at_once: dict[str, int] = field(default_factory=dict)
    nearest: dict[str, float] = field(default_factory=dict)
    repeats: int = 0
    times_ms: list[float] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)

    def of(self, fault: str) -> list[Trial]:
        return [trial for trial in self.trials if trial.name == fault]


def frames_of(name: str, root: Path) -> Iterator[Frame]:
    """The recording as one camera's single segment, played again until it is `LEAST_S` long."""
    paths, fps_hz = RECORDINGS[name]
    index = 0
    while index < LEAST_S * fps_hz:
        with open_source([str(root / path) for path in paths]) as source:
            for frame in source:
                image = frame.image
                if image.shape[1] > WIDEST_PX:
                    size = (WIDEST_PX, round(image.shape[0] * WIDEST_PX / image.shape[1]))
                    image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
                yield Frame(image, index, round(index / fps_hz * 1e9), name)
                index += 1


def play(name: str, root: Path, size_px: int, places: int, faults: dict[str, Injected]) -> Played:
    """Play a recording, and put every fault into it at `places` places."""
    played, monitor = Played(), LensMonitor()
    count = sum(1 for _ in frames_of(name, root))
    fps_hz = RECORDINGS[name][1]
    first, last = round(12.0 * fps_hz), count - round((FAULT_S + AFTER_S) * fps_hz)
    starts = set(np.linspace(first, max(first, last), places).round().astype(int).tolist())
    running: list[Trial] = []
    for frame in frames_of(name, root):
        if frame.index in starts:
            running += [
                Trial(fault_name, injected, copy.deepcopy(monitor), frame.timestamp_ns, frame.image)
                for fault_name, injected in faults.items()
            ]
        going = [trial for trial in running if trial.push(frame, size_px)]
        played.trials += [trial for trial in running if trial not in going]
        running = going
        small = shrink(frame.image, (size_px, size_px))
        started_s = time.perf_counter()
        verdict = monitor.push(frame, small)
        played.times_ms.append(1e3 * (time.perf_counter() - started_s))
        played.frames += 1
        played.repeats += verdict.repeats
        for fault, share in monitor.evidence.items():
            played.nearest[fault] = max(share, played.nearest.get(fault, 0.0))
        if verdict.fault is not None:
            played.at_once[verdict.fault] = played.at_once.get(verdict.fault, 0) + 1
        if verdict.incident is not None and verdict.incident.lasts:
            played.incidents.append(f"{verdict.incident.cause} at {verdict.incident.start_ns / 1e9:.1f} s")
    played.trials += running
    return played


def cell(trials: list[Trial]) -> str:
    """How many were told, and the longest delay."""
    if not any(trial.injected.causes for trial in trials):
        return f"{sum(bool(trial.wrong) for trial in trials)}/{len(trials)}"
    told = [trial.delay_s for trial in trials if trial.delay_s is not None]
    wrong = sorted({cause for trial in trials for cause in trial.wrong})
    text = f"{len(told)}/{len(trials)}" + (f", {max(told):.1f} s" if told else "")
    return text + (f" ({', '.join(wrong)} told)" if wrong else "")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="the model's input, pixels a side (default 64)")
    parser.add_argument("--places", type=int, default=5, help="places of each recording (default 5)")
    add_json_option(parser)
    args = parser.parse_args(arguments)
    root = Path(os.environ.get("EDGEVAD_DATA", ROOT.parent / "shared" / "data"))
    names = [name for name, (paths, _) in RECORDINGS.items() if (root / paths[0]).exists()]
    if not names:
        print(f"none of the recordings is in {root}; set EDGEVAD_DATA", file=sys.stderr)
        return 2
    cv2.setNumThreads(1)
    faults = {**FAULTS, **UNTOLD, **HARMLESS}
    all_played = {}
    for name in names:
        all_played[name] = play(name, root, args.size, args.places, faults)
        print(f"{name}: {all_played[name].frames} frames", file=sys.stderr)
    if not args.json:
        print(as_table(all_played, faults))
    more = facts(all_played, faults) if args.json else {}
    return report("lens", figures(all_played), as_json=args.json, facts={"size (px)": args.size, **more})


def as_table(all_played: dict[str, Played], faults: dict[str, Injected]) -> str:
    """Markdown: a row for each fault, how many were told and the longest delay for each recording."""
    lines = ["| fault | " + " | ".join(all_played) + " |", "|---|" + "---|" * len(all_played)]
    real = [f"{len(one.incidents)} in {one.frames}" for one in all_played.values()]
    lines.append("| (none: real driving) | " + " | ".join(real) + " |")
    near = [", ".join(f"{k} {v:.2f}" for k, v in one.nearest.items() if v) or "0" for one in all_played.values()]
    lines.append("| (nearest to a report, 1 is one) | " + " | ".join(near) + " |")
    for fault in faults:
        lines.append(f"| {fault} | " + " | ".join(cell(one.of(fault)) for one in all_played.values()) + " |")
    return "\n".join(lines)


def figures(all_played: dict[str, Played]) -> list[Row]:
    """What has to hold, and the delays."""
    meant = {fault: [trial for one in all_played.values() for trial in one.of(fault)] for fault in FAULTS}
    missed = sum(trial.delay_s is None for trials in meant.values() for trial in trials)
    false = sum(len(one.incidents) for one in all_played.values())
    harmless = [trial for fault in HARMLESS for one in all_played.values() for trial in one.of(fault)]
    false += sum(bool(trial.wrong) for trial in harmless)
    medians_ms = [float(np.median(one.times_ms)) for one in all_played.values()]
    rows = [
        Row(
            "camera faults on real driving, tunnel, fog and cobbles", [false], "", "lens: camera faults on real driving"
        ),
        Row("injected faults not told", [missed], "", "lens: injected faults not told"),
        Row("time a frame", medians_ms, "ms", "lens: time a frame (ms)"),
    ]
    for fault, trials in meant.items():
        delays = [trial.delay_s for trial in trials if trial.delay_s is not None]
        recoveries = [trial.recovery_s for trial in trials if trial.recovery_s is not None]
        rows += [Row(f"{fault}: delay", delays, "s")] if delays else []
        rows += [Row(f"{fault}: recovery", recoveries, "s")] if recoveries else []
    return rows


def facts(all_played: dict[str, Played], faults: dict[str, Injected]) -> dict[str, Any]:
    """The rest, for --json."""
    return {
        "frames": {name: one.frames for name, one in all_played.items()},
        "incidents": {name: one.incidents for name, one in all_played.items() if one.incidents},
        "frames not judged": {name: one.at_once for name, one in all_played.items() if one.at_once},
        "nearest": {name: one.nearest for name, one in all_played.items()},
        "frames that repeat": {name: one.repeats for name, one in all_played.items() if one.repeats},
        "told": {fault: {name: cell(one.of(fault)) for name, one in all_played.items()} for fault in faults},
    }


if __name__ == "__main__":
    sys.exit(guarded(main))

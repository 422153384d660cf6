"""A month on the road in a few minutes: a vehicle that keeps its model fresh, and what it does when something is wrong.

    python examples/a-month-on-the-road/month.py [--out month] [--seconds 60]

Every day the renderer makes a drive of the same road, the active bundle scores it, and the vehicle logs it. In the
evening drift is measured; where it calls for something, the model is brought up to date from the last days, judged by
the gate, and activated on trial. The clock is simulated; everything else is what edgevad does on a vehicle.

    days 1 to 3      summer; the model is trained on them
    days 9 to 17     autumn comes
    day 13           somebody bumps the camera: from now on it is turned by 3 degrees
    days 20, 21      the lens is covered
    day 23           somebody activates a bundle whose threshold is far too low
    days 24 to 30    winter comes
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from picture import draw
from rich.console import Console

from edgevad.bundle import Bundle, Slots, active_bundle, write_bundle
from edgevad.drives.log import DriveLog
from edgevad.drives.policy import LogPolicy
from edgevad.errors import EdgevadError
from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.events.sink import Sink
from edgevad.export import bundle_for_target
from edgevad.export.options import ExportOptions
from edgevad.model.config import preset
from edgevad.model.folder import Recipe
from edgevad.model.trainer import TrainConfig
from edgevad.model.training import Training
from edgevad.refit.cycle import run_cycle
from edgevad.refit.cycle_options import CycleOptions
from edgevad.refit.drift import DriftDay, DriftSpec, drift_of_drives
from edgevad.runtime.lens import LensSpec
from edgevad.runtime.pipeline import Pipeline
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.session import RunSummary, run_session
from edgevad.runtime.stream import Result
from edgevad.runtime.trial import TrialMonitor, TrialSpec
from edgevad.sources import open_source
from edgevad.synth import SynthConfig, write_drive
from edgevad.targets import load_target

DAYS = 30
TRAINED_DAYS = 3
TURNED_FROM, COVERED, WRONG_BUNDLE = 13, (20, 21), 23
LEARNED_DAYS = 3
DAY_NS = 86_400 * 10**9
ROAD, FPS_HZ = 11, 5.0


@dataclass
class Day:
    """What a day came to.

    Attributes:
        median, high: of the anomaly scores of its normal frames, the 50th and 95th percentile; NaN without a score.
        threshold: of the bundle that scored it.
        alarmed: share of its normal frames that were inside an event.
        found, shown: labelled anomalies that were found, and that there were.
        drift: the largest distance of any figure from its calibration, in units of what counts as drift.
        advice: what drift called for.
        told: what happened, in sentences.
    """

    number: int
    season: float
    median: float = float("nan")
    high: float = float("nan")
    threshold: float = float("nan")
    alarmed: float = 0.0
    found: int = 0
    shown: int = 0
    drift: float = float("nan")
    advice: str = "none"
    told: list[str] = field(default_factory=list)


def season_of(day: int) -> float:
    """0 in summer, about 0.5 in autumn, 1 in winter."""
    autumn, winter = np.clip((day - 8) / 9.0, 0.0, 1.0), np.clip((day - 23) / 7.0, 0.0, 1.0)
    return float(0.5 * autumn + 0.5 * winter)


class Vehicle:
    """A car with one camera, its road, and its clock."""

    def __init__(self, out: Path, seconds: float) -> None:
        self.out, self.seconds = out, seconds
        self.model = out / "model"
        self.slots = Slots.of_device()
        # The month ends today: what edgevad compares with the present is then right.
        self.began_ns = time.time_ns() - (DAYS + 1) * DAY_NS

    def record(self, day: int) -> tuple[Path, np.ndarray]:
        """The day's drive as the camera saw it, and its labels: 0 normal, 1 ambiguous, 2 anomaly."""
        config = SynthConfig(
            self.seconds,
            FPS_HZ,
            width_px=96,
            height_px=72,
            seed=100 + day,
            anomaly_share=0.04,
            road=ROAD,
            season=season_of(day),
            mount_deg=3.0 if day >= TURNED_FROM else 0.0,
        )
        written = write_drive(config, self.out / "recordings" / f"{day:02d}")
        if day in COVERED:
            _cover(written.video)
        labels = np.loadtxt(written.labels, delimiter=",", skiprows=1, usecols=1).astype(int)
        return written.video, labels

    def leave_the_yard(self) -> None:
        """Train on the first days, export, activate: what is done once, on a host."""
        videos = tuple(str(self.record(day)[0].absolute()) for day in range(1, TRAINED_DAYS + 1))
        model = replace(preset("nano"), motion="none")
        recipe = Recipe(videos, model, TrainConfig(max_rounds=8), alarms_per_hour=20.0, name="road")
        Training.start(recipe, self.model, overwrite=True).run()
        options = ExportOptions(precision="fp32")
        first = bundle_for_target(self.model, load_target("cpu"), self.out / "first", options=options, overwrite=True)
        self.slots.activate(first.path, trial=False, why="left the yard")

    def drive(self, day: int) -> Day:
        """A day on the road: every frame scored and logged, a new bundle watched."""
        video, labels = self.record(day)
        watch = _Watch(self.slots)
        with (
            _inside(video.parent),  # the camera is called as the file is: the same every day
            Scorer.from_bundle(Bundle.open(active_bundle())) as scorer,
            open_source(video.name) as source,
            DriveLog(self.out / "drives", LogPolicy(image_fps_hz=FPS_HZ)) as log,
        ):
            summary = run_session(
                Pipeline(scorer, source, lens=LensSpec()),
                [log, watch],
                sources=[video.name],
                alarms_per_hour=scorer.calibration.alarms_per_hour,
                started_ns=self.began_ns + day * DAY_NS,
            )
            threshold = scorer.calibration.threshold
        return self._account(day, labels, watch, list(summary.events), threshold)

    def _account(self, day: int, labels: np.ndarray, watch: _Watch, events: list[Event], threshold: float) -> Day:
        found = Day(day, season_of(day), threshold=threshold, told=list(watch.told))
        scores = np.full(len(labels), np.nan)
        scores[list(watch.scores)] = list(watch.scores.values())
        normal = scores[(labels == 0) & np.isfinite(scores)]
        if len(normal):
            found.median, found.high = (float(level) for level in np.quantile(normal, (0.5, 0.95)))
        inside = np.zeros(len(labels), np.bool_)
        for event in events:
            inside[event.start_frame : event.end_frame + 1] = True
        found.alarmed = float(inside[labels == 0].mean())
        begins = np.flatnonzero(np.diff(np.r_[0, labels == 2]) == 1)
        ends = np.flatnonzero(np.diff(np.r_[labels == 2, 0]) == -1)
        found.shown = len(begins)
        found.found = sum(bool(inside[first : last + 1].any()) for first, last in zip(begins, ends, strict=True))
        return found

    def evening(self, day: Day) -> None:
        """Measure drift; where it calls for something, bring the model up to date, and activate it if it is better."""
        try:
            spec = DriftSpec(window_days=3, enough_s=2 * self.seconds, days=LEARNED_DAYS)
            report = drift_of_drives(self.out / "drives", Bundle.open(active_bundle()), spec=spec)
        except EdgevadError as error:
            day.told.append(f"drift: {error}")
            return
        day.advice = report.advice.what
        day.drift = max((_distance(one) for one in report.days[-1:]), default=0.0)
        if day.advice not in ("recalibrate", "adapt", "refit"):
            if day.advice != "none":
                day.told.append(f"{day.advice}: {report.advice.sentence}")
            return
        recent = sorted((self.out / "drives").glob("2*"))[-LEARNED_DAYS:]
        options = CycleOptions(
            day.advice,  # type: ignore[arg-type]
            drives=tuple(str(one.absolute()) for one in recent),
            model=self.model,
            budget_minutes=0.5,
        )
        try:
            result = run_cycle(options)
        except EdgevadError as error:
            day.told.append(f"{day.advice}: {error}")
            return
        day.told.append(f"{result.depth}: {result.outcome}. {result.sentence}")

    def somebody_errs(self) -> str:
        """A bundle with a threshold that is far too low, activated by hand."""
        good = Bundle.open(active_bundle())
        manifest = good.manifest
        bad = write_bundle(
            self.out / "wrong",
            name="wrong",
            target=manifest.device(),
            backend=manifest.backend,
            precision=manifest.precision,
            graphs={name: good.graph(name) for name in manifest.graphs},
            input=manifest.input,
            score=manifest.score,
            calibration=replace(manifest.calibration, threshold=-2.0),
            provenance=manifest.provenance,
            selftest=good.selftest(),
            selftest_rtol=manifest.selftest_rtol,
            scores=good.training_scores().arrays(),
            bank=good.bank(),
            remember=good.remember_graph(),
            replay=good.replay(),
        )
        self.slots.activate(bad.path, why="by hand")
        return "somebody activates a bundle with a wrong threshold"


class _Watch(Sink):
    """Collects the scores of a day, and goes back from a bundle on trial that does not do."""

    name = "watch"

    def __init__(self, slots: Slots) -> None:
        self.scores: dict[int, float] = {}
        self.told: list[str] = []
        self._slots = slots
        self._monitor: TrialMonitor | None = None
        current = slots.current
        if current is not None and current.state == "trial":
            # Events are not counted: this road shows an anomaly every half minute.
            spec = TrialSpec(minutes=3.0, alarms_per_hour=None)
            self._monitor = TrialMonitor(spec, current.trial, current.digest)

    def push(self, result: Result) -> None:
        if result.anomaly_score is not None:
            self.scores[result.frame.index] = result.anomaly_score
        monitor = self._monitor
        if monitor is None:
            return
        monitor.observe(result, result.frame.timestamp_ns / 1e9)
        if monitor.verdict is not None:
            back = self._slots.rollback(monitor.verdict)
            self.told.append(f"rolled back to {back.name}, blocked the other: {monitor.verdict}")
            self._monitor = None
        elif monitor.has_passed:
            self._slots.settle(monitor.digest)
            self.told.append("the new bundle has passed its trial")
            self._monitor = None

    def incident(self, incident: Incident) -> None:
        if incident.is_new and incident.kind == "camera_fault":
            self.told.append(f"camera fault: {incident.cause}")

    def finish(self, summary: RunSummary) -> None:
        if self._monitor is not None:  # it goes on tomorrow
            self._slots.update(self._monitor.digest, self._monitor.figures)


def _distance(day: DriftDay) -> float:
    """How far a day's most drifted figure is from its calibration; above 1 it is drift, if it is no accident."""
    effects = [one for each in day.comparison.effects.values() for one in each]
    return max((abs(one.size) / one.margin for one in effects), default=0.0)


def _cover(video: Path) -> None:
    """Tape on the lens: a dim blur, whatever happens outside."""
    capture = cv2.VideoCapture(str(video))
    covered = video.with_name("covered.mp4")
    size = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    writer = cv2.VideoWriter(str(covered), cv2.VideoWriter.fourcc(*"mp4v"), capture.get(cv2.CAP_PROP_FPS), size)
    while True:
        ok, image = capture.read()
        if not ok:
            break
        writer.write(cv2.GaussianBlur(image, (0, 0), 30) // 4 + 20)
    writer.release()
    capture.release()
    covered.replace(video)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def main() -> None:
    """Live through the month and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("month"))
    parser.add_argument("--seconds", type=float, default=60.0, help="Length of a day's drive.")
    options = parser.parse_args()
    out = options.out.absolute()
    if (out / "days.json").exists() or not out.exists():
        shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    os.environ["EDGEVAD_HOME"] = str(out / "vehicle")
    console, started_s = Console(), time.perf_counter()
    car = Vehicle(out, options.seconds)
    car.leave_the_yard()
    console.print(f"trained on days 1 to {TRAINED_DAYS}, {time.perf_counter() - started_s:.0f} s")
    days: list[Day] = []
    for number in range(TRAINED_DAYS + 1, DAYS + 1):
        erred = car.somebody_errs() if number == WRONG_BUNDLE else None
        day = car.drive(number)
        if erred is not None:
            day.told.insert(0, erred)
        car.evening(day)
        days.append(day)
        found = f"{day.found}/{day.shown} found, {day.alarmed:.0%} of the rest alarmed"
        console.print(f"day {number:2d}  {found}, drift {day.drift:.1f}  {' | '.join(day.told)}", highlight=False)
    (out / "days.json").write_text(json.dumps([vars(day) for day in days], indent=2))
    draw(days, out / "month.png")
    console.print(f"{out / 'month.png'}, {time.perf_counter() - started_s:.0f} s in all")


if __name__ == "__main__":
    main()

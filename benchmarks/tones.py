"""What tone curves give back, and what they cost where nothing had changed: two real drives in every kind of light.

    scripts/bench tones [--work DIR] [--sets donkey_track_1124 donkey_usi_mit] [--json]

A champion is trained on the first third of each drive; the rest is degraded (benchmarks/degrade.py), `recalibrate`
learns from one second in three of it, and both are judged by labels that neither saw: AUROC on the whole degraded rest,
and on the first third as it was. Then four conditions come one after the other, a quarter of the rest each.

Bars: recalibrating never lowers AUROC on the degraded rest, and on the first third by at most 2 points. Champions are
kept in --work.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from benchmarks._common import add_json_option, data_file, guarded, machine
from benchmarks.degrade import degraded, write_degraded
from edgevad.bundle import Bundle
from edgevad.calibration.judging import judge
from edgevad.evaluation.labels import ANOMALY, NORMAL
from edgevad.model.cache import FrameCache
from edgevad.refit.recalibrate import recalibrate
from edgevad.refit.selection import Selection
from edgevad.runtime.scorer import Scorer

SETS = ("donkey_track_1124", "donkey_usi_mit")
KINDS = (("gamma", 0.0), ("gamma", 1.0), ("tilt", 1.0), ("haze", 1.0), ("haze", 3.0), ("all", 1.0), ("all", 1.6))
CHAIN = (("gamma", 1.0), ("haze", 2.0), ("all", 1.0), ("gamma", 0.0))
MAX_OLD_LOSS = 0.02
# What a drive of minutes can tell from none at all.
ALARMS_PER_HOUR = "6"

Levels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """AUROC of the champion and of what came of it, on the degraded rest and on the first third.

    Attributes:
        tones: how many conditions it knows beside home.
        beyond: share of the normal frames of the degraded rest that are beyond its threshold.
    """

    name: str
    condition: str
    champion: float
    recalibrated: float
    champion_old: float
    recalibrated_old: float
    tones: int
    beyond: float

    @property
    def missed(self) -> str:
        if self.recalibrated < self.champion:
            return "lower on the new"
        return "old forgotten" if self.recalibrated_old < self.champion_old - MAX_OLD_LOSS else ""


class Drive:
    """A drive, its labels, and the champion that was trained on its first third."""

    def __init__(self, name: str, work: Path) -> None:
        video, labels = data_file(f"{name}/video.mp4"), data_file(f"{name}/frames.csv")
        if video is None or labels is None:
            raise SystemExit("the real recordings are not there: set EDGEVAD_DATA")
        self.name = name
        with labels.open(encoding="utf-8") as stream:
            self.levels: Levels = np.array([int(row["level"] or 0) for row in csv.DictReader(stream)])
        self.champion = _champion(video, work / name)
        self.frames, self.fps_hz = _frames(video)
        self.cut = len(self.frames) // 3
        self.old = self.cache(self.frames[: self.cut], 0)

    def cache(self, frames: list[npt.NDArray[np.uint8]], first: int, kind: str = "all", by: float = 0.0) -> FrameCache:
        """Frames from number `first` on, degraded, at the model's size."""
        spec = self.champion.manifest.input
        size = spec.width_px, spec.height_px
        images = [cv2.resize(degraded(frame, kind, by), size, interpolation=cv2.INTER_AREA) for frame in frames]
        times = ((first + np.arange(len(images))) / self.fps_hz * 1e9).astype(np.int64)
        return FrameCache(np.array(images, np.uint8), None, times, np.zeros(len(images), np.int32), 0)

    def rest(self, kind: str, by: float) -> FrameCache:
        return self.cache(self.frames[self.cut :], self.cut, kind, by)

    def second_in_three(self, cache: FrameCache) -> Selection:
        """At 10 Hz, as training samples."""
        second, step = round(self.fps_hz), max(round(self.fps_hz / 10), 1)
        number = np.arange(len(cache))
        return _selection(cache, np.flatnonzero((number % (3 * second) < second) & (number % second % step == 0)))

    def quarter(self, cache: FrameCache, which: int) -> Selection:
        step = max(round(self.fps_hz / 10), 1)
        return _selection(cache, np.arange(len(cache) * which // 4, len(cache) * (which + 1) // 4, step))

    def judged(self, bundle: Bundle, cache: FrameCache, levels: Levels) -> tuple[float, float]:
        """AUROC, and the share of normal frames beyond the threshold."""
        with Scorer.from_bundle(bundle) as scorer:
            rows = np.arange(len(cache))
            anomaly = judge(scorer.backend, cache, rows, scorer.calibration, heatmaps=False).anomaly
            threshold = scorer.calibration.threshold
        clear = (levels == ANOMALY) | (levels == NORMAL)
        auroc = float(roc_auc_score(levels[clear] == ANOMALY, anomaly[clear]))
        return auroc, float(np.mean(anomaly[levels == NORMAL] >= threshold))

    def row(self, condition: str, cache: FrameCache, found: Bundle) -> Row:
        old_levels, new_levels = self.levels[: self.cut], self.levels[self.cut :]
        (new, beyond), (old, _) = self.judged(found, cache, new_levels), self.judged(found, self.old, old_levels)
        before = [self.judged(self.champion, *pair)[0] for pair in ((cache, new_levels), (self.old, old_levels))]
        tones = found.tones()
        return Row(self.name, condition, before[0], new, before[1], old, 0 if tones is None else len(tones), beyond)


def _selection(cache: FrameCache, rows: npt.NDArray[np.int64]) -> Selection:
    times = cache.timestamp_ns[rows]
    return Selection.of_recording(FrameCache(cache.images[rows], None, times, cache.segment[rows], 0))


def _frames(video: Path) -> tuple[list[npt.NDArray[np.uint8]], float]:
    capture = cv2.VideoCapture(str(video))
    frames, fps_hz = [], capture.get(cv2.CAP_PROP_FPS)
    while (found := capture.read())[0]:
        frames.append(np.asarray(found[1], np.uint8))
    capture.release()
    return frames, fps_hz


def _champion(video: Path, folder: Path) -> Bundle:
    bundle = folder / "champion"
    if not bundle.exists():
        folder.mkdir(parents=True, exist_ok=True)
        first = folder / "first-third.mp4"
        write_degraded(str(video), first, "all", 0.0, 0.0, 1.0 / 3.0)
        train = ["train", first, "--out", folder / "model", "--overwrite", "--alarms-per-hour", ALARMS_PER_HOUR]
        for arguments in (train, ["export", folder / "model", "--out", bundle]):
            command = [sys.executable, "-m", "edgevad", *map(str, arguments)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Bundle.open(bundle)


def rows_of(drive: Drive, scratch: Path) -> Iterator[Row]:
    """One condition at a time, then one after the other."""
    for kind, by in KINDS:
        cache = drive.rest(kind, by)
        found = recalibrate(drive.champion, drive.second_in_three(cache), scratch / f"{drive.name}-{kind}-{by}")
        yield drive.row(f"{kind} {by:g}", cache, found)
    bundle = drive.champion
    seen = []
    for number, (kind, by) in enumerate(CHAIN):
        seen.append((f"{kind} {by:g}", drive.rest(kind, by)))
        selection = drive.quarter(seen[-1][1], number)
        bundle = recalibrate(bundle, selection, scratch / f"{drive.name}-chain-{number}")
    for condition, cache in seen:
        yield drive.row(f"{condition}, after all four", cache, bundle)


def main() -> int:
    """Print a row for each condition; exit code 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "edgevad-tones")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    add_json_option(parser)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="edgevad-tones-") as scratch:
        for name in options.sets:
            for row in rows_of(Drive(name, options.work), Path(scratch)):
                rows.append(row)
                if not options.json:
                    print(_line(row), flush=True)
    if options.json:
        print(json.dumps({"machine": machine(), "rows": [{**asdict(row), "missed": row.missed} for row in rows]}))
    return 1 if any(row.missed for row in rows) else 0


def _line(row: Row) -> str:
    new = f"{row.champion:.3f} -> {row.recalibrated:.3f}"
    old = f"{row.champion_old:.3f} -> {row.recalibrated_old:.3f}"
    what = f"{row.name}, {row.condition}: new {new}, old {old}, {row.tones} curves, {row.beyond:.1%} beyond threshold"
    return f"{what}{'  MISSED: ' if row.missed else ''}{row.missed}"


if __name__ == "__main__":
    sys.exit(guarded(main))

"""Three depths of adaptation, on a real drive that changes as a vehicle's pictures do.

    python -m benchmarks.refit [--work DIR] [--depths recalibrate adapt refit] [--kind all] [--json FILE]

Trains a champion on the first third of donkey_track_1124, degrades the rest (benchmarks/degrade.py), lets the champion
log it as drives, and brings the champion up to date by each depth, as a user would (`edgevad recalibrate|adapt|refit
--out`). Beside them: the champion left alone, and a model trained on the degraded drive. Judged by labels that none of
them saw: AUROC and false alarms an hour on the degraded drive, and AUROC on the old condition.

Bars: AUROC on the degraded drive at most 3 points under the model trained on it, false alarms at most 1.5 times its (or
one in the drive), AUROC on the old condition at most 2 points under the champion's. What was made is kept in --work,
and not made twice.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks._common import data_file, machine
from benchmarks.degrade import KINDS, write_degraded
from edgevad.evaluation.evaluate import Evaluation, evaluate
from edgevad.evaluation.labels import read_labels
from edgevad.runtime.scorer import Scorer
from edgevad.sources import open_source

SET = "donkey_track_1124"
THIRD = 1.0 / 3.0
# What a drive of minutes can tell from none at all.
ALARMS_PER_HOUR = "6"
DEPTHS = ("recalibrate", "adapt", "refit")
MAX_AUROC_LOSS, MAX_FALSE_ALARMS, MAX_OLD_LOSS = 0.03, 1.5, 0.02


@dataclass(frozen=True)
class Row:
    """A model's worth on both conditions, and what it took to make it.

    Attributes:
        auroc, old_auroc: micro, of the anomaly scores as the runtime computes them.
        false_alarms: events of the degraded drive that overlap nothing labelled.
        found, events: labelled events of the degraded drive.
        seconds, peak_mb: of the command that made it; None where none did.
        verdict: of the gate.
    """

    name: str
    auroc: float
    old_auroc: float
    false_alarms: int
    found: int
    events: int
    seconds: float | None = None
    peak_mb: float | None = None
    verdict: str = ""


class Loop:
    """One loop in the folder `work`, for one kind of degradation."""

    def __init__(self, work: Path, kind: str) -> None:
        self.work, self.kind = work, kind
        work.mkdir(parents=True, exist_ok=True)
        self.video, self.levels = (_required(f"{SET}/{name}") for name in ("video.mp4", "frames.csv"))
        self.old, self.new = work / "old.mp4", work / "new.mp4"
        self.environment = {**os.environ, "EDGEVAD_HOME": str(work / "home"), "OMP_NUM_THREADS": "1"}

    def prepare(self) -> None:
        """Recordings, labels, the champion and the model it is held against, and the drives that the champion logs."""
        if not self.new.exists():
            write_degraded(str(self.video), self.old, self.kind, 0.0, 0.0, THIRD)
            write_degraded(str(self.video), self.new, self.kind, 1.0, THIRD, 1.0)
        with self.levels.open(encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        cut = round(THIRD * len(rows))
        for path, part in ((self.labels(self.old), rows[:cut]), (self.labels(self.new), rows[cut:])):
            with path.open("w", encoding="utf-8", newline="") as stream:
                writer = csv.DictWriter(stream, ["frame", "level"])
                writer.writeheader()
                writer.writerows({"frame": k, "level": row["level"]} for k, row in enumerate(part))
        for name, recording in (("champion", self.old), ("reference", self.new)):
            if not (self.work / f"{name}-model" / "weights.safetensors").exists():
                model = self.work / f"{name}-model"
                self.edgevad("train", recording, "--out", model, "--overwrite", "--alarms-per-hour", ALARMS_PER_HOUR)
            if not self.bundle(name).exists():
                self.edgevad("export", self.work / f"{name}-model", "--out", self.bundle(name))
        if not (self.work / "drives").exists():
            self.edgevad(
                *("run", "--source", self.new, "--bundle", self.bundle("champion"), "--log", self.work / "drives"),
                "--quiet",
            )

    def adapt(self, depth: str) -> tuple[float, float, str]:
        """Bring the champion up to date: seconds, largest resident memory in MB, and what the gate said."""
        out, told = self.bundle(depth), self.work / f"{depth}.json"
        if not told.exists():
            started_s = time.perf_counter()
            code, text, peak_mb = self.timed(
                *(depth, "--bundle", self.bundle("champion"), "--model", self.work / "champion-model"),
                *("--drives", self.work / "drives", "--out", out, "--overwrite", "--fresh", "--json"),
            )
            if code not in (0, 1):
                raise SystemExit(f"edgevad {depth} failed:\n{text}")
            seconds = time.perf_counter() - started_s
            told.write_text(json.dumps({"seconds": seconds, "peak_mb": peak_mb, "result": json.loads(text)}))
        value = json.loads(told.read_text())
        result = value["result"]
        return value["seconds"], value["peak_mb"], f"{result['outcome']}: {result['sentence']}"

    def row(self, name: str, seconds: float | None = None, peak_mb: float | None = None, verdict: str = "") -> Row:
        """Hold the bundle `name` against the labels."""
        new, old = (self.judged(name, recording) for recording in (self.new, self.old))
        assert new.auroc is not None
        assert old.auroc is not None
        found = sum(new.match.found)
        events = len(new.match.labelled)
        return Row(name, new.auroc, old.auroc, new.false_alarms, found, events, seconds, peak_mb, verdict)

    def judged(self, name: str, recording: Path) -> Evaluation:
        with Scorer.from_bundle(self.bundle(name)) as scorer, open_source(str(recording)) as source:
            return evaluate(scorer, source, read_labels(self.labels(recording)), top_frames=0)

    def bundle(self, name: str) -> Path:
        return self.work / f"{name}-bundle"

    def labels(self, recording: Path) -> Path:
        return recording.with_suffix(".csv")

    def edgevad(self, *arguments: str | Path) -> None:
        code, text, _ = self.timed(*arguments)
        if code:
            raise SystemExit(f"edgevad {' '.join(map(str, arguments))} failed:\n{text}")

    def timed(self, *arguments: str | Path) -> tuple[int, str, float]:
        """Exit code, standard output, and the largest resident memory in MB of `edgevad` with these arguments."""
        command = [sys.executable, "-m", "edgevad", *map(str, arguments)]
        with subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            text = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, text, usage.ru_maxrss / 1024


def _required(name: str) -> Path:
    path = data_file(name)
    if path is None:
        raise SystemExit(f"{name} is not there: set EDGEVAD_DATA to the folder of recordings")
    return path


def missed(row: Row, reference: Row, champion: Row) -> list[str]:
    """The bars that a depth's row does not hold, in words."""
    problems = []
    if row.auroc < reference.auroc - MAX_AUROC_LOSS:
        problems.append("AUROC")
    if row.false_alarms > max(MAX_FALSE_ALARMS * reference.false_alarms, 1):
        problems.append("false alarms")
    if row.old_auroc < champion.old_auroc - MAX_OLD_LOSS:
        problems.append("old condition")
    return problems


def main() -> None:
    """Run the loop and print its table; exit code 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/refit-loop"))
    parser.add_argument("--depths", nargs="+", choices=DEPTHS, default=list(DEPTHS))
    parser.add_argument("--kind", choices=sorted(KINDS), default="all")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    loop = Loop(options.work, options.kind)
    loop.prepare()
    champion, reference = loop.row("champion"), loop.row("reference")
    rows = [champion, reference]
    failed = False
    for depth in options.depths:
        seconds, peak_mb, verdict = loop.adapt(depth)
        # One that the gate refused was not written; there is nothing to judge.
        if not loop.bundle(depth).exists():
            print(f"{depth}: {verdict}")
            failed = True
            continue
        rows.append(loop.row(depth, seconds, peak_mb, verdict))
    print(f"| model | AUROC new | false alarms | events | AUROC old | s | MB | missed |\n|{'---|' * 8}")
    for row in rows:
        problems = [] if row in (champion, reference) else missed(row, reference, champion)
        failed |= bool(problems)
        took = "" if row.seconds is None else f"{row.seconds:.0f}"
        peak = "" if row.peak_mb is None else f"{row.peak_mb:.0f}"
        print(
            f"| {row.name} | {row.auroc:.3f} | {row.false_alarms} | {row.found}/{row.events} | {row.old_auroc:.3f} "
            f"| {took} | {peak} | {', '.join(problems)} |"
        )
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine(), "rows": [asdict(row) for row in rows]}, indent=2))
    sys.exit(failed)


if __name__ == "__main__":
    main()

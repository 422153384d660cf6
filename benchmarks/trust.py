"""Which logs are refused before anything is learned from them: those in which the anomaly is usual, and covered lenses.

    python -m benchmarks.trust [--work DIR] [--sets donkey_track_1124 donkey_usi_mit] [--json]

For each set a champion (`nano`) is trained on the unlabelled frames of its first 60 % (half for donkey_usi_mit). From
the rest come honest drives and poisoned ones, in which two fifths of the frames show the labelled anomalies of the
whole recording; each as it is, and degraded as a vehicle's pictures are (benchmarks/degrade.py); and drives with the
lens covered. The champion logs each as a drive, as `edgevad run --log` does, and `edgevad drives choose` is asked about
the log, and about the video itself. Labels say which frames a drive is made of, and nothing else.

Bars: every honest drive is trusted; every poisoned one in the condition that the champion knows, and every covered
lens, is refused. In other conditions what is refused is told. What was made is kept in --work.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks._common import add_json_option, data_file, guarded, machine
from benchmarks.degrade import degraded

SETS = {"donkey_track_1124": 4069, "donkey_usi_mit": 6000}
CONDITIONS = ("none", "gamma", "tilt", "haze", "all")
COVERS = ("brown", "mud")
FPS_HZ = 10.0
# Frames of an honest drive, and the longest run of one anomaly before normal frames follow.
HONEST, RUN = 1500, 90

Image = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Answer:
    """What was said of one drive.

    Attributes:
        case: honest, poisoned or covered; `condition` what was done to its pictures.
        anomalous: share of the frames that are labelled as anomalies.
        source: the log, or the video.
        refused, why: what `edgevad drives choose` decided.
        standing_out, far_out, blind, dead: as in `Trust`; None where nothing was left to ask about.
    """

    name: str
    case: str
    condition: str
    anomalous: float
    source: str
    refused: bool
    why: str
    standing_out: float | None = None
    far_out: float | None = None
    blind: float | None = None
    dead: float | None = None

    @property
    def is_expected(self) -> bool | None:
        """None where no bar is about it: anomalies under another condition."""
        if self.case == "poisoned" and self.condition != "none":
            return None
        return self.refused == (self.case != "honest")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "edgevad-trust")
    parser.add_argument("--sets", nargs="+", choices=sorted(SETS), default=list(SETS))
    add_json_option(parser)
    options = parser.parse_args()
    if any(data_file(f"{name}/video.mp4") is None for name in options.sets):
        print("benchmarks: the real recordings are not there; set EDGEVAD_DATA", file=sys.stderr)
        return 2
    answers = [answer for name in options.sets for answer in answers_for(name, options.work / name)]
    wrong = [answer for answer in answers if answer.is_expected is False]
    if options.json:
        print(json.dumps({"machine": machine(), "answers": [asdict(answer) for answer in answers]}))
    else:
        asked = sum(answer.is_expected is not None for answer in answers)
        others = [answer for answer in answers if answer.is_expected is None]
        print(f"{asked - len(wrong)} of {asked} as they should be.")
        print(f"Anomalies in another condition: {sum(one.refused for one in others)} of {len(others)} refused.")
    return 1 if wrong else 0


def answers_for(name: str, work: Path) -> Iterator[Answer]:
    """Of one labelled set, told on standard error as they come."""
    labels, recording = data_file(f"{name}/frames.csv"), data_file(f"{name}/video.mp4")
    assert labels is not None
    assert recording is not None
    with labels.open() as stream:
        level = np.array([int(row["level"]) for row in csv.DictReader(stream)])
    frames = Frames(recording)
    champion = _champion(frames, level, SETS[name], work)
    honest, poisoned = _drives(level, SETS[name])
    cases = [(case, one, kind) for kind in CONDITIONS for case, one in (("honest", honest), ("poisoned", poisoned))]
    cases += [("covered", honest, kind) for kind in COVERS]
    for case, rows, kind in cases:
        folder = work / f"{case}-{kind}"
        video = folder / "drive.mp4"
        if not (folder / "log").exists():
            folder.mkdir(parents=True, exist_ok=True)
            change = _covered(kind) if case == "covered" else _changed(kind)
            frames.write(rows, video, change)
            _edgevad("run", "--source", video, "--bundle", champion, "--log", folder / "log")
        for source in (folder / "log", video):
            answer = _asked(name, case, kind, float(np.mean(level[rows] == 2)), source, champion)
            figures = " ".join(
                f"{key} {value:.3f}" for key, value in asdict(answer).items() if isinstance(value, float)
            )
            print(
                name,
                case,
                kind,
                source.name,
                "refused" if answer.refused else "trusted",
                figures,
                file=sys.stderr,
                flush=True,
            )
            yield answer


class Frames:
    """The frames of a video, all in memory, as JPEG."""

    def __init__(self, path: Path) -> None:
        capture = cv2.VideoCapture(str(path))
        self._encoded: list[Image] = []
        while True:
            ok, image = capture.read()
            if not ok:
                break
            self._encoded.append(np.asarray(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 97])[1], np.uint8))

    def write(self, rows: Rows, path: Path, change: Callable[[Image], Image]) -> None:
        """These frames, changed, as a video at `path`."""
        writer: cv2.VideoWriter | None = None
        for row in rows:
            image = change(np.asarray(cv2.imdecode(self._encoded[row], cv2.IMREAD_COLOR), np.uint8))
            if writer is None:
                size = (image.shape[1], image.shape[0])
                writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS_HZ, size)
            writer.write(image)
        if writer is not None:
            writer.release()


def _champion(frames: Frames, level: npt.NDArray[np.int64], start: int, work: Path) -> Path:
    """A bundle of a model trained on the unlabelled frames before `start`, each run of them a recording."""
    bundle = work / "champion"
    if not bundle.exists():
        work.mkdir(parents=True, exist_ok=True)
        rows = np.flatnonzero(level[:start] == 0)
        videos = []
        for number, run in enumerate(np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)):
            if len(run) >= 40:
                videos.append(work / f"old-{number:03d}.mp4")
                frames.write(run, videos[-1], lambda image: image)
        _edgevad("train", *videos, "--preset", "nano", "--motion", "none", "--out", work / "model", "--overwrite")
        _edgevad("export", work / "model", "--target", "cpu", "--precision", "fp32", "--out", bundle)
    return bundle


def _drives(level: npt.NDArray[np.int64], start: int) -> tuple[Rows, Rows]:
    """Rows of an honest drive, the rest as it is, every second stretch of 100 frames; and of a poisoned one."""
    number = np.arange(len(level))
    honest = np.flatnonzero((number >= start) & (number // 100 % 2 == 0))[:HONEST]
    anomalous = np.flatnonzero(level == 2)
    normal = np.flatnonzero((number >= start) & (level == 0))
    blocks = np.unique(normal // 100)
    np.random.default_rng(0).shuffle(blocks)
    normal = np.concatenate([normal[normal // 100 == block] for block in blocks])[: len(anomalous) * 3 // 2]
    runs = np.split(anomalous, np.flatnonzero(np.diff(anomalous) > 1) + 1)
    poisoned, taken = [], 0
    for part in (run[k : k + RUN] for run in runs for k in range(0, len(run), RUN)):
        poisoned += [normal[taken : taken + len(part) * 3 // 2], part]
        taken += len(part) * 3 // 2
    return honest, np.concatenate(poisoned)


def _changed(kind: str) -> Callable[[Image], Image]:
    return lambda image: image if kind == "none" else degraded(image, kind)


def _covered(kind: str) -> Callable[[Image], Image]:
    """A cover of one colour, or mud through which an eighth of the light comes; with the sensor's noise."""
    random = np.random.default_rng(0)

    def change(image: Image) -> Image:
        seen = np.full(image.shape, 60.0)
        if kind == "mud":
            seen = 0.12 * cv2.GaussianBlur(image, (0, 0), 9).astype(np.float64) + 0.88 * np.array([60.0, 75.0, 90.0])
        return np.clip(seen + random.normal(0, 2, image.shape), 0, 255).astype(np.uint8)

    return change


def _asked(name: str, case: str, kind: str, anomalous: float, source: Path, champion: Path) -> Answer:
    done = subprocess.run(
        [sys.executable, "-m", "edgevad", "drives", "choose", str(source), "--bundle", str(champion), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 2:  # nothing was left to ask about, and it says why
        return Answer(name, case, kind, anomalous, source.name, refused=True, why=done.stderr.strip())
    trust = json.loads(done.stdout)["trust"]
    figures = {key: trust[key] for key in ("standing_out", "far_out", "blind", "dead")}
    refused, why = not trust["trusted"], " ".join(trust["reasons"])
    return Answer(name, case, kind, anomalous, source.name, refused=refused, why=why, **figures)


def _edgevad(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "edgevad", *map(str, words)], check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(guarded(main))

"""How often drift is told where there is none, and how soon where there is some.

    scripts/bench drift [--data donkey_track_1124] [--lives 100] [--minutes 20] [--bundle B] [--json]

A `nano` model is fitted to every other half minute of a recording. The half minutes between were never learned from and
are of the same drive: driving without drift. They are scored as they are, and as months on the road would leave them
(benchmarks/degrade.py). From what is taken of these frames lives are drawn: a day is stretches of a minute, chosen by
chance, together as long as is driven a day. Lives without drift are looked at every day for 60 days. The others begin
at the eleventh look, ten quiet days have spent their share, and are degraded at full strength at once; at most 20 of
each kind.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from benchmarks._common import Row, add_json_option, data_file, guarded, report
from benchmarks.degrade import KINDS, degraded
from edgevad.bundle import Bundle
from edgevad.refit.drift_advice import NOTHING, Advice
from edgevad.refit.drift_compare import compare
from edgevad.refit.drift_reference import DriftReference
from edgevad.refit.drift_sample import Sample
from edgevad.refit.drift_taking import FrameTaker
from edgevad.refit.drift_tests import spent
from edgevad.runtime.pipeline import Pipeline
from edgevad.runtime.scorer import Scorer
from edgevad.sources.frame import Frame
from edgevad.sources.source import Source

PIECE_S = 30.0
CHUNK_S = 60.0
DAYS, DRIFT_FROM_DAY, LAST_DAY = 60, 11, 25
MOST_DRIFTING = 20
ALPHA = 0.05
# Colours alone: what a model of log intensity does not see.
MORE_KINDS = ("colour",)


@dataclass(frozen=True)
class Life:
    """The day on which something was first told, None if never; and what it called for then."""

    told_day: int | None
    advice: Advice
    figures: tuple[str, ...] = ()


class Pieces(Source):
    """Every other half minute of a video, degraded; each is a segment."""

    def __init__(self, path: Path, odd: bool, kind: str) -> None:
        super().__init__(f"{path.parent.name} {kind}", kind="video")
        self._path, self._odd, self._kind = path, odd, kind

    def _files(self) -> tuple[Path, ...]:
        return (self._path,)

    def _frames(self) -> Iterator[Frame]:
        capture = cv2.VideoCapture(str(self._path))
        fps_hz = capture.get(cv2.CAP_PROP_FPS)
        index = 0
        while (read := capture.read())[0]:
            piece = int(index / fps_hz / PIECE_S)
            if bool(piece % 2) == self._odd:
                image = looks(np.asarray(read[1], np.uint8), self._kind)
                yield Frame(image, index, round(index * 1e9 / fps_hz), self.name, piece)
            index += 1
        capture.release()


def looks(image: np.ndarray, kind: str) -> np.ndarray:
    """As a camera in the state `kind` shows it."""
    if kind == "none":
        return image
    if kind == "colour":
        return np.clip(image * np.array([0.8, 1.0, 1.15]), 0, 255).astype(np.uint8)
    return degraded(image, kind)


def fitted(path: Path, folder: Path) -> Path:
    """A bundle fitted to every other half minute of the video at `path`."""
    import av

    video, model, bundle = folder / "learned.mp4", folder / "model", folder / "bundle"
    source = Pieces(path, odd=False, kind="none")
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(10), options={"crf": "14", "preset": "veryfast"})
        stream.pix_fmt = "yuv420p"
        for frame in source:
            stream.height, stream.width = frame.image.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image, "bgr24")))
        container.mux(stream.encode())
    edgevad = [sys.executable, "-m", "edgevad"]
    subprocess.run([*edgevad, "train", video, "--out", model, "--preset", "nano"], check=True, stdout=sys.stderr)
    precision = ["--target", "cpu", "--precision", "fp32"]
    subprocess.run([*edgevad, "export", model, *precision, "--out", bundle], check=True, stdout=sys.stderr)
    return bundle


def taken(path: Path, bundle: Bundle, reference: DriftReference, kind: str) -> Sample:
    """Figures of the half minutes that were not learned from."""
    taker = FrameTaker(reference, bundle.manifest.input)
    with Scorer.from_bundle(bundle) as scorer, Pipeline(scorer, Pieces(path, odd=True, kind=kind)) as pipeline:
        for result in pipeline:
            taker.push(result)
    return taker.taken()


def day_of(sample: Sample, minutes: float, rng: np.random.Generator) -> Sample:
    """A day's driving: stretches of a minute, from anywhere."""
    starts = np.flatnonzero(sample.time_ns <= sample.time_ns[-1] - CHUNK_S * 1e9)
    chunks = []
    for number in range(max(1, round(60 * minutes / CHUNK_S))):
        first = int(rng.choice(starts))
        # Of every other half minute, two lie in two minutes.
        inside = (sample.time_ns >= sample.time_ns[first]) & (
            sample.time_ns < sample.time_ns[first] + 2 * CHUNK_S * 1e9
        )
        rows = np.flatnonzero(inside)
        chunks.append(
            (number, Sample(sample.values[rows], sample.time_ns[rows], sample.stretch[rows], sample.faulty[rows]))
        )
    return Sample.joined(chunks, sample.values.shape[1])


def life(reference: DriftReference, drawn_from: Sample, days: range, minutes: float, rng: np.random.Generator) -> Life:
    """Days until something is told; `days` are the numbers of its looks."""
    for day in days:
        found = compare(reference, day_of(drawn_from, minutes, rng), alpha=spent(ALPHA, day))
        if found.has_drifted:
            names = tuple(dict.fromkeys(one.figure.name for one in found.findings))
            return Life(day, found.advice, names)
    return Life(None, NOTHING)


def told(lives: list[Life]) -> str:
    """What the lives were told, in words: advice, and the figures that were seen first."""
    advice = Counter(one.advice.what for one in lives if one.told_day is not None)
    figures = Counter(name for one in lives for name in one.figures)
    words = ", ".join(f"{name} {count}" for name, count in advice.most_common())
    return f"{words or 'nothing'} (by {', '.join(name for name, _ in figures.most_common(4)) or '-'})"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="donkey_track_1124", help="folder of EDGEVAD_DATA with a video.mp4")
    parser.add_argument("--lives", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=20.0, help="driven a day")
    parser.add_argument("--bundle", type=Path, help="one that was fitted to the learned half minutes before")
    add_json_option(parser)
    args = parser.parse_args(arguments)
    path = data_file(f"{args.data}/video.mp4")
    if path is None:
        print(f"there is no {args.data}/video.mp4; set EDGEVAD_DATA", file=sys.stderr)
        return 2
    rows: list[Row] = []
    facts: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        bundle = Bundle.open(args.bundle or fitted(path, Path(folder)))
        reference = DriftReference.of(bundle)
        for kind in ("none", *KINDS, *MORE_KINDS):
            sample = taken(path, bundle, reference, kind)
            rng = np.random.default_rng(7)
            days = range(1, DAYS + 1) if kind == "none" else range(DRIFT_FROM_DAY, LAST_DAY + 1)
            count = args.lives if kind == "none" else min(args.lives, MOST_DRIFTING)
            lives = [life(reference, sample, days, args.minutes, rng) for _ in range(count)]
            rows += rows_of(kind, lives, moved(reference, sample))
            facts[f"{kind} calls for"] = told(lives)
            print(f"{kind}: {facts[f'{kind} calls for']}", file=sys.stderr)
    return report("drift", rows, as_json=args.json, facts={"minutes a day": args.minutes, **facts})


def rows_of(kind: str, lives: list[Life], residual: float) -> list[Row]:
    """How many lives were told, and after how many days."""
    days = [one.told_day for one in lives if one.told_day is not None]
    share = len(days) / len(lives)
    if kind == "none":
        return [Row("without drift: lives told of one", [share], "", "drift: lives without drift that are told of one")]
    rows = [Row(f"{kind}: lives told", [share]), Row(f"{kind}: residual moved (deviates)", [residual])]
    if days:
        rows.append(Row(f"{kind}: told on the n-th day", [day - DRIFT_FROM_DAY + 1 for day in days]))
    return rows


def moved(reference: DriftReference, sample: Sample) -> float:
    """How far the network's own score has moved, in deviates."""
    found = compare(reference, sample, alpha=ALPHA)
    return next(iter(found.moved.values()))


if __name__ == "__main__":
    sys.exit(guarded(main))

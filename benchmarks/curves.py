"""How the method's figures move with what the paper fixes: one curve for each choice.

    python -m benchmarks.curves [--curves …] [--points X …] [--sets …] [--seeds 1] [--out FOLDER]

    ratio          share of anomalies, by leaving stretches of the recording out; as many frames at every share
    ratio-most     the same, at every share as many frames as the recording has
    ratio-plain    as ratio, without the entropy term
    weight         fixed weights of the entropy against the rule's own: the rule's regret
    weight-equal   the same, trained for as many rounds as the rule was, instead of until nothing improves
    sigma          kernel width, the weight by the rule
    batch          batch size
    alpha          order of Rényi's entropy
    loss           squared error against structural similarity
    target         explained variance to hold, as a share of what principal components explain
    cost           time and memory of the entropy term against the batch size, and random features instead of pairs

Protocol *whole*: fitted on the recording that is scored, every frame compared with other times only, frame AUROC
through the runtime's window over all unambiguous frames, of the whole score and of its part `residual` alone. No label
is read before a score is judged, but for the kinds of `ratio`, which choose by label what the recording is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks._common import ROOT, guarded
from benchmarks._curve_report import RULE, as_table, cost_table, plot_cost, plot_curve
from benchmarks._entropy_cost import cost_results
from benchmarks._fitting import MakeTrainer, calibration_of, fit, model_for
from benchmarks._judging import judge
from benchmarks._recordings import PROTOCOLS, LabelledCache, read
from benchmarks._subsampling import common_count, most_frames, with_share
from benchmarks._variants import RenyiTrainer, SsimTrainer
from edgevad._allocator import keep_freed_memory
from edgevad.evaluation.labels import ANOMALY, NORMAL
from edgevad.model.trainer import EXPLAINED_RATIO, TrainConfig, Trainer

SHARES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6)


@dataclass(frozen=True)
class Point:
    """One training: what differs from the default.

    Attributes:
        x: what the axis says.
        share: of anomalies in the recording; None: the recording as it is.
        most: with a share, as many frames as there are instead of as many as there are at each of SHARES.
        as_long: as many rounds at most as the rule took.
        target: explained variance to hold, as a share of what the templates explain; None: the trainer's own.
    """

    x: str
    training: TrainConfig = field(default_factory=TrainConfig)
    make: MakeTrainer = Trainer
    share: float | None = None
    most: bool = False
    as_long: bool = False
    target: float | None = None


@dataclass(frozen=True)
class Curve:
    """Points along one axis."""

    axis: str
    points: tuple[Point, ...]


def _training(key: str, *values: float) -> tuple[Point, ...]:
    return tuple(Point(f"{value:g}", replace(TrainConfig(), **{key: value})) for value in values)


def _shares(**changes: Any) -> tuple[Point, ...]:
    return tuple(Point(f"{share:.0%}", share=share, **changes) for share in SHARES)


_WEIGHTS = _training("entropy_weight", 0.0, 0.003, 0.03, 0.3, 1.0)
CURVES = {
    "ratio": Curve("anomalous frames", _shares()),
    "ratio-most": Curve("anomalous frames", _shares(most=True)),
    "ratio-plain": Curve("anomalous frames", _shares(training=TrainConfig(entropy_weight=0.0), as_long=True)),
    "weight": Curve("entropy weight", (Point(RULE), *_WEIGHTS)),
    "weight-equal": Curve("entropy weight", (Point(RULE), *(replace(point, as_long=True) for point in _WEIGHTS))),
    "sigma": Curve("kernel width", _training("sigma", 0.25, 0.5, 1.0, 2.0, 4.0)),
    "batch": Curve("batch size", _training("batch_size", 16, 64, 256)),
    "alpha": Curve(
        "order of the entropy",
        (
            Point("1.01", make=partial(RenyiTrainer, alpha=1.01)),
            Point("2"),
            Point("3", make=partial(RenyiTrainer, alpha=3.0)),
        ),
    ),
    "loss": Curve("reconstruction loss", (Point("squared error"), Point("1 - SSIM", make=SsimTrainer))),
    "target": Curve(
        "explained variance to hold / PCA's",
        tuple(
            Point(f"{ratio:g}", target=None if ratio == EXPLAINED_RATIO else ratio)
            for ratio in (0.80, 0.86, 0.92, 0.96)
        ),
    ),
}
COST = "cost"


class Runner:
    """Trains points on one recording, each once."""

    def __init__(self, recording: LabelledCache) -> None:
        self.recording = recording
        self._known: dict[tuple[Point, int], dict[str, Any]] = {}

    def measure(self, point: Point, seed: int) -> dict[str, Any]:
        """Figures of one training; the same point is not trained again, whatever its axis says."""
        key = (replace(point, x=""), seed)
        if key not in self._known:
            self._known[key] = self._measured(point, seed)
        return self._known[key]

    def _measured(self, point: Point, seed: int) -> dict[str, Any]:
        recording = self._recording(point, seed)
        model = model_for(recording)
        training = replace(point.training, seed=seed)
        if point.as_long:
            rule = self.measure(replace(point, training=TrainConfig(), as_long=False), seed)
            training = replace(training, max_rounds=int(rule["rounds"]))
        if point.target is not None:
            share = Trainer(model, training, replace(recording.cache, motion=None)).template_share
            training = replace(training, explained_target=point.target * share)
        started_s = time.perf_counter()
        fitted = fit(recording, model, training, point.make)
        seconds = time.perf_counter() - started_s
        residual = fitted.scores[:, :1]
        trainer = fitted.trainer
        last = trainer.history.rows[-1]
        return {
            "frames": len(recording),
            "anomalies": int((recording.level == ANOMALY).sum()),
            **judge(recording, fitted.scores, fitted.calibration).to_json(),
            "residual": judge(recording, residual, calibration_of(recording, residual, ("score",))).to_json()["auroc"],
            "unusual": None if fitted.usual is None else round(1.0 - float(fitted.usual.mean()), 4),
            "explained": round(float(last["explained"]), 4),
            "target": trainer.controller.target,
            "weight": float(last["entropy_weight"]),
            "rounds": trainer.rule.rounds,
            "reason": trainer.rule.reason,
            "training_s": round(seconds, 1),
        }

    def _recording(self, point: Point, seed: int) -> LabelledCache:
        if point.share is None:
            return self.recording
        normal, anomalous = (int((self.recording.level == level).sum()) for level in (NORMAL, ANOMALY))
        count = common_count(normal, anomalous, (point.share,) if point.most else SHARES)
        return with_share(self.recording, point.share, min(count, most_frames(normal, anomalous, point.share)), seed)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print JSON lines as figures come, and a table after each curve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*CURVES, COST]
    parser.add_argument("--curves", nargs="+", default=names, choices=names)
    parser.add_argument("--points", nargs="+", metavar="X", help="only these points, as the axis of a curve names them")
    parser.add_argument("--sets", nargs="+", default=["donkey_track_1124"], choices=sorted(PROTOCOLS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="also write SET-CURVE.jsonl, .md and .png there")
    args = parser.parse_args(arguments)
    try:
        points = {curve: chosen_points(curve, args.points) for curve in args.curves if curve != COST}
    except ValueError as error:
        parser.error(str(error))
    root = Path(os.environ.get("EDGEVAD_DATA", ROOT.parent / "shared" / "data"))
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    for name in args.sets:
        if not (root / PROTOCOLS[name][0]).is_dir():
            print(f"{root / PROTOCOLS[name][0]} is not there; set EDGEVAD_DATA", file=sys.stderr)
            return 2
        runner = Runner(read(name, root))
        for curve in args.curves:
            path = None if args.out is None else args.out / f"{name}-{curve}"
            results = []
            for result in _results(runner, points.get(curve), args.seeds):
                results.append({"set": name, "curve": curve, **result})
                print(json.dumps(results[-1]), flush=True)
                if path is not None:  # at once: a run that is stopped has not been for nothing
                    path.parent.mkdir(parents=True, exist_ok=True)
                    lines = "".join(json.dumps(one) + "\n" for one in results)
                    path.with_suffix(".jsonl").write_text(lines, encoding="utf-8")
            _finish(results, name, curve, path)
    return 0


def chosen_points(curve: str, names: Sequence[str] | None) -> tuple[Point, ...]:
    """The points of a curve that are named, in the curve's order; None: all of them.

    Raises:
        ValueError: the curve has no point of that name.
    """
    points = CURVES[curve].points
    unknown = set(names or ()) - {point.x for point in points}
    if unknown:
        known = ", ".join(point.x for point in points)
        raise ValueError(f"{curve} has no point {', '.join(sorted(unknown))}; it has {known}")
    return tuple(point for point in points if names is None or point.x in names)


def _results(runner: Runner, points: tuple[Point, ...] | None, seeds: int) -> Iterator[dict[str, Any]]:
    if points is None:
        yield from cost_results(fit(runner.recording, model_for(runner.recording), TrainConfig()).trainer)
        return
    for seed in range(seeds):
        for point in points:
            yield {"x": point.x, "seed": seed, **runner.measure(point, seed)}


def _finish(results: list[dict[str, Any]], name: str, curve: str, path: Path | None) -> None:
    axis = "" if curve == COST else CURVES[curve].axis
    table = cost_table(results) if curve == COST else as_table(results, axis)
    print(f"\n### {curve}, {name}\n\n{table}\n", flush=True)
    if path is None:
        return
    path.with_suffix(".md").write_text(table + "\n", encoding="utf-8")
    if curve == COST:
        plot_cost(results, f"The entropy term's cost ({name})", path.with_suffix(".png"))
    else:
        plot_curve(results, axis, f"{curve}, {name}", path.with_suffix(".png"))


if __name__ == "__main__":
    sys.exit(guarded(main))

"""How well anomalies are found: the shipped default against no entropy and against other scores, several seeds.

    python -m benchmarks.quality [--sets donkey_track_1124 ucsd_ped2] [--seeds 3] [--json]

For every set in EDGEVAD_DATA, seed and entropy weight (the controller's, and 0) one model is trained on the unlabelled
recording that it then scores; labels are read only to print the area under the ROC curve over all unambiguous frames.
The three frame scores are taken from the same network: the score does not take part in training. Columns: AUROC of the
raw frame score, through the runtime's trailing window (1 s mean), and through a centred window of 9 frames, which the
baselines without a network were measured with.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from edgevad._allocator import keep_freed_memory
from edgevad.calibration.threshold import windowed_scores
from edgevad.evaluation.labels import read_labels
from edgevad.model.cache import CacheKey, FrameCache
from edgevad.model.config import ModelConfig
from edgevad.model.trainer import TrainConfig, Trainer
from edgevad.runtime.window import WindowSpec
from edgevad.sources import open_source

SCORES = ("patch", "mse", "pcc")


@dataclass(frozen=True)
class Recording:
    """A labelled set: where its frames and labels are, and what the model looks at."""

    source: str
    labels: str
    model: ModelConfig


SETS = {
    "donkey_track_1124": Recording("video.mp4", "frames.csv", ModelConfig()),
    "donkey_usi_mit": Recording("video.mp4", "frames.csv", ModelConfig()),
    "ucsd_ped2": Recording("test", "labels.csv", ModelConfig(appearance="none", motion="flow")),
}


def main() -> None:
    """Train, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=["donkey_track_1124", "ucsd_ped2"], choices=sorted(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object per model instead of the table")
    args = parser.parse_args()
    root = Path(os.environ.get("EDGEVAD_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    results = []
    for name in args.sets:
        if not (root / name).is_dir():
            print(f"{root / name} is not there; set EDGEVAD_DATA", file=sys.stderr)
            sys.exit(2)
        with tempfile.TemporaryDirectory() as scratch:
            for result in measure(name, root / name, Path(scratch), args.seeds):
                results.append(result)
                print(json.dumps(result), file=sys.stdout if args.json else sys.stderr, flush=True)
    if not args.json:
        print_table(results)


def measure(name: str, folder: Path, scratch: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """Yield one result per seed, entropy weight and score."""
    recording = SETS[name]
    labels = read_labels(folder / recording.labels)
    cache, indices = read_frames(folder / recording.source, recording.model, scratch)
    level = labels.level[indices]
    segment = cache.segment if labels.segment is None else labels.segment[indices]
    for seed in range(seeds):
        for weight in (None, 0.0):
            start = time.perf_counter()
            trainer = Trainer(recording.model, TrainConfig(seed=seed, entropy_weight=weight), cache)
            trainer.fit()
            training_s = time.perf_counter() - start
            for score in SCORES:
                trainer.module.config = replace(recording.model, score=score)  # type: ignore[arg-type]
                values = trainer.scores().astype(np.float64)
                yield {
                    "set": name,
                    "seed": seed,
                    "entropy": "rule" if weight is None else "0",
                    "score": score,
                    **aurocs(values, cache, segment, level),
                    "recurrence": trainer.recurrence,
                    "explained": trainer.history.rows[-1]["explained"],
                    "steps": trainer.step,
                    "training_s": round(training_s, 1),
                }


def read_frames(source: Path, model: ModelConfig, scratch: Path) -> tuple[FrameCache, np.ndarray]:
    """The recording's cache, and which of its frames got into it (motion has none for a segment's first)."""
    kept: list[int] = []
    last = None
    with open_source(str(source)) as frames:
        for frame in frames:
            here = (frame.source_id, frame.segment)
            if model.motion == "none" or here == last:
                kept.append(frame.index)
            last = here
    with open_source(str(source)) as frames:
        cache = FrameCache.build(scratch / "cache", CacheKey((str(source),), model.input), frames)
    assert len(cache) == len(kept)
    return cache, np.array(kept)


def aurocs(values: np.ndarray, cache: FrameCache, segment: np.ndarray, level: np.ndarray) -> dict[str, float]:
    """Micro AUROC over unambiguous frames, raw and through both windows."""
    keep = level != 1
    window = windowed_scores(values, cache.timestamp_ns, segment, WindowSpec("mean", 1.0))
    series = {"raw": values, "window": window, "centred": centred(values, segment, 9)}
    return {key: round(float(roc_auc_score(level[keep] == 2, s[keep])), 4) for key, s in series.items()}


def centred(values: np.ndarray, segment: np.ndarray, width: int) -> np.ndarray:
    """Centred moving average within each segment."""
    out = np.empty_like(values)
    for one in np.unique(segment):
        here = segment == one
        padded = np.pad(values[here], width // 2, mode="edge")
        out[here] = np.convolve(padded, np.ones(width) / width, "valid")
    return out


def print_table(results: list[dict[str, Any]]) -> None:
    """Mean over seeds, with the range of the windowed figure, as Markdown."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for result in results:
        groups[result["set"], result["score"], result["entropy"]].append(result)
    print("| set | score | entropy | frame | window 1 s (min to max) | centred 9 | explained | steps | training s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for (name, score, entropy), rows in sorted(groups.items()):
        figures = ("raw", "window", "centred", "explained", "steps", "training_s")
        mean = {key: float(np.mean([row[key] for row in rows])) for key in figures}
        low, high = min(row["window"] for row in rows), max(row["window"] for row in rows)
        print(
            f"| {name} | {score} | {entropy} | {mean['raw']:.3f} | {mean['window']:.3f} ({low:.3f} to {high:.3f}) "
            f"| {mean['centred']:.3f} | {mean['explained']:.2f} | {mean['steps']:.0f} | {mean['training_s']:.0f} |"
        )


if __name__ == "__main__":
    main()

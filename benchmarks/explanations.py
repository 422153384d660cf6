"""Whether the heatmaps point at what is anomalous: pixel-level figures on UCSD Ped2.

    python -m benchmarks.explanations [--seed 0] [--pictures 6] [--out FOLDER]

One model with the default options, fitted without labels to the test clips, which it then scores with the bank that the
vehicle would get. The parts' heatmaps are put together as the pipeline does, and laid over the frame at the size of the
masks. Frames without a heatmap (the first of each clip) and clips without masks are left out.

    pixel AUROC      micro, over all frames, normal ones included: pixels drawn at random, as many from each frame
    within frames    the same inside each anomalous frame, over all of its pixels; mean over frames
    pointing         share of the anomalous frames whose hottest pixel lies inside the mask, grown by half a cell
    chance           what a random pixel would reach there

Pictures go to --out only: people are recognisable in some recordings.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from benchmarks._common import ROOT, guarded
from benchmarks._fitting import Fitted, fit, model_for
from benchmarks._heat_truth import laid_over, pixel_auroc, pointing
from benchmarks._recordings import LabelledCache, read
from edgevad._allocator import keep_freed_memory
from edgevad.datasets import open_dataset
from edgevad.datasets.clip import Clip
from edgevad.model.scorer import TorchBackend
from edgevad.model.trainer import TrainConfig
from edgevad.runtime.heat import HeatScale
from edgevad.sources.frame import Image

SET, FOLDER = "ucsd_ped2_test", "ucsd_ped2"
PIXELS_A_FRAME = 2000
COMBINED = "combined"


@dataclass(frozen=True)
class Place:
    """A frame of the recording: `row` in the cache, `frame` of its clip."""

    row: int
    clip: Clip
    frame: int


def main(arguments: list[str] | None = None) -> int:
    """Fit, score, print a table; write it, JSON lines and pictures to --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pictures", type=int, default=6, help="how many frames to draw (default 6)")
    parser.add_argument("--out", type=Path, help="write explanations.jsonl, .md and the pictures there")
    args = parser.parse_args(arguments)
    root = Path(os.environ.get("EDGEVAD_DATA", ROOT.parent / "shared" / "data"))
    if not (root / FOLDER).is_dir():
        print(f"{root / FOLDER} is not there; set EDGEVAD_DATA", file=sys.stderr)
        return 2
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    recording = read(SET, root)
    places = masked_places(open_dataset(root / FOLDER).test, recording)
    fitted = fit(recording, model_for(recording), TrainConfig(seed=args.seed))
    maps = heatmaps(recording, fitted)
    results = list(measure(maps, places, args.seed))
    for result in results:
        print(json.dumps(result), flush=True)
    table = as_table(results)
    print(f"\n{table}")
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "explanations.jsonl").write_text("".join(json.dumps(r) + "\n" for r in results), encoding="utf-8")
        (args.out / "explanations.md").write_text(table + "\n", encoding="utf-8")
        draw(maps[COMBINED], places, args.pictures, args.out)
    return 0


def masked_places(clips: tuple[Clip, ...], recording: LabelledCache) -> list[Place]:
    """Which frames of the cache have a mask. The recording is the clips, one after the other."""
    starts = np.cumsum([0, *((0 if clip.labels is None else len(clip.labels)) for clip in clips)])
    numbers = np.searchsorted(starts, recording.index, side="right") - 1
    rows = zip(numbers.tolist(), (recording.index - starts[numbers]).tolist(), strict=True)
    places = [Place(row, clips[number], frame) for row, (number, frame) in enumerate(rows)]
    return [place for place in places if place.clip.has_pixel_labels]


def heatmaps(recording: LabelledCache, fitted: Fitted) -> dict[str, npt.NDArray[np.float32]]:
    """(N, h, w) for each part that has a heatmap, in its own units, and for all, 1 where they would raise an alarm."""
    cache, model = recording.cache, fitted.trainer.module.config
    backend = TorchBackend(fitted.trainer.module, fitted.bank)
    scale = HeatScale(fitted.calibration, fitted.calibration.threshold)
    found, combined = [], []
    for row in range(len(recording)):
        motion = cache.motion[row : row + 1].astype(np.float32) if cache.motion is not None else None
        scores = backend.score(cache.images[row : row + 1], motion if model.motion_channels else None)
        found.append(scores.heatmap[0])
        combined.append(scale(scores.heatmap, scores.score.tolist())[0])
    stacked = np.stack(found)
    parts = {name: stacked[:, k] for k, name in enumerate(model.parts[: stacked.shape[1]])}
    return {COMBINED: np.stack(combined), **parts}


def measure(
    maps: Mapping[str, npt.NDArray[np.float32]], places: list[Place], seed: int, pixels: int = PIXELS_A_FRAME
) -> Iterator[dict[str, Any]]:
    """One result for each heatmap (N, h, w)."""
    rng = np.random.default_rng(seed)
    truth = []
    heat: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in maps}
    within: dict[str, list[float]] = {name: [] for name in maps}
    points: dict[str, list[bool]] = {name: [] for name in maps}
    chance = []
    for place in places:
        mask = place.clip.mask(place.frame)
        if mask is None:
            continue
        drawn = rng.choice(mask.size, min(pixels, mask.size), replace=False)
        truth.append(mask.flat[drawn])
        for name, all_heat in maps.items():
            cells = all_heat[place.row]
            over = laid_over(cells, mask.shape)
            heat[name].append(over.flat[drawn])
            if mask.any():
                # Cells are half a cell apart, so that is one step from centre to centre.
                half = (round(mask.shape[0] / (cells.shape[0] + 1)), round(mask.shape[1] / (cells.shape[1] + 1)))
                found = pointing(over, mask, half)
                points[name].append(found.inside)
                inside = pixel_auroc(over.ravel(), mask.ravel())
                within[name] += [] if inside is None else [inside]
                if name == next(iter(maps)):
                    chance.append(found.chance)
    anomalous = np.concatenate(truth)
    for name in maps:
        yield {
            "map": name,
            "frames": len(truth),
            "anomalous_frames": len(chance),
            "pixels": len(anomalous),
            "anomalous_pixels": int(anomalous.sum()),
            "pixel_auroc": pixel_auroc(np.concatenate(heat[name]), anomalous),
            "within_frames": float(np.mean(within[name])),
            "pointing": float(np.mean(points[name])),
            "chance": float(np.mean(chance)),
        }


def as_table(results: list[dict[str, Any]]) -> str:
    """Markdown, a row for each heatmap."""
    first = results[0]
    lines = [
        f"{first['frames']} frames with masks, {first['anomalous_frames']} of them anomalous; {first['pixels']} pixels "
        f"drawn, {first['anomalous_pixels']} of them anomalous.",
        "",
        "| heatmap | **pixel AUROC** | within frames | pointing | chance |",
        "|---|---|---|---|---|",
    ]
    for one in results:
        lines.append(
            f"| {one['map']} | **{one['pixel_auroc']:.3f}** | {one['within_frames']:.3f} | {one['pointing']:.3f} "
            f"| {one['chance']:.3f} |"
        )
    return "\n".join(lines)


def draw(heat: npt.NDArray[np.float32], places: list[Place], count: int, out: Path) -> None:
    """Anomalous frames, evenly spread over the recording, with their heat, the mask's outline and the hottest pixel."""
    with_anomaly = [p for p in places if (mask := p.clip.mask(p.frame)) is not None and mask.any()]
    numbers = np.linspace(0, len(with_anomaly) - 1, min(count, len(with_anomaly))).round().astype(int)
    for place in (with_anomaly[k] for k in numbers):
        mask = place.clip.mask(place.frame)
        assert mask is not None
        with place.clip.open() as frames:
            image = next(frame.image for frame in frames if frame.index == place.frame)
        picture = _picture(np.array(image), laid_over(heat[place.row], image.shape[:2]), mask)
        cv2.imwrite(str(out / f"clip-{place.clip.name}-frame-{place.frame:03d}.png"), picture)


def _picture(image: Image, heat: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> Image:
    """Frame beside frame with heat, dark to yellow up to its own hottest pixel: (H, 2W, 3)."""
    strength = np.clip(heat / max(float(heat.max()), 1e-12), 0, 1)
    colors = cv2.applyColorMap((255 * strength).astype(np.uint8), cv2.COLORMAP_INFERNO)
    alpha = 0.75 * np.sqrt(strength)[..., None]
    hot = (image + (colors.astype(np.float32) - image) * alpha).astype(np.uint8)
    size = (image.shape[1], image.shape[0])
    shape = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(shape, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for side in (image, hot):
        cv2.drawContours(side, outlines, -1, (90, 220, 90), 1)
    y, x = np.unravel_index(int(np.argmax(heat)), heat.shape)
    cv2.drawMarker(hot, (int(x), int(y)), (255, 255, 255), cv2.MARKER_CROSS, 9, 1)
    return np.concatenate([image, hot], axis=1)


if __name__ == "__main__":
    sys.exit(guarded(main))

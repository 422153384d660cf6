"""Whether torch and ONNX Runtime give the same frame score on 500 real frames.

One model a row, fitted for a moment on the recording itself, exported, and run by the backend that `edgevad run` uses,
one frame at a time as it does. The difference is relative to torch's score, and the largest of all frames counts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks._common import Row, add_json_option, data_file, guarded, report
from benchmarks._subjects import Input, cache_of, fitted, model_inputs, write_bundle_of
from edgevad._allocator import keep_freed_memory
from edgevad.bundle import Bundle
from edgevad.model.cache import FrameCache
from edgevad.model.config import ModelConfig, preset
from edgevad.model.scorer import TorchBackend, scorer_from_model
from edgevad.runtime.backends import Backend
from edgevad.runtime.scorer import Scorer

RECORDING = "donkey_track_1124/video.mp4"
BAR = "torch and ONNX Runtime, relative difference"

MODELS = {
    "small, log, parts (the default)": preset("small"),
    "small, log, parts with flow": preset("small", motion="flow"),
    "small, log, patch": preset("small", score="patch"),
    "small, log, mse": preset("small", score="mse"),
    "small, log, pcc": preset("small", score="pcc"),
    "small, color, convolutional decoder": preset("small", appearance="color", decoder="conv"),
    "nano, gray and frame difference": preset("nano", appearance="gray", motion="difference", score="patch"),
    "base, log, parts": preset("base"),
}


def difference(reference: Backend, other: Backend, inputs: Sequence[Input]) -> float:
    """Largest |other - reference| / |reference| of the frame scores."""
    a, b = (np.array([backend.score(*item).score[0] for item in inputs], np.float64) for backend in (reference, other))
    return float(np.max(np.abs(b - a) / np.maximum(np.abs(a), 1e-12)))


def inputs_from_cache(cache: FrameCache, picked: npt.NDArray[np.int64]) -> list[Input]:
    """Frames of the cache, as the graph takes them."""
    return [
        (np.array(cache.images[k][None]), None if cache.motion is None else cache.motion[k][None].astype(np.float32))
        for k in picked
    ]


def fitted_difference(
    source: str | None, config: ModelConfig, folder: Path, *, frames: int, sample_fps_hz: float
) -> tuple[int, float]:
    """How many frames were compared, and the difference, for a model of this configuration."""
    cache = cache_of(source, folder / "cache", config, frames=frames, sample_fps_hz=sample_fps_hz)
    trainer = fitted(cache, config)
    picked = np.unique(np.linspace(0, len(cache) - 1, min(frames, len(cache) // 2)).round().astype(np.int64))
    inputs = inputs_from_cache(cache, picked)
    # A frame that meets itself in the bank has a distance of nothing, of which no share can be taken.
    with Scorer.from_bundle(write_bundle_of(trainer, folder / "bundle", forget=picked)) as scorer:
        bank = Bundle.open(scorer.path).bank()
        return len(inputs), difference(TorchBackend(trainer.module, bank), scorer.backend, inputs)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.parity", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", help="recording (default: a real one if there, else frames made up here)")
    parser.add_argument("--frames", type=int, default=500, help="frames to compare (default 500)")
    parser.add_argument("--sample-fps", type=float, default=2.0, help="frames a second to fit and compare (default 2)")
    parser.add_argument("--only", help="only models whose name contains this")
    parser.add_argument("--model", type=Path, help="compare this model folder with --bundle instead")
    parser.add_argument("--bundle", type=Path, help="the bundle exported from --model")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    if (options.model is None) != (options.bundle is None):
        parser.error("--model and --bundle belong together")

    torch.set_num_threads(1)
    keep_freed_memory()
    real = data_file(RECORDING)
    source = options.source or (None if real is None else str(real))
    rows = []
    if options.model is not None:
        if source is None:
            parser.error("--model needs a --source")
        with scorer_from_model(options.model) as reference, Scorer.from_bundle(options.bundle) as scorer:
            inputs = model_inputs(source, scorer.input, options.frames)
            value = difference(reference.backend, scorer.backend, inputs)
        rows.append(Row(f"{options.model}, {len(inputs)} frames", [value], bar=BAR))
    else:
        for name, config in MODELS.items():
            if options.only and options.only not in name:
                continue
            with tempfile.TemporaryDirectory(prefix="edgevad-bench-") as temporary:
                count, value = fitted_difference(
                    source, config, Path(temporary), frames=options.frames, sample_fps_hz=options.sample_fps
                )
            rows.append(Row(f"{name}, {count} frames", [value], bar=BAR))
    facts = {"source": source or "frames made up here"}
    return report("parity", rows, as_json=options.json, facts=facts)


if __name__ == "__main__":
    sys.exit(guarded(main))

"""How much of the machine the trainer uses, and what the entropy term costs.

The trainer reads its batches from the cache on disk, keeps account of every step, steers the entropy weight, and writes
history and checkpoint after every round. The bare loop does none of that: the same network, optimiser and loss on uint8
tensors already in memory. The two take turns, a round each, inside one run of `Trainer.fit`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks._common import Row, Stopwatch, add_json_option, guarded, in_turns, ratios, report
from benchmarks._subjects import cache_of
from edgevad._allocator import keep_freed_memory
from edgevad.model.cache import FrameCache
from edgevad.model.config import ModelConfig, preset
from edgevad.model.entropy import renyi2_entropy
from edgevad.model.scoring import ScoringModule
from edgevad.model.trainer import SCALE_FLOOR, TrainConfig, Trainer

WEIGHT = 0.01


class BareLoop:
    """What anybody would write first: batches of a tensor in memory, forward, loss, backward, step."""

    def __init__(self, images: np.ndarray, config: ModelConfig, batch_size: int) -> None:
        torch.manual_seed(0)
        self.images = torch.from_numpy(np.array(images))
        self.module = ScoringModule(config).train()
        self.optimiser = torch.optim.AdamW(self.module.parameters(), lr=1e-3, weight_decay=1e-4, foreach=True)
        self.batch_size = batch_size
        self.scale_floor = SCALE_FLOOR * config.latent**0.5
        self._order = torch.empty(0, dtype=torch.int64)

    def run(self, steps: int, *, entropy: bool = True) -> None:
        for _ in range(steps):
            if len(self._order) < self.batch_size:
                self._order = torch.randperm(len(self.images))
            batch, self._order = self._order[: self.batch_size], self._order[self.batch_size :]
            x = self.module.representation(self.images[batch], None)
            reconstruction, z = self.module.autoencoder(x)
            loss = (x - reconstruction).square().mean()
            if entropy:
                loss = loss + WEIGHT * renyi2_entropy(z, scale_floor=self.scale_floor)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()


def throughput(cache: FrameCache, config: ModelConfig, checkpoint: Path, *, steps: int, repeats: int) -> list[Row]:
    """Trainer and bare loop in turns of `steps` steps of 64 frames: rows with frames a second and the ratio."""
    # No explained variance comes near this target, so the stopping rule lets the run go on.
    settings = TrainConfig(device="cpu", round_steps=steps, max_rounds=repeats + 100, explained_target=0.9999)
    trainer = Trainer(config, settings, cache)
    bare = BareLoop(cache.images, config, settings.batch_size)
    wall_s: dict[str, list[float]] = {"trainer": [], "bare": []}
    cpu_s: dict[str, list[float]] = {"trainer": [], "bare": []}
    watch = Stopwatch()

    def note(name: str) -> None:
        nonlocal watch
        wall_s[name].append(watch.wall_s())
        cpu_s[name].append(watch.cpu_s())
        watch = Stopwatch()

    def after_step(running: Trainer) -> None:
        if running.step % steps:
            return
        # The end of a round (history, checkpoint) comes after this call: it falls into the next turn.
        note("trainer")
        bare.run(steps)
        note("bare")
        if len(wall_s["bare"]) > repeats:
            running.stop()

    trainer.fit(checkpoint, after_step)
    frames = steps * settings.batch_size
    # The first turn of each is the warm-up.
    own, other = ([frames / value for value in wall_s[name][1:]] for name in ("trainer", "bare"))
    return [
        Row("trainer, cache on disk", own, "frames/s"),
        Row("bare loop, tensors in memory", other, "frames/s"),
        Row("trainer / bare loop", ratios(own, other), bar="trainer throughput / bare loop"),
        Row("the same by CPU time", ratios(cpu_s["bare"][1:], cpu_s["trainer"][1:])),
    ]


def entropy_cost(images: np.ndarray, config: ModelConfig, batch_size: int, *, steps: int, repeats: int) -> list[Row]:
    """A step with and without the entropy term, in turns of `steps`: rows with CPU times and the term's share."""
    loop = BareLoop(images, config, batch_size)

    def step_ms(entropy: bool) -> float:
        watch = Stopwatch()
        loop.run(steps, entropy=entropy)
        return 1e3 * watch.cpu_s() / steps

    values = in_turns({"with": lambda: step_ms(True), "without": lambda: step_ms(False)}, repeats)
    share = [1.0 - ratio for ratio in ratios(values["without"], values["with"])]
    bar = "entropy term, share of a step at batch 64" if batch_size == 64 else None
    return [
        Row(f"step with entropy, batch {batch_size}", values["with"], "ms of CPU"),
        Row(f"step without, batch {batch_size}", values["without"], "ms of CPU"),
        Row(f"entropy term, share of a step, batch {batch_size}", share, bar=bar),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.trainer", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", help="recording to train on (default: frames made up here)")
    parser.add_argument("--preset", default="small", help="network (default small)")
    parser.add_argument("--frames", type=int, default=4000, help="frames to make up (default 4000)")
    parser.add_argument("--steps", type=int, default=50, help="steps a turn and a round (default 50)")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each (default 5)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    add_json_option(parser)
    options = parser.parse_args(arguments)

    torch.set_num_threads(options.threads)
    keep_freed_memory()
    config = preset(options.preset)
    with tempfile.TemporaryDirectory(prefix="edgevad-bench-") as temporary:
        folder = Path(temporary)
        cache = cache_of(options.source, folder / "cache", config, frames=options.frames)
        steps, repeats = options.steps, options.repeats
        rows = throughput(cache, config, folder / "checkpoint.safetensors", steps=steps, repeats=repeats)
        # Short turns and many of them: the difference is a few per cent.
        short = max(steps // 10, 1)
        rows += entropy_cost(cache.images, config, 64, steps=short, repeats=5 * repeats)
        rows += entropy_cost(cache.images, config, min(256, len(cache)), steps=short, repeats=repeats)
    facts = {"source": options.source or f"{options.frames} made-up frames", "preset": options.preset}
    return report("trainer", rows, as_json=options.json, facts={**facts, "threads": options.threads})


if __name__ == "__main__":
    sys.exit(guarded(main))

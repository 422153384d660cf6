"""The training recording, scored by the model that was fitted to it, as if each frame had not been remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from edgevad.model.bank import BankPlan, recurrence_rank
from edgevad.model.cache import FrameCache
from edgevad.model.memory import NEIGHBOURS, RecurrenceMemory
from edgevad.model.scoring import ScoringModule
from edgevad.model.statistics import batch_of

__all__ = ["RecordingScores", "score_recording"]

CHUNK = 128
# Frames that the rank of `view` is read from.
RANK_FRAMES = 2000


@dataclass(frozen=True)
class RecordingScores:
    """What the model says of its own recording.

    Attributes:
        score: (N, P) float32, raw, a column for each of the model's parts.
        plan, coordinates: what a bank is made of, and (N, d) float32; None where the model has no memory.
    """

    score: npt.NDArray[np.float32]
    plan: BankPlan | None = None
    coordinates: npt.NDArray[np.float32] | None = None

    def bank(self, keep: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32] | None:
        """What the vehicle shall remember: the graph's `bank`, without the frames that `keep` (N,) leaves out."""
        if self.plan is None or self.coordinates is None:
            return None
        return BankPlan.of(self.plan.times_s, keep).bank(self.coordinates)


@torch.no_grad()
def score_recording(
    module: ScoringModule, cache: FrameCache, progress: Callable[[int], None] = lambda done: None
) -> RecordingScores:
    """Score every frame of `cache`; sets what the module knows of the whole recording (`mean_motion`, memory rank).

    Frames are compared with episodes at other times only: what a frame's own moment looks like explains nothing.
    """
    module.eval()
    device = next(module.parameters()).device
    if module.memory is None:
        parts = []
        for indices in _chunks(len(cache)):
            frames, motion = batch_of(cache, indices)
            inputs = [frames] if motion is None else [frames, motion.float()]
            parts.append(module(*(tensor.to(device) for tensor in inputs))[0].float().cpu().numpy())
            progress(int(indices[-1]) + 1)
        return RecordingScores(np.concatenate(parts))
    if cache.motion is not None:
        module.mean_motion.copy_(torch.from_numpy(_mean_motion(cache)))
    coordinates = _coordinates(module, module.memory, cache, device)
    plan = BankPlan.of(cache.elapsed_s())
    bank = torch.from_numpy(plan.bank(coordinates)).to(device)
    _set_rank(module.memory, plan, coordinates, bank)
    parts = []
    for indices in _chunks(len(cache)):
        frames, motion = batch_of(cache, indices)
        excluded = torch.from_numpy(plan.same_time(indices)).to(device)
        moving = None if motion is None else motion.float().to(device)
        parts.append(module.parts(frames.to(device), moving, bank, excluded)[0].float().cpu().numpy())
        progress(int(indices[-1]) + 1)
    return RecordingScores(np.concatenate(parts), plan, coordinates)


def _chunks(count: int) -> Iterator[npt.NDArray[np.int64]]:
    for start in range(0, count, CHUNK):
        yield np.arange(start, min(start + CHUNK, count))


def _mean_motion(cache: FrameCache) -> npt.NDArray[np.float32]:
    assert cache.motion is not None
    total = np.zeros(cache.motion.shape[1:], dtype=np.float64)
    for indices in _chunks(len(cache)):
        total += cache.motion[indices].sum(axis=0, dtype=np.float64)
    return (total / len(cache)).astype(np.float32)


def _coordinates(
    module: ScoringModule, memory: RecurrenceMemory, cache: FrameCache, device: torch.device
) -> npt.NDArray[np.float32]:
    rows = []
    for indices in _chunks(len(cache)):
        frames, _ = batch_of(cache, indices)
        rows.append(memory.coordinates(module.representation(frames.to(device), None)).float().cpu().numpy())
    return np.concatenate(rows)


def _set_rank(
    memory: RecurrenceMemory, plan: BankPlan, coordinates: npt.NDArray[np.float32], bank: torch.Tensor
) -> None:
    count = len(coordinates)
    sample = np.unique(np.linspace(0, count - 1, min(count, RANK_FRAMES)).round().astype(np.int64))
    rows = []
    for indices in np.array_split(sample, max(1, len(sample) // CHUNK)):
        excluded = torch.from_numpy(plan.same_time(indices)).to(bank.device)
        query = torch.from_numpy(coordinates[indices]).to(bank.device)
        rows.append(memory.nearest(query, bank, excluded)[0].cpu().numpy())
    rank = recurrence_rank(np.concatenate(rows))
    memory.rank.zero_()
    memory.rank[min(rank, NEIGHBOURS - 1)] = 1.0

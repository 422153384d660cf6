"""The training recording, scored by the model that was fitted to it, as if each frame had not been remembered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from edgevad.bundle.bundle import TrainingScores
from edgevad.calibration.threshold import windowed_scores
from edgevad.calibration.usual import usual_frames
from edgevad.model.bank import BankPlan, recurrence_rank
from edgevad.model.cache import FrameCache, runs_of
from edgevad.model.memory import NEIGHBOURS, RecurrenceMemory
from edgevad.model.scoring import ScoringModule
from edgevad.model.statistics import batch_of
from edgevad.runtime.window import WindowSpec

__all__ = ["RecordingScores", "score_and_tell", "score_recording"]

Flags = npt.NDArray[np.bool_]

CHUNK = 128
# Frames that the rank of `view` is read from.
RANK_FRAMES = 2000


@dataclass(frozen=True)
class RecordingScores:
    """What the model says of its own recording.

    Attributes:
        score: (N, P) float32, raw, a column for each of the model's parts.
        plan, coordinates: what a bank is made of, and (N, d) float32; None where the model has no memory.
        usual: (N,), the frames that all were compared with, and that statistics are taken of; None: all.
    """

    score: npt.NDArray[np.float32]
    plan: BankPlan | None = None
    coordinates: npt.NDArray[np.float32] | None = None
    usual: Flags | None = None

    def bank(self, keep: Flags) -> npt.NDArray[np.float32] | None:
        """What the vehicle shall remember: the graph's `bank`, without the frames that `keep` (N,) leaves out."""
        if self.plan is None or self.coordinates is None:
            return None
        kept = keep if self.usual is None else keep & self.usual
        return BankPlan.of(self.plan.times_s, kept).bank(self.coordinates)

    def rows(self, cache: FrameCache) -> TrainingScores:
        """Scores of the usual frames of `cache`, the recording: what is calibrated from. A gap begins a segment."""
        if self.usual is None:
            return TrainingScores(self.score, cache.timestamp_ns, cache.segment)
        index = np.flatnonzero(self.usual)
        segment = runs_of(index, cache.segment).astype(np.int32)
        return TrainingScores(self.score[index], cache.timestamp_ns[index], segment)


def score_and_tell(
    module: ScoringModule,
    cache: FrameCache,
    window: WindowSpec,
    margins: Sequence[float | None],
    progress: Callable[[int], None] = lambda done: None,
) -> RecordingScores:
    """As `score_recording`; where so much of the recording is anomalous that it recurs, once more by the usual frames.

    `window` and `margins` (P,) are those that the scores will be calibrated with.
    """
    found = score_recording(module, cache, progress)
    if not np.isfinite(found.score).all():  # who calibrates says so
        return found
    windowed = windowed_scores(found.score, cache.timestamp_ns, cache.segment, window)
    usual = usual_frames(windowed, cache.segment, module.config.parts, margins)
    return found if usual is None else score_recording(module, cache, progress, usual=usual)


@torch.no_grad()
def score_recording(
    module: ScoringModule,
    cache: FrameCache,
    progress: Callable[[int], None] = lambda done: None,
    *,
    usual: Flags | None = None,
) -> RecordingScores:
    """Score every frame of `cache`; sets what the module knows of the whole recording (`mean_motion`, memory rank).

    Frames are compared with episodes at other times only: what a frame's own moment looks like explains nothing; and,
    of these, with the `usual` frames (N,), or all.
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
        return RecordingScores(np.concatenate(parts), usual=usual)
    if cache.motion is not None:
        module.mean_motion.copy_(torch.from_numpy(_mean_motion(cache)))
    coordinates = _coordinates(module, module.memory, cache, device)
    plan = BankPlan.of(cache.elapsed_s(), usual)
    bank = torch.from_numpy(plan.bank(coordinates)).to(device)
    _set_rank(module.memory, plan, coordinates, bank, usual)
    parts = []
    for indices in _chunks(len(cache)):
        frames, motion = batch_of(cache, indices)
        excluded = torch.from_numpy(plan.same_time(indices)).to(device)
        moving = None if motion is None else motion.float().to(device)
        parts.append(module.parts(frames.to(device), moving, bank, excluded)[0].float().cpu().numpy())
        progress(int(indices[-1]) + 1)
    return RecordingScores(np.concatenate(parts), plan, coordinates, usual)


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
    memory: RecurrenceMemory,
    plan: BankPlan,
    coordinates: npt.NDArray[np.float32],
    bank: torch.Tensor,
    usual: Flags | None,
) -> None:
    frames = np.arange(len(coordinates)) if usual is None else np.flatnonzero(usual)
    count = len(frames)
    sample = frames[np.unique(np.linspace(0, count - 1, min(count, RANK_FRAMES)).round().astype(np.int64))]
    rows = []
    for indices in np.array_split(sample, max(1, len(sample) // CHUNK)):
        excluded = torch.from_numpy(plan.same_time(indices)).to(bank.device)
        query = torch.from_numpy(coordinates[indices]).to(bank.device)
        rows.append(memory.nearest(query, bank, excluded)[0].cpu().numpy())
    rank = recurrence_rank(np.concatenate(rows))
    memory.rank.zero_()
    memory.rank[min(rank, NEIGHBOURS - 1)] = 1.0

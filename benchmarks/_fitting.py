"""One model, fitted and calibrated as `edgevad train` does it, on a labelled set in memory. No label is read here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from benchmarks._recordings import LabelledCache
from edgevad.bundle.manifest import Calibration
from edgevad.calibration import calibrate
from edgevad.calibration.threshold import part_margins, windowed_scores
from edgevad.model.bank import FORGET_ABOVE
from edgevad.model.cache import FrameCache
from edgevad.model.config import ModelConfig
from edgevad.model.recording_scores import RecordingScores, score_and_tell
from edgevad.model.trainer import TrainConfig, Trainer
from edgevad.runtime.window import WindowSpec

__all__ = ["WINDOW", "Fitted", "MakeTrainer", "calibration_of", "fit", "model_for"]

WINDOW = WindowSpec("mean", 1.0)
MakeTrainer = Callable[[ModelConfig, TrainConfig, FrameCache], Trainer]


@dataclass(frozen=True)
class Fitted:
    """
    Attributes:
        trainer: has been through `fit`.
        scores: (N, P) raw scores of the recording it was fitted to, each frame compared with other times only.
        calibration: of these scores, for one false alarm an hour.
        bank: what the vehicle would remember.
        usual: (N,), the frames that were calibrated from; None: all.
    """

    trainer: Trainer
    scores: npt.NDArray[np.float32]
    calibration: Calibration
    bank: npt.NDArray[np.float32] | None
    usual: npt.NDArray[np.bool_] | None


def model_for(recording: LabelledCache) -> ModelConfig:
    """The default model, with motion as the camera decides."""
    return ModelConfig(motion="none" if recording.cache.camera.moves else "flow")


def fit(recording: LabelledCache, model: ModelConfig, training: TrainConfig, make: MakeTrainer = Trainer) -> Fitted:
    """Train, score the recording itself, calibrate."""
    cache = recording.cache if model.motion_channels else replace(recording.cache, motion=None)
    trainer = make(model, training, cache)
    trainer.fit()
    margins = part_margins(model.parts, trainer.recurrence, camera_moves=cache.camera.moves)
    found = score_and_tell(trainer.module, cache, WINDOW, margins)
    calibration = calibration_of(recording, found.score, model.parts, margins, found.usual)
    windowed = windowed_scores(found.score, cache.timestamp_ns, cache.segment, WINDOW)
    bank = found.bank(calibration.anomaly_scores(windowed) <= FORGET_ABOVE)
    return Fitted(trainer, found.score, calibration, bank, found.usual)


def calibration_of(
    recording: LabelledCache,
    scores: npt.NDArray[np.floating],
    parts: tuple[str, ...],
    margins: list[float | None] | None = None,
    usual: npt.NDArray[np.bool_] | None = None,
) -> Calibration:
    """From raw scores (N, P) of the recording, of its `usual` frames (N,) or all, for one false alarm an hour."""
    rows = RecordingScores(np.asarray(scores), usual=usual).rows(recording.cache)
    return calibrate(rows.score, rows.timestamp_ns, rows.segment, WINDOW, 1.0, parts=parts, margins=margins)

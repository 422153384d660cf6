"""The end of a run: the recording is scored and calibrated from, and everything is left in the model's folder."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgevad import __version__
from edgevad.bundle.manifest import Calibration
from edgevad.bundle.replay import Replay
from edgevad.calibration import calibrate
from edgevad.calibration.threshold import part_margins, windowed_scores
from edgevad.errors import MissingExtraError, TrainingError
from edgevad.model.bank import FORGET_ABOVE
from edgevad.model.cache import FrameCache
from edgevad.model.checkpoint import save_weights
from edgevad.model.decisions import decisions
from edgevad.model.folder import ModelFolder, Recipe
from edgevad.model.recording_scores import RecordingScores, score_and_tell, score_recording
from edgevad.model.trainer import Trainer

__all__ = ["REPLAY_BYTES", "REPLAY_FRAMES", "facts_of", "leave", "versions"]

# Enough for a self-test to notice a broken engine, too few to matter in a bundle.
SAMPLE_FRAMES = 16
# Of a model that learns on: some minutes from all over the recordings, 25 MB at 64 px.
REPLAY_FRAMES, REPLAY_BYTES = 2000, 64 << 20

Keep = Callable[[npt.NDArray[np.float64], Calibration], Replay | None]


def versions() -> dict[str, Any]:
    """What a run was made with."""
    return {"edgevad": __version__, "torch": torch.__version__, "python": platform.python_version()}


def facts_of(trainer: Trainer) -> dict[str, Any]:
    """What is known of a run that was finished, and of the frames it learned from; JSON values."""
    cache = trainer.cache
    return {
        "frames": len(cache),
        "skipped": cache.skipped,
        "duration_s": round(cache.duration_s, 3),
        "data_fingerprint": cache.fingerprint,
        "device": str(trainer.device),
        "camera": cache.camera.to_json(),
        "motion": trainer.module.config.motion,
        "recurrence": trainer.recurrence,
        "template_share": trainer.template_share,
        "explained_target": trainer.controller.target,
        "explained": trainer.history.rows[-1]["explained"],
        "rounds": trainer.rule.rounds,
        "steps": trainer.step,
        "stopped_because": trainer.rule.reason,
    }


def leave(
    folder: ModelFolder,
    recipe: Recipe,
    trainer: Trainer,
    provenance: dict[str, Any],
    *,
    remember_below: npt.NDArray[np.floating] | float = FORGET_ABOVE,
    condition: npt.NDArray[np.integer] | None = None,
    replay: Keep | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Calibration:
    """Score and calibrate, and leave everything in `folder`, the weights last: with them the model is finished.

    provenance: completed by "decisions".
    remember_below: the anomaly score up to which a frame is remembered, for all or for each, (N,).
    condition: (N,), numbers of conditions that differ, a clear lens and a hazy one, say; all one unless given.
        What is remembered, and kept for later, is decided by anomaly scores within each: of two conditions one has the
        larger errors throughout, and would stand out as a whole. Threshold and statistics are of all frames together.
        Where it is None they are of the usual frames, if the recording is heavily contaminated (`usual_frames`).
    replay: chooses the frames that are kept for what the model learns later, from all frames' anomaly scores (N,);
        usual ones below the threshold, evenly, unless given.

    Raises:
        TrainingError: the scores are not numbers.
        OutputError: the folder cannot be written.
    """
    cache, parts = trainer.cache, recipe.model.parts
    margins = part_margins(parts, trainer.recurrence, camera_moves=cache.camera.moves)
    if condition is None:
        found = score_and_tell(trainer.module, cache, recipe.window, margins, progress)
    else:
        found = score_recording(trainer.module, cache, progress)
    _check(found, folder)
    scores = found.rows(cache)
    usual = (scores.score, scores.timestamp_ns, scores.segment)
    calibration = calibrate(*usual, recipe.window, recipe.alarms_per_hour, parts=parts, margins=margins)
    rows = (found.score, cache.timestamp_ns, cache.segment)
    anomaly = _within(rows, calibration, np.zeros(len(cache), np.int8) if condition is None else condition)
    bank = found.bank(anomaly <= remember_below)
    if bank is not None:
        folder.write_bank(bank)
    folder.write_scores(scores)
    folder.write_calibration(calibration)
    folder.write_sample(_sample(cache))
    kept = _first_replay(cache, anomaly, calibration, found.usual) if replay is None else replay(anomaly, calibration)
    if kept is not None:
        folder.write_replay(kept)
    with suppress(MissingExtraError):  # a device that learns need not be able to draw
        trainer.history.plot(folder.history_png)
    provenance["decisions"] = decisions(trainer, calibration, found)
    folder.write_recipe(recipe, provenance)
    # Last: a folder with weights and no checkpoint is a finished model.
    save_weights(folder.weights, trainer.module)
    folder.checkpoint.unlink(missing_ok=True)
    return calibration


def _check(found: RecordingScores, folder: ModelFolder) -> None:
    if not np.isfinite(found.score).all():
        raise TrainingError(
            "the model's scores of its own recording are not numbers",
            where=folder.path,
            fix="Train again with --overwrite and a smaller --learning-rate",
        )


def _within(
    rows: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int32]],
    calibration: Calibration,
    condition: npt.NDArray[np.integer],
) -> npt.NDArray[np.float64]:
    """Anomaly scores (N,), each frame by the statistics of its own condition."""
    windowed = windowed_scores(*rows, calibration.window)
    numbers = np.unique(condition)
    if len(numbers) == 1:
        return np.asarray(calibration.anomaly_scores(windowed), dtype=np.float64)
    anomaly = np.zeros(len(windowed))
    parts, margins = calibration.names, [part.margin for part in calibration.parts]
    for number in numbers:
        here = condition == number
        score, times, segments = (array[here] for array in rows)
        window, budget = calibration.window, calibration.alarms_per_hour
        own = calibrate(score, times, segments, window, budget, parts=parts, margins=margins)
        anomaly[here] = own.anomaly_scores(windowed[here])
    return anomaly


def _first_replay(
    cache: FrameCache,
    anomaly: npt.NDArray[np.float64],
    calibration: Calibration,
    usual: npt.NDArray[np.bool_] | None,
) -> Replay | None:
    calm = anomaly <= calibration.threshold
    return Replay.of(
        cache, anomaly, calm if usual is None else calm & usual, frames=REPLAY_FRAMES, max_bytes=REPLAY_BYTES
    )


def _sample(cache: FrameCache) -> dict[str, npt.NDArray[Any]]:
    """Frames spread evenly over the recording, as the graph takes them."""
    indices = np.linspace(0, len(cache) - 1, SAMPLE_FRAMES).round().astype(np.int64)
    arrays: dict[str, npt.NDArray[Any]] = {"frames": np.ascontiguousarray(cache.images[indices])}
    if cache.motion is not None:
        arrays["motion"] = cache.motion[indices].astype(np.float32)
    return arrays

"""What a training run decided by itself, and why, in sentences for a person."""

from __future__ import annotations

from edgevad.bundle.manifest import Calibration
from edgevad.model.recording_scores import RecordingScores
from edgevad.model.trainer import EXPLAINED_RATIO, Trainer

__all__ = ["decisions"]


def decisions(trainer: Trainer, calibration: Calibration, scores: RecordingScores) -> dict[str, str]:
    """Sentences under the names of what was decided, from the run, its calibration, and its scores of the recording.

    "camera", and "entropy" and "memory" where they were up to us; "contamination" where it was found.
    """
    found = {"camera": _camera(trainer, calibration)}
    model, target = trainer.module.config, trainer.controller.target
    if target is not None and trainer.config.explained_target is None and model.appearance != "none":
        found["entropy"] = (
            f"Its weight holds the explained variance at {target:.2f}: {EXPLAINED_RATIO} of the "
            f"{trainer.template_share:.2f} that {model.latent} principal components explain."
        )
    memory = trainer.module.memory
    if memory is not None:
        rank = int(memory.rank.argmax()) + 1
        found["memory"] = (
            "A typical view recurs in no second episode as well as in the nearest, so the nearest counts."
            if rank == 1
            else f"A typical view recurs in {rank} episodes, so its distance to the {_ORDINALS[rank]} nearest counts."
        )
    if scores.usual is not None:
        found["contamination"] = (
            f"{1 - scores.usual.mean():.0%} of the frames stand out by what the network cannot give back, all over the "
            "recording: too many for a tail. They are not remembered, and statistics and threshold are of the others."
        )
    return found


_ORDINALS = {2: "second", 3: "third", 4: "fourth", 5: "fifth"}


def _camera(trainer: Trainer, calibration: Calibration) -> str:
    seen = trainer.cache.camera.seen
    if "motion" not in calibration.names:
        model = trainer.module.config
        if model.score == "parts":
            return f"{seen}; what recurs in appearance decides, and no optical flow is computed."
        return f"{seen}; the score is {model.score}, the motion that goes through the network {model.motion}."
    recurs = "of the variance of appearance nothing could be seen to recur"
    if trainer.recurrence is not None:
        recurs = f"{trainer.recurrence:.0%} of the variance of appearance recurs"
    if any(part.margin is None for part in calibration.parts):
        return f"{seen}; what moves decides alone, since {recurs}."
    return f"{seen}; what moves decides, and appearance when it stands out far more, since {recurs}."

"""The two depths of adaptation that learn with gradients: torch is needed, on the device or on a host.

adapt   statistics: the representation's mean and scale, the principal directions that frames are written in, what is
        remembered, the calibration; and a few parameters: the encoder's last layer and the mean frame. Minutes.
refit   all parameters, by the loss that the model was trained with, from where it stands.

Both learn from frames of the chosen drives mixed with frames of what was learned before, and leave a model folder that
is exported like any other. A run that is stopped or killed goes on where its last checkpoint stood when it is called
again with the same model and selection, and ends with the same bits on a CPU.
"""

from __future__ import annotations

import csv
import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from edgevad._allocator import keep_freed_memory
from edgevad._files import sha256_of, writable_directory
from edgevad.bundle.manifest import Calibration
from edgevad.bundle.replay import Replay
from edgevad.errors import ModelError, OptionError, RefitError
from edgevad.model.bank import FORGET_ABOVE
from edgevad.model.cache import remove_cache
from edgevad.model.camera_motion import CameraDecision
from edgevad.model.folder import ModelFolder
from edgevad.model.leaving import REPLAY_BYTES, REPLAY_FRAMES, facts_of, leave, versions
from edgevad.model.schedule import LEAST_WEIGHT, MOST_WEIGHT
from edgevad.model.start import Learnt, Start, WarmStart
from edgevad.model.trainer import Trainer, training_device
from edgevad.refit.lineage import lineage_of
from edgevad.refit.mixture import Mixture
from edgevad.refit.observer import RefitObserver
from edgevad.refit.reservoir import Reservoir, renewed
from edgevad.refit.selection import Selection

__all__ = ["Depth", "FineTuneOptions", "FineTuned", "FineTuning", "adapt", "refit"]

Depth = Literal["adapt", "refit"]

# Frames that the log doubts are remembered only where the new model finds nothing in them at all: the median of a
# normal recording's anomaly scores is about 0.9.
DOUBTED_ABOVE = 1.0
# How often a pause is asked for, and whether it is over.
POLL_S = 0.5


@dataclass(frozen=True)
class _Plan:
    """How a depth learns; the other settings are those that the model was trained with."""

    learnt: Learnt
    learning_rate: float
    max_rounds: int


# Figures in docs/refit.md.
_PLANS: dict[Depth, _Plan] = {
    "adapt": _Plan("few", 1e-3, 8),
    "refit": _Plan("all", 1e-3, 20),
}


@dataclass(frozen=True)
class FineTuneOptions:
    """
    Attributes:
        budget_minutes: of computing, pauses left out; a run that would take longer winds down early. None: no limit.
        threads: torch's CPU threads, for this process (see `Training.run`).
        device: "auto", "cpu" or "cuda".
        name: of the model that comes out; the earlier one's unless given.
    """

    budget_minutes: float | None = None
    threads: int = 1
    device: str = "auto"
    name: str | None = None

    def __post_init__(self) -> None:
        if self.budget_minutes is not None and not self.budget_minutes > 0:
            raise OptionError(f"a budget of {self.budget_minutes} minutes", expected="a number above 0")
        if self.threads < 1:
            raise OptionError(f"{self.threads} threads", expected="at least 1")


@dataclass(frozen=True)
class FineTuned:
    """
    Attributes:
        finished: False where the run was stopped; the same call goes on with it.
        folder: the new model's folder.
        provenance: what is known of it; `provenance["refit"]` says from which model and drives it came.
        calibration: None while unfinished.
        spent_s: seconds of learning, over all sittings, pauses left out.
    """

    finished: bool
    folder: ModelFolder
    provenance: dict[str, Any]
    calibration: Calibration | None
    spent_s: float


class FineTuning:
    """One run from a finished model to a new one in the folder `out`."""

    def __init__(
        self,
        depth: Depth,
        model: str | Path,
        selection: Selection,
        replay: Replay | None,
        out: str | Path,
        *,
        options: FineTuneOptions | None = None,
    ) -> None:
        """`replay` is the model's own (`ModelFolder.read_replay`) unless given.

        Raises:
            ModelError: there is no finished model, or it is broken.
            RefitError: it has left no frames of what it learned from.
            OptionError: `out` holds something else, or `model` itself.
            OutputError: `out` cannot be written.
        """
        self.depth, self.plan, self.options = depth, _PLANS[depth], options or FineTuneOptions()
        self.model, self.folder, self.selection = ModelFolder(model), ModelFolder(out), selection
        self.model.require_finished()
        self._recipe, self._earlier = self.model.read_recipe()
        found = self.model.read_replay() if replay is None else replay
        if found is None:
            raise RefitError(
                "the model has left no frames of what it learned from, so nothing would keep it from forgetting that",
                where=self.model.path,
                fix="Train it again with this version of edgevad, or use: edgevad recalibrate",
            )
        self.replay = found
        self._parent_sha256 = sha256_of(self.model.weights)
        training_device(self.options.device)
        if self.folder.path.absolute() == self.model.path.absolute():
            raise OptionError("a model cannot be made in its own folder", where=out, fix="Choose another folder")
        self._refuse_foreign()
        writable_directory(self.folder.path)
        self._observer = RefitObserver()
        self._pause: Callable[[], bool] = lambda: False
        self._trainer: Trainer | None = None
        self._asked_s = 0.0
        self._stop = False

    def stop(self) -> None:
        """Ask `run` to save and return soon. Safe to call from a signal handler."""
        self._stop = True
        if self._trainer is not None:
            self._trainer.stop()

    def run(self, observer: RefitObserver | None = None, *, pause: Callable[[], bool] = lambda: False) -> FineTuned:
        """Learn, score, calibrate, leave a model. Returns early, with `finished` False, where `stop` was called.

        `pause` is asked twice a second; while it says True nothing is computed, after a checkpoint.

        Raises:
            RefitError: too few frames, or of another size than the model takes.
            TrainingError: the loss is no longer a number.
            OutputError: the disk is full.
        """
        self._observer, self._pause = observer or RefitObserver(), pause
        keep_freed_memory()
        torch.set_num_threads(self.options.threads)
        began_s = time.monotonic()
        self._observer.stage("putting new and earlier frames together")
        mixture = self._mixture()
        work = self._work(mixture)
        state = self._state()
        if state == work and not self.folder.checkpoint.exists() and self.folder.weights.exists():
            remove_cache(self.folder.cache)
            _, provenance = self.folder.read_recipe()
            return FineTuned(True, self.folder, provenance, self.folder.read_calibration(), 0.0)
        if state is not None and state != work and self.folder.weights.exists():
            raise OptionError("another model is there already", where=self.folder.path, fix="Choose another folder")
        if state != work:
            self._begin(work)
        trainer = self._learner(mixture)
        prepared_s = time.monotonic() - began_s
        self._observer.stage("learning", trainer.config.max_rounds * trainer.config.round_steps)
        finished = trainer.fit(self.folder.checkpoint, lambda t: self._between(t, prepared_s))
        trainer.history.write_csv(self.folder.history_csv)
        if not finished:
            return FineTuned(False, self.folder, self._provenance(work), None, trainer.spent_s)
        return self._leave(trainer, mixture, work)

    def _mixture(self) -> Mixture:
        fewest = self._recipe.train.batch_size
        count = int(self.selection.learnable.sum())
        if count < fewest:
            raise RefitError(
                f"{count} frames to learn from", expected=f"at least {fewest}", fix="Choose more drives, or longer ones"
            )
        self.replay = self._without_chosen(fewest)
        mixture = Mixture.build(self.folder.cache, self.replay, self.selection)
        # Whether the camera moves was decided when the model was made, and its parts were chosen by that.
        with suppress(KeyError, TypeError, ValueError):
            camera = CameraDecision.from_json(self._earlier["camera"])
            return replace(mixture, cache=replace(mixture.cache, camera=camera))
        return mixture

    def _without_chosen(self, fewest: int) -> Replay:
        """The replay without frames that were chosen again: of those that are held out now nothing is to be learned,
        and the others would be compared with themselves; these stay where hardly any would be left."""
        chosen = self.selection.cache.images
        found = self.replay.without(chosen)
        if found is None or len(found) < fewest:
            found = self.replay.without(chosen[self.selection.held_out])
        return found or self.replay

    def _learner(self, mixture: Mixture) -> Trainer:
        """The trainer where it stands: at its last checkpoint, or at the earlier model."""
        plan = self.plan
        config = replace(
            self._recipe.train,
            learning_rate=min(plan.learning_rate, self._recipe.train.learning_rate),
            max_rounds=plan.max_rounds,
            device=self.options.device,
        )
        start = WarmStart(self.model.weights, plan.learnt, _last_entropy_weight(self.model))
        trainer = Trainer(self._recipe.model, config, mixture.cache, start=start, weight=mixture.weight)
        if self.folder.checkpoint.exists():
            trainer.restore(self.folder.checkpoint)
        self._trainer = trainer
        if self._stop:
            trainer.stop()
        return trainer

    def _between(self, trainer: Trainer, prepared_s: float) -> None:
        """Between two steps: tell, wait, watch the budget."""
        self._observer.advance(trainer.step)
        waited_s = self._wait(lambda: trainer.save(self.folder.checkpoint))
        if waited_s:
            trainer.waited(waited_s)
        steps = trainer.config.round_steps
        if self.options.budget_minutes is None or trainer.step % steps != 1 or trainer.rule.rounds == 0:
            return
        round_s = trainer.spent_s / trainer.rule.rounds
        # Scoring everything afterwards reads each frame once, without gradients.
        scoring_s = round_s * len(trainer.cache) / (steps * trainer.config.batch_size)
        left_s = 60.0 * self.options.budget_minutes - prepared_s - scoring_s - trainer.spent_s
        trainer.rule.wind_down(int(left_s / round_s), f"the budget of {self.options.budget_minutes:g} minutes")

    def _wait(self, save: Callable[[], None] = lambda: None) -> float:
        """Wait for as long as a pause lasts, after `save`; seconds waited."""
        now_s = time.monotonic()
        if now_s - self._asked_s < POLL_S:
            return 0.0
        self._asked_s = now_s
        if not self._pause():
            return 0.0
        save()
        self._observer.note("Paused.")
        while self._pause() and not self._stop:
            time.sleep(POLL_S)
        self._observer.note("Going on.")
        self._asked_s = time.monotonic()
        return self._asked_s - now_s

    def _leave(self, trainer: Trainer, mixture: Mixture, work: str) -> FineTuned:
        self._observer.stage("scoring", len(mixture))

        def progress(done: int) -> None:
            self._observer.advance(done)
            self._wait()

        provenance = self._provenance(work)
        provenance |= facts_of(trainer)
        provenance["refit"] |= {
            "frames": int((~mixture.earlier).sum()),
            "earlier_frames": int(mixture.earlier.sum()),
            "doubted_frames": int(mixture.doubted.sum()),
        }

        def keep(anomaly: Any, calibration: Calibration) -> Replay | None:
            reservoir = self._reservoir(mixture, anomaly, calibration)
            provenance["replay_stands_for"] = reservoir.stands_for
            return reservoir.replay

        limit = np.where(mixture.doubted, DOUBTED_ABOVE, FORGET_ABOVE)
        recipe = replace(
            self._recipe,
            sources=tuple(drive.path for drive in self.selection.drives) or self._recipe.sources,
            name=self.options.name or self._recipe.name,
        )
        calibration = leave(
            self.folder,
            recipe,
            trainer,
            provenance,
            remember_below=limit,
            condition=mixture.earlier.astype(np.int8),
            replay=keep,
            progress=progress,
        )
        remove_cache(self.folder.cache)
        return FineTuned(True, self.folder, provenance, calibration, trainer.spent_s)

    def _reservoir(self, mixture: Mixture, anomaly: npt.NDArray[np.float64], calibration: Calibration) -> Reservoir:
        new = ~mixture.earlier
        rows = np.flatnonzero(new)
        cache = mixture.cache
        recent = replace(
            cache,
            images=cache.images[rows[0] :],
            motion=None if cache.motion is None else cache.motion[rows[0] :],
            timestamp_ns=cache.timestamp_ns[rows],
            segment=cache.segment[rows],
        )
        limit = np.where(mixture.doubted[rows], DOUBTED_ABOVE, calibration.threshold)
        earlier = Reservoir(self.replay, int(self._earlier.get("replay_stands_for", self._earlier.get("frames", 0))))
        return renewed(
            earlier,
            recent,
            anomaly[rows],
            anomaly[rows] <= limit,
            frames=REPLAY_FRAMES,
            max_bytes=REPLAY_BYTES,
            seed=self._recipe.train.seed,
        )

    def _work(self, mixture: Mixture) -> str:
        """Tells this run from another: a checkpoint of another one is of no use."""
        facts = [self.depth, asdict(self.plan), self._parent_sha256, mixture.fingerprint, self._recipe.to_json()]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def _state(self) -> str | None:
        """What run the folder is of; None where it holds none."""
        try:
            return str(self.folder.read_recipe()[1]["refit"]["work"])
        except (ModelError, KeyError, TypeError):
            return None

    def _begin(self, work: str) -> None:
        for leftover in self.folder.files():
            leftover.unlink(missing_ok=True)
        self.folder.write_recipe(self._recipe, self._provenance(work))

    def _refuse_foreign(self) -> None:
        taken = [path.name for path in (self.folder.config, *self.folder.files()) if path.exists()]
        if taken and self._state() is None:
            raise OptionError(
                f"a file named {taken[0]} is there already, and no refit made it",
                where=self.folder.path,
                fix="Choose another folder",
            )

    def _provenance(self, work: str) -> dict[str, Any]:
        made = {
            "depth": self.depth,
            "parent": self._parent_sha256,
            "drives": [drive.to_json() for drive in self.selection.drives],
            "notes": list(self.selection.notes),
            "lineage": lineage_of(self._parent_sha256, self._recipe.name, self._earlier, self._recipe.sources),
            "work": work,
        }
        return {**versions(), "refit": made}


def _last_entropy_weight(model: ModelFolder) -> float:
    """What the controller had come to when the model was finished; the beginning's where nobody wrote that down."""
    try:
        rows = list(csv.DictReader(model.history_csv.read_text(encoding="utf-8").splitlines()))
        weight = float(rows[-1]["entropy_weight"])
    except (OSError, ValueError, LookupError, TypeError):
        return Start.entropy_weight
    return min(max(weight, LEAST_WEIGHT), MOST_WEIGHT)


def adapt(
    model: str | Path,
    selection: Selection,
    replay: Replay | None,
    out: str | Path,
    *,
    options: FineTuneOptions | None = None,
    observer: RefitObserver | None = None,
    pause: Callable[[], bool] = lambda: False,
) -> FineTuned:
    """Adapt the finished model in the folder `model` to `selection`; see `FineTuning`."""
    return FineTuning("adapt", model, selection, replay, out, options=options).run(observer, pause=pause)


def refit(
    model: str | Path,
    selection: Selection,
    replay: Replay | None,
    out: str | Path,
    *,
    options: FineTuneOptions | None = None,
    observer: RefitObserver | None = None,
    pause: Callable[[], bool] = lambda: False,
) -> FineTuned:
    """Fine-tune the finished model in the folder `model` on `selection`; see `FineTuning`."""
    return FineTuning("refit", model, selection, replay, out, options=options).run(observer, pause=pause)

"""From unlabelled recordings to a model folder: cache, fit, score, calibrate."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from edgevad._allocator import keep_freed_memory
from edgevad._files import writable_directory
from edgevad.bundle.manifest import Calibration
from edgevad.errors import EdgevadError, OptionError, TrainingError
from edgevad.model.cache import CacheKey, FrameCache, remove_cache
from edgevad.model.config import ModelConfig
from edgevad.model.folder import ModelFolder, Recipe
from edgevad.model.leaving import facts_of, leave, versions
from edgevad.model.trainer import Trainer, training_device
from edgevad.sources import open_source

__all__ = ["Observer", "Training", "TrainingResult"]

Stage = Literal["reading", "preparing", "training", "scoring"]


class Observer:
    """Gets told how training goes; the default says nothing. The command line draws a progress bar with it."""

    def stage(self, stage: Stage, total: int | None) -> None:
        """A stage begins, with `total` units if that is known."""

    def advance(self, done: int, trainer: Trainer | None = None) -> None:
        """`done` units of the current stage are over."""


@dataclass(frozen=True)
class TrainingResult:
    """
    Attributes:
        finished: False where the run was stopped; it goes on with `Training.resume` where `can_resume`.
        folder: the model's folder.
        provenance: what is known of the run: frames, seconds, decisions.
        calibration: None while unfinished.
    """

    finished: bool
    folder: ModelFolder
    provenance: dict[str, Any]
    calibration: Calibration | None

    @property
    def can_resume(self) -> bool:
        """The run was stopped and its folder is its own (not so while an older model there was still whole)."""
        return not self.finished and self.folder.config.exists() and not self.folder.weights.exists()


class Training:
    """One run that leaves a model folder at `folder`. `start` or `resume` one, then `run` it."""

    def __init__(self, folder: ModelFolder, recipe: Recipe, *, cache: Path | None, resuming: bool) -> None:
        self.folder = folder
        self.recipe = recipe
        # A folder of ours inside the one named: whatever else is there is none of our business.
        place = hashlib.sha256(str(folder.path.absolute()).encode()).hexdigest()[:12]
        self.cache_path = folder.cache if cache is None else cache / f"edgevad-{folder.path.absolute().name}-{place}"
        self._resuming = resuming
        self._trainer: Trainer | None = None
        self._stop = False

    @classmethod
    def start(cls, recipe: Recipe, out: str | Path, *, overwrite: bool = False, cache: Path | None = None) -> Training:
        """Prepare a new run in the folder `out`.

        Raises:
            OptionError: `out` already holds a model and `overwrite` is off, or no source is given.
            OutputError: `out` cannot be written.
        """
        if not recipe.sources:
            raise OptionError("no recording to train on", fix="Name one: edgevad train SOURCE --out MODEL")
        folder = ModelFolder(out)
        if folder.config.exists() and not overwrite:
            raise OptionError(
                "a model is there already",
                where=folder.path,
                fix="Go on with --resume, start again with --overwrite, or choose another --out",
            )
        foreign = [path.name for path in folder.files() if path.exists()] if not folder.config.exists() else []
        if foreign:
            raise OptionError(
                f"a file named {foreign[0]} is there already", where=folder.path, fix="Choose another --out"
            )
        training_device(recipe.train.device)
        writable_directory(folder.path)
        return cls(folder, recipe, cache=cache, resuming=False)

    @classmethod
    def resume(cls, out: str | Path, *, cache: Path | None = None) -> Training:
        """Go on with the run in `out` where its last checkpoint stands.

        Raises:
            ModelError: there is no run there.
            OptionError: the run is finished.
        """
        folder = ModelFolder(out)
        recipe, _ = folder.read_recipe()
        if folder.weights.exists() and not folder.checkpoint.exists():
            raise OptionError("training is finished", where=folder.path, fix="Start again with --overwrite")
        training_device(recipe.train.device)
        writable_directory(folder.path)
        return cls(folder, recipe, cache=cache, resuming=True)

    def stop(self) -> None:
        """Ask `run` to save and return soon. Safe to call from a signal handler."""
        self._stop = True
        if self._trainer is not None:
            self._trainer.stop()

    def run(self, observer: Observer | None = None, *, keep_cache: bool = False, threads: int = 1) -> TrainingResult:
        """Read, fit, score, calibrate. Returns early, with `finished` False, where `stop` was called.

        `threads` is torch's number of CPU threads, for this process: these networks are so small that a second thread
        gains little on idle cores and costs much on busy ones.

        Raises:
            SourceError: a source cannot be read.
            TrainingError: too few frames, or the loss is no longer a number.
            OutputError: the model folder or the cache cannot be written.
        """
        observer = observer or Observer()
        keep_freed_memory()
        torch.set_num_threads(threads)
        prepared = self._prepare(observer)
        if prepared is None:
            return TrainingResult(False, self.folder, versions(), None)
        cache, trainer = prepared
        observer.stage("training", self.recipe.train.max_rounds * self.recipe.train.round_steps)
        finished = trainer.fit(self.folder.checkpoint, lambda t: observer.advance(t.step, t))
        trainer.history.write_csv(self.folder.history_csv)
        if not finished:
            return TrainingResult(False, self.folder, versions(), None)
        provenance = versions() | facts_of(trainer)
        observer.stage("scoring", len(cache))
        calibration = leave(self.folder, self.recipe, trainer, provenance, progress=observer.advance)
        if not keep_cache:
            remove_cache(self.cache_path)
        return TrainingResult(True, self.folder, provenance, calibration)

    def _prepare(self, observer: Observer) -> tuple[FrameCache, Trainer] | None:
        """Frames and trainer, or None where the run was stopped before it had all frames."""
        # A model that is to be replaced stays whole until its successor has all it needs to begin.
        replacing = not self._resuming and self.folder.config.exists()
        if not (replacing or self._resuming):
            self._begin()
        try:
            cache = self._kept_with_flow() or self._frames(observer)
            if cache is not None and self.recipe.model.motion == "auto":
                self._decide_motion(cache)
                if self.recipe.model.motion_channels and cache.motion is None:
                    cache = self._frames(observer)
            trainer = None
            if cache is not None:
                observer.stage("preparing", None)
                trainer = Trainer(self.recipe.model, self.recipe.train, cache)
        except EdgevadError:
            if not (replacing or self._resuming):  # nothing was learned: leave no trace of the attempt
                self.folder.config.unlink(missing_ok=True)
                remove_cache(self.cache_path)
                with suppress(OSError):
                    self.folder.path.rmdir()
            raise
        if cache is None or trainer is None:
            return None
        if replacing:
            self._begin()
        else:
            self.folder.write_recipe(self.recipe, versions())
        if self._resuming and self.folder.checkpoint.exists():
            trainer.restore(self.folder.checkpoint)
        self._trainer = trainer
        if self._stop:
            trainer.stop()
        return cache, trainer

    def _decide_motion(self, cache: FrameCache) -> None:
        model = self.recipe.model
        # A single score has no part of its own for motion: it is asked for, or left out.
        wanted = model.score == "parts" and not cache.camera.moves
        self.recipe = replace(self.recipe, model=replace(model, motion="flow" if wanted else "none"))

    def _begin(self) -> None:
        """From here on the folder belongs to this run."""
        folder = self.folder
        for leftover in folder.files():
            leftover.unlink(missing_ok=True)
        folder.write_recipe(self.recipe, versions())

    def _kept_with_flow(self) -> FrameCache | None:
        """What an earlier run kept of a camera that stands still, where the camera is still to decide."""
        model = self.recipe.model
        if model.motion != "auto" or model.score != "parts":
            return None
        cache = FrameCache.open(self.cache_path, self._key(replace(model, motion="flow")))
        return None if cache is None or cache.camera.moves else cache

    def _key(self, model: ModelConfig) -> CacheKey:
        recipe = self.recipe
        options = (("fps_hz", str(recipe.fps_hz)), ("include_deleted", str(recipe.include_deleted)))
        return CacheKey(recipe.sources, model.input, recipe.sample_fps_hz, options)

    def _frames(self, observer: Observer) -> FrameCache | None:
        recipe = self.recipe
        key = self._key(recipe.model)
        cache = FrameCache.open(self.cache_path, key)
        if cache is not None:
            return cache
        with open_source(list(recipe.sources), fps_hz=recipe.fps_hz, include_deleted=recipe.include_deleted) as source:
            if source.is_live:
                raise TrainingError(
                    "a camera or stream never ends",
                    where=source.name,
                    fix="Record it first, then train on the recording",
                )
            observer.stage("reading", source.frame_count_hint)

            def frames() -> Any:
                for count, frame in enumerate(source, 1):
                    if self._stop:
                        return
                    observer.advance(count)
                    yield frame

            try:
                cache = FrameCache.build(self.cache_path, key, frames(), skipped=lambda: source.skipped)
            except TrainingError:
                if not self._stop:
                    raise
        if self._stop:  # half a recording is not the recording: read it again next time
            remove_cache(self.cache_path)
            return None
        return cache

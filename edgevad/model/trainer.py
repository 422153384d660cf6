"""Fits the autoencoder to an unlabelled recording. No label is ever read here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgevad.errors import ModelError, OptionError, TrainingError
from edgevad.model.cache import FrameCache
from edgevad.model.checkpoint import load_checkpoint, save_checkpoint
from edgevad.model.config import ModelConfig
from edgevad.model.draws import draws, sampled
from edgevad.model.entropy import latent_scale, renyi2_entropy
from edgevad.model.history import History
from edgevad.model.schedule import EntropyController, StoppingRule
from edgevad.model.scoring import ScoringModule
from edgevad.model.start import Start
from edgevad.model.statistics import batch_of, recording_statistics

__all__ = ["TrainConfig", "Trainer", "explained_target", "training_device"]

# A model explains this much of what as many principal components could: on donkey_track_1124 0.86 to 0.93 are alike,
# and from 0.96 on no weight of the entropy holds the target any more (benchmarks/RESULTS.md).
EXPLAINED_RATIO = 0.92
# Of motion alone: where a recording is too short to see anything recur.
DEFAULT_TARGET = 0.8
# Below this share a fixed camera's motion has no recurring part worth keeping: the mean frame is the better normal.
BACKGROUND_SHARE = 0.5
# The entropy's pull is bounded once the latents have shrunk to this share of the scale they started from.
SCALE_FLOOR = 0.01


@dataclass(frozen=True)
class TrainConfig:
    """How a model is fitted; the defaults are the shipped method (docs/method.md).

    Attributes:
        batch_size: frames a step, at least 2: the entropy is that of the batch's latents.
        learning_rate, weight_decay: of AdamW.
        round_steps: steps between two rows of the history, two looks of the stopping rule and two checkpoints.
        max_rounds: limit where the stopping rule finds no reason to stop.
        entropy_weight: of the entropy term, against a reconstruction error of 1 for always answering the mean frame;
            None: controlled, so that the explained variance stays at `explained_target`.
        explained_target: overrides that target, in (0, 1).
        sigma: kernel width, in units of the latents' scale (of the latents themselves where not scale_free).
        scale_free: divide latents by their detached scale before the kernel; off: the paper as written.
        seed: of initialisation and of the order of the frames.
        device: "auto", "cpu" or "cuda".
    """

    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    round_steps: int = 100
    max_rounds: int = 40
    entropy_weight: float | None = None
    explained_target: float | None = None
    sigma: float = 1.0
    scale_free: bool = True
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        checks = (
            ("batch size", self.batch_size, self.batch_size >= 2, "at least 2"),
            ("learning rate", self.learning_rate, self.learning_rate > 0, "above 0"),
            ("weight decay", self.weight_decay, self.weight_decay >= 0, "0 or more"),
            ("steps per round", self.round_steps, self.round_steps >= 1, "at least 1"),
            ("rounds", self.max_rounds, self.max_rounds >= 5, "at least 5: the learning rate falls over the last four"),
            ("entropy weight", self.entropy_weight, self.entropy_weight is None or self.entropy_weight >= 0, ">= 0"),
            ("explained target", self.explained_target, 0 < (self.explained_target or 0.5) < 1, "between 0 and 1"),
            ("sigma", self.sigma, self.sigma > 0, "above 0"),
            ("seed", self.seed, 0 <= self.seed < 2**63, "a whole number from 0 to 2^63 - 1"),
            ("device", self.device, self.device in ("auto", "cpu", "cuda"), "one of auto, cpu, cuda"),
        )
        for name, value, good, expected in checks:
            if not good:
                raise OptionError(f"{name} {value}", expected=expected)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TrainConfig:
        """Raises TypeError or OptionError where `value` is not what `to_json` wrote."""
        return cls(**value)


class Trainer:
    """One training run over one `FrameCache`.

    `fit` may be stopped between two steps (`stop`) and gone on with by another `Trainer` over the same cache after
    `restore`; on a CPU the result is the same to the last bit as that of a run never stopped.
    """

    def __init__(
        self,
        model: ModelConfig,
        config: TrainConfig,
        cache: FrameCache,
        *,
        start: Start | None = None,
        weight: npt.NDArray[np.floating] | None = None,
    ) -> None:
        """`start` says from which weights (a new model's, unless given), `weight` (N,), >= 0, how often each frame is
        drawn (all alike, unless given).

        Raises:
            TrainingError: too few frames.
            ModelError: the weights to start from are missing, damaged, or of another configuration.
        """
        if len(cache) < 2 * config.batch_size:
            raise TrainingError(
                f"the recording has {len(cache)} usable frames",
                expected=f"at least {2 * config.batch_size} (two batches of {config.batch_size})",
                fix="Record a longer drive, keep every frame with --sample-fps 0, or use a smaller --batch-size",
            )
        start = start or Start()
        self.config = config
        self.cache = cache
        self.weight = weight
        self.device = training_device(config.device)
        torch.manual_seed(config.seed)
        self.module = ScoringModule(model)
        # Where motion is a part of its own it does not go through the network: it is not read for every batch either.
        self._fed = cache if model.channels > model.appearance_channels else replace(cache, motion=None)
        statistics = recording_statistics(
            self._fed,
            self.module.representation,
            model.latent,
            seed=config.seed,
            sample=None if weight is None else sampled(weight, len(cache)),
        )
        if self.module.memory is not None:
            self.module.memory.learn(*statistics.remembered)
        learnt = start.fill(self.module, statistics, cache)
        self.recurrence = statistics.recurrence
        self.template_share = statistics.template_share
        self._variance = statistics.variance
        self._anchor = statistics.mean_frame.to(self.device)
        # channels_last is what cuDNN's tensor cores want; on a CPU it gained nothing at these sizes.
        memory_format = torch.channels_last if self.device.type == "cuda" else torch.contiguous_format
        self.module.to(self.device, memory_format=memory_format)  # type: ignore[call-overload]
        self._autocast = self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        self.optimiser = torch.optim.AdamW(
            learnt, lr=config.learning_rate, weight_decay=config.weight_decay, foreach=True
        )
        target = config.explained_target or explained_target(model, self.template_share, self.recurrence)
        controlled = config.entropy_weight is None
        self.controller = EntropyController(
            weight=start.entropy_weight if config.entropy_weight is None else config.entropy_weight,
            target=target if controlled else None,
        )
        self.rule = StoppingRule(
            target=target if controlled else None, max_rounds=config.max_rounds, warm_up=start.warm_up_rounds
        )
        self.history = History()
        self.step = 0
        self.spent_s = 0.0  # in rounds that are over, in earlier sittings, too
        self._sums = [0.0] * 5
        self._scale = 0.0
        self._idle_s = 0.0
        self._stop = False

    def stop(self) -> None:
        """Ask a running `fit` to return after the current step. Safe to call from a signal handler."""
        self._stop = True

    def waited(self, seconds: float) -> None:
        """Tell, from within `progress`, that nothing was computed for so long: it does not count as time spent."""
        self._idle_s += seconds

    def fit(self, checkpoint: Path | None = None, progress: Callable[[Trainer], None] = lambda trainer: None) -> bool:
        """Train until the stopping rule is done (returns True) or `stop` was called (returns False).

        `checkpoint` is written after every round and on `stop`; `progress` is called after every step.

        Raises:
            TrainingError: the loss is no longer a number.
            OutputError: the checkpoint cannot be written.
        """
        self.module.train()
        batches = self._batches()
        clock = time.perf_counter()
        while not self.rule.done and not self._stop:
            self._train_step(next(batches))
            progress(self)
            if self.step % self.config.round_steps == 0:
                now = time.perf_counter()
                self._finish_round(max(now - clock - self._idle_s, 1e-9))
                clock, self._idle_s = now, 0.0
                if checkpoint is not None and not self.rule.done:
                    self.save(checkpoint)
        finished = self.rule.done
        if checkpoint is not None and not finished:
            self.save(checkpoint)
        self.module.eval()
        return finished

    def _train_step(self, indices: np.ndarray) -> None:
        config, round_steps = self.config, self.config.round_steps
        rate = config.learning_rate * self.rule.learning_rate_factor((self.step % round_steps) / round_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        frames, motion = (None if t is None else t.to(self.device) for t in batch_of(self._fed, indices))
        assert frames is not None
        with torch.no_grad():
            x = self.module.representation(frames, motion)
            variance = (x - self._anchor).square().mean()
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self._autocast):
            reconstruction, z = self.module.autoencoder(x)
        reconstruction = reconstruction.float()
        error = (x - reconstruction).square().mean()
        weight = self.controller.weight
        if weight > 0:
            entropy = self._entropy(z)
        else:  # measured now and then for the history, never paid for in a gradient
            entropy = self._entropy(z.detach()) if self.step % 10 == 0 else torch.full((), torch.nan)
        charged = self._reconstruction_term(x, reconstruction, error)
        loss = charged + weight * entropy if weight > 0 else charged
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.step += 1
        self._account(loss, error, variance, entropy, z)

    def _reconstruction_term(self, x: Tensor, reconstruction: Tensor, error: Tensor) -> Tensor:
        """What the loss charges for a batch's reconstruction (N, C, H, W): 1 for always answering the mean frame.

        `error` is its mean squared error, which the explained variance is told by whatever is charged.
        """
        return error / self._variance

    def _entropy(self, z: Tensor) -> Tensor:
        floor = SCALE_FLOOR * self.module.config.latent**0.5  # templates start latents at unit variance
        return renyi2_entropy(z, self.config.sigma, scale_free=self.config.scale_free, scale_floor=floor)

    def _account(self, loss: Tensor, error: Tensor, variance: Tensor, entropy: Tensor, z: Tensor) -> None:
        # One transfer for all figures: each .item() would wait for the GPU.
        figures = torch.stack([loss.detach(), error.detach(), variance, entropy.detach()]).tolist()
        if not np.isfinite(figures[0]):
            raise TrainingError(
                f"the loss is {figures[0]} at step {self.step}", fix="Train with a smaller --learning-rate"
            )
        explained = 1.0 - figures[1] / max(figures[2], 1e-12)
        self.controller.update(explained)
        has_entropy = np.isfinite(figures[3])
        for k, value in enumerate((figures[0], figures[1] / self._variance, explained)):
            self._sums[k] += value
        if has_entropy:
            self._sums[3] += figures[3]
            self._sums[4] += 1.0
        if self.step % self.config.round_steps == 0:
            self._scale = float(latent_scale(z))

    def _finish_round(self, elapsed_s: float) -> None:
        steps = self.config.round_steps
        loss, error, explained = (value / steps for value in self._sums[:3])
        phase = self.rule.phase
        self.rule.round_done(explained, loss)
        self.history.add(
            round=self.rule.rounds,
            step=self.step,
            loss=loss,
            reconstruction=error,
            explained=explained,
            explained_target=self.controller.target,
            entropy_nats=self._sums[3] / self._sums[4] if self._sums[4] else None,
            entropy_weight=self.controller.weight,
            latent_scale=self._scale,
            learning_rate=self.optimiser.param_groups[0]["lr"],
            phase=phase,
            frames_per_s=steps * self.config.batch_size / elapsed_s,
            camera_moving_share=self.cache.camera.moving_share,
            recurrence=self.recurrence,
            template_share=self.template_share,
        )
        self._sums = [0.0] * 5
        self.spent_s += elapsed_s

    def _batches(self) -> Iterator[np.ndarray]:
        """Batches of frame numbers, each epoch a new order; starts where `step` stands."""
        size, count = self.config.batch_size, len(self.cache)
        per_epoch = count // size
        while True:
            epoch, first = divmod(self.step, per_epoch)
            order = draws(count, self.weight, np.random.default_rng([self.config.seed, epoch]))
            for k in range(first, per_epoch):
                # Sorted: reads of the memory map go forward; within a batch the order means nothing.
                yield np.sort(order[k * size : (k + 1) * size])

    def save(self, path: Path) -> None:
        """Write everything a later `restore` needs."""
        state = {
            "recording": self.cache.fingerprint,
            "step": self.step,
            "spent_s": self.spent_s,
            "sums": self._sums,
            "controller": self.controller.weight,
            "rule": {k: (None if v == float("inf") else v) for k, v in asdict(self.rule).items()},
            "history": self.history.rows,
        }
        save_checkpoint(path, self.module, self.optimiser, state)

    def restore(self, path: Path) -> None:
        """Go back to where `save` was called.

        Raises:
            ModelError: the checkpoint is missing, damaged, or of another configuration or recording.
        """
        state = load_checkpoint(path, self.module, self.optimiser)
        if state["recording"] != self.cache.fingerprint:
            raise ModelError(
                "the recording is not the one this run began with", where=path, fix="Start again with --overwrite"
            )
        self.step = int(state["step"])
        self.spent_s = float(state.get("spent_s", 0.0))  # of an earlier version: it had no budget either
        self._sums = [float(value) for value in state["sums"]]
        self.controller.weight = float(state["controller"])
        rule = state["rule"]
        self.rule = StoppingRule(**{**rule, "best": float("inf") if rule["best"] is None else rule["best"]})
        self.history = History(state["history"])


def explained_target(model: ModelConfig, template_share: float, recurrence: float | None) -> float:
    """The share of variance a model of the normal should explain, from the unlabelled recording alone; 0: background.

    A little less than as many principal components could (`template_share`): the entropy then decides what is given
    up, and what is given up is rare. Of motion alone, what recurs (`recurrence`); where little does, the mean frame is
    the normal, and what is left is background subtraction.
    """
    if model.appearance != "none":
        return EXPLAINED_RATIO * template_share
    if recurrence is None:
        return DEFAULT_TARGET
    return recurrence if recurrence >= BACKGROUND_SHARE else 0.0


def training_device(name: str) -> torch.device:
    """The device that "auto", "cpu" or "cuda" means here; raises OptionError where there is no CUDA device."""
    if name == "cuda" and not torch.cuda.is_available():
        raise OptionError("no CUDA device here", where="--device cuda", fix="Use --device cpu")
    return torch.device("cuda" if name == "auto" and torch.cuda.is_available() else "cpu" if name == "auto" else name)

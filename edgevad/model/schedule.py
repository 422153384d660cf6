"""The decisions a training run takes by itself: how much entropy weight, when to stop. No label is read.

All state is plain numbers, so that a checkpoint can carry it and a resumed run decides alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["LEAST_WEIGHT", "MOST_WEIGHT", "EntropyController", "StoppingRule"]

Phase = Literal["searching", "settling", "done"]

# Bounds of the entropy's weight.
LEAST_WEIGHT, MOST_WEIGHT = 1e-3, 1.0


@dataclass
class EntropyController:
    """Holds the explained variance at a target by moving the entropy weight; constant where `target` is None.

    More entropy weight means fewer distinct latents, so less is explained. What other times of the recording explain
    (`recurrence_share`) is all a model of the normal should: beyond it, it learns the rare by heart.
    log weight += gain * clip(explained - target, +-0.2) after every step; weight in [0.001, 1].
    """

    weight: float
    target: float | None
    gain: float = 0.15

    def update(self, explained: float) -> None:
        if self.target is None or not math.isfinite(explained):
            return
        error = min(max(explained - self.target, -0.2), 0.2)
        self.weight = min(max(self.weight * math.exp(self.gain * error), LEAST_WEIGHT), MOST_WEIGHT)


@dataclass
class StoppingRule:
    """When to stop, from the training curve alone.

    A run *searches* at full learning rate until the explained variance has stood within `tolerance` of its target for
    `hold` rounds, or, without a target, the objective has not improved by 1 % for `patience` rounds, or
    `max_rounds - settle` are over. It then *settles*: the learning rate falls linearly to zero over `settle`
    rounds, and it is done. Where a run goes on from an earlier model, the learning rate rises over `warm_up` rounds:
    the optimiser knows nothing of these weights yet, and its first steps are as long as any.
    """

    target: float | None
    max_rounds: int
    tolerance: float = 0.02
    hold: int = 3
    patience: int = 6
    settle: int = 4
    phase: Phase = "searching"
    reason: str = ""
    rounds: int = 0
    held: int = 0
    stale: int = 0
    settled: int = 0
    best: float = field(default=math.inf)
    warm_up: int = 0

    @property
    def done(self) -> bool:
        return self.phase == "done"

    def learning_rate_factor(self, progress: float) -> float:
        """Factor in [0, 1] on the learning rate, `progress` in [0, 1) through the current round."""
        if self.phase == "searching":
            return min((self.rounds + progress) / self.warm_up, 1.0) if self.warm_up else 1.0
        return max(1.0 - (self.settled + progress) / self.settle, 0.0)

    def round_done(self, explained: float, objective: float) -> None:
        """Take a finished round's mean explained variance and mean objective."""
        self.rounds += 1
        if self.phase == "settling":
            self.settled += 1
            if self.settled >= self.settle:
                self.phase = "done"
            return
        if objective < 0.99 * self.best:
            self.best, self.stale = objective, 0
        else:
            self.stale += 1
        held = self.target is not None and abs(explained - self.target) <= self.tolerance
        self.held = self.held + 1 if held else 0
        if self.held >= self.hold:
            self._settle(f"explained variance held at its target {self.target:.2f} for {self.hold} rounds")
        elif self.target is None and self.stale >= self.patience:
            self._settle(f"objective improved by less than 1 % over {self.patience} rounds")
        elif self.rounds >= self.max_rounds - self.settle:
            self._settle(f"limit of {self.max_rounds} rounds")

    def wind_down(self, left: int, reason: str) -> None:
        """There is time for `left` more rounds: settle now where settling would take all of them, over at least one."""
        if self.phase == "searching" and left <= self.settle:
            self.settle = max(1, left)
            self._settle(reason)
        elif self.phase == "settling" and left < self.settle - self.settled:
            self.settle = self.settled + max(1, left)

    def _settle(self, reason: str) -> None:
        self.phase = "settling"
        self.reason = reason

"""What a challenger has to hold, and how much it is asked."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields

from edgevad.errors import OptionError

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """How much worse than the champion a challenger may be, and by how much evidence that is judged.

    Figures behind the defaults: docs/refit.md, and `python -m benchmarks.poisoning`.

    Attributes:
        max_blind: share of the recent frames that may show nothing (black, covered, blurred).
        max_dead: share of the picture's places that may have stopped to vary.
        max_standing_out: share of the chosen frames that may stand out from their own drive; of a log that is
            anomalous for two fifths about half of them do.
        max_far_out: share of them that may be far out.
        max_more_alarms: how many more of the frames, as a share, the challenger may find beyond its threshold than
            the champion does, on recent frames and on replay.
        max_auroc_loss: of the probes together; the lower end of the interval of the difference has to stay above it.
        max_kind_loss: the same of one kind of probe by itself, of the difference and not of its interval's end.
        min_power: share of the replay's probes that the challenger has to find beyond its threshold, of the share that
            the champion finds beyond its own.
        min_told: share of the events that stood out from their drive for the champion which the challenger has to
            find beyond its threshold.
        min_confirmed: share of the events that people confirmed which the challenger has to find.
        max_flips, max_rank_loss: as `GuardLimits`, of the engine's graph against the challenger's own in float32.
        max_slower: where the champion misses the latency budget as well, the challenger's median may be so many times
            the champion's.
        require_replay: without frames of what was learned before nobody can say that nothing is forgotten: refuse then.
        frames: of each set, clean, at most.
        pieces: of each set, a second each, that are asked about with all kinds of probes, at most.
        resamples: of the bootstrap.
        confidence: of its intervals, two-sided.
        seed: of everything drawn.

    Raises:
        OptionError: a value out of its range.
    """

    max_blind: float = 0.2
    max_dead: float = 0.15
    max_standing_out: float = 0.2
    max_far_out: float = 0.075
    max_more_alarms: float = 0.05
    max_auroc_loss: float = 0.08
    max_kind_loss: float = 0.15
    min_power: float = 0.33
    min_told: float = 0.15
    min_confirmed: float = 0.8
    max_flips: float = 0.01
    max_rank_loss: float = 0.01
    max_slower: float = 1.25
    require_replay: bool = True
    frames: int = 1500
    pieces: int = 40
    resamples: int = 1000
    confidence: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        whole = {"frames": (100, 100_000), "pieces": (8, 1000), "resamples": (100, 100_000), "seed": (0, 2**31 - 1)}
        for one in fields(self):
            value = getattr(self, one.name)
            low, high = whole.get(one.name, (1.0, 10.0) if one.name == "max_slower" else (0.0, 1.0))
            if not (math.isfinite(value) and low <= value <= high):
                name = one.name.replace("_", " ")
                raise OptionError(f"gate: {name} of {value}", expected=f"a number from {low:g} to {high:g}")

    def to_json(self) -> dict[str, float]:
        return asdict(self)

"""Whether a newly activated bundle does what the one before did: looked at while it runs, for its first minutes.

Only what a bundle is answerable for counts: what it takes this machine to prepare and score a frame, not how long a
camera takes to give one; events in the time in which frames were scored, not while a camera was lost or a lens covered.

Nothing here looks at a clock: seconds are passed in, of any clock that does not run backwards.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgevad.errors import OptionError

if TYPE_CHECKING:
    from edgevad.bundle.slot_state import Trial
    from edgevad.runtime.stream import Result

__all__ = ["RecentWork", "TrialMonitor", "TrialSpec", "crash_loop", "poisson_tail"]

# A pause between two frames says no more than this about the time between.
_LONGEST_STEP_S = 1.0
# The chance that a bundle within its budget is sent back for the number of its events, at each look.
_ALPHA = 1e-4
_LEAST_ALARMS = 5
# So much of it has to be inside events before their share is looked at.
_LEAST_ALARM_S = 60.0
# The 95th percentile of fewer frames is the slowest one. The slower a bundle, the longer it takes to have so many.
_LEAST_FRAMES = 20
_MOST_FRAMES = 4096
# Where not one of so few was in time, nobody waits for twenty.
_FEW_FRAMES = 5
# A bundle as slow as the one before is no worse than that.
_SLACK = 1.5
# Starts in a row that took the machine's power with them within a minute. A driver may do so, too.
_MOST_POWER_CUTS = 5


@dataclass(frozen=True)
class TrialSpec:
    """How long a new bundle is watched, and what sends it back.

    Attributes:
        minutes: of scoring; 0 watches nothing.
        crash_limit: crashed starts that send it back.
        latency_budget_ms: milliseconds that preparing and scoring may take for 95 % of the frames; None: no limit.
        latency_window_s: seconds over which these 95 % are counted.
        alarms_per_hour: events that an hour of one camera may raise; None: they are not counted.
        alarm_ratio: it is sent back when its events cannot be had by chance at so many times that rate.
        alarm_share: it is sent back when so much of the time lies inside events.

    Raises:
        OptionError: a value is out of its range.
    """

    minutes: float = 20.0
    crash_limit: int = 3
    latency_budget_ms: float | None = 100.0
    latency_window_s: float = 30.0
    alarms_per_hour: float | None = None
    alarm_ratio: float = 3.0
    alarm_share: float = 0.5

    def __post_init__(self) -> None:
        _check("minutes", self.minutes, 0.0, 10_080.0)
        _check("crash limit", self.crash_limit, 1, 100)
        if self.latency_budget_ms is not None:
            _check("latency budget", self.latency_budget_ms, 1.0, 60_000.0)
        _check("latency window", self.latency_window_s, 1.0, 3600.0)
        if self.alarms_per_hour is not None:
            _check("alarms per hour", self.alarms_per_hour, 0.0, 3600.0)
        _check("alarm ratio", self.alarm_ratio, 1.0, 1000.0)
        _check("alarm share", self.alarm_share, 0.01, 1.0)


def _check(name: str, value: float, low: float, high: float) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise OptionError(f"trial: {name} of {value}", expected=f"a number from {low:g} to {high:g}")


class RecentWork:
    """What frames took this machine in the last seconds."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._work: deque[tuple[float, float]] = deque(maxlen=_MOST_FRAMES)
        self._since_s: float | None = None

    def push(self, work_s: float, now_s: float) -> None:
        if self._since_s is None:
            self._since_s = now_s
        self._work.append((now_s, work_s))
        while len(self._work) > _LEAST_FRAMES and now_s - self._work[0][0] > self._window_s:
            self._work.popleft()

    def least_s(self, now_s: float) -> float | None:
        """What the quickest frame took; None before the window is full, or with fewer than five frames in it."""
        work = list(self._work)
        if self._since_s is None or now_s - self._since_s < self._window_s or len(work) < _FEW_FRAMES:
            return None
        return min(work_s for _, work_s in work)

    def p95_s(self, now_s: float) -> float | None:
        """What 95 % of the frames took at most; None before the window is full. It never holds fewer than 20 frames.

        Any thread may ask.
        """
        work = list(self._work)
        if self._since_s is None or now_s - self._since_s < self._window_s or len(work) < _LEAST_FRAMES:
            return None
        values = sorted(work_s for _, work_s in work)
        return values[math.ceil(0.95 * len(values)) - 1]


class TrialMonitor:
    """Follows one bundle through its health window.

    Args:
        trial: how it did before this start.
        digest: of the bundle.

    Attributes:
        verdict: why it has to be left, a sentence; None while nothing speaks against it.
    """

    def __init__(self, spec: TrialSpec, trial: Trial, digest: str = "") -> None:
        self.spec = spec
        self.digest = digest
        self.verdict: str | None = None
        self._trial = trial
        self._running_s, self._watched_s = trial.running_s, trial.watched_s
        self._alarms, self._alarm_s = trial.alarms, trial.alarm_s
        self._work = RecentWork(spec.latency_window_s)
        self._last_s: float | None = None
        self._of_camera_s: dict[str, float] = {}
        self._next_look_s = -math.inf

    @property
    def has_passed(self) -> bool:
        """Its window is over, and nothing spoke against it."""
        return self.verdict is None and self._running_s >= 60.0 * self.spec.minutes

    def figures(self, trial: Trial) -> Trial:
        """`trial` with what was counted up to now. Any thread may ask."""
        return replace(
            trial,
            running_s=self._running_s,
            watched_s=self._watched_s,
            alarms=self._alarms,
            alarm_s=self._alarm_s,
        )

    def observe(self, result: Result, now_s: float) -> None:
        """Take what was decided about a frame just now."""
        if result.anomaly_score is None:
            return
        camera = result.frame.source_id
        step_s = _step_s(self._of_camera_s.get(camera), now_s)
        self._of_camera_s[camera] = now_s
        self._running_s += _step_s(self._last_s, now_s)
        self._last_s = now_s
        self._watched_s += step_s
        self._alarm_s += step_s if result.is_anomaly else 0.0
        self._work.push(result.work_s, now_s)
        if result.event_began is not None:
            self._alarms += 1
        if result.event_began is not None or now_s >= self._next_look_s:
            self._next_look_s = now_s + 1.0
            self.verdict = self.verdict or self._too_slow(now_s) or self._too_many() or self._too_long()

    def _too_slow(self, now_s: float) -> str | None:
        budget_ms, p95_s = self.spec.latency_budget_ms, self._work.p95_s(now_s)
        if budget_ms is None:
            return None
        limit_ms = max(budget_ms, _SLACK * self._trial.before_ms)
        least_s = self._work.least_s(now_s)
        if p95_s is None and least_s is not None and 1e3 * least_s > limit_ms:
            return (
                f"too slow: not one frame took this machine less than {1e3 * least_s:.0f} ms, budget {budget_ms:g} ms"
            )
        if p95_s is None or 1e3 * p95_s <= limit_ms:
            return None
        before = f"; the bundle before took {self._trial.before_ms:.0f} ms" if self._trial.before_ms else ""
        took = f"95 % of the frames took this machine up to {1e3 * p95_s:.0f} ms"
        return f"too slow: {took}, budget {budget_ms:g} ms{before}"

    def _too_many(self) -> str | None:
        budget, hours = self.spec.alarms_per_hour, self._watched_s / 3600.0
        if budget is None:
            return None
        expected = budget * self.spec.alarm_ratio * hours
        if self._alarms < _LEAST_ALARMS or poisson_tail(self._alarms, expected) >= _ALPHA:
            return None
        return (
            f"too many alarms: {self._alarms} events in {60 * hours:.1f} minutes of driving, budget {budget:g} an hour"
        )

    def _too_long(self) -> str | None:
        if self._alarm_s < max(_LEAST_ALARM_S, self.spec.alarm_share * self._watched_s):
            return None
        return (
            f"alarmed for {self._alarm_s / 60:.1f} of {self._watched_s / 60:.1f} minutes of driving, "
            f"limit {self.spec.alarm_share:.0%}"
        )


def crash_loop(trial: Trial, spec: TrialSpec) -> str | None:
    """Why a bundle that is about to be started for another time is not to be; None where it may."""
    if trial.crashes >= spec.crash_limit:
        return f"crashed {trial.crashes} times within its first {spec.minutes:g} minutes of running"
    if trial.power_cuts >= _MOST_POWER_CUTS:
        return f"took the machine's power with it {trial.power_cuts} times in a row, each within a minute"
    return None


def poisson_tail(count: int, mean: float) -> float:
    """The chance of `count` or more where `mean` are expected (Poisson)."""
    if count <= 0:
        return 1.0
    if mean <= 0.0:
        return 0.0
    if count <= mean:
        # Not small: by what is left.
        return 1.0 - sum(_poisson(k, mean) for k in range(count))
    total, term, k = 0.0, _poisson(count, mean), count
    while term > 1e-18 * max(total, 1e-300):
        total += term
        k += 1
        term *= mean / k
    return min(total, 1.0)


def _poisson(count: int, mean: float) -> float:
    return math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))


def _step_s(before_s: float | None, now_s: float) -> float:
    return 0.0 if before_s is None else min(max(now_s - before_s, 0.0), _LONGEST_STEP_S)

"""How many frames a second are looked at: fewer where they take too long or the machine grows hot, and back again.

Rates form a ladder: as fast as the camera, then `steps_hz` downwards. It goes down one step at a time as soon as the
latency of 95 % of the frames passes the budget or the hottest zone its limit, and up one step after both have been
well inside their limits for a while. A step up that had to be taken back makes the next one wait twice as long.

Nothing here looks at a clock: seconds are passed in, of any clock that does not run backwards.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from dataclasses import dataclass

from edgevad.errors import OptionError
from edgevad.events.incident import Incident
from edgevad.runtime.power import MachineReading
from edgevad.targets import Target

__all__ = ["Governor", "GovernorSpec", "governor_spec_for"]

# The 95th percentile of fewer frames is the slowest one.
_LEAST_FRAMES = 8
_MOST_FRAMES = 4096
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class GovernorSpec:
    """When the frame rate changes.

    Attributes:
        latency_budget_ms: milliseconds that 95 % of the frames may take from camera to score; None: no limit.
        latency_window_s: seconds over which these 95 % are counted.
        latency_recovery: in (0, 1]; the rate rises again below this share of the budget.
        temperature_limit_c: degrees Celsius that the hottest zone may reach; None: no limit.
        temperature_margin_c: degrees below the limit at which the rate rises again.
        steps_hz: frames a second and camera, falling; the last one is never gone below.
        latency_hold_s: seconds between two changes because of latency; twice the window lets the last one show first.
        temperature_hold_s: seconds between two changes because of heat, which follows slowly.
        climb_s: seconds in which all has to be well before the rate rises by a step.
        longest_climb_s: what `climb_s` grows to where steps up had to be taken back, doubling each time.

    Raises:
        OptionError: a value is out of its range.
    """

    latency_budget_ms: float | None = 100.0
    latency_window_s: float = 5.0
    latency_recovery: float = 0.7
    temperature_limit_c: float | None = 85.0
    temperature_margin_c: float = 5.0
    steps_hz: tuple[float, ...] = (15.0, 10.0, 5.0, 2.0)
    latency_hold_s: float = 10.0
    temperature_hold_s: float = 20.0
    climb_s: float = 30.0
    longest_climb_s: float = 600.0

    def __post_init__(self) -> None:
        if self.latency_budget_ms is not None:
            _check("latency budget", self.latency_budget_ms, 1.0, 60_000.0, "milliseconds")
        if self.temperature_limit_c is not None:
            _check("temperature limit", self.temperature_limit_c, 0.0, 150.0, "degrees Celsius")
        _check("temperature margin", self.temperature_margin_c, 0.5, 100.0, "degrees")
        _check("latency recovery", self.latency_recovery, 0.05, 1.0, "a share of the budget,")
        for name in ("latency_window_s", "latency_hold_s", "temperature_hold_s", "climb_s", "longest_climb_s"):
            _check(name.removesuffix("_s").replace("_", " "), getattr(self, name), 0.1, 86_400.0, "seconds")
        if self.longest_climb_s < self.climb_s:
            raise OptionError(
                f"governor: longest climb of {self.longest_climb_s:g} s",
                expected=f"not less than the climb of {self.climb_s:g} s",
            )
        steps = self.steps_hz
        if not steps or any(not (math.isfinite(hz) and 0 < hz <= 1000) for hz in steps):
            raise OptionError(f"governor: steps of {list(steps)} Hz", expected="one or more rates from 0 to 1000 Hz")
        if any(low >= high for high, low in itertools.pairwise(steps)):
            raise OptionError(f"governor: steps of {list(steps)} Hz", expected="falling rates")
        if self.latency_window_s * steps[-1] < _LEAST_FRAMES:
            raise OptionError(
                f"governor: {self.latency_window_s:g} s at {steps[-1]:g} Hz hold fewer than {_LEAST_FRAMES} frames",
                fix="Lengthen latency_window_s, or raise the last of steps_hz",
            )


def _check(name: str, value: float, low: float, high: float, unit: str) -> None:
    if not (math.isfinite(value) and low <= value <= high):
        raise OptionError(f"governor: {name} of {value}", expected=f"{unit} from {low:g} to {high:g}")


def governor_spec_for(target: Target) -> GovernorSpec:
    """The target's latency budget, and defaults."""
    return GovernorSpec(latency_budget_ms=target.latency_budget_ms)


class Governor:
    """Decides how many frames a second and camera are looked at.

    Args:
        sources_rate_hz: what the fastest camera gives, where known; steps that are no less are left out.

    Attributes:
        rate_hz: frames a second and camera, None for as fast as the camera.
    """

    def __init__(self, spec: GovernorSpec | None = None, sources_rate_hz: float | None = None) -> None:
        self.spec = GovernorSpec() if spec is None else spec
        steps = [hz for hz in self.spec.steps_hz if sources_rate_hz is None or hz < sources_rate_hz]
        self._ladder: tuple[float | None, ...] = (None, *steps)
        self._rung = 0
        self._latencies: deque[tuple[float, float]] = deque(maxlen=_MOST_FRAMES)
        self._next_look_s = -math.inf
        self._p95_s: float | None = None  # None while there are too few frames
        self._temperature_c: float | None = None
        self._has_thermometer = False
        self._changed_s = -math.inf
        self._lowered_s = -math.inf
        self._last_was_up = False
        self._well_since_s: float | None = None
        self._climb_s = self.spec.climb_s

    @property
    def rate_hz(self) -> float | None:
        return self._ladder[self._rung]

    def observe(self, latency_s: float, now_s: float) -> Incident | None:
        """Take the latency of a frame that was scored just now; return the change it brought about, if any."""
        self._latencies.append((now_s, latency_s))
        if now_s < self._next_look_s:
            return None
        self._next_look_s = now_s + _LOOK_EVERY_S
        return self._decide(now_s)

    def read(self, reading: MachineReading, now_s: float) -> Incident | None:
        """Take what the machine says now; return the change it brought about, if any."""
        self._temperature_c = reading.temperature_c
        self._has_thermometer = self._has_thermometer or self._temperature_c is not None
        return self._decide(now_s)

    def _decide(self, now_s: float) -> Incident | None:
        self._p95_s = self._percentile(now_s)
        spec = self.spec
        too_slow = self._is_slow(1.0)
        too_hot = self._is_hot(0.0)
        since_s = now_s - self._changed_s
        if too_hot and since_s >= spec.temperature_hold_s:
            return self._down(
                "temperature", f"{self._temperature_c:.0f} °C, limit {spec.temperature_limit_c:g} °C", now_s
            )
        if too_slow and since_s >= spec.latency_hold_s:
            took = f"95 % of the frames took up to {1e3 * (self._p95_s or 0):.0f} ms"
            return self._down("latency", f"{took}, budget {spec.latency_budget_ms:g} ms", now_s)
        return self._up(now_s)

    def _percentile(self, now_s: float) -> float | None:
        latencies = self._latencies
        while latencies and now_s - latencies[0][0] > self.spec.latency_window_s:
            latencies.popleft()
        if len(latencies) < _LEAST_FRAMES:
            return None
        values = sorted(latency_s for _, latency_s in latencies)
        return values[math.ceil(0.95 * len(values)) - 1]

    def _is_slow(self, share: float) -> bool:
        budget_ms = self.spec.latency_budget_ms
        return budget_ms is not None and self._p95_s is not None and 1e3 * self._p95_s > share * budget_ms

    def _is_hot(self, margin_c: float) -> bool:
        limit_c = self.spec.temperature_limit_c
        return limit_c is not None and self._temperature_c is not None and self._temperature_c > limit_c - margin_c

    def _is_well(self) -> bool:
        """Both figures are known, where they matter, and well inside their limits."""
        spec = self.spec
        if spec.latency_budget_ms is not None and self._p95_s is None:
            return False
        # A thermometer that has vanished says nothing; the rate stays where it is.
        if spec.temperature_limit_c is not None and self._has_thermometer and self._temperature_c is None:
            return False
        return not self._is_slow(spec.latency_recovery) and not self._is_hot(spec.temperature_margin_c)

    def _down(self, cause: str, why: str, now_s: float) -> Incident | None:
        self._well_since_s = None
        if self._rung == len(self._ladder) - 1:
            return None
        if self._last_was_up:
            self._climb_s = min(2 * self._climb_s, self.spec.longest_climb_s)
        self._lowered_s = now_s
        return self._step(1, cause, why, now_s)

    def _up(self, now_s: float) -> Incident | None:
        if now_s - self._lowered_s >= 2 * self.spec.longest_climb_s:
            self._climb_s = self.spec.climb_s
        if not self._is_well():
            self._well_since_s = None
            return None
        if self._well_since_s is None:
            self._well_since_s = now_s
        if self._rung == 0 or now_s - self._well_since_s < self._climb_s:
            return None
        figures = []
        if self._p95_s is not None:
            figures.append(f"95 % of the frames take up to {1e3 * self._p95_s:.0f} ms")
        if self._temperature_c is not None:
            figures.append(f"{self._temperature_c:.0f} °C")
        self._well_since_s = now_s
        return self._step(-1, "recovered", ", ".join(figures) or "all is well", now_s)

    def _step(self, by: int, cause: str, why: str, now_s: float) -> Incident:
        before = _words(self.rate_hz)
        self._rung += by
        self._changed_s = now_s
        self._last_was_up = by < 0
        # What frames took at another rate says nothing about this one.
        self._latencies.clear()
        self._p95_s = None
        verb = "lowered" if by > 0 else "raised"
        return Incident.once("frame_rate", cause, f"Frame rate {verb} from {before} to {_words(self.rate_hz)}: {why}")


def _words(rate_hz: float | None) -> str:
    return "the camera's own" if rate_hz is None else f"{rate_hz:g} Hz"

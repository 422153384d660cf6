"""Other cars, which are normal: oncoming ones, and now and then one ahead that is followed for a while."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgevad.synth.config import SynthConfig
from edgevad.synth.course import LANE_M
from edgevad.synth.ego import Ego
from edgevad.synth.randomness import stream
from edgevad.synth.schedule import Event

__all__ = ["CAR_LENGTH_M", "Traffic", "VisibleCar", "plan_traffic"]

CAR_LENGTH_M = 4.2

_SEEN_M = 150.0
_BLOCKED_BY = ("object on the road", "person crossing")


@dataclass(frozen=True)
class VisibleCar:
    """A car as seen from the camera: its near end `ahead_m` before us, `u_m` off the centre line."""

    ahead_m: float
    u_m: float
    family: str
    variant: int


@dataclass(frozen=True)
class _Oncoming:
    meet_s: float
    speed_m_s: float
    variant: int


@dataclass(frozen=True)
class _Leader:
    from_s: float
    to_s: float
    gap_m: float
    variant: int

    def ahead_m(self, time_s: float) -> float:
        """We close up within 4 s, follow, and it pulls away within 5 s."""
        closing = min(max((time_s - self.from_s) / 4.0, 0.0), 1.0)
        leaving = min(max((self.to_s - time_s) / 5.0, 0.0), 1.0)
        x = min(closing, leaving)
        return self.gap_m + (130 - self.gap_m) * (1 - x * x * (3 - 2 * x)) + 0.8 * float(np.sin(time_s * 0.9))


@dataclass(frozen=True)
class Traffic:
    """Every other car of a drive."""

    ego: Ego
    oncoming: tuple[_Oncoming, ...]
    leaders: tuple[_Leader, ...]

    def visible(self, time_s: float) -> list[VisibleCar]:
        """The cars within sight at a moment."""
        here_m = self.ego.distance_at(time_s)
        cars = []
        for car in self.oncoming:
            if abs(car.meet_s - time_s) < 9:
                ahead = self.ego.distance_at(car.meet_s) - here_m + car.speed_m_s * (car.meet_s - time_s)
                if -CAR_LENGTH_M < ahead < _SEEN_M:
                    cars.append(VisibleCar(ahead, -LANE_M / 2, "front", car.variant))
        for leader in self.leaders:
            if leader.from_s < time_s < leader.to_s:
                braking = leader.ahead_m(time_s + 0.3) < leader.ahead_m(time_s) and time_s - leader.from_s > 4
                across = LANE_M / 2 + 0.1 * float(np.sin(time_s * 0.7))
                family = "braking" if braking else "rear"
                cars.append(VisibleCar(leader.ahead_m(time_s), across, family, leader.variant))
        return cars


def plan_traffic(config: SynthConfig, ego: Ego, events: tuple[Event, ...]) -> Traffic:
    """Cars in both directions for the whole drive, none where it would hide or hit an anomaly."""
    rng = stream(config.seed, "traffic")
    oncoming, leaders = [], []
    time_s = float(rng.uniform(1.0, 4.0))
    while time_s < config.seconds + 6:
        car = _Oncoming(time_s, float(rng.uniform(17, 22)), int(rng.integers(100)))
        hindered = any(event.kind in (*_BLOCKED_BY, "leaving the lane") and event.near(time_s, 1.0) for event in events)
        if not hindered:
            oncoming.append(car)
        time_s += float(rng.uniform(2.5, 7.5))
    time_s = float(rng.uniform(3.0, 12.0))
    while time_s < config.seconds:
        leader = _Leader(
            time_s, time_s + float(rng.uniform(14, 19)), float(rng.uniform(11, 19)), int(rng.integers(100))
        )
        hindered = any(
            event.kind in _BLOCKED_BY and event.start_s - 5 < leader.to_s and leader.from_s < event.end_s + 2
            for event in events
        )
        if not hindered:
            leaders.append(leader)
        time_s = leader.to_s + float(rng.uniform(4.0, 14.0)) if not hindered else time_s + 2.0
    return Traffic(ego, tuple(oncoming), tuple(leaders))

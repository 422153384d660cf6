"""When which anomaly happens."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgevad.synth.config import FIRST_EVENT_S, SynthConfig
from edgevad.synth.randomness import stream

__all__ = ["ANOMALY_KINDS", "LENS_KINDS", "Event", "schedule_events"]

ANOMALY_KINDS = (
    "object on the road",
    "person crossing",
    "leaving the lane",
    "smeared lens",
    "blocked lens",
    "defocus",
    "sudden tilt",
)
LENS_KINDS = ("smeared lens", "blocked lens", "defocus")

_LAST_EVENT_S = 2.0
_SHORTEST_S, _USUAL_S, _LONGEST_S = 1.2, 1.8, 4.0
_RAMPS_S = {
    "object on the road": 1.6,
    "person crossing": 2.5,
    "leaving the lane": 1.1,
    "smeared lens": 0.5,
    "blocked lens": 0.25,
    "defocus": 0.5,
    "sudden tilt": 0.45,
}


@dataclass(frozen=True)
class Event:
    """One planned anomaly.

    Attributes:
        kind: one of ANOMALY_KINDS.
        number: its place in the drive, from 0; seeds what it looks like.
        start_s, end_s: when it is plainly there.
        ramp_s: how long before `start_s` it grows and after `end_s` it fades.
    """

    kind: str
    number: int
    start_s: float
    end_s: float
    ramp_s: float

    @property
    def turn(self) -> int:
        """Which round of kinds it belongs to, from 0; looks and sides take turns by it."""
        return self.number // len(ANOMALY_KINDS)

    def strength(self, time_s: float) -> float:
        """0 to 1: nothing outside the ramps, more than 0.75 between start and end, 1 soon after the start."""
        rise = (time_s - self.start_s + self.ramp_s) / (1.5 * self.ramp_s)
        fall = (self.end_s + self.ramp_s - time_s) / (1.5 * self.ramp_s)
        x = min(max(min(rise, fall), 0.0), 1.0)
        return x * x * (3 - 2 * x)

    def near(self, time_s: float, margin_s: float = 0.0) -> bool:
        """Whether anything of it may show at `time_s`, give or take `margin_s`."""
        return self.start_s - self.ramp_s - margin_s <= time_s <= self.end_s + self.ramp_s + margin_s


def schedule_events(config: SynthConfig) -> tuple[Event, ...]:
    """Anomalies in order of time, spread over the drive after its first ten seconds.

    Kinds come in shuffled rounds, so all are about equally frequent. Two rounds are the aim; where the anomalous
    seconds do not suffice for events long enough to be seen, there are fewer.
    """
    budget_s = config.seconds * config.anomaly_share
    if budget_s <= 0:
        return ()
    rng = stream(config.seed, "schedule")
    room_s = config.seconds - FIRST_EVENT_S - _LAST_EVENT_S
    rounds = max(2, round(budget_s / (len(ANOMALY_KINDS) * (_USUAL_S + 4 * config.anomaly_share))))
    count = min(rounds * len(ANOMALY_KINDS), math.floor(budget_s / _SHORTEST_S), math.floor(room_s / 8.0))
    count = max(count, 1)
    mean_s = min(max(budget_s / count, _SHORTEST_S), _LONGEST_S)
    order: list[str] = []
    while len(order) < count:
        following = [ANOMALY_KINDS[k] for k in rng.permutation(len(ANOMALY_KINDS))]
        if order and order[-1] == following[0]:
            following.reverse()
        order += following
    slot_s = room_s / count
    events = []
    for number, kind in enumerate(order[:count]):
        ramp_s = _RAMPS_S[kind]
        length_s = mean_s * float(rng.uniform(0.85, 1.15))
        free_s = max(0.0, slot_s - length_s - 2 * ramp_s - 1.0)
        start_s = FIRST_EVENT_S + number * slot_s + ramp_s + float(rng.random()) * free_s
        events.append(Event(kind, number, start_s, start_s + length_s, ramp_s))
    return tuple(events)

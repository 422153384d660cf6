"""The anomalies that stand in the scene, and the label each frame gets."""

from __future__ import annotations

from dataclasses import dataclass

from edgevad.synth.config import SynthConfig
from edgevad.synth.course import LANE_M
from edgevad.synth.ego import Ego, hazard_side
from edgevad.synth.randomness import stream
from edgevad.synth.schedule import Event

__all__ = ["AMBIGUOUS", "ANOMALY", "NORMAL", "Hazard", "VisibleHazard", "label_at", "plan_hazards"]

NORMAL, AMBIGUOUS, ANOMALY = 0, 1, 2

# Height over frame height from which a hazard can be told from a speck, and where one notices it at all.
_PLAIN_SHARE = {"object on the road": 0.07, "person crossing": 0.1}
_NOTICED_SHARE = 0.025
_FOCAL_HEIGHTS = 1.2  # focal length over frame height; a hazard is labelled as if the frame were 4:3
_FULL_STRENGTH = 0.7
_CROSSED_LINE_M, _LEFT_MIDDLE_M = 1.4, 0.35
_PASSED_M = 2.0  # by then the car has steered past


@dataclass(frozen=True)
class VisibleHazard:
    """A hazard as seen from the camera; `height_share` is its apparent height over the frame's."""

    ahead_m: float
    u_m: float
    height_m: float
    family: str
    variant: int
    height_share: float


@dataclass(frozen=True)
class Hazard:
    """A thing on the road or a person crossing it.

    Attributes:
        event: the anomaly it makes.
        at_m: where it is along the drive.
        u_m: where it lies across the road; for a person, where the camera car's lane is crossed mid-event.
        side: -1 or 1, where it comes from.
        height_m: how high it is.
        variant: picks its sprite.
    """

    event: Event
    at_m: float
    u_m: float
    side: float
    height_m: float
    variant: int

    def visible(self, ego: Ego, time_s: float) -> VisibleHazard | None:
        """How it shows at a moment, or None while it is out of sight or already behind."""
        if not self.event.near(time_s, 6.0):
            return None
        ahead_m = self.at_m - ego.distance_at(time_s)
        if not _PASSED_M / 2 < ahead_m < 140:
            return None
        family, variant, u_m = "object", self.variant, self.u_m
        if self.event.kind == "person crossing":
            u_m, moving = self._stride(time_s)
            family, variant = "person", self.variant * 4 + (int(time_s * 8) % 4 if moving else 1)
        share = _FOCAL_HEIGHTS * self.height_m / max(ahead_m, _PASSED_M)
        return VisibleHazard(ahead_m, u_m, self.height_m, family, variant, share)

    def level(self, ego: Ego, time_s: float) -> int:
        seen = self.visible(ego, time_s)
        if seen is None or seen.height_share < _NOTICED_SHARE:
            # Swerving and braking for it may still show, or show already.
            return AMBIGUOUS if self.event.near(time_s) else NORMAL
        plain = seen.height_share >= _PLAIN_SHARE[self.event.kind]
        if self.event.kind == "person crossing":
            plain = plain and self.event.start_s <= time_s <= self.event.end_s
        return ANOMALY if plain and seen.ahead_m > _PASSED_M else AMBIGUOUS

    def _stride(self, time_s: float) -> tuple[float, bool]:
        """Where across the road a person is: between start and end of the event from the verge past the other lane."""
        done = (time_s - self.event.start_s) / (self.event.end_s - self.event.start_s)
        walked = min(max(done, -0.25), 1.25)
        return LANE_M / 2 + self.side * (2.9 - 6.6 * walked), -0.25 < done < 1.25


def plan_hazards(config: SynthConfig, ego: Ego, events: tuple[Event, ...]) -> tuple[Hazard, ...]:
    """Place what the car will meet so that it meets it when the schedule says."""
    hazards = []
    for event in events:
        rng = stream(config.seed, "hazard look", event.number)
        side = hazard_side(config.seed, event)
        if event.kind == "object on the road":
            at_m = ego.distance_at(event.end_s) + _PASSED_M
            u_m = LANE_M / 2 + side * float(rng.uniform(0.45, 0.8))
            hazards.append(Hazard(event, at_m, u_m, side, float(rng.uniform(1.25, 1.5)), event.turn))
        elif event.kind == "person crossing":
            at_m = ego.distance_at(event.end_s) + float(rng.uniform(8.0, 9.0))
            hazards.append(Hazard(event, at_m, 0.0, side, float(rng.uniform(1.65, 1.9)), event.turn % 2))
    return tuple(hazards)


def label_at(events: tuple[Event, ...], hazards: tuple[Hazard, ...], ego: Ego, frame: int) -> tuple[int, Event | None]:
    """Level (NORMAL, AMBIGUOUS or ANOMALY) of a frame, and the event that is strongest there, if any."""
    time_s = float(ego.time_s[frame])
    best: tuple[int, Event | None] = (NORMAL, None)
    for hazard in hazards:
        level = hazard.level(ego, time_s)
        if level > best[0]:
            best = level, hazard.event
    for event in events:
        if not event.near(time_s) or event.kind in _PLAIN_SHARE:
            continue
        if event.kind == "leaving the lane":
            away = abs(float(ego.departure_m[frame]))
            level = ANOMALY if away > _CROSSED_LINE_M else AMBIGUOUS if away > _LEFT_MIDDLE_M else NORMAL
        else:
            strength = event.strength(time_s)
            level = ANOMALY if strength > _FULL_STRENGTH else AMBIGUOUS if strength > 0.01 else NORMAL
        if level > best[0]:
            best = level, event
    return best

"""How the camera car moves: where it is at each frame, how it sits in its lane, how it shakes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgevad.synth.config import SynthConfig
from edgevad.synth.course import LANE_M, Course
from edgevad.synth.randomness import slow_wave, stream
from edgevad.synth.schedule import Event

__all__ = ["Ego", "drive_ego"]

Track = npt.NDArray[np.float64]

_CRUISE_M_S = 19.0
_TILT_RAD = (0.19, 0.24)
_DEPARTURE_M = 3.3
_DODGE_M = 1.1


@dataclass(frozen=True)
class Ego:
    """The camera car over the drive, one value a frame.

    Attributes:
        time_s: since the beginning.
        distance_m: driven since the beginning; modulo the lap it is s.
        across_m: how far to the right of the centre line the camera is.
        departure_m: how much of that is leaving the lane.
        yaw_rad: heading against the road, positive to the right.
        pitch_rad, roll_rad: of the camera; positive is nose up, and clockwise.
        tilt_rad: how much of the roll is the camera slipping in its mount.
    """

    time_s: Track
    distance_m: Track
    across_m: Track
    departure_m: Track
    yaw_rad: Track
    pitch_rad: Track
    roll_rad: Track
    tilt_rad: Track

    def distance_at(self, time_s: float) -> float:
        """Metres driven at a moment; before and after the drive it goes on at its last speed."""
        times, metres = self.time_s, self.distance_m
        if time_s > times[-1]:
            speed = (metres[-1] - metres[-2]) / (times[-1] - times[-2]) if len(times) > 1 else _CRUISE_M_S
            return float(metres[-1] + speed * (time_s - times[-1]))
        return float(np.interp(time_s, times, metres))

    def across_at(self, time_s: float) -> float:
        return float(np.interp(time_s, self.time_s, self.across_m))


def drive_ego(config: SynthConfig, course: Course, events: tuple[Event, ...]) -> Ego:
    """Drive the laps, slowing down for bends and hazards, swerving and tilting as the events ask."""
    rng = stream(config.seed, "ego")
    time_s = np.arange(config.frame_count) / config.fps_hz
    distance_m = _distance(course, time_s, events, rng)
    wander = 0.12 * slow_wave(rng, time_s, (7.0, 13.0, 4.3)).astype(np.float64)
    departure, dodge = np.zeros_like(time_s), np.zeros_like(time_s)
    tilt, rumble = np.zeros_like(time_s), np.ones_like(time_s)
    for event in events:
        own = stream(config.seed, "event", event.number)
        side = 1.0 if event.turn % 2 else -1.0
        shape = np.array([event.strength(t) for t in time_s])
        if event.kind == "leaving the lane":
            departure += side * _DEPARTURE_M * shape
            rumble += 2.0 * shape
        elif event.kind == "sudden tilt":
            tilt += side * own.uniform(*_TILT_RAD) * shape * (1 + 0.12 * np.sin(9 * (time_s - event.start_s)))
        elif event.kind == "object on the road":
            dodge += hazard_side(config.seed, event) * -_DODGE_M * shape
    across_m = LANE_M / 2 + wander + departure + dodge
    speed = np.gradient(distance_m, time_s) if len(time_s) > 1 else np.full(1, _CRUISE_M_S)
    drift = np.gradient(across_m, time_s) if len(time_s) > 1 else np.zeros(1)
    shake = rng.standard_normal((2, len(time_s))) * rumble
    return Ego(
        time_s=time_s,
        distance_m=distance_m,
        across_m=across_m,
        departure_m=departure,
        yaw_rad=np.clip(drift / np.maximum(speed, 4.0), -0.25, 0.25) + 0.006 * slow_wave(rng, time_s, (5.0, 2.1)),
        pitch_rad=0.0016 * shake[0] + 0.003 * slow_wave(rng, time_s, (1.7, 0.9)),
        roll_rad=0.0025 * shake[1] + 0.005 * slow_wave(rng, time_s, (3.1, 1.3)) + tilt,
        tilt_rad=tilt,
    )


def hazard_side(seed: int, event: Event) -> float:
    """On which side of the car a hazard lies or from which it comes: -1 left, 1 right."""
    return float(stream(seed, "hazard", event.number).choice([-1.0, 1.0]))


def _distance(course: Course, time_s: Track, events: tuple[Event, ...], rng: np.random.Generator) -> Track:
    mood = 1 + 0.06 * slow_wave(rng, time_s, (31.0, 17.0)).astype(np.float64)
    for event in events:
        slow = {"object on the road": 0.45, "person crossing": 0.13}.get(event.kind)
        if slow is not None:
            brake = np.clip((time_s - event.start_s + 2.0) / 1.8, 0, 1)
            release = np.clip((event.end_s + 2.2 - time_s) / 2.0, 0, 1)
            ease = np.minimum(brake, release)
            mood *= 1 - (1 - slow) * ease * ease * (3 - 2 * ease)
    metres = np.empty_like(time_s)
    at = float(rng.uniform(0, 20))
    for k in range(len(time_s)):
        metres[k] = at
        bend = abs(course.curvature_at(at))
        speed = _CRUISE_M_S * mood[k] * (1.06 - 9 * min(bend, 0.025))
        at += speed * (time_s[1] if len(time_s) > 1 else 0.1)
    return metres

"""The closed course: how it bends and what stands beside it, in metres along a lap.

Along the course runs s, from 0 to LAP_M; across it u, 0 on the centre line and positive to the right. What a lap holds
recurs in every lap: that is what makes it normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgevad.synth.randomness import stream

__all__ = [
    "BRIDGE_DEPTH_M",
    "LANE_M",
    "LAP_M",
    "ROAD_HALF_M",
    "VIEW_M",
    "Course",
    "Landmark",
    "build_course",
]

LAP_M = 560.0
LANE_M = 3.5
ROAD_HALF_M = 3.8
VIEW_M = 240.0
BRIDGE_DEPTH_M = 9.0

_STEP_M = 0.5

Meters = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Landmark:
    """Something that stands beside the road.

    Attributes:
        kind: name of its sprite family.
        s_m, u_m: where its foot stands.
        height_m: how high it is.
        variant: picks a member of the family.
    """

    kind: str
    s_m: float
    u_m: float
    height_m: float
    variant: int


@dataclass(frozen=True)
class Course:
    """One lap, built once.

    Attributes:
        curvature_per_m: (n,) every half metre from 0, positive to the right; repeats after LAP_M.
        heading_rad, offset_m: (n,) its first and second integral; they go on beyond the lap as far as one sees.
        landmarks: in order of s.
        bridges_s_m: where the near edge of each overpass is.
        puddles: (s, u, half length, half width) of each puddle.
        rails: (from s, to s, u) of each guard rail.
        village_s_m: from and to s of the village.
        crossing_s_m: where the zebra crossing begins.
    """

    curvature_per_m: Meters
    heading_rad: Meters
    offset_m: Meters
    landmarks: tuple[Landmark, ...]
    bridges_s_m: tuple[float, ...]
    puddles: tuple[tuple[float, float, float, float], ...]
    rails: tuple[tuple[float, float, float], ...]
    village_s_m: tuple[float, float]
    crossing_s_m: float

    def curvature_at(self, s_m: float) -> float:
        return float(self.curvature_per_m[int((s_m % LAP_M) / _STEP_M)])

    def heading_at(self, s_m: float) -> float:
        """Direction of the road in radians; it turns by 2 pi a lap."""
        return float(np.interp(s_m % LAP_M, np.arange(len(self.heading_rad)) * _STEP_M, self.heading_rad))

    def bend(self, s_m: float, ahead_m: npt.ArrayLike) -> Meters:
        """How far to the right of the tangent at `s_m` the centre line lies `ahead_m` metres (0 to VIEW_M) on."""
        s_m %= LAP_M
        ahead = np.asarray(ahead_m, dtype=np.float64)
        grid = np.arange(len(self.offset_m)) * _STEP_M
        here = np.interp(s_m, grid, self.offset_m)
        slope = np.interp(s_m, grid, self.heading_rad)
        return np.asarray(np.interp(s_m + ahead, grid, self.offset_m) - here - slope * ahead, dtype=np.float64)


def build_course(seed: int) -> Course:
    """The course of a seed: other bends and other landmarks, always two bridges, a village, a forest and puddles."""
    rng = stream(seed, "course")
    s = np.arange(0, LAP_M + VIEW_M + 10, _STEP_M)
    curvature = np.full(len(s), 2 * np.pi / LAP_M)
    for harmonic, size in ((1, 0.003), (2, 0.006), (3, 0.004)):
        curvature += size * np.sin(2 * np.pi * harmonic * s / LAP_M + rng.uniform(0, 2 * np.pi))
    heading = np.concatenate([[0.0], np.cumsum(curvature)[:-1] * _STEP_M])
    offset = np.concatenate([[0.0], np.cumsum(heading)[:-1] * _STEP_M])

    village = (300.0 + rng.uniform(-10, 10), 385.0 + rng.uniform(-10, 10))
    bridges = (
        _straightest(curvature[: int(LAP_M / _STEP_M)], (40.0, 110.0)),
        _straightest(curvature[: int(LAP_M / _STEP_M)], (425.0, 500.0)),
    )
    rails = ((165.0, 225.0, 5.6), (445.0, 490.0, -5.6))
    puddles = tuple(
        (float(at + rng.uniform(-8, 8)), float(u), float(rng.uniform(3.5, 5.0)), float(rng.uniform(0.9, 1.3)))
        for at, u in ((22.0, 2.4), (180.0, 1.2), (278.0, -1.6), (412.0, 2.0), (530.0, 0.9))
    )
    return Course(
        curvature_per_m=curvature,
        heading_rad=heading,
        offset_m=offset,
        landmarks=tuple(sorted(_landmarks(rng, village, bridges), key=lambda mark: mark.s_m)),
        bridges_s_m=bridges,
        puddles=puddles,
        rails=rails,
        village_s_m=village,
        crossing_s_m=village[0] + 30,
    )


def _straightest(curvature: Meters, between_m: tuple[float, float]) -> float:
    low, high = (int(edge / _STEP_M) for edge in between_m)
    window = np.convolve(np.abs(curvature), np.ones(81) / 81, "same")[low:high]
    return float((low + int(np.argmin(window))) * _STEP_M)


def _landmarks(rng: np.random.Generator, village: tuple[float, float], bridges: tuple[float, ...]) -> list[Landmark]:
    def clear(s_m: float) -> bool:
        return all(not -6 < s_m - bridge < BRIDGE_DEPTH_M + 6 for bridge in bridges)

    def draw(kind: str, s_m: float, u_m: float, height_m: tuple[float, float]) -> None:
        if clear(s_m % LAP_M):
            marks.append(Landmark(kind, s_m % LAP_M, u_m, float(rng.uniform(*height_m)), int(rng.integers(1 << 16))))

    marks: list[Landmark] = []
    for s in np.arange(120, 230, 5.5):  # forest on both sides
        for side in (-1, 1):
            draw("tree", s + rng.uniform(-2, 2), side * rng.uniform(12, 18), (6, 9))
            draw("tree", s + rng.uniform(-2, 2), side * rng.uniform(19, 34), (8, 11))
    for s in np.arange(village[0], village[1], 21.0):
        for side in (-1, 1):
            draw("house", s + rng.uniform(-3, 3), side * rng.uniform(15, 19), (5.0, 7.0))
            draw("bush", s + 10 + rng.uniform(-3, 3), side * rng.uniform(7, 10), (1.2, 2.2))
        draw("lamp", s + 6, 5.6, (6.5, 6.5))
        if rng.random() < 0.5:
            draw("parked", s + rng.uniform(8, 14), -6.3, (1.45, 1.6))
    for s in np.arange(0, LAP_M, 40.0):  # fields: scattered trees and bushes everywhere else
        if not 110 < s < 235 and not village[0] - 10 < s < village[1]:
            for _ in range(3):
                side = rng.choice([-1, 1])
                draw("tree", s + rng.uniform(0, 40), side * rng.uniform(13, 45), (5, 9))
            draw("bush", s + rng.uniform(0, 40), rng.choice([-1, 1]) * rng.uniform(6.5, 12), (1.0, 2.4))
    for s in np.arange(0, LAP_M, 35.0):
        if not village[0] < s < village[1]:
            draw("pole", s, -11.0, (8.0, 8.0))
    for s in np.arange(0, LAP_M, 28.0):
        for side in (-1, 1):
            draw("post", s, side * 4.9, (0.9, 0.9))
    for s in (village[0] - 20, village[1] + 10, 105.0, 245.0, 490.0):
        draw("sign", s, 5.4, (2.6, 3.0))
    draw("billboard", 262.0, 13.0, (5.0, 5.0))
    draw("billboard", 520.0, -14.0, (5.0, 5.0))
    return marks

"""The ground of the whole lap as one picture, and its view in perspective.

Rows of the picture run along the course (0.25 m each), columns across it, fine on the road and coarser outside:
u = 2 sinh(column / 94) metres. Far rows of a frame cover many metres, so they read from smaller versions of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgevad.synth.arrays import Floats, floats
from edgevad.synth.course import BRIDGE_DEPTH_M, LANE_M, LAP_M, ROAD_HALF_M, Course
from edgevad.synth.randomness import smooth_noise, stream

__all__ = ["Ground", "build_ground"]

_STEP_M = 0.25
_ROWS = round(LAP_M / _STEP_M)
_COLUMNS = 768
_PER_UNIT = 94.0
_FOOTPRINTS_M = (0.35, 1.4, 5.6)
_DASH_PERIOD_M, _DASH_M = 11.2, 4.2

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Ground:
    """The ground at four sizes.

    Attributes:
        colors: (rows, columns, 3) uint8 each, as lit by full sun.
        effects: (rows, columns, 2) uint8 each: how far shadow and wetness cover the spot.
    """

    colors: tuple[Bytes, ...]
    effects: tuple[Bytes, ...]

    def view(self, s_m: float, ahead_m: Floats, across_m: Floats, footprint_m: Floats) -> tuple[Floats, Floats]:
        """What lies at `ahead_m` (R,) metres before `s_m` and `across_m` (R, W) metres off the centre line.

        Rows go from far to near; `footprint_m` (R,) is how many metres of the course each covers. Returns colours
        (R, W, 3) in [0, 255] and effects (R, W, 2) in [0, 1], float32.
        """
        rows = ((s_m + ahead_m) % LAP_M).astype(np.float32)
        columns = np.arcsinh(np.clip(across_m, -60, 60) / 2, dtype=np.float32) * np.float32(_PER_UNIT) + _COLUMNS / 2
        color = np.empty((*across_m.shape, 3), np.uint8)
        effect = np.empty((*across_m.shape, 2), np.uint8)
        level_of = np.searchsorted(np.array(_FOOTPRINTS_M), footprint_m)
        for level, (colors, effects) in enumerate(zip(self.colors, self.effects, strict=True)):
            mine = np.flatnonzero(level_of == level)
            if not len(mine):
                continue
            part = slice(int(mine[0]), int(mine[-1]) + 1)
            across = columns[part] * np.float32(colors.shape[1] / _COLUMNS) - np.float32(0.5)
            along = rows[part, None] * np.float32(colors.shape[0] / LAP_M) - np.float32(0.5)
            along = np.ascontiguousarray(np.broadcast_to(along, across.shape))
            color[part] = cv2.remap(colors, across, along, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
            effect[part] = cv2.remap(effects, across, along, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        return color.astype(np.float32), effect.astype(np.float32) * np.float32(1 / 255)


def build_ground(course: Course, seed: int) -> Ground:
    """Paint the lap: fields, shoulders, asphalt, lines, shadows and puddles."""
    rng = stream(seed, "ground")
    s = ((np.arange(_ROWS) + 0.5) * _STEP_M).astype(np.float32)[:, None]
    u = (2 * np.sinh((np.arange(_COLUMNS) + 0.5 - _COLUMNS / 2) / _PER_UNIT)).astype(np.float32)[None]
    color = _fields(course, rng, s, u)
    _asphalt(color, course, rng, s, u)
    _lines(color, course, rng, s, u)
    effect = np.dstack([_shadows(course, rng, s, u), _wetness(course, rng, s, u)])
    return Ground(
        _smaller(np.clip(color, 0, 255).astype(np.uint8)), _smaller((np.clip(effect, 0, 1) * 255).astype(np.uint8))
    )


def _smaller(picture: Bytes) -> tuple[Bytes, ...]:
    levels = [picture]
    for _ in range(3):
        last = levels[-1]
        size = last.shape[1] // 2, last.shape[0] // 4
        levels.append(np.asarray(cv2.resize(last, size, interpolation=cv2.INTER_AREA), dtype=np.uint8))
    return tuple(levels)


def _edge(inside_m: npt.ArrayLike, soft_m: float) -> Floats:
    """1 where `inside_m` is positive, 0 where negative, a ramp of `soft_m` between."""
    return floats(np.clip(floats(inside_m) / np.float32(soft_m) + np.float32(0.5), 0, 1))


def _blend(color: Floats, weight: Floats, paint: tuple[float, float, float] | Floats) -> None:
    rows, columns = np.flatnonzero(weight.any(1)), np.flatnonzero(weight.any(0))
    if not len(rows):
        return
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    wanted = np.asarray(paint, np.float32)
    color[part] += weight[part][..., None] * ((wanted if wanted.ndim == 1 else wanted[part]) - color[part])


def _along(s: Floats, from_m: float, to_m: float, soft_m: float) -> Floats:
    """1 on the stretch between the two positions, measured the short way round the lap."""
    middle, half = (from_m + to_m) / 2, (to_m - from_m) / 2
    away = np.abs((s - middle + LAP_M / 2) % LAP_M - LAP_M / 2)
    return _edge((half - away).astype(np.float32), soft_m)


def _fields(course: Course, rng: np.random.Generator, s: Floats, u: Floats) -> Floats:
    color = np.empty((_ROWS, _COLUMNS, 3), np.float32)
    color[:] = (62, 122, 92)
    _blend(color, _along(s, 105, 240, 20) * np.ones_like(u), (44, 74, 60))  # forest floor
    _blend(color, _along(s, *course.village_s_m, 12) * np.ones_like(u), (88, 128, 112))
    crop = _along(s, 15, 95, 6) * _edge(u - 11, 2)
    _blend(color, crop * (0.75 + 0.25 * np.sin(u * 2.2)), (70, 165, 190))  # ripe corn to the right
    plough = _along(s, 420, 530, 6) * _edge(-u - 10, 2)
    _blend(color, plough * (0.75 + 0.25 * np.sin(u * 2.8)), (58, 82, 112))
    rough = smooth_noise(rng, (_ROWS, _COLUMNS), (900, 256)) * 6 + smooth_noise(rng, (_ROWS, _COLUMNS), (60, 24)) * 8
    color += rough[..., None] * floats([0.6, 1.0, 0.8])
    return color


def _asphalt(color: Floats, course: Course, rng: np.random.Generator, s: Floats, u: Floats) -> None:
    side = np.abs(u)
    ragged = smooth_noise(rng, (_ROWS, 1), (700, 1)) * 0.12
    _blend(color, _edge(ROAD_HALF_M + 0.9 + ragged * 2 - side, 0.5), (118, 138, 146))  # gravel shoulder
    _blend(color, _along(s, 97, 103, 0.5) * _edge(side - ROAD_HALF_M, 0.3) * _edge(60 - side, 1), (100, 99, 97))
    walk = _along(s, *course.village_s_m, 1) * _edge(side - ROAD_HALF_M, 0.2) * _edge(ROAD_HALF_M + 2.2 - side, 0.2)
    _blend(color, walk, (150, 154, 158))  # pavements in the village
    road = _edge(ROAD_HALF_M + ragged - side, 0.15)
    tone = np.full((_ROWS, _COLUMNS), 96.0, np.float32)
    tone += (_along(s, 240, 330, 1) * -14 + _along(s, 430, 500, 1) * 12) * np.ones_like(u)  # relaid stretches
    for lane in (-LANE_M / 2, LANE_M / 2):
        for wheel in (-0.75, 0.75):
            tone -= 7 * np.exp(-(((u - lane - wheel) / 0.28) ** 2))
    for _ in range(18):  # mended patches
        at, middle = rng.uniform(0, LAP_M), rng.uniform(-2.8, 2.8)
        patch = _edge(rng.uniform(0.3, 1.1) - np.abs(u - middle), 0.1)
        tone += _along(s, at, at + rng.uniform(1.5, 9), 0.3) * patch * rng.uniform(-16, 8)
    tone += smooth_noise(rng, (_ROWS, _COLUMNS), (2000, 512)) * 4 + smooth_noise(rng, (_ROWS, _COLUMNS), (150, 60)) * 4
    _blend(color, road, tone[..., None] * floats([1.0, 0.99, 0.97]))


def _lines(color: Floats, course: Course, rng: np.random.Generator, s: Floats, u: Floats) -> None:
    worn = np.clip(0.86 + 0.12 * smooth_noise(rng, (_ROWS, _COLUMNS), (1000, 300)), 0.3, 1)
    paint = (228.0, 234.0, 236.0)
    for line in (-LANE_M - 0.02, LANE_M + 0.02):
        _blend(color, _edge(0.085 - np.abs(u - line), 0.05) * worn, paint)
    in_dash = np.abs(s % _DASH_PERIOD_M - _DASH_PERIOD_M / 2)
    _blend(color, _edge(_DASH_M / 2 - in_dash, 0.2) * _edge(0.085 - np.abs(u), 0.05) * worn, paint)
    stripes = _edge(0.27 - np.abs((u + 20) % 1.0 - 0.5), 0.06) * _edge(3.3 - np.abs(u), 0.05)
    _blend(color, _along(s, course.crossing_s_m, course.crossing_s_m + 3.5, 0.2) * stripes * worn, paint)


def _shadows(course: Course, rng: np.random.Generator, s: Floats, u: Floats) -> Floats:
    shadow = np.zeros((_ROWS, _COLUMNS), np.float32)
    wobble = smooth_noise(rng, (_ROWS, _COLUMNS), (500, 160)) * 0.35
    for mark in course.landmarks:
        if mark.kind in ("tree", "bush", "house") and abs(mark.u_m) < 26:  # the sun stands to the left
            center, half_u = mark.u_m + 0.55 * mark.height_m, 0.5 * mark.height_m
            depth = {"tree": 0.3, "bush": 0.5, "house": 0.6}[mark.kind] * mark.height_m
            low, high = int((mark.s_m - depth) / _STEP_M), int((mark.s_m + depth) / _STEP_M)
            rows = np.arange(low, high) % _ROWS
            apart = ((np.arange(low, high) * _STEP_M - mark.s_m) / depth)[:, None] ** 2 + ((u - center) / half_u) ** 2
            spot = _edge((1 - apart).astype(np.float32) + wobble[rows], 0.25) * np.float32(0.85)
            shadow[rows] = np.maximum(shadow[rows], spot)
    for bridge in course.bridges_s_m:
        band = _along(s, bridge - 1.0, bridge + BRIDGE_DEPTH_M + 4.0, 0.6) * np.ones_like(u)
        shadow = np.maximum(shadow, band)
    return shadow


def _wetness(course: Course, rng: np.random.Generator, s: Floats, u: Floats) -> Floats:
    wet = np.zeros((_ROWS, _COLUMNS), np.float32)
    wobble = smooth_noise(rng, (_ROWS, _COLUMNS), (220, 60)) * 0.22
    for at, middle, half_s, half_u in course.puddles:
        away = (s - at + LAP_M / 2) % LAP_M - LAP_M / 2
        wet = np.maximum(wet, _edge(1 - (away / half_s) ** 2 - ((u - middle) / half_u) ** 2 + wobble, 0.15))
    return wet

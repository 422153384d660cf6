"""The world as the windscreen camera sees it, before lens and sensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np

from edgevad.synth.anomalies import VisibleHazard
from edgevad.synth.arrays import Floats, floats
from edgevad.synth.artwork import SpriteBook
from edgevad.synth.backdrop import HAZE_BGR, build_backdrop
from edgevad.synth.config import SynthConfig
from edgevad.synth.course import BRIDGE_DEPTH_M, LAP_M, Course
from edgevad.synth.ground import build_ground
from edgevad.synth.hood import Hood
from edgevad.synth.sprites import paste
from edgevad.synth.traffic import CAR_LENGTH_M, VisibleCar

__all__ = ["Pose", "Scene"]

_SUPERSAMPLE = 2
_CAMERA_M = 1.35
_HORIZON_SHARE = 0.44
_FARTHEST_M, _NEAREST_M = 230.0, 1.2
_SCENERY_M = 150.0
_HAZE_M = 260.0
_BRIDGE_LOW_M, _BRIDGE_HIGH_M, _BRIDGE_SPAN_M = 4.9, 6.3, 6.8
_RAIL_M = 4.0
_STEADY_RAD = 0.06


@dataclass(frozen=True)
class Pose:
    """Where the camera is and in what light.

    Attributes:
        s_m, across_m: position on the course.
        yaw_rad, pitch_rad, roll_rad: attitude, as in Ego.
        tilt_rad: the part of the roll that the camera makes without the car.
        sun: 1 in full sun, 0 under clouds.
        drift_rad: how far the clouds have moved on.
    """

    s_m: float
    across_m: float
    yaw_rad: float
    pitch_rad: float
    roll_rad: float
    tilt_rad: float
    sun: float
    drift_rad: float


@dataclass
class _View:
    """One frame in the making: the canvas and how metres become pixels on it."""

    canvas: Floats
    focal_px: float
    center_px: float
    horizon_px: float
    pose: Pose
    course: Course
    light: float
    _middles_m: list[float] = field(init=False)

    def __post_init__(self) -> None:
        ahead = np.arange(0, _FARTHEST_M + 8, 2.0, dtype=np.float32)
        self._middles_m = self.middles_m(ahead).tolist()

    def middles_m(self, ahead_m: Floats) -> Floats:
        """Where the centre line is, in metres to the right of the camera's axis, so far ahead."""
        bend = self.course.bend(self.pose.s_m, ahead_m)
        return floats(bend - self.pose.across_m - self.pose.yaw_rad * ahead_m)

    def middle_m(self, ahead_m: float) -> float:
        """The same for one distance, quickly: things in the scene ask often."""
        step = min(int(ahead_m / 2), len(self._middles_m) - 2)
        low, high = self._middles_m[step], self._middles_m[step + 1]
        return low + (high - low) * (ahead_m / 2 - step)

    def x_px(self, u_m: float, ahead_m: float) -> float:
        return self.center_px + self.focal_px * (u_m + self.middle_m(ahead_m)) / ahead_m

    def y_px(self, height_m: float, ahead_m: float) -> float:
        return self.horizon_px + self.focal_px * (_CAMERA_M - height_m) / ahead_m

    def quad(self, corners: list[tuple[float, float, float]], color: tuple[float, float, float]) -> None:
        """Fill the polygon of (u, height, ahead) corners, in metres."""
        points = np.array([[self.x_px(u, z), self.y_px(h, z)] for u, h, z in corners])
        shape = np.round(np.clip(points, -4000, 4000) * 16).astype(np.int32)
        cv2.fillConvexPoly(self.canvas, shape, [c * self.light for c in color], cv2.LINE_AA, 4)


class Scene:
    """Draws frames of a course; everything that does not change is painted when it is made."""

    def __init__(self, config: SynthConfig, course: Course) -> None:
        self._course = course
        self._size = config.width_px * _SUPERSAMPLE, config.height_px * _SUPERSAMPLE
        self._focal_px = 1.2 * self._size[1]
        self._ground = build_ground(course, config.road_seed)
        self._hood = Hood(*self._size)
        self._sprites = SpriteBook(config.road_seed)
        tall = round(self._canvas_size(0.3)[1] * (_HORIZON_SHARE + 0.12)) + 8
        self._backdrop = build_backdrop(config.road_seed, self._focal_px, tall)
        self._rails = [(at, u) for start, end, u in course.rails for at in np.arange(start, end, _RAIL_M).tolist()]

    def _canvas_size(self, roll_rad: float) -> tuple[int, int]:
        """The canvas holds the frame at that roll, with a little to spare."""
        width, height = self._size
        c, s = np.cos(roll_rad), np.sin(roll_rad)
        return int(width * c + height * s) + 4 & ~1, int(width * s + height * c) + 4 & ~1

    def render(self, pose: Pose, cars: list[VisibleCar], hazards: list[VisibleHazard]) -> Floats:
        """(height, width, 3) float32 in about [0, 255], blue green red, at the size of the frames."""
        roll = abs(pose.roll_rad)
        width, height = self._canvas_size(_STEADY_RAD if roll <= _STEADY_RAD else max(roll, 0.3))
        horizon = height / 2 + self._size[1] * (_HORIZON_SHARE - 0.5) + pose.pitch_rad * self._focal_px
        view = _View(
            canvas=np.empty((height, width, 3), np.float32),
            focal_px=self._focal_px,
            center_px=width / 2,
            horizon_px=horizon,
            pose=pose,
            course=self._course,
            light=0.66 + 0.34 * pose.sun,
        )
        self._draw_sky(view)
        self._draw_ground(view)
        self._draw_things(view, cars, hazards)
        turn = floats(cv2.getRotationMatrix2D((width / 2, height / 2), np.degrees(pose.roll_rad), 1.0))
        turn[:, 2] += floats([self._size[0] - width, self._size[1] - height]) / 2
        level = floats(cv2.warpAffine(view.canvas, turn, self._size, borderMode=cv2.BORDER_REPLICATE))
        self._hood.lay_over(level, pose.tilt_rad, view.light)
        size = self._size[0] // _SUPERSAMPLE, self._size[1] // _SUPERSAMPLE
        return floats(cv2.resize(level, size, interpolation=cv2.INTER_AREA))

    def _draw_sky(self, view: _View) -> None:
        rows = min(max(int(np.ceil(view.horizon_px)), 1), view.canvas.shape[0])
        heading = self._course.heading_at(view.pose.s_m) + view.pose.yaw_rad
        sky = self._backdrop.view(heading, view.pose.drift_rad, view.pose.sun, view.canvas.shape[1], rows)
        view.canvas[:rows] = sky

    def _draw_ground(self, view: _View) -> None:
        height, width = view.canvas.shape[:2]
        first = max(int(np.ceil(view.horizon_px)), 0)
        if first >= height:
            return
        below = np.maximum(np.arange(first, height, dtype=np.float32) + 0.5 - view.horizon_px, 0.1)
        scale = view.focal_px * _CAMERA_M
        ahead = np.minimum(scale / below, _FARTHEST_M).astype(np.float32)
        columns = (np.arange(width, dtype=np.float32) + 0.5 - view.center_px) / view.focal_px
        across = (ahead[:, None] * columns - view.middles_m(ahead)[:, None]).astype(np.float32)
        color, effect = self._ground.view(view.pose.s_m, ahead, across, ahead * ahead / scale)
        sun = view.pose.sun
        color *= np.float32(view.light) - np.float32(view.light * (0.1 + 0.34 * sun)) * effect[..., :1]
        # A puddle mirrors the sky low over the horizon; in sun it glares, most where it is seen flat.
        wet_rows = np.flatnonzero(effect[..., 1].any(1))
        if len(wet_rows):
            part = slice(wet_rows[0], wet_rows[-1] + 1)
            wet = effect[part, :, 1:] * np.clip(ahead[part] / 14, 0.3, 0.6).astype(np.float32)[:, None, None]
            mirrored = floats((212, 200, 190)) * view.light + np.float32(70 * sun)
            color[part] += wet * (mirrored - color[part])
        clear = np.exp(-ahead / _HAZE_M)[:, None, None].astype(np.float32)
        color *= clear
        color += (1 - clear) * (floats(HAZE_BGR) * np.float32(view.light))
        view.canvas[first:] = color

    def _draw_things(self, view: _View, cars: list[VisibleCar], hazards: list[VisibleHazard]) -> None:
        """Everything that stands up, from far to near."""
        jobs: list[tuple[float, Callable[[], None]]] = []
        here = view.pose.s_m
        for mark in self._course.landmarks:
            ahead = (mark.s_m - here) % LAP_M
            if 2.0 < ahead < _SCENERY_M:
                stand = partial(self._stand, view, mark.kind, mark.variant, ahead, mark.u_m, mark.height_m)
                jobs.append((ahead, stand))
        for at, u in self._rails:
            ahead = (at - here) % LAP_M
            if 2.0 < ahead < 110:
                jobs.append((ahead, partial(_draw_rail, view, ahead, u)))
        for at in self._course.bridges_s_m:
            ahead = (at - here + BRIDGE_DEPTH_M) % LAP_M - BRIDGE_DEPTH_M
            if ahead < _SCENERY_M + 40:
                jobs.append((ahead, partial(_draw_bridge, view, ahead)))
        jobs += [(car.ahead_m, partial(self._draw_car, view, car)) for car in cars]
        for it in hazards:
            jobs.append(
                (it.ahead_m, partial(self._stand, view, it.family, it.variant, it.ahead_m, it.u_m, it.height_m))
            )
        for _, draw in sorted(jobs, key=lambda job: -job[0]):
            draw()

    def _stand(self, view: _View, family: str, variant: int, ahead_m: float, u_m: float, height_m: float) -> None:
        sprite = self._sprites.get(family, variant)
        height_px = view.focal_px * height_m / ahead_m
        center_px = view.x_px(u_m, ahead_m)
        if abs(center_px - view.center_px) > view.center_px + 0.5 * height_px * sprite.aspect:
            return
        haze = 1 - float(np.exp(-ahead_m / _HAZE_M))
        # Fade in at the end of sight, so that nothing pops up.
        haze = max(haze, min(1.0, (ahead_m - _SCENERY_M + 40) / 40))
        paste(view.canvas, sprite, center_px, view.y_px(0.0, ahead_m), height_px, haze, view.light)

    def _draw_car(self, view: _View, car: VisibleCar) -> None:
        near, far = max(car.ahead_m, _NEAREST_M), car.ahead_m + CAR_LENGTH_M
        if far <= _NEAREST_M + 0.2:
            return
        inner = car.u_m + (0.88 if car.u_m + view.middle_m(near) < 0 else -0.88)
        paint = self._sprites.get(car.family, car.variant).color
        b, g, r = (0.72 * c for c in paint)
        view.quad([(inner, 0.25, near), (inner, 0.9, near), (inner, 0.9, far), (inner, 0.25, far)], (b, g, r))
        cabin = car.u_m + (inner - car.u_m) * 0.85
        view.quad(
            [(cabin, 0.9, near + 0.5), (cabin, 1.4, near + 1.1), (cabin, 1.4, far - 0.6), (cabin, 0.9, far)],
            (84, 78, 72),
        )
        if car.ahead_m > _NEAREST_M:
            self._stand(view, car.family, car.variant, car.ahead_m, car.u_m, 1.52)


def _draw_rail(view: _View, ahead_m: float, u_m: float) -> None:
    far = ahead_m + _RAIL_M
    post = [(u_m, 0.0, ahead_m), (u_m, 0.6, ahead_m), (u_m, 0.6, ahead_m + 0.3), (u_m, 0.0, ahead_m + 0.3)]
    view.quad(post, (95, 98, 98))
    view.quad([(u_m, 0.42, ahead_m), (u_m, 0.78, ahead_m), (u_m, 0.78, far), (u_m, 0.42, far)], (172, 176, 176))
    view.quad([(u_m, 0.55, ahead_m), (u_m, 0.62, ahead_m), (u_m, 0.62, far), (u_m, 0.55, far)], (120, 124, 124))


def _draw_bridge(view: _View, ahead_m: float) -> None:
    near, far = max(ahead_m, _NEAREST_M), ahead_m + BRIDGE_DEPTH_M
    if far <= _NEAREST_M + 0.1:
        return
    low, high, half = _BRIDGE_LOW_M, _BRIDGE_HIGH_M, _BRIDGE_SPAN_M
    wide = half + 45
    for side in (-1, 1):
        u = side * half
        view.quad([(u, 0, near), (u, low, near), (u, low, far), (u, 0, far)], (88, 92, 95))
    view.quad([(-wide, low, near), (wide, low, near), (wide, low, far), (-wide, low, far)], (66, 69, 72))
    if ahead_m <= _NEAREST_M:
        return
    for side in (-1, 1):
        u, slope = side * half, side * (half + 9)
        view.quad([(u, 0, near), (u, high, near), (side * wide, high, near), (side * wide, 0, near)], (70, 112, 92))
        view.quad([(u, 0, near), (u, low, near), (slope, low, near), (slope, 0, near)], (138, 146, 150))
    view.quad([(-wide, low, near), (wide, low, near), (wide, high, near), (-wide, high, near)], (150, 157, 160))
    rail = high + 0.9
    view.quad([(-wide, high, near), (wide, high, near), (wide, rail, near), (-wide, rail, near)], (108, 116, 120))

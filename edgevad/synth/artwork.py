"""What stands in the scene, drawn: trees, houses, posts, cars, people and things that lie on the road."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgevad.synth.randomness import stream
from edgevad.synth.sprites import Color, Pen, Sprite

__all__ = ["SpriteBook"]

_CAR_COLORS: tuple[Color, ...] = (
    (196, 196, 194),
    (98, 90, 84),
    (62, 62, 172),
    (158, 102, 66),
    (134, 134, 132),
    (92, 128, 96),
    (212, 212, 210),
)


class SpriteBook:
    """Every sprite of a drive, by family; members are drawn when the book is made."""

    def __init__(self, seed: int) -> None:
        families: dict[str, tuple[Callable[[np.random.Generator, int], Sprite], int]] = {
            "tree": (_tree, 9),
            "bush": (_bush, 4),
            "house": (_house, 6),
            "lamp": (_lamp, 1),
            "pole": (_pole, 1),
            "post": (_post, 1),
            "sign": (_sign, 3),
            "billboard": (_billboard, 2),
            "rear": (_car_rear, len(_CAR_COLORS)),
            "braking": (_car_braking, len(_CAR_COLORS)),
            "front": (_car_front, len(_CAR_COLORS)),
            "parked": (_car_front, len(_CAR_COLORS)),
            "person": (_person, 8),
            "object": (_object, 3),
        }
        self._members = {
            name: [make(stream(seed, f"sprite {name}", member), member) for member in range(count)]
            for name, (make, count) in families.items()
        }

    def get(self, family: str, variant: int) -> Sprite:
        members = self._members[family]
        return members[variant % len(members)]


def _shade(color: Color, factor: float) -> Color:
    return color[0] * factor, color[1] * factor, color[2] * factor


def _tree(rng: np.random.Generator, member: int) -> Sprite:
    pen = Pen(112, 160)
    green: Color = (58 + 18 * rng.random(), 108 + 26 * rng.random(), 82 + 34 * rng.random())
    pen.box(0.46, 0.6, 0.54, 1.0, (70, 84, 98))
    if member % 3 == 2:  # conifer
        for k in range(6):
            low, half = 0.92 - 0.13 * k, 0.36 - 0.05 * k
            shape = [(0.5, low - 0.28), (0.5 + half, low), (0.5 - half, low)]
            pen.polygon(shape, _shade(green, 0.55 + 0.07 * k))
            pen.polygon([shape[0], (0.5, low), shape[2]], _shade(green, 0.75 + 0.07 * k), 0.7)
        return pen.done()
    for _ in range(46):
        angle, radius = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
        x, y = 0.5 + 0.34 * radius * np.cos(angle), 0.38 + 0.29 * radius * np.sin(angle)
        light = 0.55 + 0.75 * (0.5 - 0.55 * (y - 0.38) / 0.29 - 0.35 * (x - 0.5) / 0.34) + rng.uniform(-0.12, 0.12)
        pen.oval(
            x, y, rng.uniform(0.07, 0.13), rng.uniform(0.05, 0.09), _shade(green, min(max(light, 0.5), 1.15)), 0.92
        )
    return pen.done()


def _bush(rng: np.random.Generator, member: int) -> Sprite:
    pen = Pen(96, 64)
    green: Color = (40 + 10 * member, 92 + 15 * rng.random(), 66 + 20 * rng.random())
    for _ in range(26):
        x, y = rng.uniform(0.16, 0.84), rng.uniform(0.3, 0.85)
        pen.oval(x, y, 0.15, 0.18, _shade(green, 1.25 - 0.8 * y + rng.uniform(-0.1, 0.1)), 0.9)
    return pen.done()


def _house(rng: np.random.Generator, member: int) -> Sprite:
    pen = Pen(176, 128)
    wall = ((205, 222, 232), (170, 195, 222), (215, 215, 210), (150, 175, 205), (190, 210, 200), (165, 165, 190))[
        member
    ]
    roof = ((60, 75, 140), (65, 65, 75), (55, 70, 115))[member % 3]
    pen.box(0.08, 0.42, 0.92, 1.0, wall)
    pen.box(0.08, 0.42, 0.92, 0.47, _shade(wall, 0.7))
    pen.polygon([(0.02, 0.44), (0.16, 0.08), (0.84, 0.08), (0.98, 0.44)], roof)
    pen.box(0.68, 0.0, 0.76, 0.16, (70, 80, 120))
    door = 0.2 if member % 2 else 0.6
    for x in (0.16, 0.36, 0.56, 0.76):
        if abs(x - door) > 0.05:
            pen.box(x, 0.56, x + 0.1, 0.76, (90, 75, 62))
            pen.box(x + 0.01, 0.57, x + 0.045, 0.75, (150, 130, 110))
    pen.box(door, 0.6, door + 0.1, 1.0, _shade(roof, 0.8))
    return pen.done()


def _lamp(rng: np.random.Generator, member: int) -> Sprite:
    pen = Pen(64, 160)
    pen.box(0.70, 0.05, 0.77, 1.0, (120, 122, 120))
    pen.box(0.25, 0.03, 0.77, 0.055, (120, 122, 120))
    pen.oval(0.28, 0.055, 0.16, 0.02, (205, 215, 220))
    return pen.done()


def _pole(rng: np.random.Generator, member: int) -> Sprite:
    pen = Pen(64, 192)
    pen.box(0.465, 0.0, 0.535, 1.0, (62, 74, 86))
    pen.box(0.08, 0.06, 0.92, 0.085, (58, 68, 80))
    pen.box(0.18, 0.14, 0.82, 0.16, (58, 68, 80))
    for x in (0.12, 0.3, 0.7, 0.88):
        pen.box(x - 0.02, 0.035, x + 0.02, 0.065, (190, 190, 185))
    return pen.done()


def _post(rng: np.random.Generator, member: int) -> Sprite:
    pen = Pen(16, 64)
    pen.box(0.15, 0.02, 0.85, 1.0, (205, 208, 208))
    pen.box(0.15, 0.15, 0.85, 0.32, (80, 80, 84))
    return pen.done()


def _sign(rng: np.random.Generator, member: int) -> Sprite:
    pen = Pen(64, 160)
    pen.box(0.46, 0.3, 0.54, 1.0, (125, 128, 128))
    if member == 0:
        pen.oval(0.5, 0.2, 0.46, 0.184, (45, 40, 195))
        pen.oval(0.5, 0.2, 0.32, 0.128, (240, 240, 240))
        pen.box(0.36, 0.16, 0.64, 0.24, (50, 50, 50))
    elif member == 1:
        pen.polygon([(0.5, 0.02), (0.98, 0.4), (0.02, 0.4)], (45, 40, 195))
        pen.polygon([(0.5, 0.12), (0.8, 0.36), (0.2, 0.36)], (240, 240, 240))
    else:
        pen.box(0.04, 0.04, 0.96, 0.36, (170, 90, 35))
        pen.box(0.2, 0.12, 0.8, 0.28, (240, 240, 240))
    return pen.done()


def _billboard(rng: np.random.Generator, member: int) -> Sprite:
    pen = Pen(160, 112)
    for x in (0.2, 0.78):
        pen.box(x, 0.5, x + 0.03, 1.0, (90, 95, 95))
    pen.box(0.02, 0.02, 0.98, 0.66, (70, 72, 72))
    pen.box(0.04, 0.05, 0.96, 0.63, ((205, 160, 60), (60, 170, 215))[member])
    pen.oval(0.3, 0.34, 0.13, 0.19, (235, 235, 235))
    for y in (0.2, 0.34, 0.48):
        pen.box(0.52, y - 0.03, 0.88 - 0.1 * rng.random(), y + 0.03, (45, 45, 50))
    return pen.done()


def _car(member: int, lights: str) -> Sprite:
    pen = Pen(152, 128)
    color = _CAR_COLORS[member]
    pen.oval(0.5, 0.955, 0.5, 0.045, (40, 40, 40), 0.6)
    for x in (0.08, 0.76):
        pen.box(x, 0.7, x + 0.16, 0.97, (52, 52, 52))
    pen.polygon([(0.2, 0.1), (0.8, 0.1), (0.9, 0.42), (0.1, 0.42)], _shade(color, 0.85))
    pen.polygon([(0.24, 0.14), (0.76, 0.14), (0.83, 0.4), (0.17, 0.4)], (86, 80, 74))
    pen.polygon([(0.26, 0.15), (0.5, 0.15), (0.36, 0.39), (0.19, 0.39)], (120, 108, 96), 0.6)
    pen.box(0.23, 0.07, 0.77, 0.125, color)
    pen.polygon([(0.08, 0.42), (0.92, 0.42), (0.97, 0.6), (0.96, 0.84), (0.04, 0.84), (0.03, 0.6)], color)
    pen.box(0.04, 0.76, 0.96, 0.87, _shade(color, 0.55))
    if lights == "front":
        pen.box(0.3, 0.56, 0.7, 0.7, (66, 66, 67))
        for x in (0.14, 0.86):
            pen.oval(x, 0.6, 0.09, 0.07, (240, 250, 252))
    else:
        red: Color = (60, 60, 255) if lights == "braking" else (30, 25, 150)
        for x in (0.05, 0.79):
            pen.box(x, 0.5, x + 0.16, 0.63, red)
        if lights == "braking":
            pen.box(0.4, 0.115, 0.6, 0.14, red)
        pen.box(0.38, 0.62, 0.62, 0.72, (225, 230, 230))
    return pen.done(color)


def _car_rear(rng: np.random.Generator, member: int) -> Sprite:
    return _car(member, "rear")


def _car_braking(rng: np.random.Generator, member: int) -> Sprite:
    return _car(member, "braking")


def _car_front(rng: np.random.Generator, member: int) -> Sprite:
    return _car(member, "front")


def _person(rng: np.random.Generator, member: int) -> Sprite:
    """Members 0 to 3 are a running cycle in a bright yellow jacket, 4 to 7 one in a dark coat."""
    pen = Pen(80, 128)
    swing = (0.24, 0.08, -0.2, -0.06)[member % 4]
    jacket: Color = (95, 238, 236) if member < 4 else (36, 26, 28)
    legs: Color = (34, 26, 24) if member < 4 else (30, 24, 24)
    pen.oval(0.5, 0.97, 0.32, 0.03, (25, 25, 25), 0.6)
    for side, dark in ((-1, 0.75), (1, 1.0)):
        foot = 0.5 + side * swing
        pen.polygon([(0.42, 0.52), (0.58, 0.52), (foot + 0.08, 0.97), (foot - 0.08, 0.97)], _shade(legs, dark))
    hand = 0.5 - 1.2 * swing
    pen.polygon([(0.42, 0.24), (0.58, 0.24), (hand + 0.06, 0.5), (hand - 0.06, 0.5)], _shade(jacket, 0.75))
    pen.polygon([(0.33, 0.21), (0.67, 0.21), (0.64, 0.57), (0.36, 0.57)], jacket)
    pen.oval(0.5, 0.11, 0.12, 0.085, (125, 155, 205))
    pen.oval(0.5, 0.075, 0.125, 0.06, (30, 38, 52))
    return pen.done()


def _object(rng: np.random.Generator, member: int) -> Sprite:
    """0 a crate, 1 a lorry tyre, 2 a heap of planks."""
    pen = Pen(128, 112)
    pen.oval(0.5, 0.96, 0.5, 0.04, (20, 20, 20), 0.7)
    if member == 0:
        pen.polygon([(0.05, 0.25), (0.68, 0.25), (0.68, 0.97), (0.05, 0.97)], (28, 42, 62))
        pen.polygon([(0.68, 0.25), (0.95, 0.14), (0.95, 0.85), (0.68, 0.97)], (14, 22, 34))
        pen.polygon([(0.05, 0.25), (0.32, 0.13), (0.95, 0.14), (0.68, 0.25)], (52, 76, 104))
        for y in (0.42, 0.62, 0.82):
            pen.box(0.05, y, 0.68, y + 0.03, (10, 15, 22))
    elif member == 1:
        pen.oval(0.5, 0.52, 0.42, 0.46, (24, 23, 23))
        pen.oval(0.46, 0.5, 0.33, 0.37, (52, 50, 50))
        pen.oval(0.46, 0.5, 0.2, 0.23, (12, 12, 12))
        pen.oval(0.44, 0.48, 0.12, 0.14, (70, 70, 68))
    else:
        for _ in range(14):
            x, y, a = rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.88), rng.uniform(-0.6, 0.6)
            dx, dy = 0.34 * np.cos(a), 0.34 * np.sin(a)
            shape = [(x - dx, y - dy - 0.05), (x + dx, y + dy - 0.05), (x + dx, y + dy + 0.06), (x - dx, y - dy + 0.06)]
            pen.polygon(shape, _shade((44, 62, 84), rng.uniform(0.35, 1.1)))
    return pen.done()

"""What a year does to the road: leaves and grass turn, fade and lie under frost, and the light gets low and cold."""

from __future__ import annotations

import numpy as np

from edgevad.synth.arrays import Floats, floats

__all__ = ["in_season"]

_AUTUMN_BGR = (58.0, 106.0, 158.0)
_FROST_BGR = (214.0, 210.0, 206.0)
_WINTER_LIGHT = (1.0, 0.9, 0.82)


def in_season(picture: Floats, season: float) -> Floats:
    """A picture (h, w, 3) float32 in about [0, 255], blue green red, at this time of the year: 0 summer, 1 winter."""
    if season <= 0:
        return picture
    blue, green, red = picture[..., 0], picture[..., 1], picture[..., 2]
    # What is greener than it is red or blue grows.
    plants = np.clip((green - np.maximum(red, blue) - 3.0) / 14.0, 0.0, 1.0)[..., None]
    bright = (0.11 * blue + 0.59 * green + 0.3 * red)[..., None] / np.float32(110.0)
    autumn = min(2.0 * season, 1.0)
    winter = max(2.0 * season - 1.0, 0.0)
    leaves = picture + np.float32(autumn) * plants * (floats(_AUTUMN_BGR) * bright - picture)
    ground = leaves + np.float32(0.85 * winter) * plants * (floats(_FROST_BGR) * np.sqrt(bright) - leaves)
    light = 1.0 + season * (floats(_WINTER_LIGHT) * np.float32(0.9) - 1.0)
    return np.asarray(ground * light, dtype=np.float32)

"""How frame scores become an anomaly score, and when that is an alarm."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad.runtime.window import WindowSpec

__all__ = ["Calibration", "PartCalibration"]

_PART_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True)
class PartCalibration:
    """How one part of the frame score, windowed, becomes a normal deviate.

    deviate = (sqrt(max(windowed, 0)) - location) / scale - margin (0 where that is None).

    Attributes:
        name: of the part.
        location, scale: of the square root of its windowed values where nothing is wrong, scale > 0.
        margin: how much more it must stand out than the parts that lead, in deviates, >= 0; None: it is looked at and
            reported, and decides nothing.
    """

    name: str
    location: float
    scale: float
    margin: float | None = 0.0

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> PartCalibration:
        """Raises KeyError, TypeError or ValueError where `value` is not what `asdict` gave."""
        location, scale = float(value["location"]), float(value["scale"])
        margin = None if value["margin"] is None else float(value["margin"])
        name = str(value["name"])
        if not _PART_NAME.fullmatch(name):
            raise ValueError(f"a part of the score is called {name[:40]!r}")
        if not (abs(location) <= 1e12 and 1e-12 <= scale <= 1e12 and 0 <= (margin or 0.0) <= 1e12):
            raise ValueError(f"location {location}, scale {scale} or margin {margin} of {name} is out of range")
        return cls(name, location, scale, margin)


@dataclass(frozen=True)
class Calibration:
    """How a frame's scores become an anomaly score, and when that is an alarm.

    The anomaly score is the largest of the deviates of those parts that decide.

    Attributes:
        window: the sliding window the statistics were taken through.
        parts: one for each column of the frame score, in order.
        threshold: anomaly score beyond which an event starts, dimensionless.
        alarms_per_hour: the false-alarm budget the threshold was set for.
    """

    window: WindowSpec
    parts: tuple[PartCalibration, ...]
    threshold: float
    alarms_per_hour: float

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.parts)

    def deviates(self, windowed: Sequence[float]) -> list[float]:
        """The parts' deviates of one frame's windowed scores (P,)."""
        return [
            (math.sqrt(max(value, 0.0)) - part.location) / part.scale - (part.margin or 0.0)
            for part, value in zip(self.parts, windowed, strict=True)
        ]

    def leading(self, deviates: Sequence[float]) -> int:
        """Which of the parts that decide stands out most."""
        deciding = [k for k, part in enumerate(self.parts) if part.margin is not None]
        return max(deciding, key=lambda k: deviates[k])

    def anomaly_scores(self, windowed: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Anomaly scores (N,) of windowed scores (N, P); NaN stays NaN."""
        columns = np.sqrt(np.maximum(np.asarray(windowed, dtype=np.float64), 0.0)).T
        deviates = [
            (column - part.location) / part.scale - part.margin
            for part, column in zip(self.parts, columns, strict=True)
            if part.margin is not None
        ]
        return np.asarray(np.maximum.reduce(deviates), dtype=np.float64)

    def alarm_levels(self, threshold: float) -> list[float]:
        """The score of each part (P,) that would by itself reach `threshold`; infinite where it decides nothing."""
        levels = []
        for part in self.parts:
            amplitude = math.inf if part.margin is None else part.location + part.scale * (threshold + part.margin)
            levels.append(max(amplitude, 0.0) * max(amplitude, 0.0))  # a product overflows to infinity, a power raises
        return levels

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Calibration:
        """Raises KeyError, TypeError, ValueError or OptionError where `value` is not what `to_json` wrote."""
        threshold, budget = float(value["threshold"]), float(value["alarms_per_hour"])
        if not (math.isfinite(threshold) and math.isfinite(budget)):
            raise ValueError("the calibration's threshold or budget is not finite")
        parts = tuple(PartCalibration.from_json(part) for part in value["parts"])
        if all(part.margin is None for part in parts):
            raise ValueError("not one part of the calibration decides")
        if len({part.name for part in parts}) < len(parts):
            raise ValueError("two parts of the calibration have the same name")
        window = WindowSpec(value["window"]["kind"], float(value["window"]["length_s"]))
        return cls(window, parts, threshold, budget)

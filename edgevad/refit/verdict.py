"""What the gate says of a challenger: a verdict, made of checks, each with its figures and a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad.refit.ranking import Interval

__all__ = ["Check", "Evidence", "Verdict"]

_FORMAT = 1


@dataclass(frozen=True)
class Check:
    """One of the things that a challenger has to hold.

    Attributes:
        name: of the check, as docs/refit.md lists them: "log", "majority", "probes", …
        passed: None where there was nothing to check by; it then decides nothing.
        challenger: its figure, None where there is none.
        champion: the same of the bundle in use.
        limit: what the challenger's figure, or the interval of the difference, has to hold.
        interval: of the difference challenger - champion, at 90 %, None where there is none.
        sentence: what was found, and, where it failed, why that is no good.
        details: further figures by name, numbers or None.
    """

    name: str
    passed: bool | None
    sentence: str
    challenger: float | None = None
    champion: float | None = None
    limit: float | None = None
    interval: Interval | None = None
    details: Mapping[str, float | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "passed": self.passed,
            "sentence": self.sentence,
            "challenger": _number(self.challenger),
            "champion": _number(self.champion),
            "limit": _number(self.limit),
            "interval": None if self.interval is None else self.interval.to_json(),
            "details": {name: _number(value) for name, value in self.details.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Check:
        """Raises KeyError or TypeError where `value` is not what `to_json` gave."""
        interval = value["interval"]
        return cls(
            value["name"],
            value["passed"],
            value["sentence"],
            value["challenger"],
            value["champion"],
            value["limit"],
            None if interval is None else Interval(**interval),
            dict(value["details"]),
        )


@dataclass(frozen=True)
class Evidence:
    """What a page shows beside the figures; kept in memory only.

    Attributes:
        anomaly: anomaly scores (N,) of the clean frames, champion's and challenger's, by set ("recent", "replay").
        thresholds: the champion's and the challenger's.
        stood_out: (N,) how far each recent frame stands out from its own drive by the champion; None where not asked.
        segment: (N,) of the recent frames.
        recent: (n, h, w, 3) uint8 BGR, a few of them.
        replay: the same of what was learned before; of no frames where there are none.
        probes: a recent frame before and after, (2, h, w, 3), by kind.
    """

    anomaly: Mapping[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]
    thresholds: tuple[float, float]
    stood_out: npt.NDArray[np.float64] | None
    segment: npt.NDArray[np.int32]
    recent: npt.NDArray[np.uint8]
    replay: npt.NDArray[np.uint8]
    probes: Mapping[str, npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class Verdict:
    """Whether a challenger may take the champion's place.

    Attributes:
        checks: all that was looked at, in order; later ones are left out where an earlier one makes them pointless.
        champion, challenger: digests of the two bundles, hexadecimal.
        names: what people call them, champion first.
        engine: what they were run in, "onnxruntime, int8".
        frames: how many frames they were asked, by what for: "recent", "replay", "probes".
        drives: names of the drives that the recent frames are from.
        seconds: how long it took.
        evidence: what a page shows; None for a verdict that was read from a file.
    """

    checks: tuple[Check, ...]
    champion: str
    challenger: str
    names: tuple[str, str]
    engine: str
    frames: Mapping[str, int]
    drives: tuple[str, ...] = ()
    seconds: float = 0.0
    evidence: Evidence | None = field(default=None, repr=False, compare=False)

    @property
    def passed(self) -> bool:
        """Nothing failed, and something was checked."""
        return bool(self.checks) and all(check.passed is not False for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.passed is False)

    @property
    def why(self) -> str:
        """The verdict in a sentence or two: what failed, or that nothing did."""
        if self.passed:
            held = [check.name for check in self.checks if check.passed]
            return f"It holds all that was asked of it ({', '.join(held)})."
        return " ".join(check.sentence for check in self.failed) or "Nothing could be checked."

    def to_json(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "passed": self.passed,
            "why": self.why,
            "champion": self.champion,
            "challenger": self.challenger,
            "names": list(self.names),
            "engine": self.engine,
            "frames": dict(self.frames),
            "drives": list(self.drives),
            "seconds": round(self.seconds, 2),
            "checks": [check.to_json() for check in self.checks],
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Verdict:
        """Raises KeyError or TypeError where `value` is not what `to_json` gave."""
        first, second = value["names"]
        return cls(
            tuple(Check.from_json(check) for check in value["checks"]),
            value["champion"],
            value["challenger"],
            (first, second),
            value["engine"],
            dict(value["frames"]),
            tuple(value["drives"]),
            float(value["seconds"]),
        )


def _number(value: float | None) -> float | None:
    """JSON knows no NaN and no infinity."""
    return None if value is None or not math.isfinite(value) else float(value)

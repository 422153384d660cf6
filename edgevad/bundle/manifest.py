"""What a bundle says of itself: `manifest.json`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad.errors import EdgevadError, ManifestError
from edgevad.runtime.window import WindowSpec
from edgevad.spec import InputSpec

__all__ = ["MANIFEST_NAME", "SCHEMA_VERSION", "Calibration", "Manifest", "PartCalibration", "read_manifest"]

SCHEMA_VERSION = 2
MANIFEST_NAME = "manifest.json"
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


@dataclass(frozen=True)
class Manifest:
    """Everything about a bundle that is not in its graph.

    Attributes:
        name: what people call the model.
        target: device profile the bundle was made for.
        precision: of the graph's weights and activations: "fp32" here, others with quantisation.
        input: what the graph's inputs `frames` and `motion` hold.
        score: name of the frame score ("parts", "patch", "mse" or "pcc").
        calibration: window, statistics and threshold.
        created: UTC time of the export, ISO 8601.
        files: SHA-256 of every file of the bundle but the manifest, by relative path.
        provenance: sources, seed, versions: where the model comes from; free form.
    """

    name: str
    target: str
    precision: str
    input: InputSpec
    score: str
    calibration: Calibration
    created: str
    files: dict[str, str]
    provenance: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def with_calibration(self, calibration: Calibration) -> Manifest:
        return replace(self, calibration=calibration)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": self.schema_version,
            "name": self.name,
            "target": self.target,
            "precision": self.precision,
            "input": self.input.to_json(),
            "score": self.score,
            "calibration": self.calibration.to_json(),
            "created": self.created,
            "files": self.files,
            "provenance": self.provenance,
        }


def read_manifest(path: Path) -> Manifest:
    """Read and check `manifest.json`.

    Raises:
        ManifestError: missing, not JSON, of another schema version, or with fields missing or of the wrong kind.
    """
    fix = "Export the bundle again"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ManifestError("no manifest there", where=path, expected="a bundle made by edgevad export") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ManifestError(f"the manifest cannot be read ({error})", where=path, fix=fix) from error
    if not isinstance(value, dict) or value.get("schema_version") != SCHEMA_VERSION:
        found = value.get("schema_version") if isinstance(value, dict) else type(value).__name__
        raise ManifestError(
            f"manifest schema {found!r}", where=path, expected=f"schema version {SCHEMA_VERSION}", fix=fix
        )
    try:
        files = {str(name): str(digest) for name, digest in value["files"].items()}
        if any(Path(name).is_absolute() or ".." in Path(name).parts for name in files):
            raise ValueError("a file path leads out of the bundle")
        return Manifest(
            name=str(value["name"]),
            target=str(value["target"]),
            precision=str(value["precision"]),
            input=InputSpec.from_json(value["input"]),
            score=str(value["score"]),
            calibration=Calibration.from_json(value["calibration"]),
            created=str(value["created"]),
            files=files,
            provenance=dict(value["provenance"]),
        )
    except KeyError as error:
        raise ManifestError(f"the manifest lacks the field {error}", where=path, fix=fix) from error
    except (AttributeError, TypeError, ValueError, EdgevadError) as error:
        raise ManifestError(f"the manifest does not hold together: {error}", where=path, fix=fix) from error

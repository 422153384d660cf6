"""What a bundle says of itself: `manifest.json`."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgevad.errors import EdgevadError, ManifestError
from edgevad.runtime.window import WindowSpec
from edgevad.spec import InputSpec

__all__ = ["MANIFEST_NAME", "SCHEMA_VERSION", "Calibration", "Manifest", "read_manifest"]

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True)
class Calibration:
    """How a frame score becomes an anomaly score, and when that is an alarm.

    anomaly score = (windowed frame score - median) / spread.

    Attributes:
        window: the sliding window the statistics were taken through.
        median: of the windowed frame scores of the training recording, in units of the frame score.
        spread: their robust standard deviation (1.4826 times the median absolute deviation), same units, > 0.
        threshold: anomaly score beyond which an event starts, dimensionless.
        alarms_per_hour: the false-alarm budget the threshold was set for.
    """

    window: WindowSpec
    median: float
    spread: float
    threshold: float
    alarms_per_hour: float

    def standardise(self, windowed: float) -> float:
        """The anomaly score of a windowed frame score."""
        return (windowed - self.median) / self.spread

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Calibration:
        """Raises KeyError, TypeError, ValueError or OptionError where `value` is not what `to_json` wrote."""
        numbers = {k: float(value[k]) for k in ("median", "spread", "threshold", "alarms_per_hour")}
        if not all(math.isfinite(number) for number in numbers.values()) or numbers["spread"] <= 0:
            raise ValueError("the calibration's statistics are not finite or its spread is not positive")
        return cls(window=WindowSpec(value["window"]["kind"], float(value["window"]["length_s"])), **numbers)


@dataclass(frozen=True)
class Manifest:
    """Everything about a bundle that is not in its graph.

    Attributes:
        name: what people call the model.
        target: device profile the bundle was made for.
        precision: of the graph's weights and activations: "fp32" here, others with quantisation.
        input: what the graph's inputs `frames` and `motion` hold.
        score: name of the frame score ("patch", "mse" or "pcc").
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

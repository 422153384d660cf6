"""What a bundle says of itself: `manifest.json`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from edgevad.bundle.calibration import Calibration, PartCalibration
from edgevad.bundle.members import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    SIGNATURE_NAME,
    check_names,
    check_sizes,
)
from edgevad.errors import EdgevadError, ManifestError
from edgevad.spec import InputSpec
from edgevad.targets import Target

__all__ = [
    "MANIFEST_NAME",
    "PRECISIONS",
    "SCHEMA_VERSION",
    "Calibration",
    "FileEntry",
    "Manifest",
    "PartCalibration",
    "graph_name",
    "parse_manifest",
]

SCHEMA_VERSION = 3
PRECISIONS = ("fp32", "fp16", "int8")

_BACKENDS = ("onnxruntime", "openvino", "tensorrt")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FIX = "Export the bundle again"
_MAX_TEXT = 200
# Of what our own writer leaves the deepest is a recipe's, half of this.
_MAX_DEPTH = 16
# Beyond these an input is no camera's, and the frames that motion looks back on would fill the memory.
_MAX_SIDE_PX = 8192
_MAX_LAG_MS = 60_000
_MAX_LAGS = 16


class FileEntry(NamedTuple):
    """What the manifest says of one file: its SHA-256 in hexadecimal, and its size."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """Everything about a bundle that is not in its graph.

    Attributes:
        name: what people call the model.
        target: device profile the bundle was made for.
        profile: that profile, whole, as `Target.to_json` gives it: the device needs no file of it.
        backend: inference engine the bundle was made for ("onnxruntime", "openvino" or "tensorrt").
        precision: what that engine computes in ("fp32", "fp16" or "int8").
        graphs: name of the graph's file for each precision; "fp32", the reference, is always among them.
        selftest_rtol: largest relative deviation the self-test allows, in (0, 1].
        input: what the graph's inputs `frames`, `motion` and `bank` hold.
        score: name of the frame score ("parts", "patch", "mse" or "pcc").
        calibration: window, statistics and threshold.
        created: UTC time of the export, ISO 8601.
        files: checksum and size of every file of the bundle but the manifest and the signature, by name.
        guard: what the accuracy guard found, or None where none ran.
        provenance: sources, seed, versions: where the model comes from; free form.
    """

    name: str
    target: str
    profile: dict[str, Any]
    backend: str
    precision: str
    graphs: dict[str, str]
    selftest_rtol: float
    input: InputSpec
    score: str
    calibration: Calibration
    created: str
    files: dict[str, FileEntry]
    guard: dict[str, Any] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def with_calibration(self, calibration: Calibration) -> Manifest:
        return replace(self, calibration=calibration)

    def device(self) -> Target:
        """The device profile, as an object."""
        return Target.from_json(self.profile)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": self.schema_version,
            "name": self.name,
            "target": self.target,
            "profile": self.profile,
            "backend": self.backend,
            "precision": self.precision,
            "graphs": self.graphs,
            "selftest_rtol": self.selftest_rtol,
            "input": self.input.to_json(),
            "score": self.score,
            "calibration": self.calibration.to_json(),
            "guard": self.guard,
            "created": self.created,
            "files": {name: entry._asdict() for name, entry in self.files.items()},
            "provenance": self.provenance,
        }


def graph_name(precision: str) -> str:
    """Name of the file that holds the graph of this precision."""
    return "model.onnx" if precision == "fp32" else f"model.{precision}.onnx"


def parse_manifest(data: bytes, where: Path) -> Manifest:
    """Read and check the bytes of a `manifest.json`, which may come from anywhere; `where` is for messages.

    Raises:
        ManifestError: too large, not JSON, of another schema version, or with fields missing or of the wrong kind.
    """
    value = _load(data, where)
    _check_version(value, where)
    try:
        return _manifest(value, where)
    except KeyError as error:
        raise ManifestError(f"the manifest lacks the field {str(error)[:80]}", where=where, fix=_FIX) from error
    except (ArithmeticError, AttributeError, TypeError, ValueError, EdgevadError) as error:
        what = error.what if isinstance(error, EdgevadError) else str(error)
        raise ManifestError(f"the manifest does not hold together: {what[:300]}", where=where, fix=_FIX) from error


def _load(data: bytes, where: Path) -> Any:
    if len(data) > MAX_MANIFEST_BYTES:
        expected = f"at most {MAX_MANIFEST_BYTES}"
        raise ManifestError(f"the manifest has {len(data)} bytes", where=where, expected=expected, fix=_FIX)
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
        if _depth(value) > _MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {_MAX_DEPTH} levels")
    except RecursionError as error:
        raise ManifestError("the manifest cannot be read (it is nested too deep)", where=where, fix=_FIX) from error
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are of its kind
        raise ManifestError(f"the manifest cannot be read ({str(error)[:200]})", where=where, fix=_FIX) from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers that each take another one of two equal keys would read two different manifests."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key is there twice")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level:
        depth += 1
        containers = [item for item in level if isinstance(item, (dict, list))]
        level = [inner for item in containers for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


def _check_version(value: Any, where: Path) -> None:
    version = value.get("schema_version") if isinstance(value, dict) else None
    if type(version) is not int:
        raise ManifestError(
            "the manifest states no schema version", where=where, expected=f"schema version {SCHEMA_VERSION}", fix=_FIX
        )
    if version != SCHEMA_VERSION:
        newer = version > SCHEMA_VERSION
        raise ManifestError(
            f"manifest schema {str(version)[:20]}"
            + (", made by a newer edgevad" if newer else ", of an older edgevad"),
            where=where,
            expected=f"schema version {SCHEMA_VERSION}",
            fix="Update edgevad here: pip install --upgrade edgevad" if newer else _FIX,
        )


def _manifest(value: dict[str, Any], where: Path) -> Manifest:
    """Raises KeyError, TypeError, ValueError, ArithmeticError, AttributeError or EdgevadError."""
    files = _files(value["files"], where)
    precision = _one_of(value["precision"], PRECISIONS, "precision")
    profile = _dict(value["profile"], "profile")
    target = _text(value["target"], "target")
    if Target.from_json(profile).name != target:
        raise ValueError(f"it is for target {target} and brings another's profile")
    guard = value["guard"]
    return Manifest(
        name=_text(value["name"], "name"),
        target=target,
        profile=profile,
        backend=_one_of(value["backend"], _BACKENDS, "backend"),
        precision=precision,
        graphs=_graphs(value["graphs"], precision, files),
        selftest_rtol=_tolerance(value["selftest_rtol"]),
        input=_input(value["input"]),
        score=_text(value["score"], "score"),
        calibration=Calibration.from_json(value["calibration"]),
        created=_text(value["created"], "created"),
        files=files,
        guard=None if guard is None else _dict(guard, "guard"),
        provenance=_dict(value["provenance"], "provenance"),
    )


def _files(value: Any, where: Path) -> dict[str, FileEntry]:
    files: dict[str, FileEntry] = {}
    for name, entry in value.items():
        digest, size = entry["sha256"], entry["bytes"]
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise ValueError(f"the checksum of {name[:80]!r} is no SHA-256")
        if type(size) is not int:
            raise TypeError(f"the size of {name[:80]!r} is no whole number")
        files[name] = FileEntry(digest, size)
    check_names([MANIFEST_NAME, SIGNATURE_NAME, *files], where)
    check_sizes({name: entry.bytes for name, entry in files.items()}, where)
    return files


def _graphs(value: Any, precision: str, files: Mapping[str, FileEntry]) -> dict[str, str]:
    graphs = _dict(value, "graphs")
    for key, name in graphs.items():
        if key not in PRECISIONS or name != graph_name(key):
            raise ValueError(f"its graph of precision {key[:20]!r} is {str(name)[:80]!r}")
        if name not in files:
            raise ValueError(f"it does not list {name} among its files")
    for needed in ("fp32", precision):
        if needed not in graphs:
            raise ValueError(f"it names no {needed} graph")
    return graphs


def _input(value: Any) -> InputSpec:
    spec = InputSpec.from_json(value)
    if max(spec.height_px, spec.width_px) > _MAX_SIDE_PX:
        raise ValueError(f"an input of {spec.width_px}x{spec.height_px} pixels is larger than {_MAX_SIDE_PX} a side")
    motion = spec.motion
    if motion is not None and (len(motion.lags_ms) > _MAX_LAGS or max(motion.lags_ms) > _MAX_LAG_MS):
        raise ValueError(f"motion looks back more than {_MAX_LAGS} times or {_MAX_LAG_MS} ms")
    return spec


def _tolerance(value: Any) -> float:
    number = float(value)
    if not (math.isfinite(number) and 0 < number <= 1):
        raise ValueError(f"a self-test tolerance of {number}")
    return number


def _one_of(value: Any, names: tuple[str, ...], what: str) -> str:
    if value not in names:
        raise ValueError(f"its {what} is {str(value)[:80]!r}, none of {', '.join(names)}")
    return str(value)


def _dict(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"its {what} is no object")
    return value


def _text(value: Any, what: str) -> str:
    """Texts reach terminals and logs: no control characters, no novels."""
    if not isinstance(value, str) or not value.isprintable() or len(value) > _MAX_TEXT:
        raise ValueError(f"its {what} is no line of up to {_MAX_TEXT} characters that can be printed")
    return value

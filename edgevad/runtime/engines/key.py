"""What an engine depends on: where any of it changes, the engine is another one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from edgevad.runtime.engines.machine import Machine
from edgevad.runtime.engines.options import EngineOptions

__all__ = ["EngineKey"]

_LABELS = {
    "bundle": "the bundle",
    "gpu": "the GPU",
    "compute_capability": "the compute capability",
    "tensorrt": "TensorRT",
    "driver": "the driver",
    "precision": "the precision",
    "power_mode": "the power mode",
    "build": "the way to build",
}


@dataclass(frozen=True)
class EngineKey:
    """Everything an engine depends on, as text.

    Attributes:
        bundle: `Bundle.digest`.
        gpu, compute_capability, tensorrt, driver, power_mode: as in `Machine`.
        precision: of the graph.
        build: the rest of the build options.
    """

    bundle: str
    gpu: str
    compute_capability: str
    tensorrt: str
    driver: str
    precision: str
    power_mode: str
    build: str

    @classmethod
    def of(cls, digest: str, machine: Machine, options: EngineOptions) -> EngineKey:
        return cls(
            bundle=digest,
            gpu=machine.gpu,
            compute_capability=machine.compute_capability,
            tensorrt=machine.tensorrt,
            driver=machine.driver,
            precision=options.precision,
            power_mode=machine.power_mode,
            build=str(options),
        )

    @property
    def name(self) -> str:
        """32 hexadecimal digits: the entry's name in the cache."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:32]

    def changes_since(self, old: EngineKey) -> list[str]:
        """One clause for each part that differs, such as "TensorRT was 10.3.0, is 10.13.0"."""
        changes = []
        for field in fields(self):
            before, now = getattr(old, field.name), getattr(self, field.name)
            if before != now:
                before, now = (value[:12] if field.name == "bundle" else value for value in (before, now))
                changes.append(f"{_LABELS[field.name]} was {before}, is {now}")
        return changes

    def same_but_bundle(self, other: EngineKey) -> bool:
        return {**self.to_json(), "bundle": ""} == {**other.to_json(), "bundle": ""}

    def to_json(self) -> dict[str, str]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> EngineKey:
        """Raises TypeError where `value` is not what `to_json` gave."""
        if not all(isinstance(part, str) for part in value.values()):
            raise TypeError("a part of an engine's key is no text")
        return cls(**value)

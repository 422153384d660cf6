"""What a run knows of a camera's drift, kept through restarts: a vehicle that drives ten minutes a day drifts, too."""

from __future__ import annotations

import hashlib
import io
import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgevad._files import atomic_file, output_errors
from edgevad.bundle.arrays import arrays_from_npz
from edgevad.refit.drift_sample import Sample
from edgevad.refit.drift_tests import Kind

__all__ = ["WatchState", "state_path"]

_ARRAYS = ("values", "time_ns", "stretch", "faulty")


@dataclass
class WatchState:
    """Of one camera, with one bundle.

    Attributes:
        sample: the driving that the next look is at.
        driven_s: seconds of driving since the last look.
        look: how many looks there have been.
        found: names of figures, and kinds of effects, that the last one found.
        incident: the one that lasts, as `Incident.to_json` has it; None where none does.
    """

    sample: Sample
    driven_s: float = 0.0
    look: int = 0
    found: frozenset[tuple[str, Kind]] = field(default_factory=frozenset)
    incident: dict[str, Any] | None = None

    @classmethod
    def load(cls, path: Path, digest: str, figures: int) -> WatchState:
        """What `save` wrote; a new one where there is nothing, it is of another bundle, or it is spoilt."""
        with suppress(OSError, KeyError, ValueError, TypeError, AttributeError):
            data = path.read_bytes()
            arrays = arrays_from_npz(data, ["info", *_ARRAYS])
            info = json.loads(bytes(arrays["info"]))
            values = arrays["values"]
            if info["digest"] != digest or values.shape != (len(values), figures):
                return cls(Sample.empty(figures))
            if any(arrays[name].shape != (len(values),) for name in _ARRAYS[1:]):
                return cls(Sample.empty(figures))
            sample = Sample(
                values.astype(np.float32),
                arrays["time_ns"].astype(np.int64),
                arrays["stretch"].astype(np.int64),
                arrays["faulty"].astype(np.bool_),
            )
            found = frozenset((str(name), kind) for name, kind in info["found"])
            incident = info["incident"]
            return cls(
                sample,
                float(info["driven_s"]),
                int(info["look"]),
                found,
                incident if isinstance(incident, dict) else None,
            )
        return cls(Sample.empty(figures))

    def save(self, path: Path, digest: str) -> None:
        """Atomically.

        Raises:
            OutputError: it cannot be written.
        """
        info = {
            "digest": digest,
            "driven_s": self.driven_s,
            "look": self.look,
            "found": sorted(self.found),
            "incident": self.incident,
        }
        stream = io.BytesIO()
        np.savez(
            stream,
            info=np.frombuffer(json.dumps(info).encode(), np.uint8),
            values=self.sample.values,
            time_ns=self.sample.time_ns,
            stretch=self.sample.stretch,
            faulty=self.sample.faulty.astype(np.uint8),
        )
        with output_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            file.write(stream.getvalue())


def state_path(folder: Path, camera: str) -> Path:
    """Where the state of `camera` is kept; cameras may be called anything."""
    return folder / "watch" / f"{hashlib.sha256(camera.encode()).hexdigest()[:16]}.npz"

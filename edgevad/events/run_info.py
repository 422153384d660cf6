"""Which run the sinks are fed by."""

from __future__ import annotations

import platform
import time
import uuid
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["RunInfo"]


@dataclass(frozen=True)
class RunInfo:
    """One run of `edgevad run`, or of `run_session`.

    Attributes:
        bundle: where the model came from.
        bundle_name: what people call it; `bundle_digest` tells two of that name apart (hexadecimal, empty for a model
            folder).
        engine: what scores: backend and precision.
        sources: names of the sources, without passwords.
        threshold: anomaly score at which events start, at the run's beginning; another one is told as an incident.
        is_live: the sources are cameras; their timestamps are Unix time, those of recordings count from their start.
        run_id: new in every run; together with `Event.id` it names an event for good.
        started_ns: Unix time.
        device: this machine's name.
    """

    bundle: str
    bundle_name: str
    bundle_digest: str
    engine: str
    sources: tuple[str, ...]
    threshold: float
    is_live: bool
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    started_ns: int = field(default_factory=time.time_ns)
    device: str = field(default_factory=platform.node)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "sources": list(self.sources)}

"""What a run counts and measures, at one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgevad.events.waiting import SinkCounters

if TYPE_CHECKING:
    from edgevad.refit.drift_watch import CameraDrift
    from edgevad.runtime.counters import FrameCounters
    from edgevad.runtime.latency import LatencyHistogram
    from edgevad.runtime.power import MachineReading

__all__ = ["RunSnapshot"]


@dataclass(frozen=True)
class RunSnapshot:
    """Given by whoever runs the pipeline to whoever asks how it is doing, in that one's thread.

    Attributes:
        cameras: what became of each source's frames (`Pipeline.counters`).
        scores: each source's latest anomaly score, by its name; None where the latest frame had none.
        threshold: at which events start.
        latency: of all frames scored so far.
        rate_hz: frames a second that the governor allows each camera; None where it lets all pass.
        sinks: what became of what each sink was given (`Dispatcher.counters`).
        machine: the latest reading, None where nobody reads.
        idle_s: since the pipeline last showed that it works.
        drift: what the last look at each camera showed (`DriftWatch.latest`); none where nobody looks.
    """

    cameras: Sequence[FrameCounters] = ()
    scores: Mapping[str, float | None] = field(default_factory=dict)
    threshold: float | None = None
    latency: LatencyHistogram | None = None
    rate_hz: float | None = None
    sinks: Mapping[str, SinkCounters] = field(default_factory=dict)
    machine: MachineReading | None = None
    idle_s: float = 0.0
    drift: Mapping[str, CameraDrift] = field(default_factory=dict)

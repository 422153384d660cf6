"""What the machine says of its heat, power and load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["MachineReading"]


@dataclass(frozen=True)
class MachineReading:
    """One look at the machine; None, or no entry, where it does not say.

    Attributes:
        temperatures_c: degrees Celsius by the name of the thermal zone.
        power_mode: name of nvpmodel's mode.
        gpu_load: in [0, 1].
        memory_used_bytes, memory_total_bytes: of the whole machine.
        process_bytes: resident memory of this process.
        power_w: watts by the name of the rail.
        throttled: the names of the cooling devices that are at work (a fan is none).
    """

    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    power_mode: str | None = None
    gpu_load: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    process_bytes: int | None = None
    power_w: Mapping[str, float] = field(default_factory=dict)
    throttled: tuple[str, ...] | None = None

    @property
    def temperature_c(self) -> float | None:
        """The hottest zone's."""
        return max(self.temperatures_c.values(), default=None)

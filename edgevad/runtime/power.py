"""What the machine says of its heat, power and load, from the kernel's files (jetson-stats: see machine_watch.py).

Nothing here needs root, changes a setting or raises: what a machine does not tell, or tells as garbage, is None or has
no entry. Paths and units are the kernel's and NVIDIA's (docs/power.md); none was tried on a Jetson.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["MachineReading", "read_machine"]

# What silicon can have; a sensor that is off says -256 °C, and others say so by an error.
_TEMPERATURES_C = (-60.0, 150.0)
_MOST_BYTES = 1 << 16

# GPU load in thousandths. The first that exists counts: JetPack 6 and 5 on Orin, 5 and 4 on Xavier, then TX2 and Nano.
_GPU_LOADS = (
    "sys/devices/platform/gpu.0/load",
    "sys/devices/platform/bus@0/17000000.gpu/load",
    "sys/devices/platform/17000000.gpu/load",
    "sys/devices/platform/17000000.ga10b/load",
    "sys/devices/17000000.ga10b/load",
    "sys/devices/17000000.gv11b/load",
    "sys/devices/gpu.0/load",
    "sys/devices/57000000.gpu/load",
)
# Cooling devices that slow the machine down. Others are fans, or a laptop's backlight.
_THROTTLES = re.compile(r"throttle|balanced|freq|processor|hot-surface", re.IGNORECASE)
_POWER_MODE = re.compile(r"POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)")
_MODE_NUMBER = re.compile(r"pmode:(\d+)")


@dataclass(frozen=True)
class MachineReading:
    """One look at the machine; None, or no entry, where it does not say.

    Attributes:
        temperatures_c: degrees Celsius by the name of the thermal zone.
        power_mode: name of nvpmodel's mode, or its number where it has no name.
        gpu_load: in [0, 1].
        memory_used_bytes, memory_total_bytes: of the whole machine; on a Jetson the GPU's share is among it.
        process_bytes: resident memory of this process.
        power_w: watts by the name of the rail; one may be the input of the whole board, so their sum means nothing.
        throttled: names of the cooling devices that hold the machine back now.
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

    def to_json(self) -> dict[str, Any]:
        return {
            "temperatures_c": dict(self.temperatures_c),
            "power_mode": self.power_mode,
            "gpu_load": self.gpu_load,
            "memory_used_bytes": self.memory_used_bytes,
            "memory_total_bytes": self.memory_total_bytes,
            "process_bytes": self.process_bytes,
            "power_w": dict(self.power_w),
            "throttled": None if self.throttled is None else list(self.throttled),
        }


def read_machine(root: Path = Path("/")) -> MachineReading:
    """Look at the machine whose `sys`, `proc`, `etc` and `var` lie below `root`. Takes about a millisecond."""
    used, total = _memory(root)
    return MachineReading(
        temperatures_c=_temperatures(root),
        power_mode=_power_mode(root),
        gpu_load=_gpu_load(root),
        memory_used_bytes=used,
        memory_total_bytes=total,
        process_bytes=_process_bytes(root),
        power_w=_rails(root),
        throttled=_throttled(root),
    )


def _temperatures(root: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for zone in _folders(root, "sys/class/thermal", "thermal_zone*"):
        name, value = _text(zone / "type"), _number(zone / "temp")
        # The power supply's zone of TX2, Xavier and Nano says 100 °C whatever it has.
        if name is None or value is None or "PMIC" in name:
            continue
        low_c, high_c = _TEMPERATURES_C
        if low_c < value / 1000 < high_c:
            found[name if name not in found else f"{name} ({zone.name})"] = value / 1000
    return found


def _power_mode(root: Path) -> str | None:
    status = _text(root / "var/lib/nvpmodel/status")
    number = None if status is None else _MODE_NUMBER.search(status)
    if number is None:
        return None
    names = {int(found[1]): found[2] for found in _POWER_MODE.finditer(_text(root / "etc/nvpmodel.conf") or "")}
    return names.get(int(number[1]), str(int(number[1])))


def _gpu_load(root: Path) -> float | None:
    for path in _GPU_LOADS:
        load = _number(root / path)
        if load is not None:
            return min(max(load / 1000, 0.0), 1.0)
    return None


def _memory(root: Path) -> tuple[int | None, int | None]:
    total, available = (_kibibytes(root / "proc/meminfo", name) for name in ("MemTotal", "MemAvailable"))
    used = None if total is None or available is None else max(total - available, 0)
    return used, total


def _process_bytes(root: Path) -> int | None:
    return _kibibytes(root / "proc/self/status", "VmRSS")


def _kibibytes(path: Path, name: str) -> int | None:
    found = re.search(rf"^{name}:\s+(\d{{1,15}}) kB", _text(path) or "", re.MULTILINE)
    return None if found is None else int(found[1]) * 1024


def _rails(root: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for monitor in _folders(root, "sys/class/hwmon", "hwmon*"):
        chip = _text(monitor / "name")
        if chip == "ina3221":
            # Channels beyond the third are shunt voltages and their sum.
            for channel in (1, 2, 3):
                _add_rail(
                    found,
                    _text(monitor / f"in{channel}_label"),
                    _number(monitor / f"in{channel}_input"),
                    _number(monitor / f"curr{channel}_input"),
                )
        elif chip == "ina238" and (microwatts := _number(monitor / "power1_input")) is not None:
            found["VIN"] = microwatts / 1e6
    # JetPack 4 has the same chip under another driver.
    for monitor in _folders(root, "sys/bus/i2c/drivers/ina3221x", "*/iio:device*"):
        for channel in (0, 1, 2):
            name, milliwatts = _text(monitor / f"rail_name_{channel}"), _number(monitor / f"in_power{channel}_input")
            if name and milliwatts is not None:
                found[name] = milliwatts / 1e3
    return found


def _add_rail(found: dict[str, float], name: str | None, millivolts: float | None, milliamperes: float | None) -> None:
    # "NC" is a channel that is not connected.
    if name and name != "NC" and millivolts is not None and milliamperes is not None:
        found[name] = millivolts * milliamperes / 1e6


def _throttled(root: Path) -> tuple[str, ...] | None:
    known = False
    names = []
    for device in _folders(root, "sys/class/thermal", "cooling_device*"):
        name, state = _text(device / "type"), _number(device / "cur_state")
        if name is None or state is None or not _THROTTLES.search(name):
            continue
        known = True
        if state > 0:
            names.append(name)
    return tuple(sorted(set(names))) if known else None


def _folders(root: Path, where: str, pattern: str) -> Iterator[Path]:
    """In the kernel's order: zone 2 before zone 10."""
    try:
        found = list((root / where).glob(pattern))
    except OSError:
        return iter(())
    return iter(sorted(found, key=lambda path: (len(path.name), str(path))))


def _text(path: Path) -> str | None:
    """The file's text without blanks at its ends; None where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8", errors="replace").strip("\0 \t\r\n")
    except (OSError, ValueError):
        return None


def _number(path: Path) -> float | None:
    text = _text(path)
    try:
        value = None if text is None else float(text)
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) else None

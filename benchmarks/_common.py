"""What every benchmark shares: the bars, timing in turns, the report."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgevad.errors import EdgevadError

__all__ = [
    "BARS",
    "Bar",
    "Row",
    "Stopwatch",
    "add_json_option",
    "data_file",
    "guarded",
    "in_turns",
    "machine",
    "ratios",
    "report",
]

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Bar:
    """What a figure has to hold: the least or the most that its median may be."""

    limit: float
    is_least: bool

    def holds(self, value: float) -> bool:
        return value >= self.limit if self.is_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.is_least else '≤'} {self.limit:g}"


# Every bar of speed, memory and agreement there is; the command fails where one is missed.
BARS = {
    "trainer throughput / bare loop": Bar(0.9, is_least=True),
    "entropy term, share of a step at batch 64": Bar(0.05, is_least=False),
    "run / slower of decoding and model": Bar(0.9, is_least=True),
    "resident memory, largest deviation (MB)": Bar(10.0, is_least=False),
    "camera to score behind a slow scorer, p99 (ms)": Bar(150.0, is_least=False),
    "frames neither scored nor dropped": Bar(0, is_least=False),
    "all but decoding and model, a frame (ms)": Bar(0.5, is_least=False),
    "a frame in the dispatcher (ms)": Bar(0.5, is_least=False),
    "four cameras / one": Bar(0.8, is_least=True),
    "broken promises": Bar(0, is_least=False),
    "resident memory, growth (MB)": Bar(10.0, is_least=False),
    "video lost by a kill, largest (s)": Bar(1.0, is_least=False),
    "torch and ONNX Runtime, relative difference": Bar(1e-4, is_least=False),
    "ONNX Runtime, float32 / int8": Bar(2.0, is_least=True),
    "ONNX Runtime float32 / OpenVINO int8": Bar(3.0, is_least=True),
    "file, int8 / float32": Bar(0.3, is_least=False),
    "engine and ONNX Runtime in fp32, relative difference": Bar(1e-3, is_least=False),
    "int8 engine and ONNX Runtime in fp32, rank correlation": Bar(0.99, is_least=True),
    "backend / bare engine": Bar(1.10, is_least=False),
    "SIGTERM to the end (s)": Bar(2.0, is_least=False),
    "slowest recovery of a stream (s)": Bar(3.0, is_least=False),
    "frames nobody sent": Bar(0, is_least=False),
    "incidents, off by": Bar(0, is_least=False),
    "swaps: frames lost or scored twice": Bar(0, is_least=False),
    "swaps: bad bundles in use, or tried again": Bar(0, is_least=False),
    "lens: camera faults on real driving": Bar(0.0, is_least=False),
    "lens: injected faults not told": Bar(0.0, is_least=False),
    "lens: time a frame (ms)": Bar(0.15, is_least=False),
    "drift: lives without drift that are told of one": Bar(0.05, is_least=False),
    "poisoned logs that get through": Bar(0, is_least=False),
    "honest challengers refused": Bar(2, is_least=False),
}


@dataclass(frozen=True)
class Row:
    """One figure: the values of all repeats, and the bar (a key of BARS) that their median has to hold, if any."""

    name: str
    values: Sequence[float]
    unit: str = ""
    bar: str | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def holds(self) -> bool | None:
        return None if self.bar is None else BARS[self.bar].holds(self.median)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "repeats": len(self.values),
            "unit": self.unit,
            "bar": None if self.bar is None else str(BARS[self.bar]),
            "holds": self.holds,
        }

    def to_markdown(self) -> str:
        spread = f"{_short(min(self.values))} to {_short(max(self.values))}" if len(self.values) > 1 else ""
        bar = "" if self.bar is None else f"{BARS[self.bar]}: {'yes' if self.holds else '**MISSED**'}"
        return f"| {self.name} | {_short(self.median)} {self.unit} | {spread} | {bar} |".replace("  ", " ")


@dataclass(frozen=True)
class Stopwatch:
    """Wall time and this process's CPU time since it was made.

    CPU time leaves out what other programs took of the machine: with one thread and no waiting, both would be equal on
    an idle one.
    """

    wall_start_s: float = field(default_factory=time.perf_counter)
    cpu_start_s: float = field(default_factory=time.process_time)

    def wall_s(self) -> float:
        return time.perf_counter() - self.wall_start_s

    def cpu_s(self) -> float:
        return time.process_time() - self.cpu_start_s


class _Others:
    """How many cores other programs kept busy since this was made (Linux; None elsewhere)."""

    def __init__(self) -> None:
        self._started_s = time.perf_counter()
        self._busy_s = _busy_s()
        self._own_s = _own_s()

    def cores(self) -> float | None:
        busy_s = _busy_s()
        if busy_s is None or self._busy_s is None:
            return None
        others_s = (busy_s - self._busy_s) - (_own_s() - self._own_s)
        return round(max(others_s, 0.0) / (time.perf_counter() - self._started_s), 2)


def _own_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


def _busy_s() -> float | None:
    """CPU seconds that all programs together have taken since the machine started."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields)
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


_others = _Others()


def in_turns(arms: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Call every arm once to warm up, then all of them in turn, `repeats` times: A B A B …

    Whatever else the machine does then falls on all of them alike, and `ratios` compares neighbours in time.
    """
    for arm in arms.values():
        arm()
    values: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(repeats):
        for name, arm in arms.items():
            values[name].append(arm())
    return values


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """One ratio a repeat."""
    return [a / b for a, b in zip(above, below, strict=True)]


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    packages = ("numpy", "opencv-python", "onnxruntime", "torch")
    return {
        "cpu": _cpu_name(),
        "cores": cores,
        "cores other programs kept busy": _others.cores(),
        "python": platform.python_version(),
        **{name: found for name in packages if (found := _version(name)) is not None},
    }


def _version(package: str) -> str | None:
    """None where it is not installed, as torch is not on a device."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def data_file(name: str) -> Path | None:
    """A file of the real recordings (EDGEVAD_DATA, default ../shared/data), None where there is none."""
    path = Path(os.environ.get("EDGEVAD_DATA", ROOT.parent / "shared" / "data")) / name
    return path if path.is_file() else None


def guarded(main: Callable[[], int]) -> int:
    """Run a benchmark's `main`; what edgevad refuses becomes one line and exit code 2, as in its own commands."""
    try:
        return main()
    except EdgevadError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2


def add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")


def report(title: str, rows: Sequence[Row], *, as_json: bool, facts: Mapping[str, Any] | None = None) -> int:
    """Print the figures and return the exit code: 1 where a bar is missed. `facts` say what was measured on."""
    holds = all(row.holds is not False for row in rows)
    if as_json:
        value = {
            "benchmark": title,
            "machine": machine(),
            **(facts or {}),
            "figures": [row.to_json() for row in rows],
            "holds": holds,
        }
        print(json.dumps(value))
    else:
        print(f"\n### {title}\n")
        print(", ".join(f"{key} {value}" for key, value in {**machine(), **(facts or {})}.items()) + "\n")
        print("| figure | median | min to max | bar |\n|---|---|---|---|")
        for row in rows:
            print(row.to_markdown())
    if not holds:
        print(f"benchmarks: {title}: a bar is missed", file=sys.stderr)
    return 0 if holds else 1


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()

"""Does NVIDIA's own parser take a graph, and its builder build it? Asked of TensorRT-RTX, which needs no GPU for that.

A yes means: no operator, type or Q/DQ form in the graph that today's TensorRT refuses. It does not mean that an engine
runs, how fast, or what it computes; and TensorRT-RTX is no runtime of a Jetson: it builds for compute capabilities 8.0,
8.6, 8.9, 12.0 and 12.1, so a graph for an Orin (8.7) is built for its nearest relative, 8.6, one for a Thor (11.0) for
12.0, one for a Xavier (7.2) for 8.0. `TrtCheck` says which.

    pip install 'edgevad[trt-check]'        x86-64 Linux, two wheels of 96 MB together
"""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgevad.errors import MissingExtraError, OptionError

__all__ = ["TIMEOUT_S", "TrtCheck", "check_with_tensorrt_rtx", "tensorrt_rtx_installed"]

# Our graphs take less than a second; one that takes minutes is stuck.
TIMEOUT_S = 300.0
_BINDINGS, _LIBRARIES = "tensorrt_rtx_bindings", "tensorrt_rtx_libs"
# It builds for 7.5 too, but has no matrix product in float32 there, which TensorRT itself has.
_BUILT_FOR = ("8.0", "8.6", "8.9", "12.0", "12.1")
_DEFAULT = "8.6"
# Nothing here has a driver, and TensorRT-RTX says so whenever anything else goes wrong.
_NOISE = "cudaError 35"
_MAX_MESSAGES = 20
_MAX_CHARACTERS = 300


@dataclass(frozen=True)
class TrtCheck:
    """What TensorRT-RTX said of a graph.

    Attributes:
        parsed: its parser takes the graph.
        built: it made an engine of it.
        version: of TensorRT-RTX, such as "1.7.1.116"; "" where it did not come that far.
        compute_capability: what was built for, such as "8.6".
        messages: its errors, a line each; ours where it died or gave no answer.
        seconds: how long both took, without starting.
        engine_bytes: size of the engine, which is not kept; 0 where there is none.
        crashed: it died or gave no answer in time, which says nothing about the graph.
    """

    parsed: bool
    built: bool
    version: str
    compute_capability: str
    messages: tuple[str, ...]
    seconds: float
    engine_bytes: int
    crashed: bool = False

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "messages": list(self.messages)}


def tensorrt_rtx_installed() -> bool:
    """The extra [trt-check] is there; nothing is loaded to find out."""
    return all(importlib.util.find_spec(name) is not None for name in (_BINDINGS, _LIBRARIES))


def check_with_tensorrt_rtx(
    onnx_bytes: bytes, *, compute_capability: str | None = None, timeout_s: float = TIMEOUT_S
) -> TrtCheck:
    """Parse and build a graph in a process of its own, which may die without taking us along.

    `compute_capability` is that of the target, such as "8.7"; None is taken for 8.6.

    Raises:
        MissingExtraError: TensorRT-RTX is not installed.
        OptionError: the compute capability is none.
    """
    if not tensorrt_rtx_installed():
        raise MissingExtraError(
            "tensorrt-rtx-cu13-bindings", extra="trt-check", needed_for="the offline check by TensorRT (x86-64 Linux)"
        )
    built_for = _nearest(compute_capability)
    with tempfile.TemporaryDirectory(prefix="edgevad-trt-") as folder:
        graph, result = Path(folder) / "graph.onnx", Path(folder) / "result.json"
        graph.write_bytes(onnx_bytes)
        worker = [sys.executable, "-m", "edgevad.export._trt_worker", str(graph), str(result)]
        try:
            done = subprocess.run(
                [*worker, "SM" + built_for.replace(".", "")],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
                cwd=folder,  # what lies where we were called from is not imported
            )
        except subprocess.TimeoutExpired:
            died: str | None = f"TensorRT-RTX gave no answer within {timeout_s:g} s and was ended"
        else:
            died = _death(done.returncode, done.stderr)
        said = _read(result)
    messages = [died] if died is not None else []
    messages += said.get("messages", [])
    return TrtCheck(
        parsed=bool(said.get("parsed", False)),
        built=bool(said.get("built", False)) and died is None,
        version=str(said.get("version", "")),
        compute_capability=built_for,
        messages=tuple(_lines(messages)),
        seconds=float(said.get("seconds", timeout_s if died else 0.0)),
        engine_bytes=int(said.get("engine_bytes", 0)),
        crashed=died is not None,
    )


def _nearest(compute_capability: str | None) -> str:
    """The nearest that TensorRT-RTX builds for: the newest up to this one, or one of the same family."""
    if compute_capability is None:
        return _DEFAULT
    try:
        wanted = _numbers(compute_capability)
    except ValueError:
        raise OptionError(f"compute capability {compute_capability!r}", expected="one such as 8.7") from None
    if (10, 0) <= wanted < (12, 0):  # Blackwell, like 12.0
        return "12.0"
    return max((text for text in _BUILT_FOR if _numbers(text) <= wanted), key=_numbers, default=_BUILT_FOR[0])


def _numbers(compute_capability: str) -> tuple[int, int]:
    major, _, minor = compute_capability.partition(".")
    return int(major), int(minor)


def _death(code: int, stderr: bytes) -> str | None:
    if code == 0:
        return None
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        return f"TensorRT-RTX died ({name})"
    lines = stderr.decode("utf-8", "replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "no word why")
    return f"TensorRT-RTX could not be asked (exit code {code}: {last.strip()})"


def _read(result: Path) -> dict[str, Any]:
    try:
        said = json.loads(result.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # it died before the first word, or in the middle of one
        return {}
    return said if isinstance(said, dict) else {}


def _lines(messages: list[str]) -> list[str]:
    """Each message on a line of its own, once, without the noise."""
    lines = []
    for message in messages:
        kept = " ".join(" ".join(line for line in message.split("\n") if _NOISE not in line).split())
        if kept and kept[:_MAX_CHARACTERS] not in lines:
            lines.append(kept[:_MAX_CHARACTERS])
    return lines[:_MAX_MESSAGES]

"""What of this machine an engine depends on, found without risk to the process that asks."""

from __future__ import annotations

import ctypes.util
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgevad.errors import BackendError, EngineError, MissingExtraError
from edgevad.runtime.engines.child import child_command

__all__ = ["PROBE_LIMIT_S", "Machine", "find_machine", "has_driver"]

# TensorRT takes seconds to load from a Jetson's card; what hangs longer hangs for good.
PROBE_LIMIT_S = 120.0
_ROOT = Path("/")
_DEVICES = ("dev/nvhost-gpu", "dev/nvgpu/igpu0", "dev/nvidiactl", "dev/nvidia0", "dev/dxg")
_NEEDED_FOR = "the TensorRT backend"


@dataclass(frozen=True)
class Machine:
    """What of this machine an engine depends on.

    Attributes:
        gpu: its name, such as "Orin" or "NVIDIA H100".
        compute_capability: such as "8.7".
        is_integrated: GPU and CPU share their memory, as on a Jetson.
        driver: version of the driver, or of L4T where a Jetson has no other.
        cuda: newest CUDA the driver runs, such as "12.6".
        tensorrt: version of TensorRT, such as "10.3.0".
        dla_cores: deep learning accelerators.
        power_mode: number of the Jetson's power mode, "none" elsewhere.
    """

    gpu: str
    compute_capability: str
    is_integrated: bool
    driver: str
    cuda: str
    tensorrt: str
    dla_cores: int = 0
    power_mode: str = "none"


def has_driver(root: Path = _ROOT) -> bool:
    """There are signs of an NVIDIA driver: a device file, its library, or its tool."""
    if any((root / name).exists() for name in _DEVICES):
        return True
    return ctypes.util.find_library("cuda") is not None or shutil.which("nvidia-smi") is not None


def find_machine(*, limit_s: float = PROBE_LIMIT_S, root: Path = _ROOT) -> Machine:
    """Look for the driver, then let another process look for GPU, TensorRT and pycuda.

    Raises:
        EngineError: there is no driver, no GPU, or no TensorRT that works; the message lists the likely causes.
        BackendError: pycuda is there and does not work.
        MissingExtraError: pycuda is not installed.
    """
    if not has_driver(root):
        raise EngineError(
            "there is no NVIDIA driver on this machine",
            expected="libcuda.so.1, nvidia-smi or a device file such as /dev/nvidia0 or /dev/nvhost-gpu",
            fix="Likely causes: (1) it has no NVIDIA GPU: --backend onnxruntime scores on the CPU, or export for "
            "target cpu; (2) the driver is not installed; (3) a container started without the GPU: --gpus all, on a "
            "Jetson --runtime nvidia",
        )
    facts = _probe(limit_s)
    return Machine(
        gpu=str(facts["name"]),
        compute_capability=str(facts["compute_capability"]),
        is_integrated=bool(facts["is_integrated"]),
        driver=driver_version(root) or f"for CUDA {facts['cuda']}",
        cuda=str(facts["cuda"]),
        tensorrt=str(facts["tensorrt"]),
        dla_cores=int(facts["dla_cores"]),
        power_mode=power_mode(root),
    )


def driver_version(root: Path = _ROOT) -> str | None:
    """Version of the driver, such as "550.54.14", or of L4T, such as "L4T 36.4.0"; None where neither is told."""
    for name, pattern, label in (
        ("proc/driver/nvidia/version", r"NVRM version:.*?\s(\d+\.\d+(?:\.\d+)?)\s", ""),
        ("sys/module/nvidia/version", r"^(\d+\.\d+(?:\.\d+)?)\s*$", ""),
        ("etc/nv_tegra_release", r"R(\d+) \(release\), REVISION: ([\d.]+)", "L4T "),
    ):
        found = re.search(pattern, _text(root / name), re.MULTILINE)
        if found is not None:
            return label + ".".join(found.groups())
    return None


def power_mode(root: Path = _ROOT) -> str:
    """Number of a Jetson's power mode, as nvpmodel keeps it, "none" where there is none."""
    found = re.search(r"pmode:0*(\d+)", _text(root / "var/lib/nvpmodel/status"))
    return "none" if found is None else found.group(1)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _probe(limit_s: float) -> dict[str, Any]:
    command = child_command("edgevad.runtime.engines.probe")
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=limit_s, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        facts = _last(output.decode(errors="replace") if isinstance(output, bytes) else output)
        raise EngineError(
            f"looking for the {_thing(facts)} took longer than {limit_s:g} s",
            fix="Likely causes: (1) the GPU hangs: restart the machine; (2) the driver and its library are of two "
            "versions: restart after an update",
        ) from error
    except OSError as error:
        raise EngineError(f"another process could not be started to look for the GPU ({error})") from error
    facts = _last(done.stdout)
    if done.returncode < 0:
        raise EngineError(
            f"looking for the {_thing(facts)} ended with signal {-done.returncode}",
            fix="Likely causes: (1) TensorRT and the driver do not fit each other: compare TensorRT's CUDA version "
            "with that in nvidia-smi; (2) two TensorRT installations are mixed: see pip list and dpkg -l '*nvinfer*'",
        )
    if facts.get("step") != "done":
        raise _failure(facts, done.stderr)
    return facts


def _last(output: str) -> dict[str, Any]:
    """The last line of the probe that can be read: libraries may print between its lines."""
    for line in reversed(output.splitlines()):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and "step" in value:
            return value
    return {}


def _thing(facts: dict[str, Any]) -> str:
    return {"tensorrt": "TensorRT library", "builder": "TensorRT builder", "memory": "package pycuda"}.get(
        str(facts.get("step")), "GPU"
    )


def _failure(facts: dict[str, Any], stderr: str) -> Exception:
    step, missing = facts.get("step"), facts.get("missing")
    text = facts.get("error") or (stderr.strip().splitlines() or ["it does not say why"])[-1]
    if step == "gpu":
        return EngineError(
            f"the NVIDIA driver shows no GPU that can be used ({text})",
            fix="Likely causes: (1) CUDA_VISIBLE_DEVICES hides it; (2) the driver was updated and the machine not "
            "restarted; (3) a container started without the GPU; (4) this user may not open /dev/nvidia*, on a Jetson: "
            "sudo usermod -aG video,render $USER",
        )
    if step == "tensorrt":
        return _no_tensorrt(text, missing)
    if step == "memory" and missing in ("pycuda", "pycuda.driver"):
        return MissingExtraError("pycuda", extra="tensorrt", needed_for=_NEEDED_FOR)
    if step == "memory":
        return BackendError(
            f"pycuda cannot be loaded ({text})",
            fix="Build it against the CUDA that is installed: pip install --force-reinstall --no-binary :all: pycuda",
        )
    return EngineError(
        f"TensorRT {facts.get('tensorrt', '')} does not start ({text})",
        fix="Likely causes: (1) it is older than 8.6; (2) it was made for another CUDA than the driver runs "
        f"({facts.get('cuda', 'unknown')}); (3) the GPU's memory is full",
    )


def _no_tensorrt(text: str, missing: Any) -> EngineError:
    in_venv = sys.prefix != sys.base_prefix
    causes = [
        "on a Jetson it comes with JetPack (sudo apt install python3-libnvinfer) for the system's Python"
        + (": this environment needs --system-site-packages" if in_venv else ""),
        "PyPI's package of that name may be a stub without libraries: pip install tensorrt --extra-index-url "
        "https://pypi.nvidia.com",
        f"it was made for another Python than {sys.version_info.major}.{sys.version_info.minor}",
    ]
    listed = "; ".join(f"({k}) {cause}" for k, cause in enumerate(causes, 1))
    what = "is not installed for this Python" if missing == "tensorrt" else f"cannot be loaded ({text})"
    return EngineError(f"TensorRT {what}", fix=f"Likely causes: {listed}")

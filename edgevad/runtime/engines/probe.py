"""What GPU and which TensorRT this machine has; run in a process of its own, since either may take that down.

Prints a JSON line before every step, with what was found until then, and a last one with "done": where the process
dies, its last line tells in which step.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from edgevad.errors import EdgevadError

__all__ = ["main"]


def _gpu(facts: dict[str, Any]) -> dict[str, Any]:
    from edgevad.runtime.engines.cuda_driver import CudaDriver

    return asdict(CudaDriver().facts())


def _tensorrt(facts: dict[str, Any]) -> dict[str, Any]:
    module = importlib.import_module("tensorrt")
    # PyPI's package of that name may hold an installer and no library.
    return {"tensorrt": str(module.__version__), "tensorrt_file": str(module.__file__)}


def _builder(facts: dict[str, Any]) -> dict[str, Any]:
    from edgevad.runtime.engines.tensorrt_api import TensorRtApi

    return {"dla_cores": TensorRtApi(importlib.import_module("tensorrt")).dla_cores()}


def _memory(facts: dict[str, Any]) -> dict[str, Any]:
    importlib.import_module("pycuda.driver")
    return {"pycuda": ".".join(str(part) for part in importlib.import_module("pycuda").VERSION)}


STEPS: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "gpu": _gpu,
    "tensorrt": _tensorrt,
    "builder": _builder,
    "memory": _memory,
}


def main() -> int:
    facts: dict[str, Any] = {}
    for step, find in STEPS.items():
        print(json.dumps({**facts, "step": step}), flush=True)
        try:
            facts.update(find(facts))
        except Exception as error:
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            text = error.what if isinstance(error, EdgevadError) else f"{type(error).__name__}: {error}"
            failure = {"step": step, "error": " ".join(text.split())[:500], "missing": missing}
            print(json.dumps({**facts, **failure}), flush=True)
            return 1
    print(json.dumps({**facts, "step": "done"}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

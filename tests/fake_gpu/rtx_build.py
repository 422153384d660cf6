"""`python -m fake_gpu.rtx_build GRAPH`: our way to build, with the builder of TensorRT-RTX, which needs no GPU.

TensorRT-RTX has the API of TensorRT 11, and numbers of its own. It builds for a compute capability that is told it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import tensorrt_rtx_bindings as rtx

from edgevad.errors import GraphError
from edgevad.runtime.engines.options import BuildStep, EngineOptions
from edgevad.runtime.engines.tensorrt_api import TensorRtApi


class AsTensorRt11:
    __version__ = "11.4.0"

    def __getattr__(self, name: str) -> Any:
        return getattr(rtx, name)


class Api(TensorRtApi):
    def _configure(self, builder: Any, network: Any, config: Any, options: EngineOptions) -> None:
        super()._configure(builder, network, config, options)
        config.num_compute_capabilities = 1
        config.set_compute_capability(rtx.ComputeCapability.SM86, 0)


def main() -> None:
    graph = Path(sys.argv[1]).read_bytes()
    api, steps = Api(AsTensorRt11()), list[BuildStep]()
    plan, timing = api.build(graph, EngineOptions(workspace_mib=512), progress=steps.append)
    found: dict[str, Any] = {"plan": len(plan), "timing": len(timing)}
    found["phases"] = sorted({step.phase for step in steps if step.parent is None})
    found["parts"] = len({step.phase for step in steps if step.parent is not None})
    for name, known in (("again", timing), ("damaged", b"nothing TensorRT ever wrote")):
        plan, timing = api.build(graph, EngineOptions(refittable=False), timing=known)
        found[name] = [len(plan), len(timing)]

    def stop(step: BuildStep) -> None:
        if step.done:
            raise InterruptedError(step.phase)

    try:
        api.build(graph, EngineOptions(), progress=stop)
    except InterruptedError as error:
        found["stopped"] = str(error)
    try:
        api.build(b"\xffno graph", EngineOptions())
    except GraphError as error:
        found["refused"] = str(error)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

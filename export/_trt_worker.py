"""The process that TensorRT-RTX runs in, for `edgevad.export.trt_check`: GRAPH RESULT SM, and nothing of edgevad's.

It says in RESULT, a JSON file, how far it came, before every step that native code may die in.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["main"]


def main(graph: str, result: str, sm: str) -> None:
    """Parse the ONNX file `graph`, build it for `sm` (such as "SM86"), and write what happened to the file `result`."""
    import tensorrt_rtx_bindings as trt

    messages: list[str] = []

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                messages.append(message)

    state: dict[str, Any] = {"version": trt.__version__, "parsed": False, "built": False, "engine_bytes": 0}
    started = time.monotonic()

    def say(**news: Any) -> None:
        state.update(news, messages=messages, seconds=time.monotonic() - started)
        Path(result).write_text(json.dumps(state), encoding="utf-8")

    say()
    logger = Logger()
    builder = trt.Builder(logger)
    # Every network of TensorRT-RTX is strongly typed: what the graph says is what is computed.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    parsed = bool(parser.parse(Path(graph).read_bytes()))
    # The parser's own list is shorter and clearer than what it logs on the way.
    messages[:] = [str(parser.get_error(k).desc()) for k in range(parser.num_errors)] or messages
    say(parsed=parsed)
    if not parsed:
        return
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, sm), 0)
    plan = builder.build_serialized_network(network, config)
    say(built=plan is not None, engine_bytes=0 if plan is None else int(plan.nbytes))


if __name__ == "__main__":
    main(*sys.argv[1:])

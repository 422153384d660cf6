"""From ONNX to a TensorRT engine, in the process that asks: it loads TensorRT and needs the GPU.

An engine runs on the kind of GPU, and with the version of TensorRT, that it was built with; so the machine that runs it
builds it, and neither torch nor a model is needed for that. `edgevad.runtime.engines.build_engine` does the same in a
process of its own, which may run out of memory or crash without harm to a caller.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from edgevad._extras import require
from edgevad.errors import OutputError
from edgevad.runtime.engines.options import BuildProgress, BuildStep, EngineOptions
from edgevad.runtime.engines.tensorrt_api import TensorRtApi
from edgevad.runtime.engines.timing import read_timing, write_timing

__all__ = ["engine_from_onnx", "refit_engine"]


def engine_from_onnx(
    graph: bytes,
    *,
    options: EngineOptions,
    timing_path: Path | None = None,
    progress: BuildProgress | None = None,
) -> bytes:
    """Build a TensorRT engine for the GPU of this machine and serialise it.

    Look for the machine first (`edgevad.runtime.engines.machine.find_machine`): without a driver TensorRT 8.6 takes the
    process down.

    Args:
        graph: ONNX of fixed shapes, in the precision that `options` names.
        timing_path: file of measurements that earlier builds left and this one adds to; None: everything is measured.
        progress: told how far it is. An exception from it ends the build.

    Raises:
        MissingExtraError: TensorRT is not installed.
        GraphError: TensorRT's parser refuses the graph, or a shape in it is not fixed.
        EngineError: the engine cannot be built.
    """
    api = TensorRtApi(require("tensorrt", extra="tensorrt", needed_for="building an engine"))
    timing = b"" if timing_path is None else read_timing(timing_path)
    if progress is not None:
        progress(BuildStep("reading the graph"))
    engine, measured = api.build(graph, options, timing=timing, progress=progress)
    if timing_path is not None and measured and measured != timing:
        with suppress(OutputError):  # a full disk costs the next build some minutes, not this one its engine
            write_timing(timing_path, measured)
    return engine


def refit_engine(engine: bytes, graph: bytes) -> bytes:
    """The same engine with the weights of `graph`, without a rebuild.

    Only where the structure is the same, and the engine was built with `EngineOptions.refittable` by a TensorRT that
    can refit from ONNX: 10.0 or newer.

    Raises:
        MissingExtraError: TensorRT is not installed.
        EngineError: this TensorRT cannot, the engine was not built for it, or the weights do not fit.
    """
    api = TensorRtApi(require("tensorrt", extra="tensorrt", needed_for="refitting an engine"))
    return api.refit(engine, graph)

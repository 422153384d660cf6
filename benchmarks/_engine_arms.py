"""What `benchmarks.engine` times: the backend, the engine without it, and others on the same GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad._extras import require
from edgevad.bundle import Bundle
from edgevad.runtime.backends.backend import Backend
from edgevad.runtime.backends.pycuda_memory import PycudaMemory
from edgevad.runtime.engines.tensorrt_api import TensorRtApi

__all__ = ["Arm", "BareEngine", "Input", "backend_arm", "onnxruntime_arm", "torch_arms"]

# Frames (1, h, w, 3) uint8 and motion (1, h, w, M) float32 or None.
Input = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32] | None]
# Runs an inference for each input of a list and returns the seconds each took.
Arm = Callable[[], npt.NDArray[np.float64]]


def timed(calls: Sequence[Callable[[], object]]) -> npt.NDArray[np.float64]:
    """Seconds of each call."""
    marks = [time.perf_counter()]
    for call in calls:
        call()
        marks.append(time.perf_counter())
    return np.diff(np.array(marks))


def backend_arm(backend: Backend, inputs: Sequence[Input]) -> Arm:
    """`Backend.score`, as the pipeline calls it."""
    return lambda: timed([lambda item=item: backend.score(*item) for item in inputs])  # type: ignore[misc]


class BareEngine:
    """The engine with buffers of its own and nothing else: no copies, no other thread, no checks."""

    def __init__(self, plan: bytes, *, graph: bool) -> None:
        tensorrt = require("tensorrt", extra="tensorrt", needed_for="benchmarks.engine")
        self._memory = PycudaMemory()
        with ExitStack() as undo:
            undo.callback(self._memory.close)
            self._engine = TensorRtApi(tensorrt).load(plan)
            self._stream: Any = self._memory.stream()
            for tensor in self._engine.tensors:
                address = self._memory.allocate(tensor.nbytes)
                buffer = self._memory.pinned(tensor.shape, tensor.dtype, mapped=False)
                buffer.host[...] = 1
                self._memory.copy_to_device(address, buffer.host, self._stream)
                self._engine.bind(tensor.name, address)
            self._enqueue()
            self._stream.synchronize()
            self._graph: Any = self._memory.capture(self._stream, self._enqueue) if graph else None
            undo.pop_all()

    def arm(self, count: int) -> Arm:
        return lambda: timed([self._run] * count)

    def close(self) -> None:
        if self._graph is not None:
            self._graph.close()
        self._engine.close()
        self._graph = self._stream = None
        self._memory.close()

    def _enqueue(self) -> None:
        self._engine.enqueue(self._stream.handle)

    def _run(self) -> None:
        if self._graph is None:
            self._enqueue()
        else:
            self._graph.launch(self._stream.handle)
        self._stream.synchronize()


def onnxruntime_arm(bundle: Bundle, inputs: Sequence[Input]) -> Arm | str:
    """ONNX Runtime's fp32 on the same GPU, or why it cannot be measured."""
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "ONNX Runtime on the GPU: this onnxruntime has no CUDAExecutionProvider"
    session = onnxruntime.InferenceSession(bundle.graph("fp32"), providers=["CUDAExecutionProvider"])
    bank = bundle.bank()
    names = [value.name for value in session.get_inputs()]

    def call(frames: npt.NDArray[np.uint8], motion: npt.NDArray[np.float32] | None) -> None:
        given = {"frames": frames, "motion": motion, "bank": bank}
        session.run(None, {name: given[name] for name in names})

    return lambda: timed([lambda item=item: call(*item) for item in inputs])  # type: ignore[misc]


def torch_arms(model: Path | None, inputs: Sequence[Input]) -> dict[str, Arm] | str:
    """torch eager and torch.compile on the same GPU, or why they cannot be measured."""
    if model is None:
        return "torch: no --model was given"
    import torch

    from edgevad.model.folder import ModelFolder
    from edgevad.model.scorer import load_module

    if not torch.cuda.is_available():
        return "torch: this torch sees no GPU"
    folder = ModelFolder(model)
    module = load_module(folder).cuda().eval()
    remembered = [] if module.memory is None else [torch.from_numpy(folder.read_bank()).cuda()]

    def arm(run: Any) -> Arm:
        def call(frames: npt.NDArray[np.uint8], motion: npt.NDArray[np.float32] | None) -> None:
            given = [frames] if motion is None else [frames, motion]
            with torch.no_grad():
                for out in run(*(torch.from_numpy(array).cuda() for array in given), *remembered):
                    out.cpu()  # waits for the GPU

        return lambda: timed([lambda item=item: call(*item) for item in inputs])  # type: ignore[misc]

    return {"torch eager": arm(module), "torch.compile": arm(torch.compile(module))}

"""The part of a CUDA driver that does bookkeeping: contexts by thread, memory by address, streams that run late."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

FIRST_ADDRESS = 0x7F0000000000


class CudaError(Exception):
    """pycuda's Error; its text begins like the driver's names."""


class Gpu:
    """One simulated GPU and what has been done with it in this process."""

    def __init__(self) -> None:
        self.reset()

    def reset(self, *, integrated: bool = False) -> None:
        self.integrated = integrated
        self.contexts: dict[int, list[object]] = {}
        self.threads: set[int] = set()
        self.memory: dict[int, np.ndarray] = {}
        self.streams: dict[int, Stream] = {}
        self.next_address = FIRST_ADDRESS
        self.calls: list[str] = []
        self.fail: dict[str, str] = {}  # name of a call -> text of the error it raises, once
        self.can_capture = True
        self.graph_is_wrong = False
        self.graphs = 0

    def call(self, name: str) -> None:
        """Every call goes through here: it needs a context in its thread, and may be made to fail."""
        if not self.contexts.get(threading.get_ident()):
            raise CudaError(f"{name} failed: invalid device context")
        self.threads.add(threading.get_ident())
        self.calls.append(name)
        if name in self.fail:
            raise CudaError(f"{name} failed: {self.fail.pop(name)}")

    def primary_context(self) -> None:
        """As CUDA's runtime, which TensorRT uses, does: where nobody deals in contexts, it makes one itself."""
        if "pycuda.driver" not in sys.modules and not self.contexts:
            self.push("primary")

    def push(self, context: object) -> None:
        self.contexts.setdefault(threading.get_ident(), []).append(context)

    def pop(self) -> None:
        self.call("cuCtxPopCurrent")
        self.contexts[threading.get_ident()].pop()

    def place(self, data: np.ndarray) -> int:
        address = self.next_address
        self.memory[address] = data.view(np.uint8).reshape(-1)
        self.next_address += (data.nbytes + 511) // 512 * 512
        return address

    def at(self, address: int, nbytes: int) -> np.ndarray:
        if address not in self.memory or self.memory[address].nbytes < nbytes:
            raise CudaError("cuMemcpy failed: an illegal memory access was encountered")
        return self.memory[address][:nbytes]


class Stream:
    """What is put in runs when somebody waits, as late as CUDA may."""

    def __init__(self, gpu: Gpu) -> None:
        gpu.call("cuStreamCreate")
        self._gpu = gpu
        self.handle = 1000 + len(gpu.streams)
        self.work: list[Callable[[], None]] = []
        self.captured: list[Callable[[], None]] | None = None
        gpu.streams[self.handle] = self

    def put(self, work: Callable[[], None]) -> None:
        (self.work if self.captured is None else self.captured).append(work)

    def synchronize(self) -> None:
        self._gpu.call("cuStreamSynchronize")
        if self.captured is not None:
            raise CudaError("cuStreamSynchronize failed: operation not permitted when stream is capturing")
        work, self.work = self.work, []
        for one in work:
            one()


class Library:
    """libcuda.so.1 as ctypes would give it: functions that take pointers and return an error's number."""

    def __init__(self, gpu: Gpu) -> None:
        graphs: dict[int, list[Callable[[], None]]] = {}

        def begin(stream: int, mode: int) -> int:
            gpu.call("cuStreamBeginCapture_v2")
            if not gpu.can_capture:
                return 900
            gpu.streams[stream].captured = []
            return 0

        def end(stream: int, graph: Any) -> int:
            gpu.call("cuStreamEndCapture")
            captured, gpu.streams[stream].captured = gpu.streams[stream].captured, None
            assert captured is not None
            graphs[len(graphs) + 1] = captured
            graph._obj.value = len(graphs)
            return 0

        def instantiate(executable: Any, graph: Any, flags: int) -> int:
            gpu.call("cuGraphInstantiateWithFlags")
            executable._obj.value = graph.value
            gpu.graphs += 1
            return 0

        def launch(executable: Any, stream: int) -> int:
            gpu.call("cuGraphLaunch")
            work = graphs[executable.value]
            for one in work[:-1] if gpu.graph_is_wrong else work:
                gpu.streams[stream].put(one)
            return 0

        def destroy_executable(executable: Any) -> int:
            gpu.call("cuGraphExecDestroy")
            gpu.graphs -= 1
            return 0

        def name(code: int, text: Any) -> int:
            text._obj.value = {900: b"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"}.get(code)
            return 0

        self.cuStreamBeginCapture_v2 = begin
        self.cuStreamEndCapture = end
        self.cuGraphInstantiateWithFlags = instantiate
        self.cuGraphLaunch = launch
        self.cuGraphExecDestroy = destroy_executable
        self.cuGraphDestroy = lambda graph: 0
        self.cuGetErrorName = name


GPU = Gpu()

"""Device memory through pycuda; graphs, which it does not know, through the driver library itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad._extras import require
from edgevad.runtime.backends.device_memory import Event, Graph, PinnedArray, Stream
from edgevad.runtime.engines.cuda_driver import CudaDriver

__all__ = ["PycudaMemory"]


class PycudaMemory:
    """Memory of the first GPU that CUDA shows, in its primary context: TensorRT uses that one, too.

    Belongs to the thread that makes it. An attribute and methods as `DeviceMemory` says.

    Raises:
        MissingExtraError: pycuda is not installed.
    """

    def __init__(self) -> None:
        cuda: Any = require("pycuda.driver", extra="tensorrt", needed_for="the TensorRT backend")
        cuda.init()
        device = cuda.Device(0)
        self._cuda = cuda
        self._allocations: list[Any] = []
        self._context: Any = device.retain_primary_context()
        self._context.push()
        try:
            self.is_integrated = bool(device.get_attribute(cuda.device_attribute.INTEGRATED))
        except BaseException:
            self.close()
            raise

    def allocate(self, nbytes: int) -> int:
        allocation = self._cuda.mem_alloc(max(nbytes, 1))
        self._allocations.append(allocation)
        return int(allocation)

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any], *, mapped: bool) -> PinnedArray:
        flags = self._cuda.host_alloc_flags.DEVICEMAP if mapped else 0
        array = self._cuda.pagelocked_empty(shape, dtype, mem_flags=flags)
        self._allocations.append(array.base)  # has a `free`, too
        return PinnedArray(array, int(array.base.get_device_pointer()) if mapped else None)

    def stream(self) -> Stream:
        stream: Stream = self._cuda.Stream()
        return stream

    def event(self) -> Event:
        event: Event = self._cuda.Event()
        return event

    def copy_to_device(self, address: int, host: npt.NDArray[Any], stream: Stream) -> None:
        self._cuda.memcpy_htod_async(address, host, stream)

    def copy_to_host(self, host: npt.NDArray[Any], address: int, stream: Stream) -> None:
        self._cuda.memcpy_dtoh_async(host, address, stream)

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph:
        return CudaDriver().capture(stream.handle, enqueue)

    def close(self) -> None:
        context, self._context = self._context, None
        if context is None:
            return
        allocations, self._allocations = self._allocations, []
        try:
            # Not left to the garbage collector, which may run when this thread and its context are gone.
            for allocation in allocations:
                allocation.free()
        finally:
            # In the order of pycuda's own autoprimaryctx: off this thread's stack, and then nobody's.
            context.pop()

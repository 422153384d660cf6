"""pycuda.driver, with the names that pycuda's src/wrapper/wrap_cudadrv.cpp gives it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fake_gpu.cuda import GPU, CudaError
from fake_gpu.cuda import Stream as _Stream

Error = CudaError
Stream = lambda: _Stream(GPU)  # noqa: E731 - a class there, called like one here


def init(flags: int = 0) -> None:
    pass


class device_attribute:  # noqa: N801
    INTEGRATED = 18


class host_alloc_flags:  # noqa: N801
    PORTABLE, DEVICEMAP, WRITECOMBINED = 1, 2, 4


class Context:
    def push(self) -> None:
        GPU.push(self)

    @staticmethod
    def pop() -> None:
        GPU.pop()

    def detach(self) -> None:
        pass


class Device:
    def __init__(self, number: int) -> None:
        assert number == 0

    def retain_primary_context(self) -> Context:
        return Context()

    def get_attribute(self, attribute: int) -> int:
        return int(GPU.integrated) if attribute == device_attribute.INTEGRATED else 0


class DeviceAllocation:
    def __init__(self, nbytes: int) -> None:
        GPU.call("cuMemAlloc")
        self._address = GPU.place(np.zeros(nbytes, np.uint8))

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        GPU.call("cuMemFree")
        del GPU.memory[self._address]


def mem_alloc(nbytes: int) -> DeviceAllocation:
    return DeviceAllocation(nbytes)


class PagelockedHostAllocation:
    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], flags: int) -> None:
        GPU.call("cuMemHostAlloc")
        self._data = np.zeros(shape, dtype)
        self._flags, self._address = flags, 0
        self.__array_interface__ = self._data.__array_interface__

    def get_device_pointer(self) -> int:
        if not self._flags & host_alloc_flags.DEVICEMAP:
            raise CudaError("cuMemHostGetDevicePointer failed: invalid argument")
        self._address = GPU.place(self._data)
        return self._address

    def free(self) -> None:
        GPU.call("cuMemFreeHost")
        GPU.memory.pop(self._address, None)


def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> np.ndarray:
    return np.asarray(PagelockedHostAllocation(shape, dtype, mem_flags))


def _pinned(array: np.ndarray) -> None:
    if not isinstance(array.base, PagelockedHostAllocation):
        raise AssertionError("asynchronous copy of memory that is not pinned")


def memcpy_htod_async(dest: int, src: np.ndarray, stream: _Stream) -> None:
    GPU.call("cuMemcpyHtoDAsync")
    _pinned(src)

    def copy() -> None:
        GPU.at(dest, src.nbytes)[:] = src.view(np.uint8).reshape(-1)

    stream.put(copy)


def memcpy_dtoh_async(dest: np.ndarray, src: int, stream: _Stream) -> None:
    GPU.call("cuMemcpyDtoHAsync")
    _pinned(dest)

    def copy() -> None:
        dest.view(np.uint8).reshape(-1)[:] = GPU.at(src, dest.nbytes)

    stream.put(copy)


class Event:
    def __init__(self, flags: int = 0) -> None:
        GPU.call("cuEventCreate")
        self._at_s = 0.0

    def record(self, stream: _Stream | None = None) -> Event:
        import time

        GPU.call("cuEventRecord")
        assert stream is not None

        def mark() -> None:
            self._at_s = time.perf_counter()

        stream.put(mark)
        return self

    def synchronize(self) -> Event:
        GPU.call("cuEventSynchronize")
        return self

    def time_till(self, event: Event) -> float:
        return 1e3 * (event._at_s - self._at_s)

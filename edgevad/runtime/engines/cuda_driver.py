"""The few functions of CUDA's driver library that no Python package we use has: what GPU there is, and graphs.

Called through ctypes with declared arguments. Nothing is imported, nothing is compiled, and without a driver the
library is simply not there.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import POINTER, byref, c_char_p, c_int, c_uint, c_ulonglong, c_void_p
from dataclasses import dataclass
from typing import Any

__all__ = ["CudaDriver", "CudaDriverError", "CudaGraph", "GpuFacts"]

LIBRARY = "libcuda.so.1"

# enum CUdevice_attribute and CUstreamCaptureMode of cuda.h
_INTEGRATED, _CAPABILITY_MAJOR, _CAPABILITY_MINOR = 18, 75, 76
_CAPTURE_THREAD_LOCAL = 1  # what other threads do meanwhile is their own affair

_SIGNATURES: dict[str, list[Any]] = {
    "cuInit": [c_uint],
    "cuDriverGetVersion": [POINTER(c_int)],
    "cuDeviceGetCount": [POINTER(c_int)],
    "cuDeviceGet": [POINTER(c_int), c_int],
    "cuDeviceGetName": [c_char_p, c_int, c_int],
    "cuDeviceGetAttribute": [POINTER(c_int), c_int, c_int],
    "cuGetErrorName": [c_int, POINTER(c_char_p)],
    "cuStreamBeginCapture_v2": [c_void_p, c_int],
    "cuStreamEndCapture": [c_void_p, POINTER(c_void_p)],
    "cuGraphInstantiateWithFlags": [POINTER(c_void_p), c_void_p, c_ulonglong],  # since CUDA 11.4
    "cuGraphLaunch": [c_void_p, c_void_p],
    "cuGraphExecDestroy": [c_void_p],
    "cuGraphDestroy": [c_void_p],
}


class CudaDriverError(Exception):
    """The driver's library is not there, lacks a function, or one of its functions failed."""


@dataclass(frozen=True)
class GpuFacts:
    """The first GPU that CUDA shows, and the newest CUDA (such as "12.6") that its driver runs."""

    name: str
    compute_capability: str
    is_integrated: bool
    cuda: str


class CudaDriver:
    """CUDA's driver library. Raises CudaDriverError where it is not there."""

    def __init__(self) -> None:
        try:
            self._library = _load()
        except OSError as error:
            raise CudaDriverError(str(error)) from error

    def facts(self) -> GpuFacts:
        """Raises CudaDriverError where there is no GPU that can be used."""
        self._call("cuInit", 0)
        version, count, device = c_int(), c_int(), c_int()
        self._call("cuDriverGetVersion", byref(version))
        self._call("cuDeviceGetCount", byref(count))
        if count.value < 1:
            raise CudaDriverError("it shows no GPU")
        self._call("cuDeviceGet", byref(device), 0)
        name = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", name, len(name), device.value)
        values = []
        for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR, _INTEGRATED):
            value = c_int()
            self._call("cuDeviceGetAttribute", byref(value), attribute, device.value)
            values.append(value.value)
        major, minor, integrated = values
        text = name.value.decode("utf-8", "replace").strip()
        cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
        return GpuFacts(text, f"{major}.{minor}", bool(integrated), cuda)

    def capture(self, stream_handle: int, enqueue: Callable[[], None]) -> CudaGraph:
        """What `enqueue` puts into the stream, as a graph; it is not run meanwhile.

        Raises CudaDriverError, or whatever `enqueue` raised; the stream can be used as before in either case.
        """
        graph, executable = c_void_p(), c_void_p()
        self._call("cuStreamBeginCapture_v2", stream_handle, _CAPTURE_THREAD_LOCAL)
        try:
            enqueue()
        except BaseException:
            self._function("cuStreamEndCapture")(stream_handle, byref(graph))
            if graph.value:
                self._function("cuGraphDestroy")(graph)
            raise
        self._call("cuStreamEndCapture", stream_handle, byref(graph))
        if not graph.value:
            raise CudaDriverError("nothing was captured")
        try:
            self._call("cuGraphInstantiateWithFlags", byref(executable), graph, 0)
        finally:
            self._function("cuGraphDestroy")(graph)
        return CudaGraph(self, executable)

    def _function(self, name: str) -> Any:
        try:
            function = getattr(self._library, name)
        except AttributeError as error:
            raise CudaDriverError(f"the driver has no {name}: it is older than CUDA 11.4") from error
        function.argtypes, function.restype = _SIGNATURES[name], c_int
        return function

    def _call(self, name: str, *arguments: Any) -> None:
        code = int(self._function(name)(*arguments))
        if code:
            text = c_char_p()
            self._function("cuGetErrorName")(code, byref(text))
            raise CudaDriverError(f"{name}: {text.value.decode() if text.value else f'error {code}'}")


def _load() -> Any:
    return ctypes.CDLL(LIBRARY)


class CudaGraph:
    """A captured piece of work; belongs to the CUDA context it was captured in."""

    def __init__(self, driver: CudaDriver, executable: c_void_p) -> None:
        self._driver, self._executable = driver, executable

    def launch(self, stream_handle: int) -> None:
        """Put all of it into the stream. Raises CudaDriverError."""
        self._driver._call("cuGraphLaunch", self._executable, stream_handle)

    def close(self) -> None:
        """May be called twice."""
        if self._executable.value:
            self._driver._call("cuGraphExecDestroy", self._executable)
            self._executable = c_void_p()

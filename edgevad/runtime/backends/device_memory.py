"""What a backend on a GPU needs of CUDA beside its engine: memory, copies, a stream, events, graphs.

`PycudaMemory` is made of pycuda; another package would be another class of this shape. Every object belongs to the
thread that made the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["DeviceMemory", "Event", "Graph", "PinnedArray", "Stream"]


@dataclass(frozen=True)
class PinnedArray:
    """Host memory that the GPU can read while the CPU does something else.

    Attributes:
        host: the array.
        address: where the GPU sees the very same memory; None where it has to be copied.
    """

    host: npt.NDArray[Any]
    address: int | None


class Stream(Protocol):
    """A queue of work on the GPU; `handle` is the CUstream as a number."""

    @property
    def handle(self) -> int: ...

    def synchronize(self) -> None:
        """Wait until all of it is done; raises where any of it failed."""
        ...


class Event(Protocol):
    """A mark in a stream."""

    def record(self, stream: Any) -> object: ...

    def synchronize(self) -> object: ...

    def time_till(self, later: Any) -> float:
        """Milliseconds on the GPU between this mark and `later`, both of them passed."""
        ...


class Graph(Protocol):
    """Captured work that is put into a stream in one call."""

    def launch(self, stream_handle: int) -> None: ...

    def close(self) -> None: ...


class DeviceMemory(Protocol):
    """Memory of one GPU.

    Attributes:
        is_integrated: GPU and CPU share one memory, so that a copy between them is a waste.
    """

    is_integrated: bool

    def allocate(self, nbytes: int) -> int:
        """Address of `nbytes` on the device, theirs until `close`."""
        ...

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any], *, mapped: bool) -> PinnedArray:
        """Host memory for copies, until `close`; `mapped`: seen by the GPU as it is."""
        ...

    def stream(self) -> Stream:
        """A stream of its own, not the default one, which waits for everybody."""
        ...

    def event(self) -> Event: ...

    def copy_to_device(self, address: int, host: npt.NDArray[Any], stream: Stream) -> None:
        """Put a copy into the stream; `host` must be pinned and stay as it is until it is done."""
        ...

    def copy_to_host(self, host: npt.NDArray[Any], address: int, stream: Stream) -> None:
        """Put a copy into the stream; `host` must be pinned."""
        ...

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph:
        """What `enqueue` puts into the stream, as a graph. Raises where it cannot be captured."""
        ...

    def close(self) -> None:
        """Release all of it, and the CUDA context. May be called twice."""
        ...

"""A TensorRT engine that is ready to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgevad.errors import EngineError

__all__ = ["EngineTensor", "LoadedEngine"]


@dataclass(frozen=True)
class EngineTensor:
    """An input or output of an engine; `shape` is fixed."""

    name: str
    is_input: bool
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


class LoadedEngine:
    """An engine with its execution context; belongs to the thread that loaded it.

    Attributes:
        tensors: its inputs and outputs.
        memory_bytes: what it needs on the device for what lies between them.
        refittable: it was built so that its weights can be replaced.
    """

    def __init__(
        self, tensors: tuple[EngineTensor, ...], memory_bytes: int, runtime: Any, engine: Any, context: Any
    ) -> None:
        self.tensors = tensors
        self.memory_bytes = memory_bytes
        self.refittable = bool(engine.refittable)
        self._runtime, self._engine, self._context = runtime, engine, context

    def bind(self, name: str, address: int) -> None:
        """Let the tensor `name` be at this device address from now on; raises EngineError where it is refused."""
        if not self._context.set_tensor_address(name, address):
            raise EngineError(f"TensorRT does not take the address of {name}")

    def enqueue(self, stream_handle: int) -> None:
        """Put one inference into the stream; raises EngineError where that is refused."""
        if not self._context.execute_async_v3(stream_handle):
            raise EngineError("TensorRT could not start the inference")

    def close(self) -> None:
        """Release context, engine and runtime, in this order. May be called twice."""
        self._context = None
        self._engine = None
        self._runtime = None

"""TensorRT on an NVIDIA GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad._extras import require
from edgevad.errors import BackendError, EdgevadError, MissingExtraError
from edgevad.runtime.backends.backend import Scores
from edgevad.runtime.backends.contract import OUTPUTS, check_graph, checked_bank, checked_new_bank
from edgevad.runtime.backends.device_memory import DeviceMemory, Graph, PinnedArray
from edgevad.runtime.backends.owner_thread import OwnerThread, ThreadClosedError
from edgevad.runtime.engines.loaded_engine import EngineTensor
from edgevad.runtime.engines.tensorrt_api import TensorRtApi
from edgevad.spec import InputSpec

__all__ = ["TensorRtBackend"]

# What a captured graph gives is compared with what the engine gave: the same kernels, so that only sums of floats
# taken in another order may differ.
_GRAPH_RTOL, _GRAPH_ATOL = 1e-3, 1e-6
_log = logging.getLogger(__name__)


class TensorRtBackend:
    """The scoring graph of a bundle as a TensorRT engine.

    One thread of its own makes and keeps the CUDA context, the stream, the engine and all buffers, and releases them;
    `score` and `close` may be called from any thread, and wait for it.

    Args:
        engine: as TensorRT serialised it on this machine; whoever gives it has checked that it is what was written.
        spec: what the graph is fed.
        where: what to name in messages.
        bank: what the vehicle remembers, (E, m, d + 1) float32, where `spec` says so; uploaded here and by `remember`.
        cuda_graph: launch all of an inference in one call, where that works.
        memory: makes the device memory, in the thread that is to own it; None: pycuda's.
        released: called once, after everything is released.

    Attributes:
        batch: frames of an inference; fewer are filled up, more are refused.
        uses_cuda_graph: inferences are launched as a graph.
        memory_bytes: of the device, for the engine's intermediate results and all buffers; the weights come on top.

    Raises:
        BackendError: the engine, or the GPU, refuses; EngineError where it is the engine.
        MissingExtraError: TensorRT or pycuda is not installed.
    """

    def __init__(
        self,
        engine: bytes,
        spec: InputSpec,
        *,
        where: Path,
        bank: npt.NDArray[np.float32] | None = None,
        cuda_graph: bool = True,
        memory: Callable[[], DeviceMemory] | None = None,
        released: Callable[[], None] | None = None,
    ) -> None:
        self.where = where
        self._released = released
        self._thread = OwnerThread("edgevad-tensorrt")
        self._session: _Session | None = None
        made: list[_Session] = []
        try:
            held = checked_bank(bank, spec, where)
            self._thread.run(lambda: made.append(_Session(engine, spec, held, cuda_graph, memory or _pycuda)))
            self._session = made[0]
        except BaseException as error:
            # Ctrl-C ends the waiting, not the making: what is made then is released where it was made.
            with suppress(Exception):
                self._thread.close(lambda: made[0].close() if made else None)
            if released is not None:
                released()
            if isinstance(error, Exception):
                raise self._told(error, "could not be made ready") from error
            raise
        self.batch: int | None = self._session.batch
        self._bank_shape = spec.bank
        self.uses_cuda_graph = self._session.graph is not None
        self.memory_bytes = self._session.memory_bytes

    def score(self, frames: npt.NDArray[np.uint8], motion: npt.NDArray[np.float32] | None) -> Scores:
        """See `Backend.score`; fewer frames than `batch` are taken, too."""
        session = self._session
        if session is None:
            raise BackendError("the backend is closed", where=self.where)
        try:
            return self._thread.run(lambda: session.score(frames, motion))
        except ThreadClosedError as error:  # by another thread, since we looked
            raise BackendError("the backend is closed", where=self.where) from error
        except Exception as error:
            raise self._told(error, "failed while scoring") from error

    def remember(self, bank: npt.NDArray[np.float32]) -> None:
        """See `Backend.remember`."""
        session, fresh = self._session, checked_new_bank(bank, self._bank_shape, self.where)
        if session is None:
            raise BackendError("the backend is closed", where=self.where)
        try:
            self._thread.run(lambda: session.remember(fresh))
        except ThreadClosedError as error:
            raise BackendError("the backend is closed", where=self.where) from error
        except Exception as error:
            raise self._told(error, "failed while it was given another bank") from error

    def close(self) -> None:
        """Release engine, buffers and context, after what is being scored. May be called twice."""
        session, self._session = self._session, None
        if session is None:
            return
        try:
            self._thread.close(session.close)
        except Exception as error:
            raise self._told(error, "failed while it was released") from error
        finally:
            if self._released is not None:
                self._released()

    def _told(self, error: Exception, what: str) -> EdgevadError:
        """Whatever came across from the owner thread, as an error of ours that says where and how to fix it."""
        if isinstance(error, EdgevadError):
            if error.where is not None or isinstance(error, MissingExtraError):
                return error
            return type(error)(error.what, where=self.where, expected=error.expected, fix=error.fix)
        text = " ".join(str(error).split())[:300] or type(error).__name__
        if "out of memory" in text.lower() or "out_of_memory" in text.lower():
            fix = "The GPU's memory is full: close other programs that use it (nvidia-smi, on a Jetson: free -m)"
        else:
            fix = "The GPU cannot be used any more in this process: start edgevad again; if it stays, see dmesg for Xid"
        return BackendError(f"TensorRT's engine {what} ({text})", where=self.where, fix=fix)


class _Session:
    """Everything that lives in the owner thread; made, used and closed there."""

    def __init__(
        self,
        engine: bytes,
        spec: InputSpec,
        bank: npt.NDArray[np.float32] | None,
        cuda_graph: bool,
        make_memory: Callable[[], DeviceMemory],
    ) -> None:
        api = TensorRtApi(require("tensorrt", extra="tensorrt", needed_for="the TensorRT backend"))
        self.graph: Graph | None = None
        self._engine: Any = None
        self._failed: str | None = None
        self._memory = make_memory()
        try:
            self._engine = api.load(engine)
            self.batch = _batch_of(self._engine.tensors, spec)
            self._stream = self._memory.stream()
            self._buffers: dict[str, PinnedArray] = {}
            self._addresses: dict[str, int] = {}
            self.memory_bytes = self._engine.memory_bytes
            for tensor in self._engine.tensors:
                self._place(tensor)
            if bank is not None and "bank" in self._buffers:
                self._upload_bank(bank)
            self._inputs = [tensor.name for tensor in self._engine.tensors if tensor.is_input and tensor.name != "bank"]
            self._first_run(cuda_graph)
        except BaseException:
            self.close()
            raise

    def score(self, frames: npt.NDArray[np.uint8], motion: npt.NDArray[np.float32] | None) -> Scores:
        if self._failed is not None:
            raise BackendError(
                f"the engine failed before ({self._failed})", fix="Start edgevad again; if it stays, see dmesg for Xid"
            )
        given: dict[str, npt.NDArray[Any]] = {"frames": frames}
        if "motion" in self._buffers:
            if motion is None:
                raise BackendError("the graph needs motion and was given none")
            given["motion"] = motion
        count = len(frames)
        for name, array in given.items():
            self._fill(name, array, count)
        try:
            self._run()
        except Exception as error:
            # After an error of its own a CUDA context gives nothing but errors.
            self._failed = " ".join(str(error).split())[:200]
            raise
        score, heatmap, latent = (self._buffers[name].host[:count].copy() for name in OUTPUTS)
        return Scores(score, heatmap, latent)

    def remember(self, bank: npt.NDArray[np.float32]) -> None:
        if "bank" in self._buffers:  # an engine may have left out an input that decides nothing
            self._upload_bank(bank)

    def close(self) -> None:
        """In the order in which one stands on the other, whatever of it there is."""
        graph, self.graph = self.graph, None
        try:
            if graph is not None:
                graph.close()
        finally:
            try:
                if self._engine is not None:
                    self._engine.close()
            finally:
                self._engine = self._stream = None  # type: ignore[assignment]
                self._buffers = {}
                self._memory.close()

    def _place(self, tensor: EngineTensor) -> None:
        """Host and device memory for one tensor: one and the same where GPU and CPU share it."""
        # The bank is read by every inference and written once: device memory is cached by the GPU, mapped is not.
        mapped = self._memory.is_integrated and tensor.name != "bank"
        buffer = self._memory.pinned(tensor.shape, tensor.dtype, mapped=mapped)
        address = self._memory.allocate(tensor.nbytes) if buffer.address is None else buffer.address
        self._buffers[tensor.name], self._addresses[tensor.name] = buffer, address
        self.memory_bytes += tensor.nbytes
        self._engine.bind(tensor.name, address)

    def _upload_bank(self, bank: npt.NDArray[np.float32]) -> None:
        buffer = self._buffers["bank"]
        buffer.host[...] = bank
        self._memory.copy_to_device(self._addresses["bank"], buffer.host, self._stream)
        self._stream.synchronize()

    def _fill(self, name: str, array: npt.NDArray[Any], count: int) -> None:
        host = self._buffers[name].host
        if not 1 <= count <= self.batch or array.shape != (count, *host.shape[1:]) or array.dtype != host.dtype:
            raise BackendError(
                f"{name} is {array.dtype} of shape {array.shape}",
                expected=f"{host.dtype} of shape (1 to {self.batch}, {', '.join(map(str, host.shape[1:]))})",
            )
        host[:count] = array
        host[count:] = array[-1:]  # repeated: what lies there must be numbers, and is not looked at

    def _enqueue(self) -> None:
        for name in self._inputs:
            if self._buffers[name].address is None:
                self._memory.copy_to_device(self._addresses[name], self._buffers[name].host, self._stream)
        self._engine.enqueue(self._stream.handle)
        for name in OUTPUTS:
            if self._buffers[name].address is None:
                self._memory.copy_to_host(self._buffers[name].host, self._addresses[name], self._stream)

    def _run(self) -> None:
        if self.graph is None:
            self._enqueue()
        else:
            self.graph.launch(self._stream.handle)
        self._stream.synchronize()

    def _first_run(self, cuda_graph: bool) -> None:
        """The first inference takes what the engine puts off; then the same work once more, as a graph."""
        for name in self._inputs:
            self._buffers[name].host[...] = 1
        self._run()
        if not cuda_graph:
            return
        plain = {name: self._buffers[name].host.copy() for name in OUTPUTS}
        try:
            self.graph = self._memory.capture(self._stream, self._enqueue)
        except Exception as error:
            _log.info("inferences are launched one by one: no CUDA graph of the engine (%s)", error)
            self._stream = self._memory.stream()  # the old one may still believe that it is captured
            return
        for name in OUTPUTS:
            self._buffers[name].host[...] = np.nan
        self._run()
        same = all(np.allclose(self._buffers[n].host, plain[n], _GRAPH_RTOL, _GRAPH_ATOL, True) for n in OUTPUTS)
        if not same:
            _log.warning("inferences are launched one by one: the engine's CUDA graph gives other scores")
            graph, self.graph = self.graph, None
            graph.close()


def _batch_of(tensors: tuple[EngineTensor, ...], spec: InputSpec) -> int:
    """The engine's batch size; raises BackendError where its inputs and outputs are not those of the contract."""
    inputs, outputs = (
        {tensor.name: (tensor.dtype.name, tensor.shape) for tensor in tensors if tensor.is_input is is_input}
        for is_input in (True, False)
    )
    check_graph(inputs, outputs, spec, None, what="engine")
    batches = {tensor.shape[0] for tensor in tensors if tensor.name != "bank"}
    if len(batches) != 1:
        raise BackendError(f"the engine's batch sizes are {sorted(batches)}", expected="one", fix="Export it again")
    return batches.pop()


def _pycuda() -> DeviceMemory:
    from edgevad.runtime.backends.pycuda_memory import PycudaMemory

    return PycudaMemory()

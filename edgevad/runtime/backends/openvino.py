"""OpenVINO on the CPU: int8 several times faster than ONNX Runtime's float32, from the same files. Extra [openvino]."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad._extras import require
from edgevad.errors import BackendError
from edgevad.runtime.backends.backend import BATCH_FRAMES, Scores
from edgevad.runtime.backends.contract import (
    OUTPUTS,
    Port,
    check_graph,
    checked_bank,
    checked_new_bank,
    checked_scores,
    checked_threads,
)
from edgevad.spec import InputSpec

__all__ = ["OpenVinoBackend"]

_TYPES = {"u8": "uint8", "f32": "float32"}
# A graph compiled for a fixed number of frames is up to twice as fast as one for any number. So calls are filled up to
# the next of these: a camera's frame, the self-test's few, a recording's batches. Each is compiled when it is needed.
_SIZES = (1, 4, BATCH_FRAMES // 2, BATCH_FRAMES)
_TELEMETRY = "openvino_telemetry"
# What stands before the sentence that says something in a message of OpenVINO's.
_PREAMBLE = ("Exception from ", "Check '", "FrontEnd API failed")


class OpenVinoBackend:
    """The scoring graph of a bundle in OpenVINO.

    Args:
        graph: ONNX, as `Bundle.graph` gives it: looked through, so that it names no other files to read.
        spec: what the graph is fed.
        where: what to name in messages.
        bank: what the vehicle remembers, (E, m, d + 1) float32, where `spec` says so.
        threads: of one inference; None: 1.

    Raises:
        MissingExtraError: openvino is not installed.
        OptionError: `threads` is below 1, or more than four for each core.
        BackendError: OpenVINO refuses the graph, or its inputs and outputs are not those of the contract.
    """

    def __init__(
        self,
        graph: bytes,
        spec: InputSpec,
        *,
        where: Path,
        bank: npt.NDArray[np.float32] | None = None,
        threads: int | None = None,
    ) -> None:
        self.where = where
        bank = checked_bank(bank, spec, where)
        self._bank_shape = spec.bank
        self._settings = _settings(checked_threads(threads))
        self._openvino = _import_openvino()
        self._fed = ("frames",) if spec.motion is None else ("frames", "motion")
        try:
            self._core = self._openvino.Core()
            # Core.read_model would take any format that it recognises, also those that nobody looked through.
            reader = self._openvino.frontend.FrontEndManager().load_by_framework("onnx")
            self._model: Any = reader.convert(reader.load(io.BytesIO(graph)))
        except Exception as error:  # RuntimeError, and others where its Python part fails
            raise self._refusal(error) from error
        check_graph(_ports(self._model.inputs), _ports(self._model.outputs), spec, where)
        self._shapes = {name: _shape(self._model.input(name)) for name in self._fed}  # without the number of frames
        first = self._model.input("frames").partial_shape[0]
        self.batch: int | None = first.get_length() if first.is_static else None
        self._bank: Any = None
        if bank is not None:
            # OpenVINO takes no array that is read-only, as one from a file may be; and does not keep it alive. A copy:
            # `remember` writes to it.
            self._memory = np.array(bank, order="C")
            self._bank = self._openvino.Tensor(self._memory, shared_memory=True)
        self._requests: dict[int, Any] = {}
        self._request(self.batch or 1)  # what it refuses to compile it shall refuse now

    def score(self, frames: npt.NDArray[np.uint8], motion: npt.NDArray[np.float32] | None) -> Scores:
        """See `Backend.score`."""
        if self._model is None:
            raise BackendError("the backend is closed", where=self.where)
        inputs: dict[str, npt.NDArray[Any]] = {"frames": frames}
        if "motion" in self._fed:
            if motion is None:
                raise BackendError("the graph needs motion and was given none", where=self.where)
            inputs["motion"] = motion
        count = self._checked_count(inputs)
        size = self.batch or next((size for size in _SIZES if size >= count), _SIZES[-1])
        try:
            request = self._request(size)
            scores = [
                self._infer(request, {name: value[start : start + size] for name, value in inputs.items()}, size)
                for start in range(0, count, size)
            ]
        except RuntimeError as error:
            raise BackendError(f"OpenVINO failed while scoring ({_sentence(error)})", where=self.where) from error
        return scores[0] if len(scores) == 1 else _joined(scores)

    def remember(self, bank: npt.NDArray[np.float32]) -> None:
        """See `Backend.remember`."""
        fresh = checked_new_bank(bank, self._bank_shape, self.where)
        if self._model is None:
            raise BackendError("the backend is closed", where=self.where)
        self._memory[...] = fresh  # the requests read it where it lies

    def close(self) -> None:
        """Release the compiled graphs and their memory. May be called twice."""
        self._requests.clear()
        self._model = self._bank = None

    def _checked_count(self, inputs: Mapping[str, npt.NDArray[Any]]) -> int:
        """How many frames these inputs hold. Copied into the engine's own memory, a wrong shape would be stretched."""
        count = len(inputs["frames"])
        count_fits = count == self.batch if self.batch is not None else count > 0
        for name, value in inputs.items():
            expected = (self.batch or count, *self._shapes[name])
            kind = np.dtype(np.uint8 if name == "frames" else np.float32)
            if value.shape != expected or value.dtype != kind or not count_fits:
                raise BackendError(
                    f"OpenVINO failed while scoring: {name} of shape {value.shape} and type {value.dtype}",
                    where=self.where,
                    expected=f"{expected if count else 'at least one frame'}, {kind}",
                )
        return count

    def _request(self, size: int) -> Any:
        """The graph compiled for `size` frames, with the bank in place."""
        if size in self._requests:
            return self._requests[size]
        try:
            if self.batch is None:
                self._model.reshape({name: [size, *shape] for name, shape in self._shapes.items()})
            request = self._core.compile_model(self._model, "CPU", self._settings).create_infer_request()
            if self._bank is not None:
                request.set_tensor("bank", self._bank)
        except Exception as error:
            raise self._refusal(error) from error
        self._requests[size] = request
        return request

    def _infer(self, request: Any, inputs: Mapping[str, npt.NDArray[Any]], size: int) -> Scores:
        """Of up to `size` frames; where they are fewer, the last is repeated, and what comes of it left out."""
        count = len(inputs["frames"])
        for name, value in inputs.items():
            memory = request.get_tensor(name).data
            memory[:count] = value
            memory[count:] = value[-1:]
        request.infer()
        # Copies: the request writes its next results into the same memory.
        scores = Scores(*(np.array(request.get_tensor(name).data) for name in OUTPUTS))
        checked_scores(scores, size, self.where)
        return Scores(scores.score[:count], scores.heatmap[:count], scores.latent[:count])

    def _refusal(self, error: Exception) -> BackendError:
        return BackendError(
            f"OpenVINO {self._openvino.__version__.partition('-')[0]} refuses the graph ({_sentence(error)})",
            where=self.where,
            fix="Export the bundle again, or install a newer openvino",
        )


def _settings(threads: int) -> dict[str, str]:
    # Strings: not every version takes numbers for all of them.
    return {
        "INFERENCE_NUM_THREADS": str(threads),
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
        # Threads tied to cores would fight with the decoder's for them.
        "ENABLE_CPU_PINNING": "NO",
        # By itself it computes in bfloat16 or float16 where the processor can: other scores than those calibrated.
        "INFERENCE_PRECISION_HINT": "f32",
        # By itself it quantises activations in front of weights that are stored in 8 bits, as the memory's templates
        # may be: `detail` was off by 1.6 %.
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
    }


def _import_openvino() -> ModuleType:
    """Import openvino without its telemetry.

    Importing openvino sends an event over the network and leaves an identifier in the home folder, where the package
    openvino_telemetry, which it brings along, can be imported. Where not, it goes without.
    """
    hidden = _TELEMETRY not in sys.modules
    if hidden:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        return require("openvino", extra="openvino", needed_for="the backend openvino")
    finally:
        if hidden:
            del sys.modules[_TELEMETRY]


def _ports(values: Any) -> dict[str, Port]:
    """Inputs or outputs of a model, by the name that the contract knows among those they have."""
    ports: dict[str, Port] = {}
    for value in values:
        names = sorted(value.get_names())
        known = [name for name in names if name in ("frames", "motion", "bank", *OUTPUTS)]
        kind = value.element_type.get_type_name()
        shape = value.partial_shape
        rank = len(shape) if shape.rank.is_static else 0
        sizes = [shape[k].get_length() if shape[k].is_static else None for k in range(rank)]
        ports[(known or names or ["(no name)"])[0]] = (_TYPES.get(kind, kind), sizes)
    return ports


def _shape(port: Any) -> tuple[int, ...]:
    shape = port.partial_shape
    return tuple(shape[k].get_length() for k in range(1, len(shape)))


def _joined(scores: list[Scores]) -> Scores:
    return Scores(*(np.concatenate([getattr(one, name) for one in scores]) for name in OUTPUTS))


def _sentence(error: Exception) -> str:
    """What an error says, without where in OpenVINO's sources it says it."""
    lines = [line.strip().removeprefix("-- ") for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(_PREAMBLE)]
    return telling[0][:300] if telling else type(error).__name__

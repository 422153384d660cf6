"""ONNX Runtime on the CPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from edgevad.errors import BackendError, OptionError
from edgevad.runtime.backends.backend import Scores
from edgevad.spec import InputSpec

__all__ = ["OnnxRuntimeBackend"]

_OUTPUTS = ["score", "heatmap", "latent"]
# ONNX Runtime starts whatever it is asked for; ten thousands of threads take a machine down.
THREADS_PER_CORE = 4
_ERROR, _FATAL = 3, 4  # ONNX Runtime's log severities


class OnnxRuntimeBackend:
    """The scoring graph of a bundle in ONNX Runtime.

    One thread by default: the nets are so small that a second one costs more in waiting than it computes, and the
    other cores are wanted for decoding.

    Args:
        graph: ONNX, as `Bundle.graph` gives it: looked through, so that it names no other files to read.
        spec: what the graph is fed.
        where: what to name in messages.
        bank: what the vehicle remembers, (E, m, d + 1) float32, where `spec` says so.
        threads: of one inference; None: 1.

    Raises:
        OptionError: `threads` is below 1, or more than four for each core.
        BackendError: ONNX Runtime refuses the graph, or its inputs and outputs are not those of the contract.
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
        if spec.bank is not None and (bank is None or bank.shape != spec.bank):
            shape = None if bank is None else bank.shape
            raise BackendError(
                f"the graph was given a bank of shape {shape}", where=self.where, expected=str(spec.bank)
            )
        most = THREADS_PER_CORE * (os.cpu_count() or 1)
        if threads is not None and not 1 <= threads <= most:
            raise OptionError(f"{threads} threads", expected=f"1 to {most} on this machine")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        # Idle workers of this engine must not burn the cores that decode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Its own format, which it would recognise by itself, is one that nobody looked through.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        onnxruntime.set_default_logger_severity(_ERROR)
        try:
            session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base of their own
            raise BackendError(
                f"ONNX Runtime {onnxruntime.__version__} refuses the graph ({_first_line(error)})",
                where=self.where,
                fix="Export the bundle again, or install a newer onnxruntime",
            ) from error
        self._session: Any = session
        self._check_contract(spec)
        first = session.get_inputs()[0].shape[0]
        self.batch: int | None = first if isinstance(first, int) else None
        self._uses_motion = spec.motion is not None
        self._bank = bank if spec.bank is not None else None

    def score(self, frames: npt.NDArray[np.uint8], motion: npt.NDArray[np.float32] | None) -> Scores:
        """See `Backend.score`."""
        if self._session is None:
            raise BackendError("the backend is closed", where=self.where)
        feeds: dict[str, npt.NDArray[Any]] = {"frames": frames}
        if self._uses_motion:
            if motion is None:
                raise BackendError("the graph needs motion and was given none", where=self.where)
            feeds["motion"] = motion
        if self._bank is not None:
            feeds["bank"] = self._bank
        try:
            scores = Scores(*self._session.run(_OUTPUTS, feeds))
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed while scoring ({_first_line(error)})", where=self.where) from error
        shapes = scores.score.shape, scores.heatmap.shape
        if not (shapes[0][0] == shapes[1][0] == len(frames) and scores.score.size and scores.heatmap.size):
            raise BackendError(
                f"the graph gives scores of shape {shapes[0]} and heatmaps of shape {shapes[1]}",
                where=self.where,
                expected=f"{len(frames)} of each, and none of them empty",
                fix="Export the bundle again",
            )
        return scores

    def close(self) -> None:
        """Release the session and its memory. May be called twice."""
        self._session = None

    def _check_contract(self, spec: InputSpec) -> None:
        size = [spec.height_px, spec.width_px]
        inputs: dict[str, tuple[str, list[int]]] = {"frames": ("tensor(uint8)", [*size, 3])}
        if spec.motion is not None:
            inputs["motion"] = ("tensor(float)", [*size, spec.motion.channels])
        if spec.bank is not None:
            inputs["bank"] = ("tensor(float)", list(spec.bank))
        # Of all but the bank the first dimension is the number of frames.
        found = {
            value.name: (value.type, list(value.shape[0 if value.name == "bank" else 1 :]))
            for value in self._session.get_inputs()
        }
        if found != inputs:
            self._refuse("inputs", found, inputs)
        ranks = {"score": ("tensor(float)", 2), "heatmap": ("tensor(float)", 4), "latent": ("tensor(float)", 2)}
        outputs = {value.name: (value.type, len(value.shape)) for value in self._session.get_outputs()}
        if outputs != ranks:
            self._refuse("outputs", outputs, ranks)

    def _refuse(self, side: str, found: object, expected: object) -> None:
        raise BackendError(
            f"the graph's {side} are {found}",
            where=self.where,
            expected=f"{expected}, as the manifest says",
            fix="Export the bundle again",
        )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__

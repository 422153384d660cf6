"""ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from edgevad.errors import BackendError
from edgevad.runtime.backends.backend import Scores
from edgevad.runtime.backends.contract import (
    OUTPUTS,
    Port,
    check_graph,
    checked_bank,
    checked_new_bank,
    checked_scores,
    checked_threads,
    first_line,
)
from edgevad.spec import InputSpec

__all__ = ["OnnxRuntimeBackend"]

_TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
_ERROR, _FATAL = 3, 4  # ONNX Runtime's log severities


class OnnxRuntimeBackend:
    """The scoring graph of a bundle in ONNX Runtime.

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
        self._bank = checked_bank(bank, spec, where)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = checked_threads(threads)
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
                f"ONNX Runtime {onnxruntime.__version__} refuses the graph ({first_line(error)})",
                where=self.where,
                fix="Export the bundle again, or install a newer onnxruntime",
            ) from error
        self._session: Any = session
        check_graph(_ports(session.get_inputs()), _ports(session.get_outputs()), spec, where)
        first = session.get_inputs()[0].shape[0]
        self.batch: int | None = first if isinstance(first, int) else None
        self._uses_motion = spec.motion is not None
        self._bank_shape = spec.bank

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
            scores = Scores(*self._session.run(list(OUTPUTS), feeds))
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed while scoring ({first_line(error)})", where=self.where) from error
        return checked_scores(scores, len(frames), self.where)

    def remember(self, bank: npt.NDArray[np.float32]) -> None:
        """See `Backend.remember`."""
        self._bank = checked_new_bank(bank, self._bank_shape, self.where)

    def close(self) -> None:
        """Release the session and its memory. May be called twice."""
        self._session = None


def _ports(values: Any) -> dict[str, Port]:
    """Inputs or outputs of a session. A dimension that any number will do for is a name there, or None."""
    return {
        value.name: (_TYPES.get(value.type, value.type), [d if isinstance(d, int) else None for d in value.shape])
        for value in values
    }

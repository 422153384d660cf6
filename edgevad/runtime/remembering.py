"""What the vehicle's memory keeps of a frame: its coordinates, by the small graph that bundles bring for that."""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad.bundle.bundle import REMEMBER_NAME, Bundle
from edgevad.bundle.tones import ToneCurves
from edgevad.errors import BackendError
from edgevad.runtime.toning import at_home
from edgevad.spec import EXCLUDED

__all__ = ["Rememberer", "bank_entries"]

# Frames of one call: a few megabytes as floats.
_CHUNK = 64


class Rememberer:
    """Coordinates of frames, computed in float32 by ONNX Runtime on the CPU, whatever engine scores them.

    Attributes:
        tones: curves by which pictures of other conditions are brought home first; None: each is taken as it is.

    Raises:
        BackendError: ONNX Runtime refuses the graph.
    """

    def __init__(self, graph: bytes, values: int, where: object, tones: ToneCurves | None = None) -> None:
        import onnxruntime

        self.tones = tones
        self._where = f"{where}"
        self._values = values
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own exceptions have no common base
            raise BackendError(f"ONNX Runtime refuses the graph ({_sentence(error)})", where=self._where) from error

    @classmethod
    def of(cls, bundle: Bundle) -> Rememberer | None:
        """None where the model remembers nothing, or the bundle is older than its graph.

        Raises:
            BundleError: the bundle is broken.
            BackendError: ONNX Runtime refuses the graph.
        """
        graph, shape = bundle.remember_graph(), bundle.manifest.input.bank
        if graph is None or shape is None:
            return None
        return cls(graph, shape[2] - 1, bundle.path / REMEMBER_NAME, bundle.tones())

    def with_tones(self, tones: ToneCurves | None) -> Rememberer:
        """The same with these tone curves in place of any it has; None: with none."""
        other = copy(self)
        other.tones = tones
        return other

    def coordinates(self, frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Of frames (N, h, w, 3) uint8 BGR at the model's size: (N, d) float32.

        Raises:
            BackendError: the graph fails, or gives something else.
        """
        found = []
        for start in range(0, len(frames), _CHUNK):
            chunk = at_home(self.tones, np.ascontiguousarray(frames[start : start + _CHUNK]))
            try:
                (one,) = self._session.run(["coordinates"], {"frames": chunk})
            except Exception as error:
                raise BackendError(f"the graph failed ({_sentence(error)})", where=self._where) from error
            if one.shape != (len(chunk), self._values) or not np.isfinite(one).all():
                raise BackendError(
                    f"the graph gives {one.dtype} of shape {one.shape}, or no numbers",
                    where=self._where,
                    expected=f"coordinates of shape {(len(chunk), self._values)}",
                )
            found.append(one)
        return np.concatenate(found) if found else np.zeros((0, self._values), np.float32)


def bank_entries(
    coordinates: npt.NDArray[np.float32], usable: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.float32]:
    """Coordinates (..., d) as a bank holds them: (..., d + 1) float32, the last value their squared norm.

    `usable` (...) bool: entries that are not become padding, which is never near anything.
    """
    usable = np.ones(coordinates.shape[:-1], np.bool_) if usable is None else usable
    kept = np.where(usable[..., None], coordinates, np.float32(0.0))
    norm = np.where(usable, np.square(kept).sum(axis=-1), np.float32(EXCLUDED))
    return np.concatenate([kept, norm[..., None]], axis=-1).astype(np.float32)


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__

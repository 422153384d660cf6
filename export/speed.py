"""How long graphs take on this machine's CPU, side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad.runtime.backends.backend import Backend

__all__ = ["milliseconds_a_frame"]

_TURNS = 15
_TURN_S = 0.02


def milliseconds_a_frame(
    backends: Mapping[str, Backend], frames: npt.NDArray[np.uint8], motion: npt.NDArray[np.float32] | None
) -> dict[str, float]:
    """The least time that a frame by itself takes in each of `backends`, in milliseconds.

    They take turns, so that whatever else the machine does hits all of them.

    frames: (n, H, W, 3) uint8; motion: (n, H, W, M) float32 or None.
    """
    inputs = [(frames[k : k + 1], None if motion is None else motion[k : k + 1]) for k in range(len(frames))]
    rounds = {name: _rounds(backend, inputs) for name, backend in backends.items()}
    least = dict.fromkeys(backends, np.inf)
    for _ in range(_TURNS):
        for name, backend in backends.items():
            started_s = time.perf_counter()
            for _ in range(rounds[name]):
                for one in inputs:
                    backend.score(*one)
            elapsed_s = time.perf_counter() - started_s
            least[name] = min(least[name], 1e3 * elapsed_s / (rounds[name] * len(inputs)))
    return least


def _rounds(backend: Backend, inputs: Sequence[tuple[Any, Any]]) -> int:
    """How often all inputs go into a turn; also the warm-up."""
    for one in inputs:
        backend.score(*one)
    started_s = time.perf_counter()
    for one in inputs:
        backend.score(*one)
    return max(1, round(_TURN_S / max(time.perf_counter() - started_s, 1e-6)))

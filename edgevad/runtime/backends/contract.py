"""What every engine holds its graph, its bank, its threads and its results against."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgevad.errors import BackendError, OptionError
from edgevad.runtime.backends.backend import Scores
from edgevad.spec import BankShape, InputSpec

__all__ = [
    "OUTPUTS",
    "Port",
    "check_graph",
    "checked_bank",
    "checked_new_bank",
    "checked_scores",
    "checked_threads",
    "first_line",
]

OUTPUTS = ("score", "heatmap", "latent")
_RANKS = (2, 4, 2)
# Engines start whatever they are asked for; ten thousands of threads take a machine down.
THREADS_PER_CORE = 4
# Type (numpy's name) and shape of an input or output; None where any number will do.
Port = tuple[str, Sequence[int | None]]


def checked_threads(threads: int | None) -> int:
    """How many threads one inference may use; None means 1.

    One by default: the nets are so small that a second one costs more in waiting than it computes, and the other cores
    are wanted for decoding.

    Raises:
        OptionError: `threads` is below 1, or more than four for each core.
    """
    most = THREADS_PER_CORE * (os.cpu_count() or 1)
    if threads is not None and not 1 <= threads <= most:
        raise OptionError(f"{threads} threads", expected=f"1 to {most} on this machine")
    return threads or 1


def checked_bank(bank: npt.NDArray[np.float32] | None, spec: InputSpec, where: Path) -> npt.NDArray[np.float32] | None:
    """The bank that the graph is to be fed, or None where `spec` has none.

    Raises:
        BackendError: there is none, or it is not of the shape that `spec` names.
    """
    if spec.bank is None:
        return None
    if bank is None or bank.shape != spec.bank:
        shape = None if bank is None else bank.shape
        raise BackendError(f"the graph was given a bank of shape {shape}", where=where, expected=str(spec.bank))
    return bank


def checked_new_bank(bank: npt.NDArray[np.float32], shape: BankShape | None, where: Path) -> npt.NDArray[np.float32]:
    """A copy of the bank that a graph, fed one of `shape` so far, is to be fed from now on.

    Raises:
        BackendError: the graph takes none, or one of another shape or type.
    """
    if shape is None or bank.shape != shape or bank.dtype != np.float32:
        expected = "none: the model remembers nothing" if shape is None else f"float32 of shape {shape}"
        raise BackendError(
            f"the graph was given a bank of {bank.dtype} of shape {bank.shape}", where=where, expected=expected
        )
    return np.array(bank, order="C")


def check_graph(
    inputs: Mapping[str, Port],
    outputs: Mapping[str, Port],
    spec: InputSpec,
    where: Path | None,
    *,
    what: str = "graph",
) -> None:
    """Hold a graph, or `what` was made of it, against the contract (docs/architecture.md).

    The number of frames is not looked at.

    Raises:
        BackendError: its inputs or outputs are others.
    """
    size = [spec.height_px, spec.width_px]
    expected: dict[str, tuple[str, list[int]]] = {"frames": ("uint8", [*size, 3])}
    if spec.motion is not None:
        expected["motion"] = ("float32", [*size, spec.motion.channels])
    if spec.bank is not None:
        expected["bank"] = ("float32", list(spec.bank))
    # Of all but the bank the first dimension is the number of frames.
    found = {name: (kind, list(shape)[0 if name == "bank" else 1 :]) for name, (kind, shape) in inputs.items()}
    if found != expected:
        raise _refusal(f"{what}'s inputs", found, expected, where)
    ranks = {name: ("float32", rank) for name, rank in zip(OUTPUTS, _RANKS, strict=True)}
    found_ranks = {name: (kind, len(shape)) for name, (kind, shape) in outputs.items()}
    if found_ranks != ranks:
        raise _refusal(f"{what}'s outputs", found_ranks, ranks, where)


def checked_scores(scores: Scores, count: int, where: Path) -> Scores:
    """What an engine said of `count` frames.

    Raises:
        BackendError: it said it of another number of frames, or nothing.
    """
    shapes = scores.score.shape, scores.heatmap.shape
    if not (shapes[0][0] == shapes[1][0] == count and scores.score.size and scores.heatmap.size):
        raise BackendError(
            f"the graph gives scores of shape {shapes[0]} and heatmaps of shape {shapes[1]}",
            where=where,
            expected=f"{count} of each, and none of them empty",
            fix="Export the bundle again",
        )
    return scores


def first_line(error: Exception) -> str:
    """What to quote of an engine's message."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _refusal(side: str, found: object, expected: object, where: Path | None) -> BackendError:
    return BackendError(
        f"the {side} are {found}",
        where=where,
        expected=f"{expected}, as the manifest says",
        fix="Export the bundle again",
    )

"""Which precision a target gets: the smallest one that tells the car the same as float32.

INT8 is tried first where the target has it, with several ways to choose ranges. Where none passes the guard, each
layer is quantised by itself to see what it costs, and the most costly ones are kept in float, one more at a time.
Where half of the layers would not do, FP16 is tried, and FP32 is what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad.bundle.manifest import Calibration
from edgevad.calibration.frames import CalibrationFrames
from edgevad.calibration.guard import Agreement, GuardLimits, compare, rank_correlation
from edgevad.calibration.judging import Judged, judge
from edgevad.calibration.ranges import Histogram, collect_histograms, histograms_of, ranges_from
from edgevad.export.graph import batch_size
from edgevad.export.half_from_onnx import half_from_onnx
from edgevad.export.qdq_from_onnx import QdqStyle, calibrated_tensors, qdq_from_onnx, quantisable_layers
from edgevad.model.cache import FrameCache
from edgevad.runtime.backends.backend import Backend
from edgevad.spec import InputSpec

__all__ = ["METHODS", "Attempt", "Choice", "Subject", "choose_precision", "quick_int8"]

# In the order they are tried; `entropy` takes minutes and cuts off what anomalies are told by: on request only.
METHODS = ("minmax", "mse", "percentile")
# Parts of the score that go through the network; in graphs for a CPU `detail` sees templates of 8 bits, too. So does
# `view`, but frames that are in the bank themselves are at a distance of nothing but rounding, which has no rank.
NETWORK_PARTS = ("residual", "patch", "mse", "pcc")
CPU_PARTS = (*NETWORK_PARTS, "detail")
# At least this share of the layers stays in INT8, or it is not called INT8.
LEAST_QUANTISED = 0.5
# Frames that a layer's cost is measured on.
SWEEP_FRAMES = 400
CALIBRATION_BATCH = 16

Say = Callable[[str], None]
# A graph to try, the method its ranges were chosen by, and the layers it leaves in float.
Try = tuple[bytes, str | None, tuple[str, ...]]


@dataclass(frozen=True)
class Subject:
    """What is to be quantised, and what it is judged by.

    Attributes:
        graph: the float32 scoring graph.
        spec: shapes of its inputs.
        bank: its `bank` input, or None.
        calibration: of the model: windows, parts, threshold.
        cache, frames: frames of the drives; those to quantise by and those to try the result on.
        open_backend: loads a graph of this model into the engine that it is for, or that stands in for it here.
        labels: (m,) int8 levels of the held-out frames (2 anomaly, 1 ambiguous, 0 else), where they are known.
        limits: of the guard.
        kept: folder where histograms are kept from one export to the next, or None.
    """

    graph: bytes
    spec: InputSpec
    bank: npt.NDArray[np.float32] | None
    calibration: Calibration
    cache: FrameCache
    frames: CalibrationFrames
    open_backend: Callable[[bytes], Backend]
    labels: npt.NDArray[np.int8] | None = None
    limits: GuardLimits = field(default_factory=GuardLimits)
    kept: Path | None = None

    def judged(self, graph: bytes, rows: npt.NDArray[np.int64], *, heatmaps: bool = True) -> Judged:
        """What a graph says of the frames `rows` of the cache."""
        backend = self.open_backend(graph)
        try:
            return judge(backend, self.cache, rows, self.calibration, heatmaps=heatmaps)
        finally:
            backend.close()

    def compared(self, graph: bytes, style: QdqStyle) -> tuple[Agreement, Judged]:
        """How far a graph agrees with the float32 one on the held-out frames, and its verdict on them."""
        other = self.judged(graph, self.frames.held_out)
        agreement = compare(
            self.frames.reference,
            other,
            self.calibration,
            self.limits,
            network_parts=NETWORK_PARTS if style == "tensorrt" else CPU_PARTS,
            labels=self.labels,
        )
        return agreement, other


@dataclass(frozen=True)
class Attempt:
    """One graph that was tried.

    Attributes:
        precision: "int8" or "fp16".
        method: how the ranges were chosen; None where there are none.
        float_layers: layers that stayed in float.
        agreement: with the float32 graph.
    """

    precision: str
    method: str | None
    float_layers: tuple[str, ...]
    agreement: Agreement

    def to_json(self) -> dict[str, Any]:
        return {
            "precision": self.precision,
            "range_method": self.method,
            "float_layers": list(self.float_layers),
            "agreement": self.agreement.to_json(),
        }


@dataclass(frozen=True)
class Choice:
    """What came of it.

    Attributes:
        precision: "int8", "fp16" or "fp32".
        graph: of that precision.
        why: in one sentence.
        attempts: everything that was tried, in order; the last one that passed is the choice.
        layer_cost: rank correlation of the network's part that each layer costs when it alone is quantised; empty where
            no sweep was needed.
        judged: the chosen graph's verdict on the held-out frames; None for fp32.
    """

    precision: str
    graph: bytes
    why: str
    attempts: tuple[Attempt, ...] = ()
    layer_cost: dict[str, float] | None = None
    judged: Judged | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "precision": self.precision,
            "why": self.why,
            "attempts": [attempt.to_json() for attempt in self.attempts],
            "layer_cost": self.layer_cost or {},
        }


def choose_precision(
    subject: Subject, precisions: Sequence[str], style: QdqStyle, *, method: str = "auto", say: Say = lambda text: None
) -> Choice:
    """The first of `precisions` ("int8", "fp16") whose graph the guard lets pass; fp32 where none does.

    `method` names how ranges are chosen, or is "auto". `say` is told what is being tried.

    Raises:
        OptionError: there is no such range method.
        CalibrationError: an activation is not finite on the calibration frames.
    """
    attempts: list[Attempt] = []
    layer_cost: dict[str, float] = {}
    for precision in precisions:
        if precision == "int8":
            tries: Iterator[Try] = _int8(subject, style, METHODS if method == "auto" else (method,), layer_cost, say)
        else:
            say("trying FP16")
            tries = iter([(half_from_onnx(subject.graph), None, ())])
        for graph, ranges, float_layers in tries:
            agreement, judged = subject.compared(graph, style)
            attempts.append(Attempt(precision, ranges, float_layers, agreement))
            if agreement.passed:
                why = _why(attempts)
                return Choice(precision, graph, why, tuple(attempts), layer_cost, judged)
    return Choice("fp32", subject.graph, _why(attempts), tuple(attempts), layer_cost)


def _int8(
    subject: Subject, style: QdqStyle, methods: Sequence[str], layer_cost: dict[str, float], say: Say
) -> Iterator[Try]:
    """What to try, the next one where one was refused."""
    layers = [layer.name for layer in quantisable_layers(subject.graph, style)]
    histograms = _histograms(subject, say)
    ranges = {}
    for method in methods:
        say(f"trying INT8 ({method})")
        ranges[method] = ranges_from(histograms, method, symmetric=style == "tensorrt")
        yield qdq_from_onnx(subject.graph, ranges[method], style=style, layers=layers), method, ()
    most = int(len(layers) * (1.0 - LEAST_QUANTISED))
    if not most:
        return
    say("INT8 changes the scores: looking for the layers to blame")
    costs = {method: _layer_costs(subject, ranges[method], style, layers) for method in methods}
    # The method under which the layers together cost least.
    method = min(methods, key=lambda name: sum(costs[name].values()))
    layer_cost.update(costs[method])
    by_cost = sorted(layers, key=lambda name: -layer_cost[name])
    for count in range(1, most + 1):
        kept = tuple(by_cost[:count])
        say(f"trying INT8 with {count} of {len(layers)} layers in float ({', '.join(kept)})")
        rest = [name for name in layers if name not in kept]
        yield qdq_from_onnx(subject.graph, ranges[method], style=style, layers=rest), method, kept


def quick_int8(
    graph: bytes, sample: Mapping[str, npt.NDArray[Any]], bank: npt.NDArray[np.float32] | None, style: QdqStyle
) -> bytes:
    """The graph with every layer quantised by a few frames: good for its size and speed, not for its scores."""
    histograms = collect_histograms(graph, calibrated_tensors(graph), _batches(graph, sample, bank))
    layers = [layer.name for layer in quantisable_layers(graph, style)]
    return qdq_from_onnx(graph, ranges_from(histograms, "minmax"), style=style, layers=layers)


def _histograms(subject: Subject, say: Say) -> dict[str, Histogram]:
    say("collecting the ranges of activations")
    cache, chosen = subject.cache, subject.frames.chosen
    frames: dict[str, npt.NDArray[Any]] = {"frames": cache.images[chosen]}
    if cache.motion is not None:
        frames["motion"] = cache.motion[chosen].astype(np.float32)
    batches = _batches(subject.graph, frames, subject.bank)
    return histograms_of(subject.graph, calibrated_tensors(subject.graph), batches, subject.kept)


def _batches(
    graph: bytes, frames: Mapping[str, npt.NDArray[Any]], bank: npt.NDArray[np.float32] | None
) -> list[dict[str, npt.NDArray[Any]]]:
    """Inputs of the graph, a few frames at a time: `frames` and, where it takes it, `motion`, and always the bank."""
    size = batch_size(graph) or CALIBRATION_BATCH
    whole: dict[str, npt.NDArray[Any]] = {} if bank is None else {"bank": bank}
    return [
        {**{name: values[start : start + size] for name, values in frames.items()}, **whole}
        for start in range(0, len(frames["frames"]), size)
    ]


def _layer_costs(
    subject: Subject, ranges: dict[str, tuple[float, float]], style: QdqStyle, layers: Sequence[str]
) -> dict[str, float]:
    """1 - rank correlation of the network's part, for each layer quantised by itself."""
    held_out = subject.frames.held_out
    picked = np.unique(np.linspace(0, len(held_out) - 1, min(len(held_out), SWEEP_FRAMES)).round().astype(np.int64))
    names = subject.calibration.names
    column = next((k for k, name in enumerate(names) if name in NETWORK_PARTS), 0)
    expected = subject.frames.reference.score[picked, column]
    costs = {}
    for layer in layers:
        graph = qdq_from_onnx(subject.graph, ranges, style=style, layers=[layer])
        found = subject.judged(graph, held_out[picked], heatmaps=False)
        costs[layer] = 1.0 - rank_correlation(expected, found.score[:, column])
    return costs


def _why(attempts: Sequence[Attempt]) -> str:
    """In one sentence, a clause for each precision that was tried."""
    last = attempts[-1]
    refused = []
    for precision in dict.fromkeys(attempt.precision for attempt in attempts):
        tried = [attempt for attempt in attempts if attempt.precision == precision]
        if not any(attempt.agreement.passed for attempt in tried):
            best = min(tried, key=lambda attempt: attempt.agreement.rank_loss)
            refused.append(f"{precision.upper()} at its best was refused: {'; '.join(best.agreement.failures[:2])}")
    if not last.agreement.passed:
        return f"FP32, since {', and '.join(refused)}."
    agreement = last.agreement
    kept = f", with {', '.join(last.float_layers)} in float" if last.float_layers else ""
    how = f" ({last.method} ranges{kept})" if last.method is not None else ""
    agrees = (
        f"on {agreement.frames} held-out frames it keeps {1 - agreement.rank_loss:.4f} of the rank correlation, "
        f"and {agreement.flips:.2%} of them change sides at the threshold"
    )
    return f"{last.precision.upper()}{how}: {agrees}{'. ' if refused else ''}{', and '.join(refused)}."

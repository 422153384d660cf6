"""What an 8-bit number shall reach: ranges of a network's activations, from what real frames make of them.

Histograms are collected once, in two passes over the calibration frames, and kept; each method reads its ranges off
them.

- `minmax`: everything that was seen.
- `percentile`: all but one value in 10,000 at either end.
- `entropy`: the range whose quantised distribution has the least Kullback-Leibler divergence from the real one (ONNX
  Runtime's implementation of Migacz, "8-bit inference with TensorRT", GTC 2017), with real histograms: at the 128
  bins that it uses by default it is min-max.
- `mse`: the range with the least expected squared error of what is rounded and what is cut off.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnxruntime.quantization.calibrate import HistogramCollector

from edgevad._files import atomic_file
from edgevad.errors import CalibrationError, OptionError, OutputError

__all__ = ["Histogram", "RangeMethod", "collect_histograms", "histograms_of", "range_methods", "ranges_from"]

RangeMethod = Literal["minmax", "percentile", "entropy", "mse"]
Feeds = Mapping[str, npt.NDArray[Any]]

# Bins on either side of zero.
HALF_BINS = 2048
# Levels on either side of zero.
HALF_LEVELS = 127
PERCENTILE = 99.98  # both ends together
# A few hundred kilobytes each.
KEPT_ENTRIES = 20
MSE_SHARES = np.linspace(0.1, 1.0, 91)


@dataclass(frozen=True)
class Histogram:
    """Values of one activation over all calibration frames.

    Attributes:
        counts: (2 * HALF_BINS,) int64, in bins of equal width from -reach to reach.
        lowest, highest: the least and the largest value.
    """

    counts: npt.NDArray[np.int64]
    lowest: float
    highest: float

    @property
    def reach(self) -> float:
        """The largest absolute value, a little above zero where all are zero."""
        return max(abs(self.lowest), abs(self.highest), 1e-6)

    @property
    def edges(self) -> npt.NDArray[np.float32]:
        return np.linspace(-self.reach, self.reach, len(self.counts) + 1, dtype=np.float32)


def range_methods() -> tuple[str, ...]:
    return get_args(RangeMethod)


def collect_histograms(graph: bytes, tensors: Sequence[str], batches: Sequence[Feeds]) -> dict[str, Histogram]:
    """Histograms of the float32 activations `tensors` of `graph` over `batches`, each the graph's inputs by name.

    Raises:
        CalibrationError: there are no batches, or an activation is not finite.
    """
    if not batches:
        raise CalibrationError("no frames to calibrate by", fix="Give a drive with frames in it: --calib DRIVE")
    lowest = dict.fromkeys(tensors, np.inf)
    highest = dict.fromkeys(tensors, -np.inf)
    session = _session_with_outputs(graph, tensors)
    for values in _activations(session, tensors, batches):
        for name, value in values.items():
            lowest[name] = min(lowest[name], float(value.min()))
            highest[name] = max(highest[name], float(value.max()))
    wrong = [name for name in tensors if not np.isfinite([lowest[name], highest[name]]).all()]
    if wrong:
        raise CalibrationError(f"the activation {wrong[0]} is not a number on some frame", fix="Train the model again")
    found = {name: Histogram(np.zeros(2 * HALF_BINS, np.int64), lowest[name], highest[name]) for name in tensors}
    for values in _activations(session, tensors, batches):
        for name, value in values.items():
            reach = found[name].reach
            counts, _ = np.histogram(value, 2 * HALF_BINS, range=(-reach, reach))
            np.add(found[name].counts, counts, out=found[name].counts)
    return found


def histograms_of(
    graph: bytes, tensors: Sequence[str], batches: Sequence[Feeds], cache: Path | None
) -> dict[str, Histogram]:
    """`collect_histograms`, or what an earlier call with the same graph and frames left in the folder `cache`."""
    if cache is None:
        return collect_histograms(graph, tensors, batches)
    path = cache / f"{_key(graph, tensors, batches)}.npz"
    kept = _read(path, tensors)
    if kept is None:
        kept = collect_histograms(graph, tensors, batches)
        arrays = {f"{k}": kept[name].counts for k, name in enumerate(tensors)}
        ends = np.array([[kept[name].lowest, kept[name].highest] for name in tensors])
        # What may serve the next time is no reason to fail this time.
        with contextlib.suppress(OutputError), atomic_file(path) as stream:
            np.savez_compressed(stream, ends=ends, **arrays)  # type: ignore[arg-type]
        _prune(cache)
    return kept


def _key(graph: bytes, tensors: Sequence[str], batches: Sequence[Feeds]) -> str:
    digest = hashlib.sha256(graph)
    digest.update("\n".join([str(HALF_BINS), *tensors]).encode())
    seen: set[int] = set()
    for batch in batches:
        for name in sorted(batch):
            # The bank is the same array in every batch.
            if id(batch[name]) not in seen:
                seen.add(id(batch[name]))
                digest.update(np.ascontiguousarray(batch[name]).tobytes())
    return digest.hexdigest()


def _prune(cache: Path) -> None:
    """Keep the newest entries."""
    with contextlib.suppress(OSError):
        entries = sorted(cache.glob("*.npz"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in entries[KEPT_ENTRIES:]:
            path.unlink(missing_ok=True)


def ranges_from(
    histograms: Mapping[str, Histogram], method: str, *, symmetric: bool = False
) -> dict[str, tuple[float, float]]:
    """The lowest and the highest value that shall be told apart, for each activation; zero lies between them.

    `symmetric` says that the levels will lie evenly on both sides of zero, whatever the range.

    Raises:
        OptionError: there is no such method.
    """
    if method not in range_methods():
        raise OptionError(f"unknown range method {method!r}", expected="one of " + ", ".join(range_methods()))
    if method == "mse":
        found = {name: _least_squares(histogram, symmetric) for name, histogram in histograms.items()}
    elif method == "minmax":
        found = {name: (histogram.lowest, histogram.highest) for name, histogram in histograms.items()}
    else:
        found = _by_onnxruntime(histograms, method)
    return {name: (min(low, 0.0), max(high, 0.0)) for name, (low, high) in found.items()}


def _by_onnxruntime(histograms: Mapping[str, Histogram], method: str) -> dict[str, tuple[float, float]]:
    collector = HistogramCollector(
        method=method,
        symmetric=False,
        num_bins=2 * HALF_BINS,
        num_quantized_bins=2 * (HALF_LEVELS + 1),
        percentile=PERCENTILE,
        scenario="same",
    )
    for name, one in histograms.items():
        ends = (np.float32(one.lowest), np.float32(one.highest))
        collector.histogram_dict[name] = (one.counts, one.edges, *ends, np.float32(one.reach))
    with contextlib.redirect_stdout(io.StringIO()):
        found = collector.compute_entropy() if method == "entropy" else collector.compute_percentile()
    return {name: (float(value[0]), float(value[1])) for name, value in found.items()}


def _least_squares(histogram: Histogram, symmetric: bool) -> tuple[float, float]:
    """The share of the whole range, the same at both ends, at which rounding and cutting off cost least."""
    edges = histogram.edges.astype(np.float64)
    values = (edges[:-1] + edges[1:]) / 2
    used = histogram.counts > 0
    values, weights = values[used], histogram.counts[used].astype(np.float64)
    low, high = min(histogram.lowest, 0.0), max(histogram.highest, 0.0)
    best, least = 1.0, np.inf
    for share in MSE_SHARES:
        bottom, top = share * low, share * high
        width = 2 * max(-bottom, top) if symmetric else top - bottom
        step = max(width, 1e-12) / (2 * HALF_LEVELS + 1)
        inside = np.clip(values, bottom, top)
        # Rounding is evenly spread over a step wherever more than one level is in use.
        error = float((weights * ((values - inside) ** 2 + step**2 / 12)).sum())
        if error < least:
            best, least = float(share), error
    return best * low, best * high


def _session_with_outputs(graph: bytes, tensors: Sequence[str]) -> Any:
    model = onnx.load_from_string(graph)
    there = {output.name for output in model.graph.output}
    for name in tensors:
        if name not in there:
            model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    # Every activation must be there as it stands in the graph: nothing fused away.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _activations(
    session: Any, tensors: Sequence[str], batches: Sequence[Feeds]
) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    for batch in batches:
        yield dict(zip(tensors, session.run(list(tensors), dict(batch)), strict=True))


def _read(path: Path, tensors: Sequence[str]) -> dict[str, Histogram] | None:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            ends = arrays["ends"]
            counts = [arrays[str(k)] for k in range(len(tensors))]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None  # nothing kept, or nothing that can be used: it is collected anew
    if ends.shape != (len(tensors), 2) or any(one.shape != (2 * HALF_BINS,) for one in counts):
        return None
    rows = zip(tensors, counts, ends.tolist(), strict=True)
    return {name: Histogram(one.astype(np.int64), low, high) for name, one, (low, high) in rows}

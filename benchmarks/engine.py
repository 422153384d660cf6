"""A bundle's TensorRT engine on the GPU of this machine: building, agreement, speed, new weights.

Agreement is with the bundle's fp32 graph in ONNX Runtime on the CPU. Speed is of single frames through the backend, as
the pipeline calls it, beside the engine alone (no copies, no other thread), and beside ONNX Runtime and torch on the
same GPU where they are there; all take turns. What cannot be measured here is said, not guessed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks._common import Row, Stopwatch, add_json_option, guarded, report
from benchmarks._engine_arms import BareEngine, Input, backend_arm, onnxruntime_arm, torch_arms
from edgevad.bundle import Bundle
from edgevad.errors import EngineError
from edgevad.report.build_progress import build_progress
from edgevad.runtime.backends.backend import Backend
from edgevad.runtime.backends.ort import OnnxRuntimeBackend
from edgevad.runtime.backends.tensorrt import TensorRtBackend
from edgevad.runtime.engines.building import build_engine
from edgevad.runtime.engines.cache import EngineCache
from edgevad.runtime.engines.machine import find_machine
from edgevad.runtime.engines.obtaining import EngineWish, obtain_engine, wish_for

PARITY = "engine and ONNX Runtime in fp32, relative difference"
RANKS = "int8 engine and ONNX Runtime in fp32, rank correlation"
OVERHEAD = "backend / bare engine"


def single_inputs(bundle: Bundle, source: str | None, frames: int) -> list[Input]:
    """`frames` inputs of one frame each: of the recording, or those of the self-test over and over."""
    if source is not None:
        from benchmarks._subjects import model_inputs

        found = model_inputs(source, bundle.manifest.input, frames)
    else:
        arrays = bundle.selftest()
        motion = arrays.get("motion")
        rows = [slice(k, k + 1) for k in range(len(arrays["frames"]))]
        found = [(arrays["frames"][row], None if motion is None else motion[row]) for row in rows]
    return [found[k % len(found)] for k in range(frames)]


def scores_of(backend: Backend, inputs: Sequence[Input]) -> npt.NDArray[np.float64]:
    """(n, P) float64."""
    return np.concatenate([backend.score(*item).score for item in inputs]).astype(np.float64)


def agreement_rows(bundle: Bundle, backend: Backend, inputs: Sequence[Input], precision: str) -> list[Row]:
    """Largest relative difference, and of int8 the rank correlation, over all parts of the score."""
    where, bank = bundle.path, bundle.bank()
    graph = bundle.graph("fp32")
    reference = OnnxRuntimeBackend(graph, bundle.manifest.input, where=where, bank=bank)
    wanted, found = scores_of(reference, inputs), scores_of(backend, inputs)
    # As in the self-test: scores far below the largest are differences of nearly equal numbers.
    scale = np.maximum(np.abs(wanted), np.maximum(0.1 * np.abs(wanted).max(axis=0), 1e-9))
    worst = float(np.max(np.abs(found - wanted) / scale))
    if precision != "int8":
        return [Row(f"{precision} against fp32 in ONNX Runtime, largest relative difference", [worst], bar=PARITY)]
    ranks = [rank_correlation(found[:, part], wanted[:, part]) for part in range(wanted.shape[1])]
    return [
        Row("int8 against fp32 in ONNX Runtime, largest relative difference", [worst]),
        Row("int8 against fp32 in ONNX Runtime, rank correlation, worst part", [min(ranks)], bar=RANKS),
    ]


def rank_correlation(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Spearman's; 1 where both are constant."""
    if np.ptp(one) == np.ptp(other) == 0:
        return 1.0
    ranks = [np.unique(values, return_inverse=True)[1].astype(np.float64) for values in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


def building_rows(wish: EngineWish, cache: EngineCache, repeats: int) -> tuple[list[Row], bytes]:
    """Seconds of a build without and with measurements of an earlier one, of the cache, and of new weights."""
    first, again, found, refits = [], [], [], []
    plan = b""
    with build_progress() as progress:
        for k in range(repeats):
            engine = obtain_engine(wish, cache=cache, force=True, progress=progress)
            engine.release()
            plan = engine.plan
            (again if k else first).append(engine.seconds)
            engine = obtain_engine(wish, cache=cache)
            engine.release()
            found.append(engine.seconds)
    rows = [
        Row("build, nothing known", first, "s"),
        Row("found in the cache, looking for the GPU included", found, "s"),
    ]
    if again:
        rows.append(Row("build again, with what the first measured", again, "s"))
    try:
        for _ in range(repeats):
            watch = Stopwatch()
            build_engine(wish.graph, wish.options, refit=plan)
            refits.append(watch.wall_s())
        rows.append(Row("new weights into the engine, its process included", refits, "s"))
        # What it spares is a build that knows what an earlier one measured.
        rows.append(Row("new weights / build", [one / float(np.median(again or first)) for one in refits]))
    except EngineError as error:
        print(f"benchmarks: not measured: new weights ({error.what})", file=sys.stderr)
    rows.append(Row("size of the engine", [len(plan) / 1e6], "MB"))
    return rows, plan


def speed_rows(times: Mapping[str, Sequence[npt.NDArray[np.float64]]]) -> list[Row]:
    """p50 and p99 in milliseconds and frames a second of every arm; what a backend adds to the engine alone."""
    rows = []
    for name, repeats in times.items():
        for percent in (50, 99):
            values = [float(np.percentile(seconds, percent)) * 1e3 for seconds in repeats]
            rows.append(Row(f"{name}, p{percent}", values, "ms"))
        rows.append(Row(f"{name}, frames a second", [len(seconds) / float(seconds.sum()) for seconds in repeats], "Hz"))
    for graph in ("", ", CUDA graph"):
        whole, bare = times.get(f"backend{graph}"), times.get(f"bare engine{graph}")
        if whole is not None and bare is not None:
            values = [float(np.median(a) / np.median(b)) for a, b in zip(whole, bare, strict=True)]
            rows.append(Row(f"backend / bare engine{graph}, p50", values, bar=OVERHEAD))
    return rows


def speed(
    bundle: Bundle, plan: bytes, inputs: Sequence[Input], repeats: int, model: Path | None
) -> tuple[list[Row], list[str]]:
    """The rows, and what could not be measured."""
    arms: dict[str, Any] = {}
    missing: list[str] = []
    with ExitStack() as stack:
        for label, graph in (("", False), (", CUDA graph", True)):
            backend = TensorRtBackend(
                plan, bundle.manifest.input, where=bundle.path, bank=bundle.bank(), cuda_graph=graph
            )
            stack.callback(backend.close)
            if graph and not backend.uses_cuda_graph:
                missing.append("CUDA graph: it could not be captured")
                continue
            arms[f"backend{label}"] = backend_arm(backend, inputs)
            bare = BareEngine(plan, graph=graph)
            stack.callback(bare.close)
            arms[f"bare engine{label}"] = bare.arm(len(inputs))
        for name, arm in (
            ("ONNX Runtime fp32", onnxruntime_arm(bundle, inputs)),
            ("torch", torch_arms(model, inputs)),
        ):
            if isinstance(arm, str):
                missing.append(arm)
            else:
                arms.update(arm if isinstance(arm, dict) else {name: arm})
        for arm in arms.values():
            arm()
        times: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in arms}
        for _ in range(repeats):
            for name, arm in arms.items():
                times[name].append(arm())
    return speed_rows(times), missing


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.engine", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, help="a bundle for a CUDA target")
    parser.add_argument("--source", help="recording to score (default: the frames of the bundle's self-test)")
    parser.add_argument("--frames", type=int, default=500, help="frames of one turn (default 500)")
    parser.add_argument("--repeats", type=int, default=3, help="turns, and builds (default 3)")
    parser.add_argument("--model", type=Path, help="the model folder it was exported from, to time torch as well")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    if options.frames < 1 or options.repeats < 1:
        parser.error("--frames and --repeats are at least 1")

    machine = find_machine()  # without a GPU this is the end: one line, exit code 2
    bundle = Bundle.open(options.bundle)
    wish = wish_for(bundle)
    inputs = single_inputs(bundle, options.source, options.frames)
    with tempfile.TemporaryDirectory(prefix="edgevad-bench-") as temporary:
        rows, plan = building_rows(replace(wish, name="benchmark"), EngineCache(Path(temporary)), options.repeats)
    backend = TensorRtBackend(plan, bundle.manifest.input, where=bundle.path, bank=bundle.bank())
    try:
        rows += agreement_rows(bundle, backend, inputs, wish.options.precision)
        rows.append(Row("device memory, weights left out", [backend.memory_bytes / 1e6], "MB"))
    finally:
        backend.close()
    more, missing = speed(bundle, plan, inputs, options.repeats, options.model)
    for one in missing:
        print(f"benchmarks: not measured: {one}", file=sys.stderr)
    facts = {
        **asdict(machine),
        "precision": wish.options.precision,
        "build": str(wish.options),
        "not measured": missing,
    }
    return report("engine", [*rows, *more], as_json=options.json, facts=facts)


if __name__ == "__main__":
    sys.exit(guarded(main))

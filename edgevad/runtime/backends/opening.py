"""From a bundle to the inference engine that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgevad.bundle.bundle import Bundle
from edgevad.errors import OptionError
from edgevad.runtime.backends.backend import Backend
from edgevad.runtime.toning import with_tones
from edgevad.spec import InputSpec

if TYPE_CHECKING:
    from edgevad.runtime.engines.options import BuildProgress

__all__ = ["BACKENDS", "cpu_backend", "cpu_engine", "open_backend", "precision_in"]

BACKENDS = ("onnxruntime", "openvino", "tensorrt")


def open_backend(
    bundle: Bundle, name: str | None = None, *, threads: int | None = None, on_build: BuildProgress | None = None
) -> Backend:
    """Load the graph of `bundle` into an inference engine; None means the one it was exported for.

    `threads` is how many threads one inference may use on a CPU; None means 1. `on_build` is told what is done where an
    engine has to be built first, which takes minutes.

    Raises:
        OptionError: there is no such backend.
        BundleError: the bundle is broken.
        BackendError: the engine refuses the graph, or the machine has not what the engine needs.
        MissingExtraError: a package that the engine needs is not installed.
    """
    name = bundle.manifest.backend if name is None else name
    if name not in BACKENDS:
        raise OptionError(f"unknown backend {name!r}", expected="one of " + ", ".join(BACKENDS))
    if name == "tensorrt":
        from edgevad.runtime.engines.opening import open_tensorrt

        tones = bundle.tones()  # before there is an engine that would have to be closed
        return with_tones(open_tensorrt(bundle, on_build=on_build), tones)
    return cpu_engine(bundle, bundle.manifest.precision, name, threads=threads)


def cpu_engine(
    bundle: Bundle,
    precision: str,
    name: str | None = None,
    *,
    bank: npt.NDArray[np.float32] | None = None,
    threads: int | None = None,
) -> Backend:
    """Load the graph of that `precision` in `bundle`, with all that belongs to it, into an engine for CPUs.

    As `open_backend`, and as `cpu_backend` chooses: what was made for TensorRT is run by ONNX Runtime. `bank` None
    means the bundle's own.

    Raises:
        BundleError: the bundle is broken, or has no graph of that precision.
        BackendError: the engine refuses the graph.
        MissingExtraError: the engine is not installed.
    """
    manifest, tones = bundle.manifest, bundle.tones()
    engine = cpu_backend(
        manifest.backend if name is None else name,
        bundle.graph(precision),
        manifest.input,
        where=bundle.path / bundle.graph_name(precision),
        bank=bundle.bank() if bank is None else bank,
        threads=threads,
    )
    return with_tones(engine, tones)


def cpu_backend(
    name: str,
    graph: bytes,
    spec: InputSpec,
    *,
    where: Path,
    bank: npt.NDArray[np.float32] | None,
    threads: int | None = None,
) -> Backend:
    """Load a graph that is in no bundle, or not yet, into OpenVINO where that is its name, else into ONNX Runtime.

    Raises:
        OptionError: too many threads, or none.
        BackendError: the engine refuses the graph.
        MissingExtraError: the engine is not installed.
    """
    if name == "openvino":
        from edgevad.runtime.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(graph, spec, where=where, bank=bank, threads=threads)
    from edgevad.runtime.backends.ort import OnnxRuntimeBackend

    return OnnxRuntimeBackend(graph, spec, where=where, bank=bank, threads=threads)


def precision_in(bundle: Bundle, name: str | None = None) -> str:
    """What `bundle` computes in, in the backend `name`; None means the one it was exported for.

    A graph in another precision was made for one engine: TensorRT is given it only where that engine is TensorRT, and
    the reference elsewhere. The others run whatever graph the bundle was made for.
    """
    manifest = bundle.manifest
    is_foreign = name == "tensorrt" and manifest.backend != "tensorrt"
    return "fp32" if is_foreign else manifest.precision

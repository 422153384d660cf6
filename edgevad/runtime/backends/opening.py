"""From a bundle to the inference engine that runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgevad.bundle.bundle import Bundle
from edgevad.errors import OptionError
from edgevad.runtime.backends.backend import Backend

if TYPE_CHECKING:
    from edgevad.runtime.engines.options import BuildProgress

__all__ = ["BACKENDS", "open_backend"]

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

        return open_tensorrt(bundle, on_build=on_build)
    graph, spec, bank = bundle.graph(), bundle.manifest.input, bundle.bank()
    where = bundle.path / bundle.graph_name()
    if name == "openvino":
        from edgevad.runtime.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(graph, spec, where=where, bank=bank, threads=threads)
    from edgevad.runtime.backends.ort import OnnxRuntimeBackend

    return OnnxRuntimeBackend(graph, spec, where=where, bank=bank, threads=threads)

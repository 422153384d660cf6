"""A bundle proves itself on the machine and in the engine it will run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgevad.bundle.bundle import SELFTEST_NAME, Bundle
from edgevad.errors import BundleError
from edgevad.runtime.backends.backend import Backend
from edgevad.runtime.backends.opening import open_backend

if TYPE_CHECKING:
    from edgevad.runtime.engines.options import BuildProgress

__all__ = ["QUICK_FRAMES", "prove", "self_test"]

# A broken engine is broken on the first frame; all of them are asked when a bundle is exported or activated.
QUICK_FRAMES = 4
_NOTHING = 1e-6


def self_test(
    bundle: Bundle,
    *,
    backend: str | None = None,
    threads: int | None = None,
    on_build: BuildProgress | None = None,
) -> float:
    """Score all self-test frames of `bundle` in an engine of its own; return the largest relative deviation.

    `backend`, `threads` and `on_build` as for `open_backend`.

    Raises:
        OptionError: there is no such backend.
        BackendError: the inference engine refuses the bundle.
        BundleError: the bundle is broken, or a score deviates by more than the manifest's `selftest_rtol`.
    """
    engine = open_backend(bundle, backend, threads=threads, on_build=on_build)
    try:
        worst = prove(bundle, engine)
    finally:
        engine.close()
    bundle.proved.add(bundle.manifest.backend if backend is None else backend)
    return worst


def prove(bundle: Bundle, engine: Backend, *, frames: int | None = None) -> float:
    """Score the first `frames` self-test frames (None: all) in this engine; return the largest relative deviation.

    Raises:
        BackendError: the engine failed.
        BundleError: a score deviates from the exported one by more than the manifest's `selftest_rtol`.
    """
    arrays = bundle.selftest()
    expected = np.asarray(arrays["score"], dtype=np.float64)
    # Scores far below the largest are differences of nearly equal numbers: measured against a tenth of it instead.
    # Where all are nothing (every view of the recording recurs exactly), what rounding leaves there is nothing as well.
    largest = np.abs(expected).max(axis=0)
    scale = np.maximum(np.abs(expected), np.where(largest > _NOTHING, 0.1 * largest, 1e-3))
    expected = expected[:frames]
    found = _scores(engine, arrays["frames"][:frames], arrays.get("motion"))
    if found.shape != expected.shape:
        raise BundleError(
            f"the graph gives scores of shape {found.shape}", where=bundle.path, expected=str(expected.shape)
        )
    deviation = np.abs(found - expected) / scale[:frames]
    deviation = np.where(np.isfinite(deviation), deviation, np.inf)
    frame, part = (int(k) for k in np.unravel_index(np.argmax(deviation), deviation.shape))
    worst = float(deviation[frame, part])
    if not worst <= bundle.manifest.selftest_rtol:
        name = bundle.manifest.calibration.names[part]
        raise BundleError(
            f"self-test frame {frame} scores {found[frame, part]:.6g} ({name}) on this machine",
            where=bundle.path / SELFTEST_NAME,
            expected=f"{expected[frame, part]:.6g} within {bundle.manifest.selftest_rtol:g}, as when it was exported",
            fix="Export the bundle again for this machine",
        )
    return worst


def _scores(
    engine: Backend, frames: npt.NDArray[np.uint8], motion: npt.NDArray[np.float32] | None
) -> npt.NDArray[np.float64]:
    """Scores (n, P) of `frames`, one by one as the runtime asks, or in the batches of an engine that knows no other."""
    size = engine.batch or 1
    scores = []
    for start in range(0, len(frames), size):
        rows = np.minimum(np.arange(start, start + size), len(frames) - 1)  # the last batch repeats its last frame
        found = engine.score(frames[rows], None if motion is None else motion[rows]).score
        scores.append(found[: len(frames) - start])
    return np.concatenate(scores).astype(np.float64)

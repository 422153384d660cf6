"""A bundle proves itself on the machine and in the engine it will run on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgevad.bundle.bundle import SELFTEST_NAME, Bundle
from edgevad.errors import BundleError
from edgevad.runtime.backends.backend import BATCH_FRAMES, Backend, Scores
from edgevad.runtime.backends.opening import open_backend

if TYPE_CHECKING:
    from edgevad.runtime.engines.options import BuildProgress

__all__ = ["QUICK_FRAMES", "SELFTEST_RTOL", "prove", "self_test"]

# A broken engine is broken on the first frame; all of them are asked when a bundle is exported or activated.
QUICK_FRAMES = 4
# How far an engine may be from the scores a bundle was exported with. FP16 and INT8 engines round in other places
# (docs/export.md).
SELFTEST_RTOL = {"fp32": 1e-3, "fp16": 1e-2, "int8": 5e-2}
_NOTHING = 1e-6
_FIX = "Export the bundle again for this machine"


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

    An engine that takes any number of frames is asked one by one, as for a camera, and in batches, as for a recording.

    Raises:
        BackendError: the engine failed.
        BundleError: a score deviates from the exported one by more than the manifest's `selftest_rtol`, or heatmaps or
            latent variables are no numbers.
    """
    arrays = bundle.selftest()
    expected = np.asarray(arrays["score"], dtype=np.float64)
    # Scores far below the largest are differences of nearly equal numbers: measured against a tenth of it instead.
    # Where all are nothing (every view of the recording recurs exactly), what rounding leaves there is nothing as well.
    largest = np.abs(expected).max(axis=0)
    scale = np.maximum(np.abs(expected), np.where(largest > _NOTHING, 0.1 * largest, 1e-3))
    expected = expected[:frames]
    sizes = (1, BATCH_FRAMES) if engine.batch is None else (engine.batch,)
    return max(_deviation(bundle, engine, arrays, expected, scale[:frames], size) for size in sizes)


def _deviation(
    bundle: Bundle,
    engine: Backend,
    arrays: Mapping[str, npt.NDArray[Any]],
    expected: npt.NDArray[np.float64],
    scale: npt.NDArray[np.float64],
    size: int,
) -> float:
    """The largest deviation of `size` frames at a time from `expected`, in units of `scale` (both (n, P))."""
    found = _scores(bundle, engine, arrays["frames"][: len(expected)], arrays.get("motion"), size)
    if found.shape != expected.shape:
        raise BundleError(
            f"the graph gives scores of shape {found.shape}", where=bundle.path, expected=str(expected.shape)
        )
    deviation = np.abs(found - expected) / scale
    deviation = np.where(np.isfinite(deviation), deviation, np.inf)
    frame, part = (int(k) for k in np.unravel_index(np.argmax(deviation), deviation.shape))
    worst = float(deviation[frame, part])
    if not worst <= bundle.manifest.selftest_rtol:
        name = bundle.manifest.calibration.names[part]
        raise BundleError(
            f"self-test frame {frame} scores {found[frame, part]:.6g} ({name}) on this machine",
            where=bundle.path / SELFTEST_NAME,
            expected=f"{expected[frame, part]:.6g} within {bundle.manifest.selftest_rtol:g}, as when it was exported",
            fix=_FIX,
        )
    return worst


def _scores(
    bundle: Bundle,
    engine: Backend,
    frames: npt.NDArray[np.uint8],
    motion: npt.NDArray[np.float32] | None,
    size: int,
) -> npt.NDArray[np.float64]:
    """Scores (n, P) of `frames`, `size` at a time; the last call holds fewer where the engine takes fewer."""
    scores = []
    for start in range(0, len(frames), size):
        end = start + size if engine.batch is not None else min(start + size, len(frames))
        rows = np.minimum(np.arange(start, end), len(frames) - 1)  # a fixed batch is filled up with the last frame
        found = engine.score(frames[rows], None if motion is None else motion[rows])
        _require_sound(bundle, found, start)
        scores.append(found.score[: len(frames) - start])
    return np.concatenate(scores).astype(np.float64)


def _require_sound(bundle: Bundle, found: Scores, start: int) -> None:
    """Nobody exported what heatmaps and latent variables are to be, but it is known what they must not be."""
    heat = found.heatmap
    lowest = -max(_NOTHING, bundle.manifest.selftest_rtol * float(np.abs(heat).max(initial=0.0)))
    for what, sound in (
        ("heatmap", np.isfinite(heat).all() and heat.min(initial=0.0) >= lowest),
        ("latent", np.isfinite(found.latent).all()),
    ):
        if not sound:
            raise BundleError(
                f"the {what} of self-test frame {start}, or of one scored with it, is wrong on this machine",
                where=bundle.path / SELFTEST_NAME,
                expected="finite numbers" + (" that are not negative" if what == "heatmap" else ""),
                fix=_FIX,
            )

"""A bundle proves itself on the machine it will run on."""

from __future__ import annotations

import numpy as np

from edgevad.bundle.bundle import SELFTEST_NAME, Bundle
from edgevad.errors import BundleError
from edgevad.runtime.scorer import Scorer

__all__ = ["SELFTEST_RTOL", "self_test"]

SELFTEST_RTOL = 1e-3


def self_test(bundle: Bundle, *, threads: int | None = None) -> float:
    """Score the bundle's self-test frames one by one, as the runtime does; return the largest relative deviation.

    Raises:
        BackendError: the inference engine refuses the bundle.
        BundleError: a score deviates from the exported one by more than `SELFTEST_RTOL`.
    """
    arrays = bundle.selftest()
    expected = np.asarray(arrays["score"], dtype=np.float64)
    motion = arrays.get("motion")
    with Scorer.from_bundle(bundle, threads=threads) as scorer:
        rows = [slice(i, i + 1) for i in range(len(expected))]
        scores = [scorer.backend.score(arrays["frames"][i], None if motion is None else motion[i]) for i in rows]
    found = np.concatenate([one.score for one in scores]).astype(np.float64)  # (n, P)
    if found.shape != expected.shape:
        raise BundleError(
            f"the graph gives scores of shape {found.shape}", where=bundle.path, expected=str(expected.shape)
        )
    # Scores far below the largest are differences of nearly equal numbers: measured against a tenth of it instead.
    scale = np.maximum(np.abs(expected), np.maximum(0.1 * np.abs(expected).max(axis=0), 1e-9))
    deviation = np.abs(found - expected) / scale
    deviation = np.where(np.isfinite(deviation), deviation, np.inf)
    frame, part = (int(k) for k in np.unravel_index(np.argmax(deviation), deviation.shape))
    worst = float(deviation[frame, part])
    if not worst <= SELFTEST_RTOL:
        name = bundle.manifest.calibration.names[part]
        raise BundleError(
            f"self-test frame {frame} scores {found[frame, part]:.6g} ({name}) on this machine",
            where=bundle.path / SELFTEST_NAME,
            expected=f"{expected[frame, part]:.6g}, as when it was exported",
            fix="Export the bundle again for this machine",
        )
    return worst

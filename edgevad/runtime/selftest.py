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
    found = np.array([float(one.score[0]) for one in scores], dtype=np.float64)
    # Scores far below the largest are differences of nearly equal numbers: measured against a tenth of it instead.
    scale = np.maximum(np.abs(expected), max(0.1 * float(np.abs(expected).max()), 1e-9))
    deviation = np.abs(found - expected) / scale
    worst = int(np.argmax(np.where(np.isfinite(deviation), deviation, np.inf)))
    if not deviation[worst] <= SELFTEST_RTOL:
        raise BundleError(
            f"self-test frame {worst} scores {found[worst]:.6g} on this machine",
            where=bundle.path / SELFTEST_NAME,
            expected=f"{expected[worst]:.6g}, as when it was exported",
            fix="Export the bundle again for this machine",
        )
    return float(deviation[worst])

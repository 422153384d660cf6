"""Does a bundle's quantised graph still tell the same as its float one, now that the world looks otherwise?

Ranges of activations were collected where the bundle was exported. A camera whose contrast has grown leaves them, and
the quantised graph then says something else than the float one: on a drive with another gamma the rank correlation of
`residual` fell to 0.37. The float graph is in every bundle, so there is a way out that needs no host.
"""

from __future__ import annotations

from contextlib import closing

import numpy as np

from edgevad.bundle.bundle import Bundle
from edgevad.bundle.tones import ToneCurves
from edgevad.calibration.guard import Agreement, GuardLimits, compare
from edgevad.calibration.judging import judge
from edgevad.model.cache import FrameCache
from edgevad.runtime.backends.backend import Backend
from edgevad.runtime.backends.opening import cpu_engine
from edgevad.runtime.toning import with_tones

__all__ = ["quantised_agreement"]

# Frames that the graphs are held against each other on, from all over the recording.
_FRAMES, _STRETCH = 300, 30


def quantised_agreement(
    bundle: Bundle,
    engine: Backend,
    recent: FrameCache,
    limits: GuardLimits,
    *,
    tones: ToneCurves | None,
    threads: int | None = None,
) -> Agreement | None:
    """How far `engine`, which runs the graph of `bundle`, agrees with its float32 graph; None where it runs that one.

    `tones`: the curves that `engine` was given.

    Raises:
        BackendError: an engine failed.
    """
    manifest = bundle.manifest
    if manifest.precision == "fp32":
        return None
    stretches = [rows for rows in np.array_split(np.arange(len(recent)), max(len(recent) // _STRETCH, 1)) if len(rows)]
    chosen = np.linspace(0, len(stretches) - 1, min(_FRAMES // _STRETCH, len(stretches))).round().astype(int)
    rows = np.concatenate([stretches[k][:_STRETCH] for k in np.unique(chosen)])
    with closing(with_tones(cpu_engine(bundle, "fp32", "onnxruntime", threads=threads), tones)) as exact:
        reference = judge(exact, recent, rows, manifest.calibration)
    other = judge(engine, recent, rows, manifest.calibration)
    parts = [name for name in manifest.calibration.names if name == "residual"]
    return compare(reference, other, manifest.calibration, limits, network_parts=parts)

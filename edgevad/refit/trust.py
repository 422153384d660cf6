"""Whether what was chosen to learn from can be trusted: no label is read, and nothing is learned to find out.

Two things must not be learned: what the vehicle was to watch for, because there was so much of it that it seems usual,
and a lens that shows nothing. A new condition must be: it moves all scores of a drive, so the champion's deviates are
taken anew by the calmest quarter of each drive's frames. What is still far out there is no condition.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad.bundle.bundle import Bundle
from edgevad.bundle.manifest import Calibration, PartCalibration
from edgevad.calibration.judging import judge
from edgevad.refit.observer import RefitObserver
from edgevad.refit.selection import Selection
from edgevad.refit.sight import sight_of
from edgevad.refit.standing_out import deviates_within
from edgevad.runtime.backends.backend import Backend
from edgevad.runtime.backends.opening import open_backend

__all__ = ["Trust", "TrustLimits", "contamination"]

Floats = npt.NDArray[np.float64]

# What is calm: with two fifths of the frames anomalous it is still of normal ones alone.
_CALM_FROM, _CALM_TO, _POINTS = 0.02, 0.25, 16
# Deviates from the calm beyond which a frame stands out, and is far out.
_OUT, _FAR = 3.0, 6.0


@dataclass(frozen=True)
class TrustLimits:
    """Shares of the frames, each in [0, 1], beyond which nothing is learned (docs/refit.md has the figures).

    Attributes:
        standing_out: of frames that stand out by 3 deviates and more.
        far_out: of frames that do by 6 and more.
        blind: of images in which the lens showed nothing.
        dead: of places in the picture that changed before, and hardly do now.
    """

    standing_out: float = 0.45
    far_out: float = 0.05
    blind: float = 0.3
    dead: float = 0.5


@dataclass(frozen=True)
class Trust:
    """
    Attributes:
        standing_out, far_out, blind, dead: as in `TrustLimits`, measured.
        frames: how many were asked.
        reasons: why nothing is to be learned from them, a sentence each; empty where they are to be trusted.
    """

    standing_out: float
    far_out: float
    blind: float
    dead: float
    frames: int
    reasons: tuple[str, ...]

    @property
    def trusted(self) -> bool:
        return not self.reasons

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "reasons": list(self.reasons), "trusted": self.trusted}


def contamination(
    selection: Selection,
    bundle: Bundle,
    *,
    limits: TrustLimits | None = None,
    backend: Backend | None = None,
    observer: RefitObserver | None = None,
) -> Trust:
    """How much of `selection` shows what should not be learned, by the champion in `bundle`.

    Frames of events that people confirmed are left out: they are never learned from in any case.

    Args:
        backend: an engine with the bundle's graph; None opens one, and closes it.

    Raises:
        BundleError: the bundle is broken.
        BackendError: the engine refuses it or fails.
    """
    limits = limits or TrustLimits()
    observer = observer or RefitObserver()
    rows = np.flatnonzero(selection.weight > 0)
    if not len(rows):
        nothing = "All of the frames are of events that people confirmed: nothing is left to learn from."
        return Trust(0.0, 0.0, selection.blind_share, 0.0, 0, (nothing,))
    observer.stage("asking the bundle in use", len(rows))
    engine = open_backend(bundle) if backend is None else backend
    try:
        calibration = bundle.manifest.calibration
        found = judge(engine, selection.cache, rows, calibration, observer.advance, heatmaps=False)
    finally:
        if backend is None:
            engine.close()
    out = own_deviates(found.windowed, selection.drive[rows], calibration)
    replay = bundle.replay()
    sight = sight_of(selection.cache.images, None if replay is None else replay.images)
    # Those that are left of what was looked at, and those of them that turn out to show nothing after all.
    blind = selection.blind_share + (1.0 - selection.blind_share) * sight.blind_share
    standing_out, far_out = float(np.mean(out > _OUT)), float(np.mean(out > _FAR))
    measured = {"standing_out": standing_out, "far_out": far_out, "blind": blind, "dead": sight.dead_share}
    reasons = tuple(
        _REASONS[name].format(measured[name]) for name in measured if measured[name] > getattr(limits, name)
    )
    return Trust(**measured, frames=len(rows), reasons=reasons)


_MARK = "Say which of them are none with: edgevad events mark, or leave these drives out."
_REASONS = {
    "standing_out": "{:.0%} of the frames stand out from the rest of their drive: an anomaly that would become usual. "
    + _MARK,
    "far_out": "{:.0%} of the frames are far from everything else in their drive: an anomaly that would become usual. "
    + _MARK,
    "blind": "In {:.0%} of the images the lens showed nothing: black, covered or blurred. Clean it, and drive.",
    "dead": "{:.0%} of the places in the picture hardly change any more: something covers them, or the vehicle stood. "
    "Clean the lens, and drive.",
}


def own_deviates(
    windowed: npt.NDArray[np.floating], drive: npt.NDArray[np.integer], calibration: Calibration
) -> Floats:
    """(N,) largest deviate, of the parts that decide, from the calm frames of each frame's own drive.

    `windowed` (N, P) scores, `drive` (N,) which drive a frame is of. A drive may be calmer than what the champion was
    calibrated on, as under haze: its own spread counts only where it is the larger one. (The gate's `own_deviates`
    takes the champion's in any case: it is asked what must go on to stand out, not what must not be learned.)
    """
    return deviates_within(windowed, drive, calibration, _calm)


def _calm(amplitude: Floats, part: PartCalibration) -> tuple[float, float]:
    shares = np.linspace(_CALM_FROM, _CALM_TO, _POINTS)
    normal = [NormalDist().inv_cdf(share) for share in shares]
    # A line through the normal quantile plot (Lloyd 1952), as for the calibration.
    spread, location = np.polyfit(normal, np.quantile(amplitude, shares), 1)
    return float(location), max(float(spread), part.scale)

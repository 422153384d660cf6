"""What a bundle says of the exam's frames, in this machine's engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgevad.bundle.bundle import Bundle
from edgevad.bundle.manifest import Calibration
from edgevad.calibration.judging import Judged, judge
from edgevad.errors import RefitError
from edgevad.model.cache import FrameCache
from edgevad.refit.exam import Exam, piece_scores
from edgevad.refit.probes import KINDS
from edgevad.runtime.backends.backend import Backend
from edgevad.spec import InputSpec

__all__ = ["CLEAN", "Answers", "ask", "fitted_to", "require_fitting"]

Floats = npt.NDArray[np.float64]
CLEAN = "clean"


@dataclass(frozen=True)
class Answers:
    """
    Attributes:
        calibration: the bundle's.
        judged: its scores of all clean frames, by the name of the set: "recent", "replay".
        pieces: (K,) its score of each piece, by set and kind of probe, or CLEAN.
    """

    calibration: Calibration
    judged: Mapping[str, Judged]
    pieces: Mapping[tuple[str, str], Floats]

    def beyond(self, name: str) -> float:
        """Share of the set's clean frames beyond the bundle's own threshold."""
        return float(np.mean(self.judged[name].anomaly >= self.calibration.threshold))


def ask(
    bundle: Bundle,
    engine: Backend,
    frames: Mapping[str, FrameCache],
    exams: Mapping[str, Exam],
    progress: Callable[[int], None],
) -> Answers:
    """Score `frames`, the clean frames of each set, and the pieces of `exams`; `progress` is told frames done.

    Both are asked with the memory that they have. To mask the moment of each piece in it was tried: a bank that keeps
    old episodes condensed loses several by it, and a challenger that was as good looked worse by up to ten points.

    Raises:
        BackendError: the engine failed.
        BundleError: the bundle is broken.
    """
    calibration, spec = bundle.manifest.calibration, bundle.manifest.input
    done = 0

    def told(count: int) -> None:
        progress(done + count)

    judged = {}
    for name, cache in frames.items():
        fitting = fitted_to(cache, spec)
        judged[name] = judge(engine, fitting, np.arange(len(fitting)), calibration, told, heatmaps=False)
        done += len(fitting)
    pieces = {}
    for name, exam in exams.items():
        for kind in (CLEAN, *KINDS):
            asked = fitted_to(exam.clean if kind == CLEAN else exam.probed(kind), spec)
            pieces[name, kind] = piece_scores(engine, asked, calibration, told)
            done += len(asked)
    return Answers(calibration, judged, pieces)


def fitted_to(cache: FrameCache, spec: InputSpec) -> FrameCache:
    """`cache` at the size that `spec` asks for, with motion only where it does; the same object where it fits."""
    size = (spec.height_px, spec.width_px)
    images, motion = cache.images, cache.motion
    if images.shape[1:3] != size:
        images = np.stack([cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA) for image in images])
    if spec.motion is None:
        motion = None
    if images is cache.images and motion is cache.motion:
        return cache
    return FrameCache(images, motion, cache.timestamp_ns, cache.segment, cache.skipped, cache.camera)


def require_fitting(bundle: Bundle, cache: FrameCache) -> None:
    """Raises RefitError where `bundle` cannot be asked about these frames."""
    spec = bundle.manifest.input
    channels = 0 if cache.motion is None else cache.motion.shape[3]
    wanted = 0 if spec.motion is None else spec.motion.channels
    resized = cache.images.shape[1:3] != (spec.height_px, spec.width_px)
    if wanted > channels or (wanted and resized):
        raise RefitError(
            f"it looks at motion ({wanted} channels at {spec.width_px}x{spec.height_px}), the frames chosen have "
            f"{channels} at {cache.images.shape[2]}x{cache.images.shape[1]}",
            where=bundle.path,
            expected="champion and challenger that are fed alike",
            fix="Train the challenger with the champion's --motion and --size",
        )

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
from edgevad.runtime.remembering import Rememberer
from edgevad.spec import EXCLUDED, InputSpec

__all__ = ["CLEAN", "Answers", "ask", "fitted_to", "require_fitting"]

Floats = npt.NDArray[np.float64]
Bank = npt.NDArray[np.float32]
CLEAN = "clean"
# An entry of the bank nearer to one of a piece's frames than this share of a step from frame to frame is that frame.
_SAME_FRAME_STEPS = 0.1


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

    Pieces of "replay" are asked about as if their moment had not been remembered, since a memory that holds a frame
    itself knows nothing of how common it is.

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
    memory = _Memory(bundle, engine)
    pieces = {}
    for name, exam in exams.items():
        for kind in (CLEAN, *KINDS):
            asked = fitted_to(exam.clean if kind == CLEAN else exam.probed(kind), spec)
            if name == "replay" and memory.masks:
                clean = fitted_to(exam.clean, spec)
                pieces[name, kind] = memory.piece_scores(clean, asked, calibration)
            else:
                pieces[name, kind] = piece_scores(engine, asked, calibration, told)
            done += len(asked)
            progress(done)
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


class _Memory:
    """A bundle's bank with some of it masked for a moment."""

    def __init__(self, bundle: Bundle, engine: Backend) -> None:
        self._engine = engine
        self._bank = bundle.bank()
        self._rememberer = None if self._bank is None else Rememberer.of(bundle)

    @property
    def masks(self) -> bool:
        return self._rememberer is not None

    def piece_scores(self, clean: FrameCache, asked: FrameCache, calibration: Calibration) -> Floats:
        """As `exam.piece_scores`, each piece without what the bank holds of its own moment."""
        assert self._bank is not None
        assert self._rememberer is not None
        scores = []
        try:
            for number in range(int(clean.segment[-1]) + 1):
                rows = np.flatnonzero(clean.segment == number)
                own = self._rememberer.coordinates(np.ascontiguousarray(clean.images[rows]))
                self._engine.remember(_without(self._bank, own))
                scores.append(piece_scores(self._engine, _part(asked, rows), calibration)[0])
        finally:
            self._engine.remember(self._bank)
        return np.array(scores)


def _part(cache: FrameCache, rows: npt.NDArray[np.int64]) -> FrameCache:
    motion = None if cache.motion is None else cache.motion[rows]
    nothing = np.zeros(len(rows), np.int32)
    return FrameCache(cache.images[rows], motion, cache.timestamp_ns[rows], nothing, 0, cache.camera)


def _without(bank: Bank, coordinates: npt.NDArray[np.float32]) -> Bank:
    """`bank` (E, m, d + 1) without the episodes that hold one of these consecutive frames, `coordinates` (n, d)."""
    steps = np.linalg.norm(np.diff(coordinates, axis=0), axis=1)
    same = _SAME_FRAME_STEPS * float(np.median(steps)) if len(steps) else 0.0
    entries = bank[..., :-1].reshape(-1, bank.shape[2] - 1)
    norm = np.square(coordinates).sum(axis=1)
    squared = np.square(entries).sum(axis=1)[:, None] + norm - 2 * entries @ coordinates.T
    # Rounding leaves a little of the distance of a frame to itself.
    is_same = squared.min(axis=1) <= same * same + 1e-5 * float(norm.max())
    masked = bank.copy()
    masked[is_same.reshape(bank.shape[:2]).any(axis=1), :, -1] = EXCLUDED
    return masked

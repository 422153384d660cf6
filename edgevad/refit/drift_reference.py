"""What days are compared with: what the bundle itself brings of the recordings it was calibrated on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgevad.bundle.bundle import Bundle
from edgevad.bundle.calibration import Calibration
from edgevad.bundle.replay import Replay
from edgevad.calibration.threshold import windowed_scores
from edgevad.refit.drift_figures import (
    IMAGE_FIGURES,
    MEMORY_TOLERANCE,
    SCORE_TOLERANCE,
    Figure,
    MemoryFigures,
    image_figures,
)
from edgevad.refit.drift_sample import Sample, SampleBuilder
from edgevad.refit.drift_tests import BLOCK_S
from edgevad.runtime.remembering import Rememberer

__all__ = ["SCORE_EVERY_S", "DriftReference"]

# The window is a second long: what lies closer says the same.
SCORE_EVERY_S = 1.0


@dataclass(frozen=True)
class DriftReference:
    """What a bundle knows of the frames it was calibrated on.

    Attributes:
        digest: of the bundle.
        figures: the F figures that days are compared by, in the order of the columns.
        calibration: by which raw scores became deviates.
        scores: sample of the training recording's scores; other columns are NaN.
        frames: sample of the replay frames; the scores' columns are NaN.
        memory: tells figures of frames in the model's memory; None where it has none, or no frames to compare with.
        notes: what cannot be compared, in sentences.
    """

    digest: str
    figures: tuple[Figure, ...]
    calibration: Calibration
    scores: Sample
    frames: Sample
    memory: MemoryFigures | None
    notes: tuple[str, ...]

    @classmethod
    def of(cls, bundle: Bundle, replay: Replay | None = None) -> DriftReference:
        """Read from `bundle`; its own replay frames, unless others of the same model are given.

        Raises:
            BundleError: it is broken.
            BackendError: its memory's graph is refused.
        """
        calibration = bundle.manifest.calibration
        replay = bundle.replay() if replay is None else replay
        notes = []
        figures = [Figure(f"score {name}", "scores", SCORE_TOLERANCE) for name in calibration.names]
        memory, coordinates = None, None
        if replay is None:
            notes.append("the bundle holds no replay frames, so only scores can be compared; export it again")
        else:
            figures += [Figure(name, "image", tolerance) for name, tolerance in IMAGE_FIGURES.items()]
            rememberer = Rememberer.of(bundle)
            if rememberer is None:
                notes.append("the model remembers nothing, so scores and images are compared, and no memory")
            else:
                coordinates = rememberer.coordinates(replay.images)
                memory = MemoryFigures(rememberer, coordinates)
                figures += [Figure(f"memory {name}", "memory", MEMORY_TOLERANCE) for name in memory.names]
        scores = bundle.training_scores()
        sampled = scores_sample(
            deviates_of(scores.score, scores.timestamp_ns, scores.segment, calibration),
            scores.timestamp_ns,
            scores.segment,
            len(figures),
        )
        frames = Sample.empty(len(figures))
        if replay is not None:
            frames = frames_sample(replay, len(calibration.parts), len(figures), memory, coordinates)
        return cls(bundle.digest, tuple(figures), calibration, sampled, frames, memory, tuple(notes))

    def column(self, k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Values and blocks of the reference's frames for figure `k`."""
        if not self.figures[k].is_score:
            return self.frames.values[:, k], self.frames.blocks()
        return self.scores.values[:, k], _blocks_of_copies(self.scores, len(self.calibration.parts))

    def figures_of(self, small: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Of a frame at model size (h, w, 3) the figures from `first_image_column` on: those of image and memory.

        Raises:
            BackendError: the memory's graph fails.
        """
        found = image_figures(small)
        return found if self.memory is None else np.concatenate([found, self.memory.of(small[None])[0]])

    @property
    def has_frames(self) -> bool:
        """Whether images can be compared."""
        return self.first_image_column < len(self.figures)

    @property
    def first_image_column(self) -> int:
        return len(self.calibration.parts)


def _blocks_of_copies(scores: Sample, parts: int) -> npt.NDArray[np.int64]:
    """As `Sample.blocks`; rows that are there several times, as a recalibrated bundle has those of before
    (`edgevad.refit.score_rows`), lie in one block: what is repeated is no surer for it."""
    rows = np.concatenate([scores.time_ns[:, None].astype(np.float64), scores.values[:, :parts]], axis=1)
    _, first, copy = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return np.asarray(scores.blocks()[first[copy.reshape(-1)]], dtype=np.int64)


def deviates_of(
    scores: npt.NDArray[np.floating],
    timestamp_ns: npt.NDArray[np.int64],
    segment: npt.NDArray[np.integer],
    calibration: Calibration,
) -> npt.NDArray[np.float64]:
    """Raw scores (N, P) of consecutive frames as the deviates (N, P) that the runtime logs."""
    windowed = windowed_scores(scores, timestamp_ns, segment, calibration.window)
    location = np.array([part.location + part.scale * (part.margin or 0.0) for part in calibration.parts])
    scale = np.array([part.scale for part in calibration.parts])
    return np.asarray((np.sqrt(np.maximum(windowed, 0.0)) - location) / scale, dtype=np.float64)


def scores_sample(
    deviates: npt.NDArray[np.floating],
    timestamp_ns: npt.NDArray[np.int64],
    segment: npt.NDArray[np.integer],
    figures: int,
) -> Sample:
    """One of them a second, as a sample of `figures` columns, the first of which they are."""
    place = timestamp_ns // round(SCORE_EVERY_S * 1e9)
    first = np.flatnonzero(np.concatenate([[True], (np.diff(place) != 0) | (np.diff(segment) != 0)]))
    values = np.full((len(first), figures), np.nan, np.float32)
    values[:, : deviates.shape[1]] = deviates[first]
    return Sample(values, timestamp_ns[first], segment[first].astype(np.int64), np.zeros(len(first), np.bool_))


def frames_sample(
    replay: Replay,
    parts: int,
    figures: int,
    memory: MemoryFigures | None,
    coordinates: npt.NDArray[np.float32] | None,
) -> Sample:
    """Figures of the replay frames' images and coordinates. A stretch is a block, and its neighbour is the next one."""
    in_memory = None if memory is None or coordinates is None else memory.of_coordinates(coordinates)
    builder = SampleBuilder(figures)
    for k, image in enumerate(replay.images):
        found = image_figures(image)
        if in_memory is not None:
            found = np.concatenate([found, in_memory[k]])
        # By its number a stretch is a block of one long drive.
        builder.add(int(replay.segment[k]) * _BLOCK_NS, 0, at=parts, values=found)
    return builder.sample()


_BLOCK_NS = round(BLOCK_S * 1e9)

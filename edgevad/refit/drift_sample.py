"""Figures of frames, thinned out, with where each frame stands in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgevad.refit.drift_tests import BLOCK_S

__all__ = ["Sample", "SampleBuilder"]

_BLOCK_NS = round(BLOCK_S * 1e9)


@dataclass(frozen=True)
class Sample:
    """Figures of N frames.

    Attributes:
        values: (N, F) float32; NaN where a figure was not taken of the frame.
        time_ns: (N,) int64, ascending within a stretch.
        stretch: (N,) int64; frames of the same number follow each other without a gap.
        faulty: (N,) bool, the lens showed nothing to judge.
    """

    values: npt.NDArray[np.float32]
    time_ns: npt.NDArray[np.int64]
    stretch: npt.NDArray[np.int64]
    faulty: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def empty(cls, figures: int) -> Sample:
        return cls(np.zeros((0, figures), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, bool))

    @classmethod
    def joined(cls, samples: Sequence[tuple[int, Sample]], figures: int) -> Sample:
        """One after the other, each with the number of its drive; a stretch may go on in the next one of its drive."""
        if not any(len(one) for _, one in samples):
            return cls.empty(figures)
        drive = np.concatenate([np.full(len(one), number, np.int64) for number, one in samples])
        stretch = np.concatenate([one.stretch for _, one in samples])
        begins = np.concatenate([[False], (np.diff(drive) != 0) | (np.diff(stretch) != 0)])
        return cls(
            np.concatenate([one.values for _, one in samples]),
            np.concatenate([one.time_ns for _, one in samples]),
            np.cumsum(begins, dtype=np.int64),
            np.concatenate([one.faulty for _, one in samples]),
        )

    def last(self, driven_s: float) -> Sample:
        """The end of it that stands for so many seconds of driving; all of it where it is shorter."""
        if len(self) < 2:
            return self
        steps = np.where(np.diff(self.stretch) == 0, np.clip(np.diff(self.time_ns), 0, None), 0) / 1e9
        to_end_s = np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]])
        keep = to_end_s <= driven_s
        return Sample(self.values[keep], self.time_ns[keep], self.stretch[keep], self.faulty[keep])

    def blocks(self) -> npt.NDArray[np.int64]:
        """The number of the block of its stretch that each frame lies in, (N,): neighbours in time differ by 1."""
        if not len(self):
            return np.zeros(0, np.int64)
        place = self.time_ns // _BLOCK_NS
        begins = np.concatenate([[True], (np.diff(self.stretch) != 0)])
        step = np.concatenate([[0], np.clip(np.diff(place), 0, 2)])
        return np.asarray(np.cumsum(np.where(begins, 2, step)), dtype=np.int64)

    @property
    def driven_s(self) -> float:
        """Seconds that it stands for, gaps left out."""
        if len(self) < 2:
            return 0.0
        steps = np.diff(self.time_ns)[np.diff(self.stretch) == 0]
        return float(np.clip(steps, 0, None).sum()) / 1e9


class SampleBuilder:
    """Gathers figures of frames, one frame after the other."""

    def __init__(self, figures: int) -> None:
        self._figures = figures
        self._values: list[npt.NDArray[np.float32]] = []
        self._rows: list[tuple[int, int, bool]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self,
        time_ns: int,
        stretch: int,
        *,
        at: int = 0,
        values: Sequence[float] | npt.NDArray[np.floating] = (),
        faulty: bool = False,
    ) -> None:
        """A frame's figures `values`, which stand from column `at` on."""
        row = np.full(self._figures, np.nan, np.float32)
        row[at : at + len(values)] = values
        self._values.append(row)
        self._rows.append((time_ns, stretch, faulty))

    def sample(self) -> Sample:
        """What there is so far."""
        if not self._rows:
            return Sample.empty(self._figures)
        time_ns, stretch, faulty = zip(*self._rows, strict=True)
        return Sample(
            np.stack(self._values), np.array(time_ns, np.int64), np.array(stretch, np.int64), np.array(faulty, np.bool_)
        )

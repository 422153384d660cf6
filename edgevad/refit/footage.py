"""What there is to learn from: one camera of one drive, known frame by frame before a single image is decoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad.runtime.lens import LensMonitor
from edgevad.runtime.preprocess import MIN_SIDE_PX
from edgevad.runtime.shrinking import shrink
from edgevad.sources import open_source
from edgevad.sources.frame import Frame

__all__ = ["CONFIRMED", "DISMISSED", "INSIDE", "NEAR", "Footage", "FrameIndex", "Leg", "PlainFootage"]

#: What a frame has to do with events, what weighs most last: in or near one that people dismissed, near one, inside
#: one, in or near one that they confirmed.
DISMISSED, NEAR, INSIDE, CONFIRMED = 1, 2, 3, 4

# Lens faults are seen at this size; as large as the lens monitor looks at.
_LENS_PX = (64, 64)


@dataclass(frozen=True)
class Leg:
    """A file that frames come from; `sha256` is hexadecimal, empty where nobody has computed it yet."""

    path: Path
    sha256: str = ""


@dataclass(frozen=True)
class FrameIndex:
    """What is known of N frames in the order in which they are read.

    Attributes:
        time_ns: (N,) int64, Unix time where the recording knows it, else its own.
        timestamp_ns: (N,) int64, the recording's own time, as `Frame.timestamp_ns`.
        stretch: (N,) int32, grows at each gap in time.
        fault: (N,) bool, the lens showed nothing to judge.
        anomaly: (N,) float32 anomaly score as logged, NaN where none was.
        dense: (N,) bool, the frame is there because of an event; frames like it are closer together than others.
        event: (N,) uint8, 0 or one of `DISMISSED`, `NEAR`, `INSIDE`, `CONFIRMED`.
    """

    time_ns: npt.NDArray[np.int64]
    timestamp_ns: npt.NDArray[np.int64]
    stretch: npt.NDArray[np.int32]
    fault: npt.NDArray[np.bool_]
    anomaly: npt.NDArray[np.float32]
    dense: npt.NDArray[np.bool_]
    event: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.time_ns)

    @classmethod
    def of_times(
        cls, time_ns: npt.NDArray[np.int64], timestamp_ns: npt.NDArray[np.int64], stretch: npt.NDArray[np.int32]
    ) -> FrameIndex:
        """Frames of which nothing else is known."""
        count = len(time_ns)
        nothing = np.zeros(count, np.bool_)
        anomaly = np.full(count, np.nan, np.float32)
        return cls(time_ns, timestamp_ns, stretch, nothing, anomaly, nothing, np.zeros(count, np.uint8))

    def rows(self, chosen: npt.NDArray[Any]) -> FrameIndex:
        """Those of the rows or mask `chosen`."""
        return replace(self, **{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


class Footage(ABC):
    """One camera of one drive.

    Attributes:
        drive: name of the drive; several cameras share it.
        path: of the drive.
        camera: as `Frame.source_id`.
        legs: the files that its frames come from.
        index: what is known of its frames.
        clock: whether `index.time_ns` is Unix time.
    """

    def __init__(
        self, drive: str, path: str, camera: str, legs: tuple[Leg, ...], index: FrameIndex, *, clock: bool
    ) -> None:
        self.drive = drive
        self.path = path
        self.camera = camera
        self.legs = legs
        self.index = index
        self.clock = clock

    @abstractmethod
    def frames(self, rows: npt.NDArray[np.int64]) -> Generator[tuple[int, Frame], None, None]:
        """Decode the frames of these rows of the index, which grow; give each with its row.

        A frame that cannot be decoded is left out.

        Raises:
            SourceError: a file is damaged, or gone.
        """


class PlainFootage(Footage):
    """A recording without anybody's notes: its frames have to be looked at once to know what there is."""

    def __init__(self, source: str) -> None:
        self._source = source
        index, camera = self._look_through()
        path = Path(source)
        legs = (Leg(path),) if path.is_file() else ()
        super().__init__(path.name or source, source, camera, legs, index, clock=False)

    def frames(self, rows: npt.NDArray[np.int64]) -> Generator[tuple[int, Frame], None, None]:
        wanted = iter(rows.tolist())
        row = next(wanted, None)
        with open_source(self._source) as source, closing(iter(source)) as frames:
            for number, frame in enumerate(frames):
                if row is None:
                    return
                if number == row:
                    yield row, frame
                    row = next(wanted, None)

    def _look_through(self) -> tuple[FrameIndex, str]:
        lens = LensMonitor()
        times: list[int] = []
        stretches: list[int] = []
        faults: list[bool] = []
        last: tuple[str, int] | None = None
        camera = ""
        with open_source(self._source) as source, closing(iter(source)) as frames:
            for frame in frames:
                here = (frame.source_id, frame.segment)
                stretches.append((stretches[-1] if stretches else -1) + (here != last))
                last, camera = here, camera or frame.source_id
                times.append(frame.timestamp_ns)
                # What is too small for the lens monitor is too small for the model: said when it is read.
                too_small = min(frame.image.shape[:2]) < MIN_SIDE_PX
                verdict = None if too_small else lens.push(frame, shrink(frame.image, _LENS_PX))
                faults.append(verdict is not None and (verdict.fault is not None or verdict.repeats))
        timestamp_ns, stretch = np.array(times, np.int64), np.array(stretches, np.int32)
        index = FrameIndex.of_times(_on_one_clock(timestamp_ns, stretch), timestamp_ns, stretch)
        return replace(index, fault=np.array(faults, np.bool_)), camera


def _on_one_clock(timestamp_ns: npt.NDArray[np.int64], stretch: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Times (N,) that grow from stretch to stretch: of many clips each begins at 0, and they are not the same time."""
    time_ns = timestamp_ns.copy()
    begins = np.flatnonzero(np.r_[True, np.diff(stretch) != 0])
    last_ns = None
    for first, end in zip(begins, np.r_[begins[1:], len(time_ns)], strict=True):
        part = time_ns[first:end]
        if last_ns is not None and part.min() < last_ns:
            part += last_ns - part.min()
        last_ns = part.max()
    return time_ns

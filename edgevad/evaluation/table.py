"""What an evaluation keeps of each frame: a few numbers, never its image."""

from __future__ import annotations

import csv
from array import array
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgevad._files import atomic_file
from edgevad.evaluation.labels import Labels

if TYPE_CHECKING:
    from edgevad.runtime.pipeline import Result

__all__ = ["FrameTable", "FrameTableBuilder"]

COLUMNS = ("frame", "timestamp_s", "segment", "frame_score", "anomaly_score", "cause", "is_anomaly", "level", "event")


@dataclass(frozen=True, eq=False)
class FrameTable:
    """Entry k is about the frame with index k; arrays are (N,), or (N, P) with a column for each part of the score.

    Attributes:
        seen: bool; False for a frame that could not be read, or was deleted.
        timestamp_ns: int64; of frames not seen, that of the frame before.
        segment: int64; of frames not seen, that of the frame before.
        names: of the parts.
        parts: (N, P) float64, raw scores, NaN where the model had none.
        deviates: (N, P) float64, windowed and standardised, NaN where the model had no score.
        frame_score: float64, NaN where the model had no score.
        anomaly_score: float64, windowed and standardised, NaN where the model had no score.
        is_anomaly: bool, the frame was inside an event as it was decided, without looking ahead.
        level: int8, and `event`, N names: the labels.
    """

    seen: npt.NDArray[np.bool_]
    timestamp_ns: npt.NDArray[np.int64]
    segment: npt.NDArray[np.int64]
    names: tuple[str, ...]
    parts: npt.NDArray[np.float64]
    deviates: npt.NDArray[np.float64]
    frame_score: npt.NDArray[np.float64]
    anomaly_score: npt.NDArray[np.float64]
    is_anomaly: npt.NDArray[np.bool_]
    level: npt.NDArray[np.int8]
    event: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.level)

    @property
    def duration_s(self) -> float:
        """Recorded time, gaps between segments left out."""
        inside = np.diff(self.segment) == 0
        return float(np.diff(self.timestamp_ns)[inside].sum()) / 1e9

    def _cause(self, k: int) -> str:
        # The anomaly score is one of the deviates; a part that decides nothing may have a larger one.
        found = np.flatnonzero(self.deviates[k] == self.anomaly_score[k])
        return self.names[found[0]] if len(found) else ""

    def write_csv(self, path: str | PathLike[str]) -> None:
        """Write one row a frame; cells without a value are empty.

        Raises:
            OutputError: the file cannot be written.
        """
        with atomic_file(path, "w") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(COLUMNS)
            for k in range(len(self)):
                seen = bool(self.seen[k])
                writer.writerow(
                    (
                        k,
                        f"{self.timestamp_ns[k] / 1e9:.6f}" if seen else "",
                        self.segment[k] if seen else "",
                        _number(self.frame_score[k]),
                        _number(self.anomaly_score[k]),
                        self._cause(k),
                        int(self.is_anomaly[k]),
                        self.level[k],
                        self.event[k],
                    )
                )


class FrameTableBuilder:
    """Takes results in order and grows by 41 bytes a frame, and 16 for each part of the score.

    Args:
        names: of the parts.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._none = (np.nan,) * len(names)
        self._parts = array("d")
        self._deviates = array("d")
        self._index = array("q")
        self._timestamp_ns = array("q")
        self._segment = array("q")
        self._frame_score = array("d")
        self._anomaly_score = array("d")
        self._is_anomaly = array("b")

    def push(self, result: Result) -> None:
        frame = result.frame
        self._index.append(frame.index)
        self._timestamp_ns.append(frame.timestamp_ns)
        self._segment.append(frame.segment)
        self._parts.extend(result.parts or self._none)
        self._deviates.extend(result.deviates or self._none)
        self._frame_score.append(np.nan if result.frame_score is None else result.frame_score)
        self._anomaly_score.append(np.nan if result.anomaly_score is None else result.anomaly_score)
        self._is_anomaly.append(result.is_anomaly)

    def table(self, labels: Labels) -> FrameTable:
        """The table of all frames that `labels` tell of, those that never came included."""
        index = np.array(self._index, dtype=np.int64)
        seen = np.zeros(len(labels), np.bool_)
        seen[index] = True
        # Which pushed row tells of frame k: its own, else that of the last frame before it.
        row = np.maximum(np.searchsorted(index, np.arange(len(labels)), side="right") - 1, 0)

        def scores(values: array[float]) -> npt.NDArray[np.float64]:
            return np.where(seen, np.array(values, dtype=np.float64)[row], np.nan)

        def columns(values: array[float]) -> npt.NDArray[np.float64]:
            table = np.array(values, dtype=np.float64).reshape(-1, len(self._names))
            return np.where(seen[:, None], table[row], np.nan)

        return FrameTable(
            seen=seen,
            timestamp_ns=np.array(self._timestamp_ns, dtype=np.int64)[row],
            segment=np.array(self._segment, dtype=np.int64)[row],
            names=self._names,
            parts=columns(self._parts),
            deviates=columns(self._deviates),
            frame_score=scores(self._frame_score),
            anomaly_score=scores(self._anomaly_score),
            is_anomaly=seen & np.array(self._is_anomaly, dtype=np.bool_)[row],
            level=labels.level,
            event=labels.event,
        )


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.9g}"

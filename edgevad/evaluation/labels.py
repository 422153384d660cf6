"""Frame labels: what a person says about each frame of a recording. Read for evaluation only, never for training.

A label file is a CSV with a header, which tells its format:

- `frame,level[,event][,segment]`: one row a frame, in any order, counted from 0 as the source counts (`Frame.index`).
  `level` is 0 normal or unlabelled, 1 ambiguous (left out of every metric), 2 anomaly; `anomaly` (0 or 1) may stand in
  its place, and `video_frame` in that of `frame`. `event` says what kind of anomaly it is; `segment` changes wherever
  the recording has a gap in time. Other columns are ignored.
- `first,last,level[,event]`: ranges of frames, both ends included; every other frame is level 0.
- `clip,frame,anomaly`: clips of image files, in the order in which a folder of such clips is read (UCSD Ped2).
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgevad.errors import LabelError
from edgevad.sources.listing import natural_key

__all__ = ["AMBIGUOUS", "ANOMALY", "NORMAL", "Labels", "read_labels"]

NORMAL, AMBIGUOUS, ANOMALY = 0, 1, 2

_FORMATS = "the columns frame,level or first,last,level or clip,frame,anomaly"
_LEVELS = "0 (normal), 1 (ambiguous) or 2 (anomaly)"
# Three days at 30 Hz: a range beyond that is a slip of the pen, and too much to make room for.
_MOST_FRAMES = 10_000_000


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of one recording; entry k is about the frame with index k.

    Attributes:
        level: (N,) int8, 0 normal or unlabelled, 1 ambiguous, 2 anomaly.
        event: N names, "" where the file gives none.
        segment: (N,) int64, changes at every gap in the recording, or None where the file does not say.
        path: the file, for messages.
        open_ended: the file gives ranges, so any number of normal frames may follow the last one.
    """

    level: npt.NDArray[np.int8]
    event: tuple[str, ...]
    segment: npt.NDArray[np.int64] | None = None
    path: str | None = None
    open_ended: bool = False

    def __len__(self) -> int:
        return len(self.level)

    def fitted(self, frame_count: int, recording: str = "the recording") -> Labels:
        """These labels for a recording of `frame_count` frames; ranges are continued with normal frames.

        Raises:
            LabelError: they are of another length, or all of the recording is anomalous.
        """
        fitted = self.covering(frame_count, recording)
        fitted.require_both_classes()
        return fitted

    def covering(self, frame_count: int, recording: str = "the recording") -> Labels:
        """Like `fitted`, for a part of a recording, which may be normal or anomalous as a whole.

        Raises:
            LabelError: they are of another length.
        """
        if self.open_ended and frame_count > len(self):
            missing = frame_count - len(self)
            level = np.concatenate([self.level, np.zeros(missing, np.int8)])
            return replace(self, level=level, event=self.event + ("",) * missing, open_ended=False)
        if frame_count != len(self):
            raise self.length_error(str(frame_count), recording)
        return replace(self, open_ended=False)

    def length_error(self, frames: str, recording: str) -> LabelError:
        """The error for labels that do not fit `recording`, which has `frames` frames."""
        reach = f"the ranges reach frame {len(self) - 1}" if self.open_ended else f"labels for {len(self)} frames"
        return LabelError(
            f"{reach}, but {recording} has {frames} frames",
            where=self.path,
            expected="one label for every frame of the recording, those that cannot be read included",
        )

    def require_both_classes(self) -> None:
        """Raises LabelError where there is nothing to tell apart."""
        if not (self.level == ANOMALY).any():
            raise LabelError("not one frame is labelled as anomaly (level 2), so no metric is defined", where=self.path)
        if not self.open_ended and not (self.level == NORMAL).any():
            raise LabelError("not one frame is labelled as normal (level 0), so no metric is defined", where=self.path)


def read_labels(path: str | PathLike[str], expected_frames: int | None = None) -> Labels:
    """Read a label file in any of the formats above.

    With `expected_frames`, the labels are checked against that length and ranges continued to it; without, that
    is left to `Labels.fitted`.

    Raises:
        LabelError: the file is missing or in no known format, a row does not make sense, frames are labelled twice or
            not at all, the length is another one, or there are no anomalies or nothing else.
    """
    rows, header = _read_rows(Path(path))
    labels = _reader_for(header, path)(rows)
    labels.require_both_classes()
    return labels if expected_frames is None else labels.fitted(expected_frames)


class _Rows:
    """The data rows of a label file, read by column name; complains with line numbers."""

    def __init__(self, path: Path, columns: dict[str, int], rows: Sequence[tuple[int, list[str]]]) -> None:
        self.path = path
        self.columns = columns
        self.rows = rows  # (line in the file, from 1; its cells)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    def line(self, row: int) -> int:
        return self.rows[row][0]

    def error(self, row: int, what: str, expected: str | None = None, fix: str | None = None) -> LabelError:
        return LabelError(f"line {self.line(row)}: {what}", where=self.path, expected=expected, fix=fix)

    def texts(self, column: str) -> list[str]:
        """The cells of a column, "" everywhere where the file does not have it."""
        if column not in self.columns:
            return [""] * len(self.rows)
        position = self.columns[column]
        return [cells[position].strip() for _, cells in self.rows]

    def integers(self, column: str, least: int | None = None) -> npt.NDArray[np.int64]:
        """The cells of a column as whole numbers, none below `least`."""
        wanted = "a whole number" if least is None else f"a whole number from {least}"
        values = np.empty(len(self.rows), np.int64)
        for row, text in enumerate(self.texts(column)):
            try:
                values[row] = int(text)
            except (ValueError, OverflowError):
                raise self.error(row, f"{column} is {text!r}", wanted) from None
            if least is not None and values[row] < least:
                raise self.error(row, f"{column} is {text}", wanted)
        return values

    def levels(self) -> npt.NDArray[np.int8]:
        """The level of each row, from its column `level` or else `anomaly`."""
        if "level" in self.columns:
            return self._choices("level", {"0": NORMAL, "1": AMBIGUOUS, "2": ANOMALY}, _LEVELS)
        return self._choices("anomaly", {"0": NORMAL, "1": ANOMALY}, "0 (normal) or 1 (anomaly)")

    def _choices(self, column: str, values: dict[str, int], expected: str) -> npt.NDArray[np.int8]:
        levels = np.empty(len(self.rows), np.int8)
        for row, text in enumerate(self.texts(column)):
            if text not in values:
                raise self.error(row, f"{column} is {text!r}", expected)
            levels[row] = values[text]
        return levels


def _read_rows(path: Path) -> tuple[_Rows, tuple[str, ...]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = tuple(name.strip().lower() for name in next(reader, []))
            rows = [(reader.line_num, cells) for cells in reader if cells]
    except FileNotFoundError as error:
        raise LabelError("no such file", where=path, expected="a CSV file with labels") from error
    except IsADirectoryError as error:
        raise LabelError("this is a folder", where=path, expected="a CSV file with labels") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"cannot be read as CSV ({error})", where=path) from error
    if not header:
        raise LabelError("the file is empty", where=path, expected=f"a header with {_FORMATS}")
    for line, cells in rows:
        if len(cells) != len(header):
            raise LabelError(
                f"line {line}: {len(cells)} cells", where=path, expected=f"{len(header)}, as in the header"
            )
    if not rows:
        raise LabelError("there is a header, but not one row", where=path)
    return _Rows(path, {name: position for position, name in enumerate(header)}, rows), header


def _reader_for(header: tuple[str, ...], path: str | PathLike[str]) -> Callable[[_Rows], Labels]:
    names = set(header)
    if {"tub_first", "tub_last"} <= names:
        raise LabelError(
            "ranges in tub indexes, which cannot be mapped to frames without the tub",
            where=path,
            fix="Use the recording's frames.csv, one row a frame, instead",
        )
    has_level = bool(names & {"level", "anomaly"})
    if has_level and {"clip", "frame"} <= names:
        return _read_clips
    if has_level and {"first", "last"} <= names:
        return _read_ranges
    if has_level and names & {"frame", "video_frame"}:
        return _read_frames
    raise LabelError(f"the header is {','.join(header)[:80]!r}", where=path, expected=_FORMATS)


def _read_frames(rows: _Rows) -> Labels:
    column = "video_frame" if "video_frame" in rows else "frame"
    frames = rows.integers(column, least=0)
    order = np.argsort(frames, kind="stable")
    for wanted, row in enumerate(order):
        if frames[row] < wanted:
            both = f"lines {rows.line(order[wanted - 1])} and {rows.line(row)}"
            raise LabelError(f"frame {frames[row]} is labelled twice ({both})", where=rows.path)
        if frames[row] > wanted:
            count = int(frames[order[-1]]) + 1 - len(np.unique(frames))
            raise LabelError(
                f"frame {wanted} has no row ({count} missing in all)",
                where=rows.path,
                expected=f"one row for each frame from 0 to {frames[order[-1]]}",
            )
    events = rows.texts("event")
    segment = rows.integers("segment")[order] if "segment" in rows else None
    return Labels(rows.levels()[order], tuple(events[row] for row in order), segment, str(rows.path))


def _read_clips(rows: _Rows) -> Labels:
    clips, frames = rows.texts("clip"), rows.texts("frame")
    keys = [(natural_key(clip), natural_key(frame)) for clip, frame in zip(clips, frames, strict=True)]
    for row in range(1, len(rows)):
        if keys[row] <= keys[row - 1]:
            what = "is labelled twice" if keys[row] == keys[row - 1] else "is out of order"
            raise rows.error(
                row, f"clip {clips[row]} frame {frames[row]} {what}", "clips, and the frames in them, in natural order"
            )
    level = rows.levels()
    segment = np.cumsum([False, *(a != b for a, b in itertools.pairwise(clips))], dtype=np.int64)
    event = tuple(f"clip {clip}" if at == ANOMALY else "" for clip, at in zip(clips, level, strict=True))
    return Labels(level, event, segment, str(rows.path))


def _read_ranges(rows: _Rows) -> Labels:
    first, last, levels = rows.integers("first", least=0), rows.integers("last", least=0), rows.levels()
    names = rows.texts("event")
    order = np.argsort(first, kind="stable")
    for row in range(len(rows)):
        if last[row] < first[row]:
            raise rows.error(row, f"the range from {first[row]} to {last[row]} ends before it starts")
    for before, row in itertools.pairwise(order):
        if first[row] <= last[before]:
            raise rows.error(row, f"frame {first[row]} is in the range of line {rows.line(before)} as well")
    count = int(last[order[-1]]) + 1
    if count > _MOST_FRAMES:
        raise rows.error(int(order[-1]), f"last is {count - 1}", "the index of a frame")
    level, event = np.zeros(count, np.int8), [""] * count
    for row in range(len(rows)):
        level[first[row] : last[row] + 1] = levels[row]
        event[first[row] : last[row] + 1] = [names[row]] * int(last[row] + 1 - first[row])
    return Labels(level, tuple(event), None, str(rows.path), open_ended=True)

"""Writing the chosen frames to the disk as the model takes them, with what is known of each."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from edgevad._files import output_errors
from edgevad.model.cache import FrameCache
from edgevad.refit.blurring import Blur, blurred
from edgevad.refit.footage import CONFIRMED, DISMISSED, INSIDE, Footage, FrameIndex
from edgevad.refit.observer import RefitObserver
from edgevad.refit.pieces import GUARD_S, Piece
from edgevad.refit.selection import IN_EVENT_WEIGHT
from edgevad.runtime.picture import gray_of, structured_share
from edgevad.runtime.preprocess import ModelInput, Preprocessor
from edgevad.sources.frame import Frame, Image
from edgevad.spec import InputSpec

__all__ = ["Taken", "shows_nothing", "take"]

# What no working camera shows, whatever is known of it: nearly no place with structure, or nearly no pixel with light.
_LEAST_STRUCTURE = 0.05
_BLACK_LEVEL, _BLACK_SHARE = 16, 0.005


# Row of a footage's index to its segment, and whether that is held out.
_Segments = dict[int, tuple[int, bool]]


class _Row(NamedTuple):
    footage: int
    row: int
    segment: int
    held_out: bool


@dataclass(frozen=True)
class Taken:
    """The frames that were written; all arrays (N,).

    Attributes:
        cache: the frames; a segment is what was chosen without a gap of one stretch of one camera.
        footage: int32, index of each frame's footage.
        rows: int64, its row in the footage's index.
        event: uint8, as `FrameIndex.event`.
        anomaly: float32, NaN where none was logged.
        held_out: bool.
        blind: how many frames more showed nothing, and were left out.
    """

    cache: FrameCache
    footage: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int64]
    event: npt.NDArray[np.uint8]
    anomaly: npt.NDArray[np.float32]
    held_out: npt.NDArray[np.bool_]
    blind: int

    def __len__(self) -> int:
        return len(self.cache)

    @property
    def weight(self) -> npt.NDArray[np.float32]:
        """(N,) 1 where nothing was wrong, or people said so; 0 in what they confirmed; else `IN_EVENT_WEIGHT`."""
        weight = np.where(self.event <= DISMISSED, 1.0, IN_EVENT_WEIGHT)
        return np.where(self.event == CONFIRMED, 0.0, weight).astype(np.float32)

    @property
    def in_event(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.event >= INSIDE, np.bool_)


def shows_nothing(small: Image) -> bool:
    """Whether a picture (h, w, 3) uint8 is black, or has no structure anywhere: its lens is covered."""
    gray = gray_of(small)
    is_black = int(np.count_nonzero(gray >= _BLACK_LEVEL)) <= _BLACK_SHARE * gray.size
    return is_black or structured_share(gray) <= _LEAST_STRUCTURE


def take(
    footage: Sequence[Footage],
    pieces: Sequence[Piece],
    held: npt.NDArray[np.bool_],
    spec: InputSpec,
    work: Path,
    *,
    blur: Blur | None = None,
    observer: RefitObserver | None = None,
) -> Taken:
    """Decode the frames of `pieces`, which lie in the order of footage and rows, and write them into `work`.

    Raises:
        SourceError: a file is damaged or gone, or its frames are too small.
        RefitError: the blur fails.
        OutputError: `work` cannot be written.
    """
    observer = observer or RefitObserver()
    chosen = _guarded(footage, pieces, held)
    written: list[_Row] = []
    blind = done = 0
    with output_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        with (work / "images.u8").open("wb") as images, (work / "motion.f16").open("wb") as motions:
            for number, one in enumerate(footage):
                segments = chosen.get(number, {})
                for row, item in _prepared(one, segments, spec, blur):
                    done += 1
                    observer.advance(done)
                    if shows_nothing(item.image):
                        blind += 1
                        continue
                    _write(images, item.image)
                    if item.motion is not None:
                        _write(motions, item.motion.astype(np.float16))
                    written.append(_Row(number, row, *segments[row]))
    return _taken(footage, written, spec, work, blind)


def _write(stream: BinaryIO, array: npt.NDArray[np.generic]) -> None:
    stream.write(np.ascontiguousarray(array).data)


def _guarded(footage: Sequence[Footage], pieces: Sequence[Piece], held: npt.NDArray[np.bool_]) -> dict[int, _Segments]:
    """For each footage the rows to take; without those to learn from that lie too near what is held out."""
    held_ns: dict[int, list[npt.NDArray[np.int64]]] = {}
    for piece, is_held in zip(pieces, held, strict=True):
        if is_held:
            held_ns.setdefault(piece.drive, []).append(footage[piece.footage].index.time_ns[piece.rows])
    guards = {drive: np.sort(np.concatenate(times)) for drive, times in held_ns.items()}
    chosen: dict[int, _Segments] = {}
    segment = -1
    last: tuple[int, int, bool] | None = None  # footage, row after the last one, held out
    for piece, is_held in zip(pieces, held, strict=True):
        rows = piece.rows
        if not is_held and piece.drive in guards:
            rows = rows[~_is_within(guards[piece.drive], footage[piece.footage].index.time_ns[rows], GUARD_S)]
        if not len(rows):
            continue
        if last is None or last != (piece.footage, int(rows[0]), bool(is_held)):
            segment += 1
        last = (piece.footage, piece.next_row, bool(is_held))
        chosen.setdefault(piece.footage, {}).update({int(row): (segment, bool(is_held)) for row in rows})
    return chosen


def _is_within(
    times_ns: npt.NDArray[np.int64], asked_ns: npt.NDArray[np.int64], margin_s: float
) -> npt.NDArray[np.bool_]:
    """Whether each of `asked_ns` (n,) lies within the margin of one of `times_ns` (m,), which are in order, m > 0."""
    after = np.searchsorted(times_ns, asked_ns).clip(max=len(times_ns) - 1)
    before = (after - 1).clip(min=0)
    distance_ns = np.minimum(np.abs(times_ns[after] - asked_ns), np.abs(times_ns[before] - asked_ns))
    return np.asarray(distance_ns <= margin_s * 1e9, np.bool_)


def _prepared(
    footage: Footage, segments: _Segments, spec: InputSpec, blur: Blur | None
) -> Generator[tuple[int, ModelInput], None, None]:
    """The model's input for each row of `segments` that has one: without a past, motion has none."""
    preprocess = Preprocessor(spec)
    index = footage.index
    segment_of = {row: segment for row, (segment, _) in segments.items()}
    if spec.motion is not None:
        # Motion is against the true past, and not against what was taken: the rows between, and those just before.
        segment_of |= _past(index, segments, max(spec.motion.lags_ms))
    rows = np.array(sorted(segment_of), np.int64)
    for row, frame in footage.frames(rows):
        image = blurred(frame, blur).image
        item = preprocess(Frame(image, row, int(index.timestamp_ns[row]), footage.camera, segment_of[row]))
        if item is not None and row in segments:
            yield row, item


def _past(index: FrameIndex, segments: _Segments, lag_ms: int) -> dict[int, int]:
    """Rows that are needed before and between those of `segments`, with the segment that needs them."""
    needed: dict[int, int] = {}
    by_segment: dict[int, list[int]] = {}
    for row, (segment, _) in segments.items():
        by_segment.setdefault(segment, []).append(row)
    for segment, rows in by_segment.items():
        first, last = min(rows), max(rows)
        start = first
        while start > 0 and index.stretch[start - 1] == index.stretch[first] and start - 1 not in segments:
            start -= 1
            if index.timestamp_ns[first] - index.timestamp_ns[start] >= lag_ms * 1e6:
                break
        needed.update({row: segment for row in range(start, last) if row not in segments and not index.fault[row]})
    return needed


def _taken(footage: Sequence[Footage], written: Sequence[_Row], spec: InputSpec, work: Path, blind: int) -> Taken:
    count = len(written)
    shape = (count, spec.height_px, spec.width_px)
    motion = None
    if count:
        images: npt.NDArray[np.uint8] = np.memmap(work / "images.u8", np.uint8, "r", shape=(*shape, 3))
        if spec.motion is not None:
            motion = np.memmap(work / "motion.f16", np.float16, "r", shape=(*shape, spec.motion.channels))
    else:
        images = np.empty((*shape, 3), np.uint8)
    number = np.array([row.footage for row in written], np.int32)
    rows = np.array([row.row for row in written], np.int64)
    timestamp_ns = np.zeros(count, np.int64)
    event = np.zeros(count, np.uint8)
    anomaly = np.full(count, np.nan, np.float32)
    for k, one in enumerate(footage):
        mine = number == k
        timestamp_ns[mine] = one.index.timestamp_ns[rows[mine]]
        event[mine] = one.index.event[rows[mine]]
        anomaly[mine] = one.index.anomaly[rows[mine]]
    segment = np.array([row.segment for row in written], np.int32)
    if count:  # numbered without gaps: one of which nothing could be used is none
        segment = np.unique(segment, return_inverse=True)[1].astype(np.int32)
    cache = FrameCache(images, motion, timestamp_ns, segment, skipped=0)
    held_out = np.array([row.held_out for row in written], np.bool_)
    return Taken(cache, number, rows, event, anomaly, held_out, blind)

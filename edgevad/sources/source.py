"""What every source of frames has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing, suppress
from os.path import samestat
from pathlib import Path
from statistics import median_low
from types import TracebackType
from typing import TypeVar

from edgevad.errors import SourceError, SourceUnreadableError
from edgevad.sources.frame import Frame

__all__ = ["SegmentCounter", "Source", "printable"]

_STEPS_KEPT = 15

_SourceT = TypeVar("_SourceT", bound="Source")


class Source(ABC):
    """Frames of a recording or a camera; a context manager, and an iterable of `Frame`.

    A recording can be iterated more than once: every pass starts at the first frame, and a new pass ends the one before
    it. Leaving a pass early, or closing the source, releases its files and devices. Frames that cannot be read are
    skipped and counted; a pass in which no frame at all can be read raises `SourceUnreadableError`.

    Attributes:
        kind: "camera", "stream", "pipeline", "video", "images", "tub v1", "tub v2", "folder", "glob" or "list".
        name: the source as a person would name it; passwords in stream addresses are masked.
        is_live: frames come at the camera's pace, and only the newest is kept.
        frame_count_hint: how many frames a pass will give, for a progress bar; an estimate, None where unknown.
        fps_hint_hz: nominal frame rate, None where unknown.
        dropped: frames of a live source that were replaced by a newer one before anybody asked for them.
        positions: how far `Frame.index` has counted in this pass, skipped and deleted frames included.
    """

    is_live: bool = False

    def __init__(self, name: str, *, kind: str) -> None:
        self.name = printable(name)
        self.kind = kind
        self.frame_count_hint: int | None = None
        self.fps_hint_hz: float | None = None
        self.dropped = 0
        self.positions = 0
        self._deleted = 0
        self._skip_reasons: Counter[str] = Counter()
        self._closed = False
        self._pass: Generator[Frame, None, None] | None = None

    @property
    def skip_reasons(self) -> Mapping[str, int]:
        """Why frames were skipped in this pass, and how many for each reason."""
        return self._skip_reasons

    @property
    def skipped(self) -> int:
        """Frames of this pass that could not be read."""
        return sum(self.skip_reasons.values())

    @property
    def deleted(self) -> int:
        """Frames of this pass that were left out because a tub marks them as deleted."""
        return self._deleted

    def __iter__(self) -> Generator[Frame, None, None]:
        if self._closed:
            raise SourceError("the source is closed", where=self.name)
        self._end_pass()
        self.reset()
        self._pass = self._checked_frames()
        return self._pass

    def __enter__(self: _SourceT) -> _SourceT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release everything; a pass under way in another thread ends at its next frame. May be called twice."""
        self._closed = True
        self._end_pass()

    def reset(self) -> None:
        """Forget what the last pass counted."""
        self.dropped = self.positions = self._deleted = 0
        self._skip_reasons.clear()

    def reads(self, path: Path) -> bool:
        """Whether `path` is a file that this source reads, under whatever name; False for live sources.

        Asked before `path` is written: a recording must not be replaced by what is made of it.
        """
        try:
            asked = path.stat()
        except (OSError, ValueError):  # what is not there is not read
            return False
        for file in self._files():
            with suppress(OSError, ValueError):
                if samestat(asked, file.stat()):
                    return True
        return False

    def _files(self) -> Iterable[Path]:
        """The files a recording consists of."""
        return ()

    @abstractmethod
    def _frames(self) -> Generator[Frame, None, None]:
        """One pass from the first frame; opens what it needs and releases it in its own `finally`."""

    def _checked_frames(self) -> Generator[Frame, None, None]:
        any_frame = False
        with closing(self._frames()) as frames:
            for frame in frames:
                any_frame = True
                yield frame
                if self._closed:
                    return
        if not any_frame and not self._closed:
            raise self._no_frames_error()

    def _no_frames_error(self) -> SourceUnreadableError:
        if self.deleted and not self.skipped:
            return SourceUnreadableError(
                "every frame is marked as deleted",
                where=self.name,
                fix="--include-deleted reads them all the same",
            )
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.skip_reasons.items())
        return SourceUnreadableError(
            "not one frame can be read" + (f" ({reasons})" if reasons else ""), where=self.name
        )

    def _end_pass(self) -> None:
        if self._pass is not None:
            # A generator that another thread is running cannot be closed from here; it sees `_closed` by itself.
            with suppress(ValueError):
                self._pass.close()
            self._pass = None


def printable(text: str) -> str:
    """`text` with a replacement character for every byte of a file name that is not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class SegmentCounter:
    """Numbers the segments of one recording from its timestamps.

    A new segment starts where time goes backwards or leaps by more than `gap_s`; slow recordings (nominal frame period
    `period_s`) are given three of their own periods before that is called a gap. With `follow`, three of the median
    period of the last frames will do as well: for sources that state no rate, or do not keep to it.
    """

    def __init__(self, gap_s: float, period_s: float | None = None, *, follow: bool = False) -> None:
        self._gap_ns = round(max(gap_s, 3 * (period_s or 0.0)) * 1e9)
        self._follow = follow
        # The stated period comes first, so that a source which states one is not believed slow after a single leap.
        self._steps_ns = deque([round(period_s * 1e9)] if period_s else [], maxlen=_STEPS_KEPT)
        self._last_ns: int | None = None
        self._segment = 0

    def segment_at(self, timestamp_ns: int) -> int:
        """The segment of the next frame, taken at `timestamp_ns`."""
        if self._last_ns is not None and self._is_gap(timestamp_ns - self._last_ns):
            self._segment += 1
        self._last_ns = timestamp_ns
        return self._segment

    def cut(self) -> None:
        """Let the next frame start a new segment, whenever it was taken."""
        if self._last_ns is not None:
            self._segment += 1
            self._last_ns = None

    def _is_gap(self, step_ns: int) -> bool:
        if step_ns <= 0 or not self._follow:
            return not 0 <= step_ns <= self._gap_ns
        self._steps_ns.append(step_ns)
        return step_ns > max(self._gap_ns, 3 * median_low(self._steps_ns))

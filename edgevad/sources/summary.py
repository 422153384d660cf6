"""What a source holds, found out by reading it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from edgevad.sources.source import Source

__all__ = ["SourceSummary", "summarize"]


@dataclass(frozen=True)
class SourceSummary:
    """One pass over a source, in numbers.

    Attributes:
        sizes_px: how many frames of each (width, height) there were.
        duration_s: recorded time, the gaps between segments left out.
        fps_hz: mean frame rate within the segments; None where there were no two frames in one.
        complete: False where reading stopped before the source ended.
    """

    name: str
    kind: str
    is_live: bool
    frames: int
    skipped: int
    skip_reasons: dict[str, int]
    deleted: int
    dropped: int
    sizes_px: dict[tuple[int, int], int]
    segments: int
    duration_s: float
    fps_hz: float | None
    complete: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.name,
            "kind": self.kind,
            "live": self.is_live,
            "frames": self.frames,
            "skipped": self.skipped,
            "skip_reasons": self.skip_reasons,
            "deleted": self.deleted,
            "dropped": self.dropped,
            "sizes_px": [
                {"width": width, "height": height, "frames": frames}
                for (width, height), frames in self.sizes_px.items()
            ],
            "segments": self.segments,
            "duration_s": round(self.duration_s, 3),
            "fps_hz": None if self.fps_hz is None else round(self.fps_hz, 3),
            "complete": self.complete,
        }

    def rows(self) -> list[tuple[str, str]]:
        """Label and text for each line of a table that people read."""
        unfinished = "" if self.complete else " (stopped early)"
        rows = [
            ("source", self.name),
            ("kind", self.kind + (", live" if self.is_live else "")),
            ("frames", f"{self.frames}{unfinished}"),
            ("skipped", str(self.skipped) + "".join(f"\n{n} {reason}" for reason, n in self.skip_reasons.items())),
        ]
        if self.deleted:
            rows.append(("deleted", f"{self.deleted} (--include-deleted reads them)"))
        if self.is_live:
            rows.append(("dropped", f"{self.dropped} (replaced by a newer frame)"))
        only_one = len(self.sizes_px) == 1
        sizes = [f"{w}x{h}" + ("" if only_one else f" ({n} frames)") for (w, h), n in self.sizes_px.items()]
        return [
            *rows,
            ("size", "\n".join(sizes)),
            ("duration", f"{self.duration_s:.1f} s"),
            ("frame rate", "unknown" if self.fps_hz is None else f"{self.fps_hz:.2f} Hz"),
            ("segments", str(self.segments)),
        ]


def summarize(
    source: Source,
    *,
    max_frames: int | None = None,
    live_s: float = 3.0,
    on_frame: Callable[[int], object] | None = None,
) -> SourceSummary:
    """Read `source` to its end, to `max_frames`, or for `live_s` seconds where it is live.

    `on_frame` is told the number of frames read so far.

    Raises:
        SourceError: no frame can be read, or a live source is lost.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    segment, first_ns, last_ns = -1, 0, 0
    segments = intervals = span_ns = count = 0
    complete = True
    end_s = time.monotonic() + live_s
    with closing(iter(source)) as frames:
        for count, frame in enumerate(frames, start=1):
            sizes[frame.shape[1], frame.shape[0]] += 1
            if frame.segment != segment:
                span_ns += last_ns - first_ns
                segment, first_ns = frame.segment, frame.timestamp_ns
                segments += 1
            else:
                intervals += 1
            last_ns = frame.timestamp_ns
            if on_frame is not None:
                on_frame(count)
            if count == max_frames or (source.is_live and time.monotonic() >= end_s):
                complete = False
                break
        span_ns += last_ns - first_ns
        fps_hz = intervals * 1e9 / span_ns if span_ns else None
        return SourceSummary(
            name=source.name,
            kind=source.kind,
            is_live=source.is_live,
            frames=count,
            skipped=source.skipped,
            skip_reasons=dict(source.skip_reasons),
            deleted=source.deleted,
            dropped=source.dropped,
            sizes_px=dict(sizes.most_common()),
            segments=segments,
            duration_s=span_ns / 1e9 + (segments / fps_hz if fps_hz else 0.0),  # the last frame of a segment lasts, too
            fps_hz=fps_hz,
            complete=complete,
        )

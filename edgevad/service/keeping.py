"""Sections about what is kept on the disk: events with their clips, and the drive log."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgevad.service.options import Section, option

__all__ = ["DrivesConfig", "EventsConfig"]

_TERABYTE = 10**12
_DECADE_DAYS = 3653


@dataclass(frozen=True)
class EventsConfig(Section):
    """[events], for `RecorderSpec` and its `MediaRetention`"""

    dir: Path | None = option("Folder; without it events/ in $EDGEVAD_HOME.", None, example="/data/events")
    pre_roll_s: float = option("Of the clip, before the event.", 5.0, low=0, high=60)
    post_roll_s: float = option("Of the clip, after the event.", 5.0, low=0, high=60)
    max_clip_s: float = option("A clip ends then, though its event may last on.", 60.0, low=1, high=3600)
    clip_fps_hz: float = option("Of frames that come faster, so many a second are filmed.", 10.0, low=0.1, high=240)
    max_width_px: int = option("Wider frames are scaled down.", 960, low=64, high=7680)
    ring_bytes: int = option("Memory for the pre-roll of one camera.", 32_000_000, low=1_000_000, high=_TERABYTE)
    floor_bytes: int = option("So much of the disk stays free.", 500_000_000, low=0, high=_TERABYTE)
    max_bytes: int = option("Of all clips and pictures together.", 2_000_000_000, low=1, high=1000 * _TERABYTE)
    max_age_days: float = option(
        "Of clips and pictures; 0: no limit.", 30.0, low=0, high=_DECADE_DAYS, zero_is_none=True
    )
    max_row_age_days: float = option(
        "Of what is known of an event whose clip is gone; 0: no limit.",
        365.0,
        low=0,
        high=_DECADE_DAYS,
        zero_is_none=True,
    )


@dataclass(frozen=True)
class DrivesConfig(Section):
    """[drives], for `LogPolicy` and `LegRetention`"""

    dir: Path | None = option("Folder; without it drives/ in $EDGEVAD_HOME.", None, example="/data/drives")
    image_fps_hz: float = option(
        "Away from events at most so many images a second and camera; 0: no limit.",
        2.0,
        low=0,
        high=1000,
        zero_is_none=True,
    )
    every_nth: int = option("Of a camera's frames away from events only each n-th.", 1, low=1, high=1_000_000)
    pre_roll_s: float = option("Every frame from so long before an event is logged.", 2.0, low=0, high=60)
    post_roll_s: float = option("Every frame until so long after an event is logged.", 2.0, low=0, high=60)
    event_s: float = option("Of a longer event, every frame of so long only.", 120.0, low=0, high=86_400)
    image_width_px: int = option("Wider images are shrunk by a whole number.", 640, low=16, high=7680)
    jpeg_quality: int = option("Of the images.", 90, low=1, high=100)
    leg_s: float = option("A file of the log is closed when it is that long.", 60.0, low=1, high=3600)
    leg_bytes: int = option("Or that large.", 64_000_000, low=100_000, high=_TERABYTE)
    flush_s: float = option("What was logged outlives this process within so long.", 0.5, low=0, high=60)
    sync_s: float = option("And a loss of power within so long.", 1.0, low=0, high=60)
    max_bytes: int = option("Of what is not near an event.", 20_000_000_000, low=0, high=1000 * _TERABYTE)
    max_age_days: float = option("Of what is not near an event.", 30.0, low=0, high=_DECADE_DAYS)
    event_max_bytes: int | None = option(
        "Of what is near events; without it that is never removed.",
        None,
        low=0,
        high=1000 * _TERABYTE,
        example=10_000_000_000,
    )
    event_max_age_days: float | None = option(
        "Of what is near events; without it that is never removed.", None, low=0, high=_DECADE_DAYS, example=365.0
    )
    event_margin_s: float = option("So close to an event is near.", 10.0, low=0, high=3600)
    floor_bytes: int = option("So much of the disk stays free.", 1_000_000_000, low=0, high=_TERABYTE)

    def conflicts(self) -> Iterator[tuple[str, str]]:
        from edgevad.drives.policy import LegRetention, LogPolicy

        if self.max_bytes < 2 * self.leg_bytes:
            yield "max_bytes", "holds not even two legs of leg_bytes. Raise it, or lower leg_bytes"
        yield from self.refusals(LogPolicy)
        yield from self.refusals(LegRetention)

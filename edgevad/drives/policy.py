"""What of a drive is logged, and how long it is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgevad.errors import OptionError

__all__ = ["LegRetention", "LogPolicy"]


@dataclass(frozen=True)
class LogPolicy:
    """Which frames' images are logged, how, and how often the log reaches the disk. Scores are logged of every frame.

    Attributes:
        image_fps_hz: at most so many images a second and camera away from events; None: no such bound.
        every_nth: of a camera's frames away from events only each n-th.
        pre_roll_s: every frame from so long before an event's first one is logged; 0 spares the encoding of frames
            that are not needed in the end, and an event's images start with its first frame.
        post_roll_s: as long every frame is still logged after an event's last one.
        event_s: of an event that lasts longer (a lens covered, a night in a garage), every frame of so long only.
        image_width_px: wider images are shrunk by the smallest whole number that brings them to this or below.
        jpeg_quality: 1 to 100.
        leg_s, leg_bytes: a leg (one file) is closed, and the next one begun, when it is that long or large.
        flush_s: what was logged reaches the operating system, and outlives this process, within this time.
        sync_s: it reaches the disk, and outlives a loss of power, within this time.
    """

    image_fps_hz: float | None = 2.0
    every_nth: int = 1
    pre_roll_s: float = 2.0
    post_roll_s: float = 2.0
    event_s: float = 120.0
    image_width_px: int = 640
    jpeg_quality: int = 90
    leg_s: float = 60.0
    leg_bytes: int = 64_000_000
    flush_s: float = 0.5
    sync_s: float = 1.0

    def __post_init__(self) -> None:
        if self.image_fps_hz is not None:
            _at_least("images a second", self.image_fps_hz, 0.001)
        for name, value, least in (
            ("every_nth", self.every_nth, 1),
            ("pre-roll in s", self.pre_roll_s, 0),
            ("post-roll in s", self.post_roll_s, 0),
            ("longest stretch of an event in s", self.event_s, 0),
            ("image width in px", self.image_width_px, 16),
            ("length of a leg in s", self.leg_s, 1),
            ("size of a leg in bytes", self.leg_bytes, 100_000),
            ("flush_s", self.flush_s, 0),
            ("sync_s", self.sync_s, 0),
        ):
            _at_least(name, value, least)
        if not 1 <= self.jpeg_quality <= 100:
            raise OptionError(f"JPEG quality {self.jpeg_quality}", expected="a number from 1 to 100")


@dataclass(frozen=True)
class LegRetention:
    """How much of the drives is kept. What a limit demands goes in the order in which it was logged; age is what
    edgevad/events/ages.py makes of clocks.

    Legs in the neighbourhood of an event are kept apart from the others, under limits of their own. What is marked
    "keep", and the leg under way, never go.

    Attributes:
        max_bytes: of ordinary legs; None: no limit.
        max_age_days: of ordinary legs, since they were closed; None: no limit.
        event_max_bytes: of legs near events; None: they are never removed.
        event_max_age_days: of legs near events; None: they are never removed.
        event_margin_s: a leg is near an event when any of it lies this close to the event or closer.
        floor_bytes: so much of the disk stays free for everything else: ordinary legs go for it, those near events do
            not; when nothing else can go, logging rests.
    """

    max_bytes: int | None = 20_000_000_000
    max_age_days: float | None = 30.0
    event_max_bytes: int | None = None
    event_max_age_days: float | None = None
    event_margin_s: float = 10.0
    floor_bytes: int = 1_000_000_000

    def __post_init__(self) -> None:
        for name, value in (
            ("limit of the drives in bytes", self.max_bytes),
            ("limit of the drives' age in days", self.max_age_days),
            ("limit of the legs near events in bytes", self.event_max_bytes),
            ("limit of the age of legs near events in days", self.event_max_age_days),
            ("margin around events in s", self.event_margin_s),
            ("floor of the disk in bytes", self.floor_bytes),
        ):
            if value is not None:
                _at_least(name, value, 0)
        if self.event_margin_s > 1e9:
            raise OptionError(f"margin around events in s: {self.event_margin_s:g}", expected="a number, 1e9 or less")


def _at_least(name: str, value: float, least: float) -> None:
    if not (math.isfinite(value) and value >= least):
        raise OptionError(f"{name}: {value}", expected=f"a number, {least:g} or more")

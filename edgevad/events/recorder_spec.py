"""What the recorder is told."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from edgevad.errors import OptionError
from edgevad.events.retention import MediaRetention

__all__ = ["RecorderSpec"]


@dataclass(frozen=True)
class RecorderSpec:
    """What is recorded of an event, and how much room that may take.

    Attributes:
        pre_roll_s, post_roll_s: of the clip, before and after the event.
        max_clip_s: a clip ends then, though its event may last on.
        clip_fps_hz: of frames that come faster, so many a second are filmed.
        max_width_px: wider frames are scaled down.
        ring_bytes: most memory that the pre-roll of one camera may take; a shorter one is kept then.
        floor_bytes: so much of the disk stays free for everything else.
        retention: quotas.

    Raises:
        OptionError: a value is out of its range.
    """

    pre_roll_s: float = 5.0
    post_roll_s: float = 5.0
    max_clip_s: float = 60.0
    clip_fps_hz: float = 10.0
    max_width_px: int = 960
    ring_bytes: int = 32_000_000
    floor_bytes: int = 500_000_000
    retention: MediaRetention = field(default_factory=MediaRetention)

    def __post_init__(self) -> None:
        for name, least in (
            ("pre_roll_s", 0),
            ("post_roll_s", 0),
            ("max_clip_s", 1),
            ("clip_fps_hz", 0.1),
            ("max_width_px", 64),
            ("ring_bytes", 1_000_000),
            ("floor_bytes", 0),
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= least):
                raise OptionError(f"{name} of {value}", expected=f"a finite number, {least} or more")

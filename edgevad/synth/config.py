"""What a drive is made from: one frozen configuration, checked when it is made."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

from edgevad.errors import OptionError

__all__ = ["FIRST_EVENT_S", "MAX_ANOMALY_SHARE", "MIN_ANOMALOUS_SECONDS", "SynthConfig", "parse_size"]

FIRST_EVENT_S = 10.0
MIN_ANOMALOUS_SECONDS = 30.0
MAX_ANOMALY_SHARE = 0.3

_MIN_SIDE_PX, _MAX_SIDE_PX = 32, 1920
_MAX_SECONDS = 6 * 3600.0


@dataclass(frozen=True)
class SynthConfig:
    """A procedural drive; the same configuration always renders the same frames.

    Attributes:
        seconds: length of the drive, up to six hours.
        fps_hz: frames per second, 1 to 60.
        width_px, height_px: size of the frames, even numbers from 32 to 1920.
        seed: chooses course, traffic, light and anomalies.
        anomaly_share: share of the frames that show an anomaly, 0 (none) to 0.3. Event lengths are drawn and moving
            hazards keep their own pace, so the drive comes close to it, not to the frame.
        road: chooses course and scenery where they are not those of `seed`: the same road on another day.
        season: time of the year, from 0 (summer) over 0.5 (autumn) to 1 (winter).
        mount_deg: how far the camera has turned in its mount, -10 to 10.

    Raises:
        OptionError: a value out of its range, or a drive too short to hold anomalies.
    """

    seconds: float = 240.0
    fps_hz: float = 10.0
    width_px: int = 160
    height_px: int = 120
    seed: int = 0
    anomaly_share: float = 0.1
    road: int | None = None
    season: float = 0.0
    mount_deg: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and 1 <= self.seconds <= _MAX_SECONDS):
            raise OptionError(f"a drive of {self.seconds:g} seconds", expected=f"1 to {_MAX_SECONDS:.0f}")
        if not (math.isfinite(self.fps_hz) and 1 <= self.fps_hz <= 60):
            raise OptionError(f"{self.fps_hz:g} frames per second", expected="1 to 60")
        for side in (self.width_px, self.height_px):
            if not _MIN_SIDE_PX <= side <= _MAX_SIDE_PX or side % 2:
                raise OptionError(
                    f"frames of {self.width_px}x{self.height_px} pixels",
                    expected=f"even sides from {_MIN_SIDE_PX} to {_MAX_SIDE_PX}",
                )
        if not 0.5 <= self.width_px / self.height_px <= 4:
            raise OptionError(
                f"frames of {self.width_px}x{self.height_px} pixels", expected="an aspect ratio from 1:2 to 4:1"
            )
        for name, seed in (("seed", self.seed), ("road", self.road or 0)):
            if not 0 <= seed < 2**63:
                raise OptionError(f"{name} {seed}", expected="a whole number from 0 to 2^63 - 1")
        if not 0 <= self.season <= 1:
            raise OptionError(f"season {self.season:g}", expected="0 (summer) to 1 (winter)")
        if not -10 <= self.mount_deg <= 10:
            raise OptionError(f"a mount turned by {self.mount_deg:g} degrees", expected="-10 to 10")
        if not (math.isfinite(self.anomaly_share) and 0 <= self.anomaly_share <= MAX_ANOMALY_SHARE):
            raise OptionError(f"an anomaly share of {self.anomaly_share:g}", expected=f"0 to {MAX_ANOMALY_SHARE:g}")
        if self.anomaly_share > 0 and self.seconds < MIN_ANOMALOUS_SECONDS:
            raise OptionError(
                f"a drive of {self.seconds:g} seconds is too short for anomalies",
                expected=f"at least {MIN_ANOMALOUS_SECONDS:g} seconds",
                fix="Ask for more seconds, or for an anomaly share of 0",
            )

    @property
    def road_seed(self) -> int:
        """Seed of course and scenery."""
        return self.seed if self.road is None else self.road

    @property
    def frame_count(self) -> int:
        return max(1, round(self.seconds * self.fps_hz))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) in pixels from text like "160x120".

    Raises:
        OptionError: the text is something else.
    """
    match = re.fullmatch(r"\s*(\d{1,6})\s*[xX×]\s*(\d{1,6})\s*", text)  # noqa: RUF001 (people do type the sign)
    if match is None:
        raise OptionError(f"size {text!r}", expected="WIDTHxHEIGHT in pixels, like 160x120")
    return int(match[1]), int(match[2])

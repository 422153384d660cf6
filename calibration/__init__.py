"""From scores to alarms without a label."""

from __future__ import annotations

from edgevad.calibration.threshold import calibrate

__all__ = ["calibrate"]

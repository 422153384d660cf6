"""A procedural drive with labelled anomalies, for everybody who has no data yet."""

from __future__ import annotations

from edgevad.synth.config import SynthConfig, parse_size
from edgevad.synth.drive import SynthFrame, render_drive
from edgevad.synth.schedule import ANOMALY_KINDS
from edgevad.synth.writer import WrittenDrive, write_drive

__all__ = [
    "ANOMALY_KINDS",
    "SynthConfig",
    "SynthFrame",
    "WrittenDrive",
    "parse_size",
    "render_drive",
    "write_drive",
]

"""A bundle: everything a device needs to score frames, in one folder that proves it arrived whole."""

from __future__ import annotations

from edgevad.bundle.bundle import Bundle, TrainingScores, write_bundle
from edgevad.bundle.manifest import Calibration, Manifest, read_manifest
from edgevad.bundle.slots import activate, active_bundle, home_directory

__all__ = [
    "Bundle",
    "Calibration",
    "Manifest",
    "TrainingScores",
    "activate",
    "active_bundle",
    "home_directory",
    "read_manifest",
    "write_bundle",
]

"""A bundle: everything a device needs to score frames, in one folder or file that proves it arrived whole."""

from __future__ import annotations

from edgevad.bundle.archive import ARCHIVE_SUFFIX
from edgevad.bundle.bundle import Bundle, TrainingScores
from edgevad.bundle.home import home_directory
from edgevad.bundle.manifest import Calibration, Manifest
from edgevad.bundle.slots import SlotInfo, Slots, activate, active_bundle
from edgevad.bundle.trust import ANYBODY, TrustStore
from edgevad.bundle.writing import pack_bundle, sign_bundle, write_bundle

__all__ = [
    "ANYBODY",
    "ARCHIVE_SUFFIX",
    "Bundle",
    "Calibration",
    "Manifest",
    "SlotInfo",
    "Slots",
    "TrainingScores",
    "TrustStore",
    "activate",
    "active_bundle",
    "home_directory",
    "pack_bundle",
    "sign_bundle",
    "write_bundle",
]

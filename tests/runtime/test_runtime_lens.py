"""A lens that shows nothing is told from a scene, after its time, once, and until it shows something again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import cv2
import numpy as np
import pytest

from edgevad.errors import OptionError
from edgevad.events.incident import Incident
from edgevad.runtime.lens import LensMonitor, LensSpec, LensVerdict
from edgevad.runtime.preprocess import shrink
from edgevad.sources.frame import Frame, Image
from edgevad.synth import SynthConfig, render_drive

FPS_HZ = 10.0
Change = Callable[[Image, int], Image]


@pytest.fixture(scope="module")
def drive() -> list[Image]:
    """Twelve seconds of the procedural drive, without anomalies."""
    config = SynthConfig(width_px=160, height_px=120, seconds=12.0, fps_hz=FPS_HZ, seed=3, anomalies=False)
    return [frame.image for frame in render_drive(config)]

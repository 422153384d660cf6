"""How quick a bundle is on this machine, as a vehicle would have it: from the camera's driver to the verdict."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from edgevad.errors import OptionError
from edgevad.runtime.latency import LatencyHistogram
from edgevad.runtime.pipeline import Pipeline
from edgevad.runtime.power import MachineReading, read_machine
from edgevad.runtime.preprocess import Preprocessor
from edgevad.runtime.scorer import Scorer
from edgevad.sources.frame import Frame, Image
from edgevad.sources.replay import replay_camera
from edgevad.sources.source import Source

__all__ = ["Measurement", "images_of", "made_up_images", "measure"]

_IMAGES = 64
_WARM_UP_S = 0.5
_READ_EVERY_S = 1.0


@dataclass
class Measurement:
    """What `measure` found; times in seconds, memory in bytes.

    Attributes:
        size_px: (width, height) of the frames.
        cameras: how many shared the engine, at `camera_fps_hz` each.
        engine_latency: of the engine alone, one frame a call, without resizing.
        latency: of the cameras' frames, from the driver to the verdict.
        captured, scored, dropped: frames of the cameras.
        most_fps_hz: frames a second, all cameras together, when they give more than can be scored.
        resident_bytes: the most memory that this process has had.
        power_w: mean of each rail, by its name; empty where this machine does not tell.
        temperature_c: the highest of its sensors.
        budget_s: longest time for one frame that the bundle's target allows, None where the target is not known here.
    """

    bundle: str
    engine: str
    size_px: tuple[int, int]
    cameras: int
    camera_fps_hz: float
    budget_s: float | None
    engine_latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    latency: LatencyHistogram = field(default_factory=LatencyHistogram)
    captured: int = 0
    scored: int = 0
    dropped: int = 0
    most_fps_hz: float = 0.0
    resident_bytes: int = 0
    power_w: dict[str, float] = field(default_factory=dict)
    temperature_c: float | None = None

    @property
    def is_within_budget(self) -> bool | None:
        """Whether 99 of 100 frames are judged in time; None where there is no budget, or no frame was judged."""
        if self.budget_s is None or not self.latency.count:
            return None
        return self.latency.percentile_s(99) <= self.budget_s

    def to_json(self) -> dict[str, Any]:
        return {
            "bundle": self.bundle,
            "engine": self.engine,
            "size_px": list(self.size_px),
            "cameras": self.cameras,
            "camera_fps_hz": self.camera_fps_hz,
            "engine_latency_ms": self.engine_latency.to_json(),
            "latency_ms": self.latency.to_json(),
            "captured": self.captured,
            "scored": self.scored,
            "dropped": self.dropped,
            "most_fps_hz": round(self.most_fps_hz, 2),
            "resident_bytes": self.resident_bytes,
            "power_w": self.power_w,
            "temperature_c": self.temperature_c,
            "budget_ms": None if self.budget_s is None else 1e3 * self.budget_s,
            "is_within_budget": self.is_within_budget,
        }


def images_of(source: Source, count: int = _IMAGES) -> list[Image]:
    """The first `count` images of a recording."""
    with source:
        return [frame.image for frame in islice(source, count)]


def made_up_images(size_px: tuple[int, int], count: int = 16) -> list[Image]:
    """(H, W, 3) uint8 noise: no engine is quicker or slower for what is on a picture."""
    width, height = size_px
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]


def measure(
    scorer: Scorer,
    images: Sequence[Image],
    *,
    seconds: float = 10.0,
    cameras: int = 1,
    camera_fps_hz: float = 30.0,
    budget_s: float | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> Measurement:
    """Measure for about `seconds`: the engine alone, then cameras at their pace, then cameras that are quicker than it.

    Raises:
        OptionError: a figure that cannot be used.
        BackendError: the engine fails.
    """
    if not images:
        raise OptionError("no image to measure with", expected="at least one")
    for name, value, least, most in (
        ("seconds", seconds, 1, 3600),
        ("cameras", cameras, 1, 64),
        ("camera rate", camera_fps_hz, 1, 1000),
    ):
        if not least <= value <= most:
            raise OptionError(f"{name}: {value:g}", expected=f"a number from {least} to {most}")
    tell = on_stage or (lambda _: None)
    height, width = images[0].shape[:2]
    found = Measurement(scorer.path, scorer.engine, (width, height), cameras, camera_fps_hz, budget_s)
    readings: list[MachineReading] = []
    tell("engine alone")
    _measure_engine(scorer, images, found.engine_latency, seconds / 5)
    tell("cameras at their pace")
    with _cameras(scorer, images, cameras, camera_fps_hz) as pipeline:
        _take_for(pipeline, seconds * 3 / 5, readings, found.latency)
        pipeline.finish()
        counters = pipeline.counters()
    found.captured = sum(one.captured for one in counters)
    found.dropped = sum(one.dropped for one in counters)
    found.scored = sum(one.scored for one in counters)
    tell("cameras that are too quick")
    # Three times what the engine could take: more would only keep the cores from it.
    fast_hz = 3.0 / max(found.engine_latency.percentile_s(50), 1e-3) / cameras
    with _cameras(scorer, images, cameras, fast_hz) as pipeline:
        started_s = time.perf_counter()
        found.most_fps_hz = _take_for(pipeline, seconds / 5, readings) / (time.perf_counter() - started_s)
    found.resident_bytes = _most_resident_bytes()
    for rail in {rail for one in readings for rail in one.power_w}:
        watts = [one.power_w[rail] for one in readings if rail in one.power_w]
        found.power_w[rail] = round(sum(watts) / len(watts), 2)
    found.temperature_c = max((one.temperature_c for one in readings if one.temperature_c is not None), default=None)
    return found


def _measure_engine(scorer: Scorer, images: Sequence[Image], latency: LatencyHistogram, seconds: float) -> None:
    prepare = Preprocessor(scorer.input)
    frames = [Frame(image, k, k * 10**8, "measured") for k, image in enumerate([*images[:8], *images[:8]])]
    items = [item for item in map(prepare, frames) if item is not None]
    inputs = [(item.image[None], None if item.motion is None else item.motion[None]) for item in items]
    size = scorer.backend.batch or 1
    calls = [
        (np.repeat(image, size, axis=0), None if motion is None else np.repeat(motion, size, axis=0))
        for image, motion in inputs
    ]
    began_s = time.perf_counter()
    calls_done = 0
    while (now_s := time.perf_counter()) - began_s < seconds:
        scorer.backend.score(*calls[calls_done % len(calls)])
        if now_s - began_s > min(_WARM_UP_S, seconds / 4):
            latency.push(time.perf_counter() - now_s)
        calls_done += 1


@contextmanager
def _cameras(scorer: Scorer, images: Sequence[Image], count: int, fps_hz: float) -> Iterator[Pipeline]:
    sources = [replay_camera(images, name=f"camera {k}", fps_hz=fps_hz) for k in range(count)]
    with Pipeline(scorer, sources) as pipeline:
        yield pipeline


def _take_for(
    pipeline: Pipeline, seconds: float, readings: list[MachineReading], latency: LatencyHistogram | None = None
) -> int:
    """Run `pipeline` for so many seconds; how many results it gave."""
    taken = 0
    began_s = read_s = time.perf_counter()
    for result in pipeline:
        taken += 1
        now_s = time.perf_counter()
        if latency is not None and result.anomaly_score is not None and now_s - began_s > min(_WARM_UP_S, seconds / 4):
            latency.push(result.latency_s)
        if now_s - read_s >= _READ_EVERY_S:
            readings.append(read_machine())
            read_s = now_s
        if now_s - began_s >= seconds:
            break
    return taken


def _most_resident_bytes() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(usage) if sys.platform == "darwin" else int(usage) * 1024

"""Whether cameras are scored in time: latency behind a slow scorer, overhead a frame, several cameras on one engine.

The cameras are simulated: real images from memory, at a camera's pace. A frame's latency runs from its driver to its
verdict, by the clock that the pipeline itself keeps.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks._common import Row, add_json_option, data_file, guarded, in_turns, ratios, report
from benchmarks._subjects import cache_of, fitted, write_bundle_of
from edgevad.model.config import preset
from edgevad.runtime.backends import Scores
from edgevad.runtime.backends.backend import Backend
from edgevad.runtime.lens import LensSpec
from edgevad.runtime.measuring import images_of, made_up_images
from edgevad.runtime.pipeline import Pipeline, Result
from edgevad.runtime.scorer import Scorer
from edgevad.sources import Image, open_source
from edgevad.sources.live import LiveSource
from edgevad.sources.replay import ReplayCapture

RECORDING = "udacity_lane/solidWhiteRight.mp4"
LATENCY_BAR = "camera to score behind a slow scorer, p99 (ms)"
COUNT_BAR = "frames neither scored nor dropped"
OVERHEAD_BAR = "all but decoding and model, a frame (ms)"
SHARING_BAR = "four cameras / one"


class Timed:
    """A backend that notes how long each call took, and takes at least `least_s` for it."""

    def __init__(self, inner: Backend, least_s: float = 0.0) -> None:
        self.batch = inner.batch
        self.calls_s: list[float] = []
        self.shares_s: list[float] = []  # of each frame in its call
        self._inner = inner
        self._least_s = least_s

    def score(self, frames: npt.NDArray[np.uint8], motion: npt.NDArray[np.float32] | None) -> Scores:
        started_s = time.perf_counter()
        scores = self._inner.score(frames, motion)
        time.sleep(max(self._least_s - (time.perf_counter() - started_s), 0.0))
        took_s = time.perf_counter() - started_s
        self.calls_s.append(took_s)
        self.shares_s += [took_s / len(frames)] * len(frames)
        return scores

    def close(self) -> None: ...


class Counted(ReplayCapture):
    """A camera that knows how many frames it gave."""

    produced = 0

    def read(self) -> tuple[bool, Any]:
        found = super().read()
        self.produced += 1
        return found


def camera(images: Sequence[Image], name: str, fps_hz: float | None) -> tuple[LiveSource, Counted]:
    capture = Counted(images, fps_hz)
    return LiveSource(lambda: capture, name=name, kind="camera"), capture


def take(pipeline: Pipeline, seconds: float) -> list[Result]:
    results = []
    end_s = time.perf_counter() + seconds
    for result in pipeline:
        results.append(replace(result, frame=replace(result.frame, image=result.frame.image[:1, :1])))
        if time.perf_counter() >= end_s:
            break
    return results


def behind_a_slow_scorer(scorer: Scorer, images: Sequence[Image], seconds: float) -> list[Row]:
    """A camera of 60 Hz, a scorer of 10."""
    slow = replace(scorer, backend=Timed(scorer.backend, 0.1))
    source, capture = camera(images, "60 Hz", 60.0)
    with Pipeline(slow, source) as pipeline:
        results = take(pipeline, seconds)
        pipeline.finish()
        [counters] = pipeline.counters()
    # What the capture gave after the source was closed reached nobody.
    lost = counters.captured - counters.given - counters.dropped
    late = abs(capture.produced - counters.captured)
    latency_ms = np.array([1e3 * result.latency_s for result in results])
    return [
        Row("60 Hz camera, scorer of 10 Hz: frames captured", [counters.captured]),
        Row("60 Hz camera, scorer of 10 Hz: frames scored", [counters.given]),
        Row("60 Hz camera, scorer of 10 Hz: frames dropped", [counters.dropped]),
        Row("60 Hz camera, scorer of 10 Hz: neither", [lost + max(late - 1, 0)], bar=COUNT_BAR),
        Row("60 Hz camera, scorer of 10 Hz: camera to score, median", [float(np.median(latency_ms))], "ms"),
        Row(
            "60 Hz camera, scorer of 10 Hz: camera to score, p99",
            [float(np.percentile(latency_ms, 99))],
            "ms",
            bar=LATENCY_BAR,
        ),
    ]


def overhead(scorer: Scorer, images: Sequence[Image], recording: str | None, seconds: float) -> list[Row]:
    """Everything between decoding and the verdict but the model, as `edgevad run` has it: resizing, windows, decision.

    Of a camera the lens is looked at as well, and its frames come one by one to cores that sleep in between: handing
    over and waking up are what it waits for.
    """
    height, width = images[0].shape[:2]
    rows = []
    if recording is not None:
        timed = Timed(scorer.backend)
        with Pipeline(replace(scorer, backend=timed), open_source(recording)) as pipeline:
            results = take(pipeline, seconds)
        spent_ms = [1e3 * (one.latency_s - share_s) for one, share_s in zip(results, timed.shares_s, strict=False)]
        name = f"recording of {width}x{height}: all but decoding and model, a frame"
        rows.append(Row(name, [statistics.median(spent_ms)], "ms", bar=OVERHEAD_BAR))
    timed = Timed(scorer.backend)
    source, _ = camera(images, "60 Hz", 60.0)
    with Pipeline(replace(scorer, backend=timed), source, lens=LensSpec()) as pipeline:
        results = take(pipeline, seconds)
    spent_ms = [1e3 * (one.latency_s - took_s) for one, took_s in zip(results, timed.calls_s, strict=False)]
    values = [statistics.median(spent_ms[10:])]
    return [*rows, Row(f"camera of {width}x{height} at 60 Hz: all but the model, a frame", values, "ms")]


def several(scorer: Scorer, images: Sequence[Image], seconds: float, repeats: int) -> list[Row]:
    timed = Timed(scorer.backend)
    with Pipeline(replace(scorer, backend=timed), camera(images, "one", 200.0)[0]) as pipeline:
        take(pipeline, 2.0)
    # One camera or four give as many frames in all, and more than the engine can take.
    offered_hz = 1.5 / statistics.median(timed.calls_s)

    def frames_a_second(count: int) -> Callable[[], float]:
        def arm() -> float:
            sources = [camera(images, f"camera {k}", offered_hz / count)[0] for k in range(count)]
            with Pipeline(scorer, sources) as pipeline:
                started_s = time.perf_counter()
                taken = len(take(pipeline, seconds))
                return taken / (time.perf_counter() - started_s)

        return arm

    busy = {f"{count} camera{'s' if count > 1 else ''}": frames_a_second(count) for count in (1, 4)}
    values = in_turns(busy, repeats)
    rows = [
        Row("frames offered by one camera, or by four", [offered_hz], "frames/s"),
        *(Row(f"{name}: frames scored", fps, "frames/s") for name, fps in values.items()),
    ]
    return [*rows, Row("four cameras / one", ratios(values["4 cameras"], values["1 camera"]), bar=SHARING_BAR)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.cameras", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", help="recording whose images the cameras show (default: a real one, else noise)")
    parser.add_argument("--bundle", type=Path, help="bundle (default: one fitted for a moment)")
    parser.add_argument("--preset", default="small", help="network of that bundle (default small)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (default 10)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of one and four cameras (default 3)")
    add_json_option(parser)
    options = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory(prefix="edgevad-bench-") as temporary:
        folder = Path(temporary)
        source = options.source or data_file(RECORDING)
        images = made_up_images((960, 540)) if source is None else images_of(open_source(str(source)))
        bundle = options.bundle
        if bundle is None:
            config = preset(options.preset)
            bundle = write_bundle_of(
                fitted(cache_of(None, folder / "cache", config, frames=600), config), folder / "bundle"
            )
        with Scorer.from_bundle(bundle) as scorer:
            rows = [
                *behind_a_slow_scorer(scorer, images, options.seconds),
                *overhead(scorer, images, None if source is None else str(source), options.seconds),
                *several(scorer, images, options.seconds, options.repeats),
            ]
    facts = {"bundle": str(options.bundle or f"preset {options.preset}"), "images": str(source or "noise")}
    return report("cameras", rows, as_json=options.json, facts=facts)


if __name__ == "__main__":
    sys.exit(guarded(main))

"""How near `edgevad run` on a recording comes to the slower of its two parts: decoding alone, and the model alone.

Decoding alone is OpenCV's reader, to blue, green and red, in a loop that does nothing with the pictures; the model
alone is the bundle's backend on frames that are resized already, one by one. The pipeline does both, and resizing,
window, threshold and events beside them. All take turns. `edgevad`'s own reader alone is quicker than OpenCV's where
it leaves the pictures as they were decoded; it is shown, and nothing is held against it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import chain, islice
from pathlib import Path

import cv2

from benchmarks._common import Row, Stopwatch, add_json_option, data_file, guarded, in_turns, ratios, report
from benchmarks._subjects import Input, cache_of, fitted, model_inputs, write_bundle_of, write_video
from edgevad.model.config import preset
from edgevad.runtime.pipeline import Pipeline
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.session import run_session
from edgevad.sources import open_source
from edgevad.sources.decoder import open_capture, opencv_pictures
from edgevad.sources.video import SMALL_PIXELS

RECORDINGS = ("donkey_track_1124/video.mp4", "udacity_lane/solidWhiteRight.mp4")
BAR = "run / slower of decoding and model"


def sources_of(source: str, frames: int) -> list[str]:
    """`source` as often as it takes to have `frames` frames."""
    with open_source(source) as opened:
        count = sum(1 for _ in islice(opened, frames))
    return [source] * -(-frames // count)


def decoding_fps(sources: Sequence[str], frames: int) -> float:
    """By OpenCV, in as many threads as `VideoSource` lets it have."""
    paths = [Path(source) for source in sources]
    alone = {path: _is_small(path) for path in set(paths)}
    watch = Stopwatch()
    pictures = chain.from_iterable(opencv_pictures(path, open_capture(path, alone=alone[path])) for path in paths)
    count = sum(1 for _ in islice(pictures, frames))
    return count / watch.wall_s()


def _is_small(path: Path) -> bool:
    capture = open_capture(path, alone=True)
    size = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    capture.release()
    return size[0] * size[1] <= SMALL_PIXELS


def reading_fps(sources: Sequence[str], frames: int) -> float:
    """By `open_source`."""
    with open_source(sources) as source:
        watch = Stopwatch()
        count = sum(1 for _ in islice(source, frames))
        return count / watch.wall_s()


def model_fps(scorer: Scorer, inputs: Sequence[Input], frames: int) -> float:
    watch = Stopwatch()
    for k in range(frames):
        scorer.backend.score(*inputs[k % len(inputs)])
    return frames / watch.wall_s()


def pipeline_fps(scorer: Scorer, sources: Sequence[str], frames: int) -> float:
    """Through the Python interface; nothing listens."""
    with open_source(sources) as source:
        pipeline = Pipeline(scorer, source)
        return run_session(pipeline, [], sources=sources, alarms_per_hour=None, max_frames=frames).fps_hz


def command_fps(bundle: Path, sources: Sequence[str], frames: int, *more: str) -> float:
    """Through `edgevad run --json`, by its own figure: the start of the process is not in it."""
    named = [word for source in sources for word in ("--source", source)]
    command = [sys.executable, "-m", "edgevad", "run", *named, "--bundle", str(bundle), "--json", *more]
    ended = subprocess.run([*command, "--max-frames", str(frames)], capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise SystemExit(f"benchmarks: edgevad run ended with {ended.returncode}: {ended.stderr.strip()}")
    return float(json.loads(ended.stdout)["fps_hz"])


def measure(source: str, bundle: Path, out: Path, *, frames: int, repeats: int) -> list[Row]:
    sources = sources_of(source, frames)
    cpu_us: dict[str, list[float]] = {}

    def with_cpu_time(name: str, work: Callable[[], float]) -> Callable[[], float]:
        def arm() -> float:
            watch = Stopwatch()
            fps = work()
            cpu_us.setdefault(name, []).append(1e6 * watch.cpu_s() / frames)
            return fps

        return arm

    with Scorer.from_bundle(bundle) as scorer:
        inputs = model_inputs(source, scorer.input, 200)
        arms: dict[str, Callable[[], float]] = {
            "decoding alone": with_cpu_time("decoding alone", lambda: decoding_fps(sources, frames)),
            "reading alone": with_cpu_time("reading alone", lambda: reading_fps(sources, frames)),
            "model alone": with_cpu_time("model alone", lambda: model_fps(scorer, inputs, frames)),
            "pipeline": with_cpu_time("pipeline", lambda: pipeline_fps(scorer, sources, frames)),
            "edgevad run --json": lambda: command_fps(bundle, sources, frames),
            "edgevad run --json --out": lambda: command_fps(bundle, sources, frames, "--out", str(out)),
        }
        values = in_turns(arms, repeats)
    slower = [min(pair) for pair in zip(values["decoding alone"], values["model alone"], strict=True)]
    name = Path(source).name
    rows = [Row(f"{name}: {arm}", fps, "frames/s") for arm, fps in values.items()]
    # The pipeline's, divided by the cores, is the least time a frame can take: where that is above the slower part's
    # time, no pipeline holds the bar on this machine. The first turn is the warm-up.
    rows += [Row(f"{name}: {arm}, CPU time a frame", us[1:], "µs") for arm, us in cpu_us.items()]
    for arm in list(arms)[3:]:
        rows.append(Row(f"{name}: {arm} / slower part", ratios(values[arm], slower), bar=BAR))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--source", action="append", help="recording, may be given again (default: real ones if there, else made up)"
    )
    parser.add_argument("--bundle", type=Path, help="bundle (default: one fitted for a moment)")
    parser.add_argument("--preset", default="small", help="network of that bundle (default small)")
    parser.add_argument("--frames", type=int, default=1000, help="frames a run; short recordings repeat (default 1000)")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each (default 5)")
    add_json_option(parser)
    options = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory(prefix="edgevad-bench-") as temporary:
        folder = Path(temporary)
        found = [str(path) for path in map(data_file, RECORDINGS) if path is not None]
        sources = options.source or found or [str(write_video(folder / "made-up.mp4", 1500, (640, 360)))]
        bundle = options.bundle
        if bundle is None:
            config = preset(options.preset)
            trainer = fitted(cache_of(None, folder / "cache", config, frames=600), config)
            bundle = write_bundle_of(trainer, folder / "bundle")
        rows = [
            row
            for source in sources
            for row in measure(source, bundle, folder / "out", frames=options.frames, repeats=options.repeats)
        ]
    facts = {"bundle": options.bundle or f"preset {options.preset}", "frames a run": options.frames}
    return report("run", rows, as_json=options.json, facts={key: str(value) for key, value in facts.items()})


if __name__ == "__main__":
    sys.exit(guarded(main))

"""Whether resident memory stays flat, from frame 1,000 to frame 20,000, while edgevad runs and while it reads to train.

Both are measured from outside, on the commands themselves: how far a command has come is read off the file it writes
(frames.jsonl, one line a frame; the cache of resized frames), and its resident memory is asked for every 500 frames.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from benchmarks._common import Row, add_json_option, data_file, guarded, report
from benchmarks._subjects import cache_of, fitted, write_bundle_of, write_video
from benchmarks.run import sources_of
from edgevad.model.config import preset
from edgevad.model.folder import ModelFolder

RECORDING = "donkey_track_1124/video.mp4"
BAR = "resident memory, largest deviation (MB)"
POLL_S = 0.005


class LineCounter:
    """Lines of a file that grows; each is read once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = self._lines = 0

    def __call__(self) -> int:
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._position)
                new = stream.read()
        except FileNotFoundError:
            return 0
        self._position += len(new)
        self._lines += new.count(b"\n")
        return self._lines


def file_units(path: Path, unit_bytes: int) -> Callable[[], int]:
    """How many units of `unit_bytes` the file holds so far."""
    return lambda: path.stat().st_size // unit_bytes if path.exists() else 0


def watch(command: Sequence[str], position: Callable[[], int], *, first: int, last: int, every: int) -> list[float]:
    """Run `command` until `position` has reached `last`: resident megabytes (1e6 bytes) every `every` frames."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        try:
            memory = psutil.Process(process.pid)
            samples: list[float] = []
            due = first
            while due <= last:
                here = position()
                if here >= due:
                    samples.append(memory.memory_info().rss / 1e6)
                    due += every * ((here - due) // every + 1)
                elif process.poll() is not None:
                    said.seek(0)
                    text = said.read().decode(errors="replace").strip()
                    raise SystemExit(f"benchmarks: {' '.join(command[:4])} … ended at frame {here}: {text}")
                time.sleep(POLL_S)
            return samples
        finally:
            process.terminate()
            process.wait()


def rows_of(name: str, samples: Sequence[float], first: int, last: int) -> list[Row]:
    deviation = max(abs(sample - samples[0]) for sample in samples)
    return [
        Row(f"{name}: resident at frame {first}", samples[:1], "MB"),
        Row(f"{name}: resident at frame {last}", samples[-1:], "MB"),
        Row(f"{name}: largest deviation between, {len(samples)} samples", [deviation], "MB", bar=BAR),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", help="recording, repeated as needed (default: a real one if there, else made up)")
    parser.add_argument("--one-file", action="store_true", help="make up one video that is long enough by itself")
    parser.add_argument("--bundle", type=Path, help="bundle (default: one fitted for a moment)")
    parser.add_argument("--first", type=int, default=1000, help="frame to compare with (default 1000)")
    parser.add_argument("--last", type=int, default=20000, help="last frame (default 20000)")
    parser.add_argument("--every", type=int, default=500, help="frames between samples (default 500)")
    parser.add_argument("--no-train", action="store_true", help="leave the reading stage of edgevad train out")
    add_json_option(parser)
    options = parser.parse_args(arguments)

    span = {"first": options.first, "last": options.last, "every": options.every}
    # The file is written in blocks of some lines: the last ones come with the end of the run, too late to be seen.
    needed = options.last + 500
    config = preset("small")
    edgevad = (sys.executable, "-m", "edgevad")
    with tempfile.TemporaryDirectory(prefix="edgevad-bench-") as temporary:
        folder = Path(temporary)
        real = None if options.one_file else data_file(RECORDING)
        source = options.source or str(real or write_video(folder / "made-up.mp4", needed, (160, 120)))
        sources = sources_of(source, needed)
        bundle = options.bundle
        if bundle is None:
            trainer = fitted(cache_of(None, folder / "cache", config, frames=600), config)
            bundle = write_bundle_of(trainer, folder / "bundle")
        out = folder / "out"
        named = [word for one in sources for word in ("--source", one)]
        command = [*edgevad, "run", *named, "--bundle", str(bundle), "--out", str(out)]
        rows = rows_of(
            "edgevad run", watch(command, LineCounter(out / "frames.jsonl"), **span), options.first, options.last
        )
        if not options.no_train:
            command = [*edgevad, "train", *sources, "--out", str(folder / "model"), "--sample-fps", "0"]
            images = file_units(ModelFolder(folder / "model").cache / "images.u8", config.size_px**2 * 3)
            rows += rows_of("edgevad train, reading", watch(command, images, **span), options.first, options.last)
    facts = {"source": f"{len(sources)} x {Path(source).name}"}
    return report("memory", rows, as_json=options.json, facts=facts)


if __name__ == "__main__":
    sys.exit(guarded(main))

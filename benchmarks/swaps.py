"""Bundles swapped under a running service, and bad ones that it has to go back from.

    python -m benchmarks.swaps [load] [bad] [--swaps 30] [--load 2] [--json]

load: two simulated cameras of 30 fps, numbered frames, and processes that keep all cores busy; bundles that differ in
size and motion are activated one after the other. Every frame that left a camera is looked for: scored once, or counted
as replaced by a newer one, as without a swap.
bad: bundles with real graphs that pass their self-test and then give NaN, fail in the engine, take too long or end the
process, and one whose self-test is wrong. How long each was in use, what it cost, and whether it is tried again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from benchmarks._bad_bundles import BAD, write_bad_bundle
from benchmarks._common import Row, add_json_option, guarded, report
from edgevad.bundle import Bundle, Slots
from edgevad.errors import BlockedBundleError, BundleError
from edgevad.events.incident import Incident
from edgevad.events.sink import Sink
from edgevad.runtime.pipeline import Result
from edgevad.service import running
from edgevad.service.config import load_config
from edgevad.service.running import ServiceRun
from edgevad.service.sections import CameraConfig
from edgevad.sources.live import LiveSource
from edgevad.spec import InputSpec, MotionSpec
from tests.simulated import SimulatedCamera, number_of
from tests.tiny import edit_manifest, put_file, write_tiny_bundle

PARTS = ("load", "bad")
FPS_HZ = 30.0
LOST_BAR, BAD_BAR = "swaps: frames lost or scored twice", "swaps: bad bundles in use, or tried again"
SPECS = {
    "plain": InputSpec(32, 32),
    "larger": InputSpec(64, 64),
    "motion": InputSpec(32, 32, MotionSpec("difference", (100,))),
    "flow": InputSpec(48, 48, MotionSpec("flow", (200,))),
}
TRIAL = "[trial]\nminutes = 20\nlatency_budget_ms = 40\nlatency_window_s = 3\n"
_BUSY = "while True: sum(range(10000))"


class Seen(Sink):
    """When which frame of which camera was decided about, and what the service told."""

    def __init__(self) -> None:
        self.numbers: dict[str, list[tuple[int, float]]] = {"front": [], "rear": []}
        self.incidents: list[tuple[Incident, float]] = []

    def push(self, result: Result) -> None:
        self.numbers[result.frame.source_id].append((number_of(result.frame.image), time.monotonic()))

    def incident(self, incident: Incident) -> None:
        if incident.kind == "bundle":
            self.incidents.append((incident, time.monotonic()))

    def wait_for(self, cause: str, *, after: int = 0, limit_s: float = 120.0) -> float:
        """When the service told a `cause`, after so many incidents."""
        until_s = time.monotonic() + limit_s
        while time.monotonic() < until_s:
            for incident, told_s in self.incidents[after:]:
                if incident.cause == cause:
                    return told_s
            time.sleep(0.01)
        raise TimeoutError(f"no bundle was {cause} within {limit_s:g} s")


class Service:
    """A service with simulated cameras, in a thread."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        cameras = {name: SimulatedCamera(rate_hz=FPS_HZ) for name in names}

        def opened(camera: CameraConfig) -> LiveSource:
            return LiveSource(cameras[camera.name], name=camera.name, kind="camera", stale_s=60.0, wait=True)

        running.open_camera = opened  # type: ignore[assignment]
        self.seen = Seen()
        self.run = ServiceRun(load_config(config(folder, names)), views=[self.seen])
        self._thread = threading.Thread(target=self._go)
        self.error: BaseException | None = None

    def _go(self) -> None:
        try:
            with self.run as run:
                self.summary = run.run()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Service:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.run.stop()
        self._thread.join()


def config(folder: Path, names: Sequence[str]) -> Path:
    path = folder / "car.toml"
    cameras = "".join(f'[[camera]]\nname = "{name}"\nsource = "rtsp://127.0.0.1:1/{name}"\n' for name in names)
    path.write_text(f'{cameras}[detection]\nthreshold = 1e6\n{TRIAL}[logging]\nlevel = "error"\n', encoding="utf-8")
    return path


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that want a core each."""
    children = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


def under_load(folder: Path, swaps: int, load: int) -> list[Row]:
    slots = Slots.of_device()
    for name, spec in SPECS.items():
        write_tiny_bundle(folder / name, spec)
        edit_manifest(folder / name, name=name)
    slots.activate(folder / "plain")
    took_s, at_s = [], []
    with busy(load), Service(folder, ("front", "rear")) as service:
        time.sleep(3.0)
        names = [name for name in SPECS if name != "plain"] + ["plain"]
        for step in range(swaps):
            told = len(service.seen.incidents)
            slots.activate(folder / names[step % len(names)])
            activated_s = time.monotonic()
            at_s.append(service.seen.wait_for("swapped", after=told))
            took_s.append(at_s[-1] - activated_s)
            time.sleep(0.5)
    lost = twice = 0
    around, elsewhere, gaps_s = [], [], []
    for camera in service.run.pipeline.counters():
        numbers = service.seen.numbers[camera.source_id]
        order = [number for number, _ in numbers]
        twice += len(order) - len(set(order)) + sum(b <= a for a, b in itertools.pairwise(order))
        lost += abs(camera.captured - camera.dropped - len(order))
        for (a, before_s), (b, now_s) in itertools.pairwise(numbers):
            is_near = any(abs(now_s - swap_s) < 0.25 for swap_s in at_s)
            (around if is_near else elsewhere).append(b - a - 1)
            if is_near:
                gaps_s.append(now_s - before_s)
    return [
        Row("load: swaps", [float(swaps)]),
        Row("load: frames", [float(sum(map(len, service.seen.numbers.values())))]),
        Row("load: frames lost or scored twice", [float(lost + twice)], "", LOST_BAR),
        Row("load: from the end of an activation to its use (s)", took_s, "s"),
        Row("load: share replaced by a newer frame, within 0.25 s of a swap", [_share(around)]),
        Row("load: share replaced by a newer frame, elsewhere", [_share(elsewhere)]),
        Row("load: longest time between two frames around a swap (s)", [max(gaps_s)], "s"),
    ]


def _share(skipped: Sequence[int]) -> float:
    return sum(skipped) / max(sum(skipped) + len(skipped), 1)


def bad_bundles(folder: Path) -> list[Row]:
    slots = Slots.of_device()
    write_tiny_bundle(folder / "good", InputSpec(32, 32))
    edit_manifest(folder / "good", name="good")
    slots.activate(folder / "good", trial=False)
    for kind in BAD:
        write_bad_bundle(folder / kind, kind)
    broken, rows = 0, []
    broken += _wrong_selftest(folder, slots)
    for kind in BAD:
        with Service(folder, ("front",)) as service:
            time.sleep(2.0)
            slots.activate(folder / kind)
            activated_s = time.monotonic()
            back_s = service.seen.wait_for("rolled back") - activated_s
            time.sleep(2.0)
        [camera] = service.run.pipeline.counters()
        order = [number for number, _ in service.seen.numbers["front"]]
        lost = camera.captured - camera.dropped - len(order) + len(order) - len(set(order))
        broken += int(service.error is not None) + _broken(slots, folder / kind)
        rows += [
            Row(f"bad: {kind}, from its activation to the way back (s)", [back_s], "s"),
            Row(f"bad: {kind}, frames lost or scored twice", [float(lost)], "", LOST_BAR),
        ]
    starts, in_use_s = _crashing(folder, slots)
    broken += _broken(slots, folder / "crashing")
    rows += [
        Row("bad: crashing, starts until it was left", [float(starts)]),
        Row("bad: crashing, from its activation to the way back (s)", [in_use_s], "s"),
        Row("bad: in use, or tried again", [float(broken)], "", BAD_BAR),
    ]
    return rows


def _broken(slots: Slots, bad: Path) -> int:
    """1 where a bundle that failed is in use, or would be tried again."""
    current = slots.current
    with suppress(BlockedBundleError):
        slots.activate(bad)
        return 1
    with suppress(BundleError):
        slots.rollback("back again")
        return 1
    return int(current is None or current.name != "good")


def _wrong_selftest(folder: Path, slots: Slots) -> int:
    """1 where a bundle was activated whose graph does not give the scores it was exported with."""
    wrong = Path(shutil.copytree(folder / "good", folder / "wrong"))
    arrays = Bundle.open(wrong).selftest()
    with tempfile.NamedTemporaryFile(suffix=".npz") as file:
        np.savez(file, **{**arrays, "score": arrays["score"] * np.float32(1.01)})
        file.flush()
        put_file(wrong, "selftest.npz", Path(file.name).read_bytes())
    with suppress(BundleError):
        slots.activate(wrong)
        return 1
    return int(slots.current is None or slots.current.name != "good")


def _crashing(folder: Path, slots: Slots) -> tuple[int, float]:
    """Starts of a service that ends with a segmentation fault under this bundle, as systemd would start it again."""
    shutil.copytree(folder / "good", folder / "crashing")
    edit_manifest(folder / "crashing", name="crashing")
    slots.activate(folder / "crashing")
    activated_s = time.monotonic()
    for start in range(1, 11):
        child = subprocess.run(
            [sys.executable, "-m", "benchmarks.swaps", "--child", str(folder)], capture_output=True, text=True
        )
        if child.returncode == 0:
            assert json.loads(child.stdout)["bundle"] == "good"
            return start - 1, time.monotonic() - activated_s
        assert child.returncode == -signal.SIGSEGV, child.stderr
    raise RuntimeError("the crashing bundle was started ten times")


def child(folder: Path) -> None:
    """A service of three seconds that a bundle called "crashing" ends with its eleventh frame."""
    inner = ServiceRun._opened_scorer

    def opening(self: ServiceRun, bundle: Bundle) -> object:
        scorer = inner(self, bundle)
        if scorer.name == "crashing":
            _crash_after(scorer.backend, 10)
        return scorer

    ServiceRun._opened_scorer = opening  # type: ignore[assignment,method-assign]
    with Service(folder, ("front",)) as service:
        time.sleep(3.0)
        name = service.run.pipeline.scorer.name
    if service.error is not None:
        raise service.error
    print(json.dumps({"bundle": name}))


def _crash_after(backend: object, frames: int) -> None:
    score: Callable[..., object] = backend.score  # type: ignore[attr-defined]
    left = frames

    def scored(*arguments: object) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGSEGV)
        return score(*arguments)

    backend.score = scored  # type: ignore[attr-defined]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for and report; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.swaps", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all without it")
    parser.add_argument("--swaps", type=int, default=30)
    parser.add_argument("--load", type=int, default=os.cpu_count() or 1, help="processes that want a core each")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    add_json_option(parser)
    options = parser.parse_args(arguments)
    if options.child is not None:
        child(options.child)
        return 0
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    for part in options.parts or PARTS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            os.environ["EDGEVAD_HOME"] = str(folder / "home")
            rows += under_load(folder, options.swaps, options.load) if part == "load" else bad_bundles(folder)
    return report("swaps", rows, as_json=options.json)


if __name__ == "__main__":
    sys.exit(guarded(main))

"""The bundle in use: swapped while it runs, watched while it is on trial, gone back from, and never tried again."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from car import Car
from simulated import SimulatedCamera
from tiny import edit_manifest, write_tiny_bundle

from edgevad.bundle import Bundle, SlotInfo, Slots
from edgevad.drives.reading import metadata_of
from edgevad.errors import BackendError, BlockedBundleError, BundleError, OutputError
from edgevad.events.store import EventStore
from edgevad.runtime.backends import Scores
from edgevad.runtime.backends.backend import Backend
from edgevad.runtime.pipeline import Result
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.trial import TrialMonitor
from edgevad.service.champion import Champion
from edgevad.service.running import ServiceRun
from edgevad.spec import InputSpec, MotionSpec


class Faulty:
    """The backend of a bundle that is called after what it does, a few frames after its self-test."""

    batch = None

    def __init__(self, inner: Backend, name: str) -> None:
        self._inner, self._name, self._left = inner, name, 20

    def score(self, frames: np.ndarray, motion: np.ndarray | None) -> Scores:
        found = self._inner.score(frames, motion)
        self._left -= 1
        if self._left > 0:
            return found
        if self._name == "crashing":
            raise BackendError("the GPU fell off the bus")
        if self._name == "nan":
            return Scores(np.full_like(found.score, np.nan), found.heatmap, found.latent)
        if self._name == "slow":
            time.sleep(0.03)
        return found

    def remember(self, bank: np.ndarray) -> None:
        self._inner.remember(bank)

    def close(self) -> None:
        self._inner.close()


@pytest.fixture(autouse=True)
def openings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the bundles that a service opened. Those called crashing, nan or slow are; "refused" is refused."""
    opened: list[str] = []
    inner = ServiceRun._opened_scorer

    def opening(self: ServiceRun, bundle: Bundle) -> Scorer:
        opened.append(bundle.manifest.name)
        if bundle.manifest.name == "refused":
            raise BackendError("the engine refuses the graph", where=bundle.path)
        scorer = inner(self, bundle)
        if scorer.name in ("crashing", "nan", "slow"):
            return replace(scorer, backend=Faulty(scorer.backend, scorer.name))
        return scorer

    monkeypatch.setattr(ServiceRun, "_opened_scorer", opening)
    monkeypatch.setattr("edgevad.service.champion._LOOK_S", 0.05)
    return opened


@pytest.fixture
def bundles(tmp_path: Path, tiny_bundle: Path) -> Callable[[str], Path]:
    """A copy of the tiny bundle under another name."""

    def named(name: str) -> Path:
        copy = Path(shutil.copytree(tiny_bundle, tmp_path / name))
        edit_manifest(copy, name=name)
        return copy

    return named


@pytest.fixture
def config(tmp_path: Path, edgevad_home: Path) -> Callable[..., Path]:
    """Writes the configuration: one camera, the active bundle, and what a test adds."""
    path = tmp_path / "car.toml"

    def written(text: str = "", threshold: float = 1e6, trial: str = "") -> Path:
        path.write_text(
            '[[camera]]\nname = "front"\nsource = "rtsp://127.0.0.1:1/front"\nstale_s = 20\n'
            f"[detection]\nthreshold = {threshold}\nwarm_up_s = 0.0\n[trial]\n{trial}\n{text}\n",
            encoding="utf-8",
        )
        return path

    return written


def causes(car: Car) -> list[str]:
    return [incident.cause for incident in car.seen.incidents if incident.kind == "bundle"]


def no_frame_is_missing(car: Car) -> None:
    """The camera is slower than the scorer: every frame of it was seen, once, in its order."""
    numbers = car.seen.numbers
    assert numbers == sorted(set(numbers))
    assert car.summary is not None
    [camera] = car.summary.cameras
    assert camera.captured == camera.given + camera.dropped
    assert camera.given == len(numbers)


@pytest.mark.parametrize(
    "spec", [InputSpec(32, 32), InputSpec(48, 40), InputSpec(32, 32, MotionSpec("difference", (100,)))]
)
def test_a_service_takes_up_what_was_activated_between_two_frames(
    config: Callable[..., Path],
    cameras: dict[str, SimulatedCamera],
    bundles: Callable[[str], Path],
    tmp_path: Path,
    spec: InputSpec,
) -> None:
    slots = Slots.of_device()
    slots.activate(bundles("first"))
    write_tiny_bundle(tmp_path / "other", spec)
    edit_manifest(tmp_path / "other", name="second")
    with Car(config()) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 10)
        slots.activate(tmp_path / "other", why="made from last week's drives")
        car.seen.wait_for(lambda: "swapped" in causes(car))
        seen = len(car.seen.numbers)
        car.seen.wait_for(lambda: len(car.seen.numbers) > seen + 20)
    no_frame_is_missing(car)
    [swapped] = [incident for incident in car.seen.incidents if incident.kind == "bundle"]
    assert swapped.detail.startswith("second ")
    assert "in place of first" in swapped.detail
    assert swapped.detail.endswith(": made from last week's drives")
    current = slots.current
    assert current is not None
    assert (current.name, current.state, current.trial.under_way, current.trial.crashes) == ("second", "trial", "", 0)
    assert current.trial.running_s > 0.0


def test_a_bundle_that_passes_its_window_stays(
    config: Callable[..., Path], cameras: dict[str, SimulatedCamera], bundles: Callable[[str], Path]
) -> None:
    slots = Slots.of_device()
    slots.activate(bundles("first"))
    with Car(config(trial="minutes = 0.01")) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 10)
        slots.activate(bundles("second"))
        car.seen.wait_for(lambda: "healthy" in causes(car))
    assert causes(car) == ["swapped", "healthy"]
    assert slots.current is not None
    assert (slots.current.name, slots.current.state) == ("second", "healthy")
    assert slots.blocked() == []


@pytest.mark.parametrize(
    ("name", "why", "trial"),
    [
        ("nan", "the engine failed: .* scores \\(nan,\\)", ""),
        ("crashing", "the engine failed: the GPU fell off the bus", ""),
        ("slow", "too slow: 95 % of the frames .* budget 20 ms", "latency_budget_ms = 20\nlatency_window_s = 1"),
        ("refused", "it cannot be opened: .*the engine refuses the graph", ""),
    ],
)
def test_a_bad_bundle_is_gone_back_from_and_never_tried_again(
    config: Callable[..., Path],
    cameras: dict[str, SimulatedCamera],
    bundles: Callable[[str], Path],
    openings: list[str],
    name: str,
    why: str,
    trial: str,
) -> None:
    slots, bad = Slots.of_device(), bundles(name)
    slots.activate(bundles("good"))
    path = config(trial=trial)
    with Car(path) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 10)
        slots.activate(bad)
        car.seen.wait_for(lambda: "rolled back" in causes(car))
        seen = len(car.seen.numbers)
        car.seen.wait_for(lambda: len(car.seen.numbers) > seen + 30)
    assert car.summary is not None
    assert car.summary.error is None
    assert [cause for cause in causes(car) if cause == "rolled back"] == ["rolled back"]
    if name != "slow":
        no_frame_is_missing(car)
    assert slots.current is not None
    assert (slots.current.name, slots.current.state) == ("good", "healthy")
    assert slots.other is not None
    assert (slots.other.name, slots.other.state) == (name, "failed")
    [blocked] = slots.blocked()
    assert blocked.name == name
    with pytest.raises(BlockedBundleError, match=f"was tried on this device and failed: {why}"):
        slots.activate(bad)
    with pytest.raises(BlockedBundleError):
        slots.rollback("by hand")
    assert openings.count(name) == 1


def test_a_bundle_that_alarms_all_the_time_is_gone_back_from(
    config: Callable[..., Path],
    cameras: dict[str, SimulatedCamera],
    bundles: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgevad.runtime.trial._LEAST_ALARM_S", 0.5)
    slots = Slots.of_device()
    slots.activate(bundles("good"))
    slots.activate(bundles("other"))
    with Car(config(threshold=-1e6)) as car:
        car.seen.wait_for(lambda: "rolled back" in causes(car))
        car.seen.wait_for(lambda: "swapped" in causes(car))
    assert "alarmed for" in next(one.detail for one in car.seen.incidents if one.cause == "rolled back")
    assert slots.current is not None
    assert slots.current.name == "good"


def test_a_disk_that_takes_nothing_keeps_no_bad_bundle_in_use(
    config: Callable[..., Path],
    cameras: dict[str, SimulatedCamera],
    bundles: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OutputError("the disk is full")

    slots = Slots.of_device()
    slots.activate(bundles("good"))
    with Car(config(trial="latency_budget_ms = 20\nlatency_window_s = 1")) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 10)
        slots.activate(bundles("slow"))
        car.seen.wait_for(lambda: "swapped" in causes(car))
        for name in ("rollback", "update"):
            monkeypatch.setattr(Slots, name, refused)
        car.seen.wait_for(lambda: "rolled back" in causes(car))
        assert car.service.pipeline.scorer.name == "good"
    assert "is left until the next start: too slow" in car.seen.incidents[-1].detail


def test_a_crash_loop_is_seen_before_the_engine_is_opened(
    config: Callable[..., Path],
    cameras: dict[str, SimulatedCamera],
    bundles: Callable[[str], Path],
    openings: list[str],
) -> None:
    slots = Slots.of_device()
    slots.activate(bundles("good"))
    slots.activate(bundles("bad"))
    for _ in range(3):
        slots.started()  # and then nothing more: killed
    with Car(config()) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 10)
    assert openings == ["good"]
    assert causes(car) == ["rolled back"]
    assert "crashed 3 times within its first 20 minutes" in car.seen.incidents[0].detail
    assert slots.blocked()[0].name == "bad"


def test_starts_that_end_well_are_no_crashes(
    config: Callable[..., Path], cameras: dict[str, SimulatedCamera], bundles: Callable[[str], Path]
) -> None:
    slots = Slots.of_device()
    slots.activate(bundles("good"))
    slots.activate(bundles("new"))
    for _ in range(5):
        with Car(config()) as car:
            car.seen.wait_for(lambda: len(car.seen.numbers) > 2)
    assert slots.current is not None
    assert (slots.current.name, slots.current.trial.crashes) == ("new", 0)


def test_at_the_start_a_bundle_is_blamed_only_where_the_other_one_runs(
    config: Callable[..., Path],
    cameras: dict[str, SimulatedCamera],
    bundles: Callable[[str], Path],
    openings: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slots = Slots.of_device()
    slots.activate(bundles("good"))
    slots.activate(bundles("refused"))
    with Car(config()) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 2)
    assert openings == ["refused", "good"]
    assert causes(car) == ["rolled back"]
    assert [one.name for one in slots.blocked()] == ["refused"]

    # A driver that is gone lets no bundle run, and none is to blame.
    slots.activate(bundles("new"))

    def opening(self: ServiceRun, bundle: Bundle) -> Scorer:
        raise BackendError("no GPU", where=bundle.path)

    monkeypatch.setattr(ServiceRun, "_opened_scorer", opening)
    for _ in range(5):
        with pytest.raises(BackendError, match="no GPU"):
            Car(config())
    assert slots.current is not None
    assert (slots.current.name, slots.current.state, slots.current.trial.crashes) == ("new", "trial", 0)


def test_a_bundle_that_is_broken_on_the_disk_gives_way_to_the_other(
    config: Callable[..., Path], cameras: dict[str, SimulatedCamera], bundles: Callable[[str], Path]
) -> None:
    slots = Slots.of_device()
    slots.activate(bundles("old"))
    slots.activate(bundles("new"), trial=False)
    assert slots.current is not None
    (slots.current.path / "model.onnx").write_bytes(b"bad sectors")
    with Car(config()) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 2)
    assert slots.current.name == "old"
    assert slots.blocked() == []
    (slots.current.path / "model.onnx").write_bytes(b"bad sectors")
    with pytest.raises(BundleError, match="not the file that was exported"):
        Car(config())


def test_a_rollback_by_hand_is_followed(
    config: Callable[..., Path], cameras: dict[str, SimulatedCamera], bundles: Callable[[str], Path]
) -> None:
    slots = Slots.of_device()
    slots.activate(bundles("old"))
    slots.activate(bundles("new"), trial=False)
    with Car(config()) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 10)
        slots.rollback("somebody said so")
        car.seen.wait_for(lambda: "swapped" in causes(car))
    no_frame_is_missing(car)
    assert slots.current is not None
    assert slots.current.name == "old"


def test_a_bundle_that_the_settings_name_is_never_swapped(
    config: Callable[..., Path], cameras: dict[str, SimulatedCamera], bundles: Callable[[str], Path]
) -> None:
    slots, named = Slots.of_device(), bundles("named")
    slots.activate(bundles("good"))
    with Car(config(f'[run]\nbundle = "{named}"')) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 10)
        slots.activate(bundles("other"))
        seen = len(car.seen.numbers)
        car.seen.wait_for(lambda: len(car.seen.numbers) > seen + 50)
    assert causes(car) == []
    assert car.service.pipeline.scorer.name == "named"


def test_a_reload_after_a_swap_is_about_the_new_bundle(
    config: Callable[..., Path], cameras: dict[str, SimulatedCamera], bundles: Callable[[str], Path]
) -> None:
    slots = Slots.of_device()
    slots.activate(bundles("old"))
    with Car(config()) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 10)
        slots.activate(bundles("new"))
        car.seen.wait_for(lambda: "swapped" in causes(car))
        config('[events]\ndir = "kept"\n', threshold=5.0)
        car.service.reload()
        car.seen.wait_for(lambda: any(one.kind == "config" for one in car.seen.incidents))
        assert car.service.pipeline.scorer.name == "new"
        assert car.service.pipeline.hysteresis.threshold == 5.0
    no_frame_is_missing(car)


def test_what_is_told_names_the_bundle_that_saw_it(
    config: Callable[..., Path], cameras: dict[str, SimulatedCamera], bundles: Callable[[str], Path], tmp_path: Path
) -> None:
    slots = Slots.of_device()
    slots.activate(bundles("old"))
    with Car(config('[events]\ndir = "kept"\n[drives]\ndir = "drives"\n', threshold=-1e6)) as car:
        car.seen.wait_for(lambda: car.seen.anomalies > 20)
        slots.activate(bundles("new"))
        car.seen.wait_for(lambda: "swapped" in causes(car))
        cameras["front"].unplug()
        car.seen.wait_for(lambda: len(car.seen.events) == 1)
        cameras["front"].plug_in()
        seen = len(car.seen.numbers)
        car.seen.wait_for(lambda: len(car.seen.numbers) > seen + 20)
    with EventStore.open(tmp_path / "kept") as store:
        rows = sorted(store.events(), key=lambda row: row.start_ns)
    # An event that began before the swap stays the old one's, under one name, though it was over later.
    anomalies = [(row.run.bundle_name, row.id, row.end_ns is None) for row in rows if row.kind == "anomaly"]
    assert anomalies == [("old", "1", False), ("new", "2", False)]
    [swapped] = [row for row in rows if row.kind == "bundle"]
    assert swapped.run.bundle_name == "new"
    told = [metadata_of(path) for path in sorted((tmp_path / "drives").glob("*/*.mcap"))]
    assert [one["bundle_name"] for one in told] == ["old", "new"]
    assert len({one["run_id"] for one in told}) == 1


def test_a_trial_that_is_over_while_a_frame_is_pushed_costs_no_run(
    config: Callable[..., Path],
    cameras: dict[str, SimulatedCamera],
    bundles: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slots = Slots.of_device()
    slots.activate(bundles("first"))
    slots.activate(bundles("second"))
    inner = TrialMonitor.observe

    def observe(self: TrialMonitor, result: Result, now_s: float) -> None:
        inner(self, result, now_s)
        champion = car.service._champion
        if len(car.seen.numbers) > 10 and champion is not None:
            champion._is_done_with(self)  # as the thread that follows the slots does, at any moment

    monkeypatch.setattr(TrialMonitor, "observe", observe)
    with Car(config()) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 30)
    no_frame_is_missing(car)


def test_an_end_while_a_bundle_is_opened_is_no_crash_of_it(
    config: Callable[..., Path],
    cameras: dict[str, SimulatedCamera],
    bundles: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slots = Slots.of_device()
    slots.activate(bundles("first"))
    opening, go_on = threading.Event(), threading.Event()
    inner = ServiceRun._opened_scorer

    def slowly(self: ServiceRun, bundle: Bundle) -> Scorer:
        if bundle.manifest.name == "second":
            opening.set()
            assert go_on.wait(10)
        return inner(self, bundle)

    monkeypatch.setattr(ServiceRun, "_opened_scorer", slowly)
    with Car(config()) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 5)
        slots.activate(bundles("second"))
        assert opening.wait(10)
        assert slots.current is not None
        assert slots.current.trial.under_way
    assert (slots.current.name, slots.current.state, slots.current.trial.under_way) == ("second", "trial", "")
    go_on.set()


def test_a_full_disk_keeps_no_bundle_from_being_taken_up(
    config: Callable[..., Path],
    cameras: dict[str, SimulatedCamera],
    bundles: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slots = Slots.of_device()
    slots.activate(bundles("first"))
    with Car(config()) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 5)

        def full(*_: object) -> None:
            raise OutputError("the disk is full")

        monkeypatch.setattr(Slots, "update", full)
        slots.activate(bundles("second"))
        car.seen.wait_for(lambda: "swapped" in causes(car))
    no_frame_is_missing(car)


def test_a_look_that_fails_is_taken_again(
    config: Callable[..., Path],
    cameras: dict[str, SimulatedCamera],
    bundles: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slots = Slots.of_device()
    slots.activate(bundles("first"))
    failed: list[str] = []
    inner = Champion._take_up

    def take_up(self: Champion, current: SlotInfo) -> None:
        if not failed:
            failed.append(current.name)
            raise BundleError("cannot be read (Input/output error)")
        inner(self, current)

    monkeypatch.setattr(Champion, "_take_up", take_up)
    with Car(config()) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 5)
        slots.activate(bundles("second"))
        car.seen.wait_for(lambda: "swapped" in causes(car))
    assert failed == ["second"]


def test_a_full_disk_keeps_no_bundle_in_use_that_fails_after_a_start(
    config: Callable[..., Path],
    cameras: dict[str, SimulatedCamera],
    bundles: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is no scorer open to go back to, and the link cannot be swapped."""
    slots = Slots.of_device()
    slots.activate(bundles("good"))
    slots.activate(bundles("crashing"))

    def full(*_: object, **__: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(Slots, "rollback", full)
    with Car(config()) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 50)
    assert car.service.pipeline.scorer.name == "good"
    no_frame_is_missing(car)

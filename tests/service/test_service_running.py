"""A configuration, running: sinks, reload between two frames, cameras that are not there yet, and the end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from car import Car
from simulated import SimulatedCamera

from edgevad.bundle import Bundle
from edgevad.errors import ConfigError, OutputError
from edgevad.events.store import EventStore
from edgevad.events.waiting import Limits
from edgevad.refit.idle import IdleWatch
from edgevad.refit.place import RefitHome
from edgevad.refit.shadow import run_shadow
from edgevad.service.config import load_config
from edgevad.service.running import ServiceRun
from edgevad.sources import open_source
from edgevad.sources.live import LiveSource


@pytest.fixture
def config(tmp_path: Path, tiny_bundle: Path, edgevad_home: Path) -> Callable[..., Path]:
    """Writes the configuration: one camera, the tiny bundle, and what a test adds."""
    path = tmp_path / "car.toml"

    def written(text: str = "", threshold: float = 1e6) -> Path:
        path.write_text(
            f'[run]\nbundle = "{tiny_bundle}"\ndevice = "car-7"\n'
            '[[camera]]\nname = "front"\nsource = "rtsp://127.0.0.1:1/front"\nstale_s = 0.3\n'
            f"[detection]\nthreshold = {threshold}\nwarm_up_s = 0.0\n{text}\n",
            encoding="utf-8",
        )
        return path

    return written


def test_a_reload_changes_threshold_and_sinks_between_two_frames(
    config: Callable[..., Path], cameras: dict[str, SimulatedCamera], edgevad_home: Path
) -> None:
    with Car(config()) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 20)
        assert car.seen.anomalies == 0
        config('[events]\ndir = "kept"\n', threshold=-1e6)
        car.service.reload()
        car.seen.wait_for(lambda: bool(car.seen.incidents))
        seen = len(car.seen.numbers)
        car.seen.wait_for(lambda: len(car.seen.numbers) > seen + 20)
        assert car.end() < 2.0
    [loaded] = car.seen.incidents
    assert (loaded.kind, loaded.cause) == ("config", "loaded")
    assert "threshold -1000000.00" in loaded.detail
    assert car.seen.anomalies >= 20
    # The camera is slower than the scorer: every frame there was has been seen, across the reload, too.
    assert car.summary is not None
    [camera] = car.summary.cameras
    assert car.seen.numbers == sorted(set(car.seen.numbers))
    assert camera.captured == camera.given + camera.dropped
    with EventStore.open(load_config(config('[events]\ndir = "kept"\n')).events.dir) as store:  # type: ignore[union-attr]
        kinds = [one.kind for one in store.events()]
    assert sorted(kinds) == ["anomaly", "config"]


def test_settings_that_cannot_be_loaded_leave_everything_as_it_was(
    config: Callable[..., Path], cameras: dict[str, SimulatedCamera]
) -> None:
    with Car(config('[events]\ndir = "kept"\n')) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 5)
        config("[events]\nx = 1\n")
        car.service.reload()
        car.seen.wait_for(lambda: bool(car.seen.incidents))
        [refused] = car.seen.incidents
        assert (refused.kind, refused.cause) == ("config", "refused")
        assert "the settings stay as they were" in refused.detail
        assert "[events]: x is no setting here" in refused.detail
        # Good again, and the same: nothing is closed or opened.
        config('[events]\ndir = "kept"\n')
        before = car.service._dispatcher.sinks
        car.service.reload()
        car.seen.wait_for(lambda: len(car.seen.incidents) == 2)
        assert car.service._dispatcher.sinks == before


def test_a_folder_that_cannot_be_used_refuses_the_reload(
    config: Callable[..., Path], cameras: dict[str, SimulatedCamera], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with Car(config('[events]\ndir = "kept"\n')) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 5)
        config('[events]\ndir = "file"\n', threshold=-1e6)
        car.service.reload()
        car.seen.wait_for(lambda: bool(car.seen.incidents))
        seen = len(car.seen.numbers)
        car.seen.wait_for(lambda: len(car.seen.numbers) > seen + 10)
    assert [incident.cause for incident in car.seen.incidents] == ["refused"]
    assert car.seen.anomalies == 0


def test_an_error_nobody_thought_of_does_not_end_the_watching(
    config: Callable[..., Path], cameras: dict[str, SimulatedCamera], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> None:
        raise ZeroDivisionError("a slip")

    with Car(config()) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 5)
        monkeypatch.setattr("edgevad.service.running.load_config", broken)
        car.service.reload()
        car.seen.wait_for(lambda: bool(car.seen.incidents))
        seen = len(car.seen.numbers)
        car.seen.wait_for(lambda: len(car.seen.numbers) > seen + 10)
    assert "a slip" in car.seen.incidents[0].detail


def test_cameras_and_recordings_are_not_watched_together(
    config: Callable[..., Path], cameras: dict[str, SimulatedCamera], monkeypatch: pytest.MonkeyPatch, tiny_video: Path
) -> None:
    front = LiveSource(cameras["front"], name="front", kind="camera", reconnect=True)
    opened = iter([front, open_source(tiny_video)])
    monkeypatch.setattr("edgevad.service.running.open_camera", lambda camera: next(opened))
    path = config(f'[[camera]]\nname = "old"\nsource = "{tiny_video}"\n')
    with pytest.raises(ConfigError, match="cameras and recordings together"):
        ServiceRun(load_config(path))


def test_the_same_folder_under_other_settings_is_handed_over(
    config: Callable[..., Path], cameras: dict[str, SimulatedCamera], tmp_path: Path
) -> None:
    """Two recorders cannot have it at once: the new one waits for the old one, and no event is lost."""
    with Car(config('[events]\ndir = "kept"\n')) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 5)
        config('[events]\ndir = "kept"\npost_roll_s = 1.0\n', threshold=-1e6)
        car.service.reload()
        seen = len(car.seen.numbers)
        car.seen.wait_for(lambda: len(car.seen.numbers) > seen + 30)
    assert {incident.kind for incident in car.seen.incidents} == {"config"}
    with EventStore.open(tmp_path / "kept") as store:
        [anomaly] = [one for one in store.events() if one.kind == "anomaly"]
    assert anomaly.end_ns is not None


def test_a_change_that_takes_a_restart_is_said(
    config: Callable[..., Path], cameras: dict[str, SimulatedCamera]
) -> None:
    with Car(config()) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 5)
        config("[lens]\nfrozen_s = 5.0\n")
        car.service.reload()
        car.seen.wait_for(lambda: bool(car.seen.incidents))
    assert "lens changed as well, which takes a restart" in car.seen.incidents[0].detail


def test_a_camera_that_is_not_there_yet_is_waited_for(
    config: Callable[..., Path], cameras: dict[str, SimulatedCamera]
) -> None:
    cameras["rear"].unplug()
    path = config('[[camera]]\nname = "rear"\nsource = "rtsp://127.0.0.1:1/rear"\nstale_s = 0.3\n')
    with Car(path) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 20)
        car.seen.wait_for(lambda: bool(car.seen.incidents))
        cameras["rear"].plug_in()
        car.seen.wait_for(lambda: len(car.seen.incidents) == 2)
        begun, over = car.seen.incidents
        assert (begun.kind, begun.source_id, begun.lasts) == ("camera_lost", "rear", True)
        assert (over.id, over.lasts) == (begun.id, False)
        car.seen.wait_for(lambda: car.seen.cameras == {"front", "rear"})
    assert car.summary is not None
    assert car.summary.run.device == "car-7"


def test_a_camera_that_hangs_does_not_hold_up_the_end(
    config: Callable[..., Path], cameras: dict[str, SimulatedCamera]
) -> None:
    released = threading.Event()
    with Car(config()) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 5)
        cameras["front"].hang()
        car.seen.wait_for(lambda: bool(car.seen.incidents))
        # Nor do a sink and a sensor that hang as well.
        sink = car.service._dispatcher.sinks[0]
        sink.finish = lambda summary: released.wait(5)  # type: ignore[method-assign]
        assert car.end() < 2.0
    released.set()
    cameras["front"].go_on()


@pytest.mark.parametrize("section", ["events", "drives"])
def test_a_folder_that_cannot_be_used_keeps_nobody_from_watching(
    config: Callable[..., Path],
    cameras: dict[str, SimulatedCamera],
    tmp_path: Path,
    section: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that is broken, read-only or not plugged in: it is told, and used as soon as it can be."""
    if section == "drives":
        pytest.importorskip("mcap")
    monkeypatch.setattr("edgevad.events.dispatch.Limits", partial(Limits, retry_s=0.2, settle_s=0.3))
    path = tmp_path / "disk"
    path.write_text("in the way", encoding="utf-8")
    with Car(config(f'[{section}]\ndir = "disk/x"\n')) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 20)
        [told] = car.seen.incidents
        assert (told.kind, told.lasts) == ("storage", True)
        assert "a file is in the way" in told.detail
        # Reading the same settings anew neither helps nor hurts.
        before = car.service._dispatcher.sinks
        car.service.reload()
        car.seen.wait_for(lambda: len(car.seen.incidents) == 2)
        assert car.seen.incidents[1].cause == "loaded"
        assert car.service._dispatcher.sinks == before
        path.unlink()
        car.seen.wait_for(lambda: len(car.seen.incidents) == 3)
        over = car.seen.incidents[2]
        assert (over.id, over.lasts) == (told.id, False)
        config(f'[{section}]\ndir = "disk/x"\n', threshold=-1e6)
        car.service.reload()
        car.seen.wait_for(lambda: car.seen.anomalies > 20)
    if section == "events":
        with EventStore.open(path / "x") as store:
            assert "anomaly" in {one.kind for one in store.events()}
    else:
        assert list((path / "x").rglob("*.mcap"))


def test_a_store_that_another_run_has_keeps_nobody_from_watching(
    config: Callable[..., Path], cameras: dict[str, SimulatedCamera], tmp_path: Path
) -> None:
    with EventStore.open_to_record(tmp_path / "kept"), Car(config('[events]\ndir = "kept"\n')) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 5)
        car.seen.wait_for(lambda: bool(car.seen.incidents))
    assert car.seen.incidents[0].kind == "storage"
    assert "another edgevad records into this store" in car.seen.incidents[0].detail


def test_recordings_end_where_their_folder_cannot_be_used(
    config: Callable[..., Path], tmp_path: Path, tiny_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setattr("edgevad.service.running.open_camera", lambda camera: open_source(tiny_video))
    with pytest.raises(OutputError, match="a file is in the way"):
        ServiceRun(load_config(config('[events]\ndir = "file"\n')))


def test_what_a_section_asks_for_in_vain_is_told_before_anything_runs(
    config: Callable[..., Path], cameras: dict[str, SimulatedCamera]
) -> None:
    """A folder is no such thing: it may be back tomorrow, a plug-in that nobody installed is not."""
    with pytest.raises(ConfigError, match="no such plug-in is installed"):
        ServiceRun(load_config(config('[events]\ndir = "free"\n[plugins.horn]\nline = 3\n')))
    # That left nothing running or locked.
    with Car(config('[events]\ndir = "free"\n')) as car:
        car.seen.wait_for(lambda: len(car.seen.numbers) > 5)
    assert not car.seen.incidents


def test_it_says_that_it_drives_and_gives_its_frames_to_who_tries_another_bundle(
    config: Callable[..., Path],
    cameras: dict[str, SimulatedCamera],
    tiny_bundle: Path,
    edgevad_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgevad.runtime.shadow._LOOK_S", 0.05)
    home = RefitHome.of_device()
    bundle = Bundle.open(tiny_bundle)
    with Car(config()) as car:
        report = run_shadow(bundle, bundle.digest, 50, home=home, kept=home.path / "shadow.json", longest_wait_s=20.0)
        car.seen.wait_for(lambda: len(car.seen.numbers) > 60)
        reason = IdleWatch(home.path).reason()
    assert report.frames == 50
    assert report.failure is None
    assert reason == "the cameras give frames"

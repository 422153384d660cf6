"""A disk that is full, for real: nothing is corrupted, and the recorder goes on when there is space again."""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from scenes import SMALL, Scene, frames_of, result, run_info

from edgevad.errors import OutputError
from edgevad.events import Incident
from edgevad.events import recorder as recorder_module
from edgevad.events.disk import free_bytes
from edgevad.events.dispatch import Dispatcher
from edgevad.events.lane import Limits
from edgevad.events.recorder import Recorder
from edgevad.events.store import EventStore


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "RETRY_S", 0.0)
    monkeypatch.setattr("edgevad.events.disk.LOOK_EVERY_S", 0.0)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    assert free_bytes(disk) == 0
    return filler


def check(store: Path) -> None:
    connection = sqlite3.connect(store / "events.db")
    assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    connection.close()


def test_what_happens_while_the_disk_is_full_is_stored_when_there_is_space_again(small_disk: Path) -> None:
    store = small_disk / "store"
    with Recorder(store, SMALL) as recorder:
        recorder.start(run_info())
        scene = Scene(recorder)
        scene.quiet(20)
        scene.begin()
        scene.last(5)
        filler = fill(small_disk)
        scene.last(60, score=5.5)  # until the clip, too, has run into the end of the disk
        assert scene.errors
        assert all(isinstance(error, OutputError) for error in scene.errors)
        scene.end()
        scene.begin()
        scene.last(5)
        before = len(scene.errors)
        filler.unlink()
        scene.last(20)
        scene.end()
        scene.quiet(20)
        assert len(scene.errors) == before  # it works again at once
    check(store)
    with EventStore.open(store) as opened:
        first, second = opened.events()
    assert [row.frames for row in (first, second)] == [66, 26]
    assert first.clip is not None
    assert first.clip_start_ns is not None
    length_s = ((first.clip_end_ns or 0) - first.clip_start_ns) / 1e9
    assert length_s >= 1.0  # what there was of it can be played
    assert frames_of(store / first.clip)[-1][0] == pytest.approx(length_s)
    assert second.clip is not None  # begun late: the event still lasted
    assert frames_of(store / second.clip)


def test_behind_a_dispatcher_a_full_disk_is_one_incident_that_ends(small_disk: Path) -> None:
    told: list[Incident] = []
    recorder = Recorder(small_disk / "store", SMALL)
    dispatcher = Dispatcher([recorder], lossless=False, report=told.append, limits=Limits(settle_s=0.1))
    dispatcher.start(run_info())
    scene = Scene(dispatcher)  # type: ignore[arg-type]

    def until(count: int) -> None:
        until_s = time.monotonic() + 10
        while len(told) < count and time.monotonic() < until_s:
            scene.quiet(1)
            time.sleep(0.01)

    filler = fill(small_disk)
    scene.begin()
    until(1)
    scene.end()
    filler.unlink()
    until(2)
    time.sleep(0.2)
    dispatcher.close()
    assert [(one.kind, one.lasts) for one in told] == [("storage", True), ("storage", False)]
    assert not scene.errors
    check(small_disk / "store")
    with EventStore.open(small_disk / "store") as store:
        (row,) = store.events()
    assert (row.kind, row.start_frame, row.interrupted) == ("anomaly", 0, False)


def test_below_its_floor_it_writes_rows_and_no_media_and_says_so_with_every_frame(small_disk: Path) -> None:
    store = small_disk / "store"
    with Recorder(store, replace(SMALL, floor_bytes=2_000_000)) as recorder:  # more than the disk has
        recorder.start(run_info())
        scene = Scene(recorder)
        scene.quiet(3)
        assert len(scene.errors) == 3
        assert "almost full" in str(scene.errors[0])
        scene.begin()
        scene.last(2)
        scene.end()
        assert recorder.shelf.store is not None
        (row,) = recorder.shelf.store.events()
    assert (row.frames, row.media) == (3, ())
    assert not list((store / "media").rglob("*.*"))


def test_a_disk_that_is_full_at_the_start_does_not_keep_it_from_starting(small_disk: Path) -> None:
    store = small_disk / "store"
    store.mkdir()
    filler = fill(small_disk)
    with Recorder(store, SMALL) as recorder:
        assert recorder.shelf.store is None
        recorder.start(run_info())
        scene = Scene(recorder)
        scene.quiet(5)
        assert len(scene.errors) == 5
        assert "disk is full" in str(scene.errors[0])
        scene.begin()
        scene.end()
        filler.unlink()
        recorder.push(result(scene.next))
        assert recorder.shelf.store is not None
        assert [row.frames for row in recorder.shelf.store.events()] == [1]
    check(store)

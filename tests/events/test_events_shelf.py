"""The shelf beneath the recorder: rows that cannot be written, folders that go away, quotas that are lifted."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from scenes import SMALL, START_NS, Scene, run_info

from edgevad.errors import OutputError
from edgevad.events import recorder as recorder_module
from edgevad.events import shelf as shelf_module
from edgevad.events.incident import Incident
from edgevad.events.recorder import Recorder
from edgevad.events.retention import MediaRetention, prune
from edgevad.events.shelf import Shelf
from edgevad.events.store import EventFilter, EventStore
from edgevad.events.stored import StoredEvent


def row(number: int, **facts: object) -> StoredEvent:
    plain = StoredEvent(run_info(), str(number), "anomaly", "view", START_NS, START_NS + 5, START_NS + number)
    return replace(plain, **facts)  # type: ignore[arg-type]


def stored(directory: Path) -> list[str]:
    with EventStore.open(directory) as store:
        return [found.id for found in store.events()]


def test_a_row_that_can_never_be_written_holds_up_no_other(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for bad in (row(2, frames=2**70), row(4, peak_frame=object())):
        shelf.put(row(1))
        shelf.put(bad)
        shelf.put(row(3))
        shelf.flush()
        (notice,) = shelf.notices
        assert (notice.kind, notice.cause) == ("storage", "row refused")
        assert f"/{bad.id} is lost" in notice.detail
        shelf.notices.clear()
    shelf.close()
    assert stored(tmp_path) == ["1", "3"]


def test_names_that_are_no_text_are_written_and_found(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    shelf.put(row(1, camera="dev \udcff", detail="\udcff", run=replace(run_info(), device="\udcff")))
    shelf.flush()
    assert shelf.known(row(1)) is not None
    assert shelf.notices == []
    shelf.close()
    with EventStore.open(tmp_path) as store:
        assert len(store.events(EventFilter(camera="dev \udcff"))) == 1


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_folder_that_is_taken_away_is_noticed(tmp_path: Path, comes_back: bool) -> None:
    place, elsewhere = tmp_path / "usb", tmp_path / "elsewhere"
    shelf = Shelf(place)
    shelf.put(row(1))
    shelf.flush()
    place.rename(elsewhere)
    if comes_back:
        shutil.copytree(elsewhere, place)
    picture = "media/2027-01-15/0123456789ab-2.jpg"
    shelf.write(picture, b"x")
    shelf.put(row(2, thumbnail=picture))
    shelf.flush()
    assert [notice.cause for notice in shelf.notices] == ["store gone"]
    shelf.put(row(3))
    shelf.flush()
    shelf.close()
    assert stored(place) == (["1", "2", "3"] if comes_back else ["2", "3"])
    assert (place / picture).exists()
    assert stored(elsewhere) == ["1"]


def test_a_store_that_is_damaged_meanwhile_is_set_aside_and_recording_goes_on(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for number in range(3000):
        shelf.put(row(number))
    shelf.flush()
    assert shelf.store is not None
    shelf.store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shelf.store._connection.execute("PRAGMA cache_size = 0")
    with (tmp_path / "events.db").open("r+b") as stream:
        stream.seek(4096)
        stream.write(os.urandom(4096 * 60))
    shelf.put(row(4000))
    shelf.flush()
    assert [notice.cause for notice in shelf.notices] == ["set aside"]
    shelf.close()
    assert stored(tmp_path) == ["4000"]


def test_a_store_without_its_tables_is_set_aside(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    assert shelf.store is not None
    shelf.store._connection.execute("DROP TABLE events")
    shelf.close()
    shelf = Shelf(tmp_path)
    assert [notice.cause for notice in shelf.notices] == ["set aside"]
    shelf.close()


def test_clips_come_again_once_kept_events_were_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "RETRY_S", 0.0)
    monkeypatch.setattr(shelf_module, "PRUNE_EVERY_S", 0.0)
    told: list[Incident] = []
    tight = MediaRetention(max_bytes=1000)
    with Recorder(tmp_path, replace(SMALL, retention=tight)) as recorder:
        recorder.on_incident = told.append
        recorder.start(run_info())
        scene = Scene(recorder)

        def happen() -> str | None:
            scene.quiet(20)
            scene.begin()
            scene.last(5)
            scene.end()
            with EventStore.open(tmp_path) as store:
                store.keep([scene.events])
            scene.quiet(20)
            with EventStore.open(tmp_path) as store:
                return store.events()[-1].clip

        assert happen() is not None
        assert happen() is None
        assert any("kept fill the whole quota" in str(error) for error in scene.errors)
        with EventStore.open(tmp_path) as store:
            store.keep([1, 2], kept=False)
        assert happen() is not None


def test_quotas_are_held_while_no_clip_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "RETRY_S", 0.0)
    monkeypatch.setattr(shelf_module, "PRUNE_EVERY_S", 0.0)
    with Recorder(tmp_path, replace(SMALL, retention=MediaRetention(max_bytes=1000))) as recorder:
        recorder.start(run_info())
        scene = Scene(recorder)
        picture = tmp_path / "media" / "2027-01-15" / "0123456789ab-77.jpg"
        picture.parent.mkdir(parents=True)
        picture.write_bytes(bytes(2000))
        recorder.shelf.put(row(77, thumbnail=picture.relative_to(tmp_path).as_posix()))
        scene.quiet(2)
        assert not picture.exists()


def test_a_prune_that_the_disk_refuses_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(30, os.strerror(30))

    with EventStore.open(tmp_path, create=True) as store:
        picture = tmp_path / "media" / "2027-01-15" / "0123456789ab-1.jpg"
        picture.parent.mkdir(parents=True)
        picture.write_bytes(bytes(2000))
        store.write([row(1, thumbnail=picture.relative_to(tmp_path).as_posix())])
        monkeypatch.setattr(Path, "unlink", refuse)
        with pytest.raises(OutputError, match="permission denied"):
            prune(store, MediaRetention(max_bytes=1))


@pytest.mark.parametrize("was_cut_off", [False, True])
def test_a_card_that_is_mounted_read_only_can_be_looked_at(tmp_path: Path, was_cut_off: bool) -> None:
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting needs root")
    card = tmp_path / "card"
    card.mkdir()
    if subprocess.run([mount, "-t", "tmpfs", "tmpfs", str(card)], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        shelf = Shelf(tmp_path / "store")
        shelf.put(row(1))
        shelf.flush()
        if was_cut_off:
            shutil.copytree(tmp_path / "store", card / "store")  # with SQLite's log
        shelf.close()
        if not was_cut_off:
            shutil.copytree(tmp_path / "store", card / "store")
        subprocess.run([mount, "-o", "remount,ro", str(card)], check=True)
        assert stored(card / "store") == ["1"]
        with EventStore.open(card / "store") as store, pytest.raises(OutputError, match="cannot be written"):
            store.keep([1])
    finally:
        subprocess.run(["umount", str(card)], check=True)

"""The store by itself: rows in and out, older, newer, foreign and damaged files, quotas."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from scenes import START_NS, run_info

from edgevad.errors import OptionError, StoreError
from edgevad.events import database
from edgevad.events.retention import MediaRetention, Pruned, media_bytes, prune
from edgevad.events.store import EventFilter, EventStore
from edgevad.events.stored import StoredEvent
from edgevad.report.events_export import export_events

DAY_NS = 86_400 * 10**9


def row(number: int, **facts: object) -> StoredEvent:
    plain = StoredEvent(run_info(), str(number), "anomaly", "view", START_NS, START_NS + 5, START_NS + number * DAY_NS)
    return replace(plain, **facts)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    with EventStore.open(tmp_path, create=True) as opened:
        opened.write([row(1, camera="front"), row(2, camera="rear", kind="sink"), row(3, camera="front")])
    return EventStore.open(tmp_path)


def test_a_row_comes_back_as_it_was(tmp_path: Path) -> None:
    full = row(
        4,
        detail="d",
        camera="c",
        start_frame=1,
        end_frame=3,
        frames=3,
        peak_score=4.25,
        peak_frame=2,
        clip="media/2027-01-15/a.mp4",
        clip_start_ns=START_NS,
        clip_end_ns=None,
        thumbnail="media/2027-01-15/a.jpg",
        heatmap="media/2027-01-15/a.png",
        interrupted=True,
        kept=True,
    )
    with EventStore.open(tmp_path, create=True) as store:
        store.write([full])
        assert store.events() == [replace(full, number=1)]
        store.write([replace(full, end_ns=9, kept=False, stored_ns=5)])
        assert store.events() == [replace(full, number=1, end_ns=9)]  # whether it is kept is up to people
        store.write([row(5)])
        assert store.event(2).id == "5"  # numbers follow each other
    assert (tmp_path / "events.db").stat().st_size > 0


@pytest.mark.parametrize(
    ("chosen", "numbers"),
    [
        (EventFilter(), [1, 2, 3]),
        (EventFilter(camera="front"), [1, 3]),
        (EventFilter(kind="sink"), [2]),
        (EventFilter(since_ns=START_NS + 2 * DAY_NS), [2, 3]),
        (EventFilter(until_ns=START_NS + 2 * DAY_NS), [1]),
        (EventFilter(last=2), [2, 3]),
        (EventFilter(camera="front", last=1), [3]),
        (EventFilter(numbers=(1, 3, 99)), [1, 3]),
        (EventFilter(run_id="other"), []),
    ],
)
def test_filters_hold_together(store: EventStore, chosen: EventFilter, numbers: list[int]) -> None:
    with store:
        assert [found.number for found in store.events(chosen)] == numbers


def test_a_power_cut_loses_no_row_that_was_written(store: EventStore) -> None:
    with store:
        assert store._connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert store._connection.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL


def test_readers_see_what_one_writer_writes_at_the_same_time(tmp_path: Path) -> None:
    problems: list[Exception] = []
    counts: list[int] = []
    done = threading.Event()
    EventStore.open(tmp_path, create=True).close()

    def read() -> None:
        try:
            with EventStore.open(tmp_path) as reader:
                while not done.is_set():
                    counts.append(len(reader.events()))
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    with EventStore.open(tmp_path, create=True) as writer:
        for thread in threads:
            thread.start()
        for number in range(40):
            writer.write([row(number)])
    done.set()
    for thread in threads:
        thread.join()
    assert not problems
    assert counts


def test_an_older_file_is_brought_up_once_and_keeps_its_rows(
    store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    later = ("ALTER TABLE events ADD COLUMN note TEXT", "UPDATE events SET note = 'from version 1'")
    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, later))
    for _ in range(2):
        with EventStore.open(tmp_path) as opened:
            assert len(opened.events()) == 3
            notes = opened._connection.execute("SELECT note FROM events").fetchall()
            assert [tuple(note) for note in notes] == [("from version 1",)] * 3
            assert opened._connection.execute("PRAGMA user_version").fetchone()[0] == len(database.MIGRATIONS)


def test_a_migration_that_fails_leaves_the_file_as_it_was(
    store: EventStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    with monkeypatch.context() as patch:
        broken = ("ALTER TABLE events ADD COLUMN note TEXT", "UPDATE nobody SET note = 1")
        patch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, broken))
        with pytest.raises(StoreError, match="no such table: nobody"):
            EventStore.open(tmp_path)
    with EventStore.open(tmp_path) as opened:
        assert len(opened.events()) == 3


def foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE photos (name TEXT)")
    connection.close()


def newer(path: Path) -> None:
    EventStore.open(path.parent, create=True).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def torn(path: Path) -> None:
    with EventStore.open(path.parent, create=True) as store:
        store.write([row(number, detail="x" * 2000) for number in range(40)])
    data = bytearray(path.read_bytes())
    data[8192:60000] = bytes(60000 - 8192)
    path.write_bytes(data)


def no_database(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n" * 500)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (foreign, "another program's database"),
        (newer, r"newer edgevad \(schema 99\)"),
        (torn, "is damaged"),
        (no_database, "damaged or no event store"),
    ],
)
def test_a_file_that_is_no_store_is_one_line_or_set_aside(tmp_path: Path, spoil: object, message: str) -> None:
    path = tmp_path / "events.db"
    spoil(path)  # type: ignore[operator]
    before = path.read_bytes()
    with pytest.raises(StoreError, match=message) as caught:
        EventStore.open(tmp_path, create=True)
    assert "\n" not in str(caught.value)
    with EventStore.open(tmp_path, create=True, mend=True) as store:
        assert store.set_aside is not None
        assert message.replace("\\", "") in store.set_aside_why
        assert store.events() == []
        store.write([row(1)])
    assert (store.set_aside / "events.db").read_bytes() == before
    EventStore.open(tmp_path).close()


def test_a_store_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no event store"):
        EventStore.open(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_keeping_is_all_or_nothing(store: EventStore) -> None:
    with store:
        with pytest.raises(StoreError, match="there is no event 9"):
            store.keep([1, 9])
        assert not store.event(1).kept
        store.keep([1])
        assert store.event(1).kept
        store.keep([1], kept=False)
        assert not store.event(1).kept


def test_marks_stay_when_a_row_is_written_again(store: EventStore) -> None:
    with store:
        with pytest.raises(StoreError, match="there is no event 9"):
            store.mark([1, 9], "confirmed")
        assert store.event(1).mark == ""
        store.mark([1, 3], "confirmed")
        store.mark([3], "dismissed")
        store.write([row(1, camera="front", peak_score=9.0)])
        assert [(one.mark, one.peak_score) for one in store.events()] == [
            ("confirmed", 9.0),
            ("", None),
            ("dismissed", None),
        ]
        assert [one.number for one in store.events(EventFilter(mark="confirmed"))] == [1]
        store.mark([1], "")
        assert store.events(EventFilter(mark="confirmed")) == []


def test_a_store_from_before_marks_is_brought_up(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "events.db")
    for statement in database.MIGRATIONS[0]:
        connection.execute(statement)
    connection.execute("INSERT INTO runs VALUES ('0123456789ab', 0, 'b', 'b', '', 'e', '[]', 1.0, 1, 'car')")
    named = "number, run_id, id, kind, cause, detail, camera, start_ns, stored_ns, interrupted, kept"
    values = "1, '0123456789ab', '1', 'anomaly', 'view', '', 'front', 0, 0, 0, 0"
    connection.execute(f"INSERT INTO events ({named}) VALUES ({values})")
    connection.execute(f"PRAGMA application_id = {database.APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    with EventStore.open(tmp_path) as opened:
        assert opened.event(1).mark == ""
        opened.mark([1], "dismissed")
        assert opened.event(1).mark == "dismissed"


def with_media(directory: Path, name: str, size: int = 1000) -> str:
    path = directory / "media" / "2027-01-15" / f"0123456789ab-{name}.mp4"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(bytes(size))
    return path.relative_to(directory).as_posix()


def filled(directory: Path) -> EventStore:
    """Six events of 1000 bytes each, a day apart; 2 is kept, 3 and 4 share a clip, 6 lasts."""
    store = EventStore.open(directory, create=True)
    clips = [with_media(directory, name) for name in ("1", "2", "34", "34", "5", "6")]
    times = {"clip_start_ns": START_NS, "clip_end_ns": START_NS + 1}
    store.write(row(k, clip=clip, **times) for k, clip in enumerate(clips, 1))
    store.write([row(6, clip=clips[5], clip_start_ns=START_NS, end_ns=None)])
    store.keep([2])
    return store


@pytest.mark.parametrize(
    ("retention", "days", "gone"),
    [
        (MediaRetention(max_bytes=5000), 7, ()),
        (MediaRetention(max_bytes=4000), 7, (1,)),
        (MediaRetention(max_bytes=3999), 7, (1, 3, 4)),
        (MediaRetention(max_bytes=1), 7, (1, 3, 4, 5)),
        (MediaRetention(max_age_days=4.5), 7, (1,)),
        (MediaRetention(max_age_days=2.5), 7, (1, 3, 4)),
        (MediaRetention(max_age_days=1), 9, (1, 3, 4, 5)),
    ],
)
def test_the_oldest_media_go_first_and_what_is_protected_never(
    tmp_path: Path, retention: MediaRetention, days: float, gone: tuple[int, ...]
) -> None:
    retention = replace(retention, max_row_age_days=None)
    with filled(tmp_path) as store:
        planned = prune(store, retention, now_ns=START_NS + int(days * DAY_NS), dry_run=True)
        assert media_bytes(tmp_path) == 5000
        done = prune(store, retention, now_ns=START_NS + int(days * DAY_NS))
        assert planned == done
        assert done.numbers == gone
        assert done.left_bytes == media_bytes(tmp_path) == 5000 - done.freed_bytes
        assert {found.number for found in store.events() if not found.media} == set(gone)
        assert all((tmp_path / name).exists() for found in store.events() for name in found.media)


def test_rows_outlive_their_media_and_go_in_the_end(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        spec = MediaRetention(max_age_days=1, max_row_age_days=100)
        assert prune(store, spec, now_ns=START_NS + 7 * DAY_NS).rows == 0
        assert len(store.events()) == 6
        store.write(row(day, kind="sink") for day in range(20, 200, 20))
        assert prune(store, spec, now_ns=START_NS + 110 * DAY_NS).rows == 4
        assert [found.number for found in store.events()][:3] == [2, 6, 7]


# Clocks of boards without a battery: 1970, or the date of their system.
@pytest.mark.parametrize("wrong_ns", [60 * 10**9, START_NS - 300 * DAY_NS, START_NS - 40 * DAY_NS])
def test_a_clock_that_is_set_makes_nothing_old(tmp_path: Path, wrong_ns: int) -> None:
    with EventStore.open(tmp_path, create=True) as store:
        clip = with_media(tmp_path, "1")
        store.write([row(1, clip=clip, clip_start_ns=0, clip_end_ns=1, stored_ns=wrong_ns), row(2, stored_ns=wrong_ns)])
        assert prune(store, MediaRetention(), now_ns=START_NS) == Pruned((), 0, 0, 0, 1000)
        store.write([row(3, stored_ns=START_NS), row(4, stored_ns=wrong_ns + DAY_NS)])
        prune(store, MediaRetention(), now_ns=START_NS + DAY_NS)
        assert len(store.events()) == 4
        assert (tmp_path / clip).exists()


def test_a_clock_that_leaps_ahead_for_a_minute_deletes_nothing(tmp_path: Path) -> None:
    with filled(tmp_path) as store:
        leapt_ns = START_NS + 7 * DAY_NS + 1024 * 7 * DAY_NS  # a receiver's mistake of 1024 weeks
        store.write([row(7, stored_ns=leapt_ns)])
        assert not prune(store, MediaRetention(), now_ns=leapt_ns).files
        assert len(store.events()) == 7


def test_for_room_the_first_stored_goes_first_whatever_the_clock_said(tmp_path: Path) -> None:
    with EventStore.open(tmp_path, create=True) as store:
        clips = [with_media(tmp_path, name) for name in "123"]
        for number, (clip, stored_ns) in enumerate(zip(clips, (START_NS + 9 * DAY_NS, START_NS, 60), strict=True), 1):
            store.write([row(number, clip=clip, clip_start_ns=0, clip_end_ns=1, stored_ns=stored_ns)])
        assert prune(store, MediaRetention(max_bytes=1000), now_ns=START_NS).numbers == (1, 2)


def test_nothing_outside_its_media_is_touched_whatever_a_row_names(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("x")
    day = tmp_path / "store" / "media" / "2027-01-15"
    day.mkdir(parents=True)
    (day / "link").symlink_to(victim)
    day.with_name("2027-01-16").symlink_to(tmp_path)
    links = ("media/2027-01-15/link", "media/2027-01-16/victim")
    names = ("../victim", "media/../../victim", "media/2027-01-15/..", str(victim), "events.db", *links)
    with EventStore.open(tmp_path / "store", create=True) as store:
        store.write(row(k, thumbnail=name) for k, name in enumerate(names))
        pruned = prune(store, MediaRetention(max_age_days=1), now_ns=START_NS + 9 * DAY_NS)
        assert (pruned.files, victim.exists()) == (0, True)
        files = export_events(store.directory, store.events(), tmp_path / "out")
        assert {path.name for path in files} == {"events.csv", "events.json", "index.html"}


def test_an_export_does_not_go_into_the_store(store: EventStore) -> None:
    with store, pytest.raises(OptionError, match="lies within the store"):
        export_events(store.directory, store.events(), store.directory / "media" / "2027-01-15")


def test_a_quota_of_nothing_is_refused() -> None:
    with pytest.raises(OptionError, match="max_bytes of 0"):
        MediaRetention(max_bytes=0)

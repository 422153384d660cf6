from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from logged import NO_FLOOR, START_NS, event, result, run_info, write_drive
from mcap.writer import Writer

from edgevad.drives.catalogue import Catalogue
from edgevad.drives.folder import mark, open_drives, verify
from edgevad.drives.layout import CATALOGUE_NAME
from edgevad.drives.log import DriveLog
from edgevad.drives.policy import LogPolicy
from edgevad.drives.reading import check_leg, facts_of
from edgevad.drives.recovery import open_catalogue, recover
from edgevad.drives.rows import LegRow
from edgevad.errors import OutputError, StoreError

EAGER = LogPolicy(image_fps_hz=None, flush_s=0, sync_s=60)


def cut_off(root: Path, frames: int = 20, *, with_event: bool = False) -> Path:
    """A drive whose process was killed after `frames` frames, each in a chunk of its own; return the leg under way."""
    log = DriveLog(root, EAGER, NO_FLOOR)
    log.start(run_info())
    for index in range(frames):
        log.push(result(index))
    if with_event:
        log.event_began(event(5, 9))
    (part,) = root.glob("2*/*.part")
    data = part.read_bytes()
    log.close()
    part.with_name("000001.mcap").unlink()
    part.write_bytes(data)
    return part


def legs(root: Path) -> list[LegRow]:
    with Catalogue(root) as catalogue:
        return catalogue.legs()


def test_the_next_run_makes_the_leg_whole(tmp_path: Path) -> None:
    part = cut_off(tmp_path, 20, with_event=True)
    with Catalogue(tmp_path) as catalogue:
        # As it was when the kill came.
        catalogue.add_drive(part.parent.name, START_NS, {})
        catalogue.open_leg(part.parent.name, 1)
    with DriveLog(tmp_path, None, NO_FLOOR) as log:
        log.start(run_info("fedcba987654"))
    (row,) = legs(tmp_path)
    assert (row.state, row.frames, row.images, row.events) == ("recovered", 20, 20, 1)
    assert (row.start_ns, row.end_ns) == (START_NS, START_NS + 19 * 10**8)
    assert [path.name for path in part.parent.iterdir()] == ["000001.mcap"]
    check_leg(part.with_name("000001.mcap"), row.sha256)
    with Catalogue(tmp_path) as catalogue:
        (drive,) = catalogue.drives()
        assert drive.ended_ns == row.end_ns
        # Its end was never told: it lasted to the end of what is there.
        assert [one.end_ns for one in catalogue.events(drive.name)] == [row.end_ns]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1), tail=st.binary(max_size=40))
def test_wherever_it_is_cut_every_whole_chunk_comes_back(
    tmp_path_factory: pytest.TempPathFactory, share: float, tail: bytes
) -> None:
    root = tmp_path_factory.mktemp("drives")
    part = cut_off(root, 12)
    data = part.read_bytes()
    cut = round(share * len(data))
    part.write_bytes(data[:cut] + tail)
    # A frame is in the file as soon as its chunk is, which ends at the chunk's last byte.
    ends = [data.rfind(b'"frame":' + str(k).encode() + b",", 0) for k in range(12)]
    with Catalogue(root) as catalogue:
        report = recover(root, catalogue)
    if report.removed:
        assert cut < ends[1]
        assert not part.parent.exists()
        return
    (row,) = legs(root)
    check_leg(root / row.drive / "000001.mcap", row.sha256)
    assert row.frames >= sum(end + 3000 < cut for end in ends)
    assert row.frames <= sum(end < cut + len(tail) for end in ends)


def test_zeros_at_its_end_do_not_matter(tmp_path: Path) -> None:
    part = cut_off(tmp_path)
    with part.open("ab") as stream:
        stream.write(bytes(5000))  # what some file systems make of blocks that never reached the disk
    with Catalogue(tmp_path) as catalogue:
        assert recover(tmp_path, catalogue).recovered == [f"{part.parent.name}/000001"]
    assert legs(tmp_path)[0].frames == 20


def test_a_damaged_chunk_costs_no_more_than_itself(tmp_path: Path) -> None:
    part = cut_off(tmp_path, 20)
    data = bytearray(part.read_bytes())
    position = data.index(b'"frame":10,')
    data[position + 8] ^= 0xFF
    part.write_bytes(bytes(data))
    with Catalogue(tmp_path) as catalogue:
        recover(tmp_path, catalogue)
    assert legs(tmp_path)[0].frames == 19


def test_a_leg_that_holds_nothing_is_removed(tmp_path: Path) -> None:
    part = cut_off(tmp_path, 3)
    part.write_bytes(part.read_bytes()[:60])
    with Catalogue(tmp_path) as catalogue:
        catalogue.open_leg(part.parent.name, 1)
        report = recover(tmp_path, catalogue)
        assert (report.removed, report.missing) == ([f"{part.parent.name}/000001"], [])
        assert not catalogue.drives()
    assert not part.parent.exists()


def test_a_kill_after_the_rename_leaves_only_the_row_to_be_put_right(tmp_path: Path) -> None:
    folder = write_drive(tmp_path, 20)
    with Catalogue(tmp_path) as catalogue:
        before = catalogue.legs()
        catalogue.open_leg(folder.name, 1)
        recover(tmp_path, catalogue)
        (row,) = catalogue.legs()
    assert (row.state, row.sha256) == ("closed", before[0].sha256)


def test_a_kill_while_recovering_does_not_matter(tmp_path: Path) -> None:
    part = cut_off(tmp_path)
    stray = part.with_name(".000001.mcap.abc.part")
    stray.write_bytes(b"half a leg")
    with Catalogue(tmp_path) as catalogue:
        recover(tmp_path, catalogue)
        assert not stray.exists()
        # Killed between the two steps: both files are there.
        shutil.copy(part.with_name("000001.mcap"), part)
        recover(tmp_path, catalogue)
        (row,) = catalogue.legs()
    assert [path.name for path in part.parent.iterdir()] == ["000001.mcap"]
    assert row.frames == 20


def test_without_room_a_cut_leg_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = cut_off(tmp_path)

    def full(*_: object) -> bool:
        raise OutputError("the disk is full")

    with Catalogue(tmp_path) as catalogue:
        with monkeypatch.context() as patch:
            patch.setattr("edgevad.drives.recovery.rebuild", full)
            assert recover(tmp_path, catalogue).waiting == [f"{part.parent.name}/000001"]
        assert part.exists()
        assert recover(tmp_path, catalogue).recovered == [f"{part.parent.name}/000001"]


@pytest.mark.parametrize("how", ["lost", "broken", "empty", "scrambled inside"])
def test_the_catalogue_is_made_anew_from_the_files(tmp_path: Path, how: str) -> None:
    folder = write_drive(tmp_path, 100, anomalies=range(30, 35), policy=LogPolicy(leg_bytes=100_000, flush_s=0))
    write_drive(tmp_path, 20, run_id="fedcba987654")
    with open_drives(tmp_path) as catalogue:
        mark(tmp_path, catalogue, f"{folder.name}/1", keep=True)
        mark(tmp_path, catalogue, folder.name, never_train=True)
        legs_before, drives_before = catalogue.legs(), catalogue.drives()
        events_before = catalogue.events(folder.name)
    path = tmp_path / CATALOGUE_NAME
    if how == "lost":
        path.unlink()
    elif how == "scrambled inside":
        data = bytearray(path.read_bytes())
        data[4096:] = bytes(k % 251 for k in range(len(data) - 4096))
        path.write_bytes(bytes(data))
    else:
        path.write_bytes(b"" if how == "empty" else b"no database at all" * 1000)
    if how in ("broken", "scrambled inside"):
        with pytest.raises(StoreError, match=r"is broken.*edgevad drives recover --dir"):
            open_drives(tmp_path)
    catalogue, rebuilt = open_catalogue(tmp_path)
    assert rebuilt is (how in ("broken", "scrambled inside"))
    with catalogue:
        recover(tmp_path, catalogue)
        without_times = [vars(leg) | {"closed_ns": None} for leg in catalogue.legs()]
        assert without_times == [vars(leg) | {"closed_ns": None} for leg in legs_before]
        assert catalogue.events(folder.name) == events_before
        for drive, before in zip(catalogue.drives(), drives_before, strict=True):
            assert (drive.name, drive.run_id, drive.started_ns) == (before.name, before.run_id, before.started_ns)
            assert drive.info == before.info


def test_a_leg_that_was_damaged_later_is_found_and_kept(tmp_path: Path) -> None:
    folder = write_drive(tmp_path, 20)
    write_drive(tmp_path, 20, run_id="fedcba987654")
    leg = folder / "000001.mcap"
    data = bytearray(leg.read_bytes())
    data[len(data) // 2] ^= 1
    leg.write_bytes(bytes(data))
    with Catalogue(tmp_path) as catalogue:
        assert [one.verdict for one in verify(tmp_path, catalogue)] == ["broken", "whole"]
    (tmp_path / CATALOGUE_NAME).unlink()
    leg.write_bytes(data[: len(data) // 2])
    with Catalogue(tmp_path) as catalogue:
        assert recover(tmp_path, catalogue).broken == [f"{folder.name}/000001"]
        assert {row.drive: row.state for row in catalogue.legs()}[folder.name] == "broken"
        assert catalogue.drives()[0].info["bundle_name"] == "car"  # it still says that much
    assert leg.exists()


def test_a_leg_somebody_removed_is_missing_once(tmp_path: Path) -> None:
    folder = write_drive(tmp_path, 20)
    (folder / "000001.mcap").unlink()
    with Catalogue(tmp_path) as catalogue:
        assert [one.verdict for one in verify(tmp_path, catalogue)] == ["missing"]
        assert recover(tmp_path, catalogue).missing == [f"{folder.name}/000001"]
        assert recover(tmp_path, catalogue).missing == []


def test_what_is_somebody_elses_stays(tmp_path: Path) -> None:
    part = cut_off(tmp_path, 3)
    part.write_bytes(b"")
    (part.parent / "notes.txt").write_text("mine")
    (tmp_path / "photos").mkdir()
    with Catalogue(tmp_path) as catalogue:
        recover(tmp_path, catalogue)
    assert (part.parent / "notes.txt").exists()
    assert (tmp_path / "photos").exists()


def test_a_newer_catalogue_is_left_alone(tmp_path: Path) -> None:
    write_drive(tmp_path, 5)
    with Catalogue(tmp_path) as catalogue:
        catalogue._connection.execute("PRAGMA user_version = 99")
    for opening in (open_drives, open_catalogue):
        with pytest.raises(StoreError, match="of a newer edgevad"):
            opening(tmp_path)
    assert not list(tmp_path.glob("*.broken"))


def test_the_facts_read_are_those_that_were_written(tmp_path: Path) -> None:
    folder = write_drive(tmp_path, 50, cameras=("front", "rear"))
    (row,) = legs(tmp_path)
    facts = facts_of(folder / "000001.mcap").facts
    for name in ("start_ns", "end_ns", "size_bytes", "images", "frames", "cameras", "sha256"):
        assert getattr(row, name) == getattr(facts, name), name


def test_marks_that_cannot_be_read_count_as_all_of_them(tmp_path: Path) -> None:
    folder = write_drive(tmp_path, 20)
    (folder / "marks.json").write_text('{"keep": [0]}')
    with Catalogue(tmp_path) as catalogue:
        recover(tmp_path, catalogue)
        (row,) = catalogue.legs()
    assert (row.keep, row.never_train) == (True, True)


@pytest.mark.parametrize("is_logging", [False, True])
def test_a_catalogue_that_may_not_be_written_can_be_read(
    tmp_path: Path, is_logging: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = DriveLog(tmp_path, EAGER, NO_FLOOR)
    log.start(run_info())
    log.push(result(0))
    if not is_logging:
        log.close()
    monkeypatch.setattr("os.access", lambda *_: False)
    with open_drives(tmp_path) as catalogue:
        assert [row.state for row in catalogue.legs()] == ["open" if is_logging else "closed"]
        with pytest.raises(OutputError, match="cannot be written"):
            catalogue.remove_drive("x")
    log.close()


def written_by_somebody(path: Path, started_ns: str, event: object) -> None:
    """A leg that is whole, with what somebody likes in it."""
    path.parent.mkdir(parents=True)
    with path.open("wb") as stream:
        writer = Writer(stream)
        writer.start()
        writer.add_metadata("edgevad", {"started_ns": started_ns, "run_id": "x"})
        schema = writer.register_schema("edgevad.Event", "jsonschema", b"{}")
        writer.add_message(writer.register_channel("/events", "json", schema), 5, json.dumps(event).encode(), 5)
        writer.finish()


GOOD = {
    "id": 1,
    "source_id": "c",
    "cause": "x",
    "peak_score": 1,
    "logged_start_ns": 1,
    "logged_end_ns": 2,
    "is_over": True,
}


@pytest.mark.parametrize(
    ("started_ns", "event", "events"),
    [
        ("1", GOOD, 1),
        ("\u00b2", GOOD, 1),
        ("9" * 30, GOOD, 1),
        ("9" * 19, GOOD, 1),
        ("1", {**GOOD, "id": 2**70}, 0),
        ("1", {**GOOD, "peak_score": float("nan")}, 0),
        ("1", {**GOOD, "logged_end_ns": None}, 0),
        ("1", {**GOOD, "source_id": "\ud800"}, 1),
        ("1", [1], 0),
    ],
)
def test_no_leg_of_somebody_else_keeps_a_run_from_starting(
    tmp_path: Path, started_ns: str, event: object, events: int
) -> None:
    written_by_somebody(tmp_path / "d" / "000001.mcap", started_ns, event)
    with DriveLog(tmp_path, EAGER, NO_FLOOR) as log:
        log.start(run_info())
        log.push(result(0))
    with Catalogue(tmp_path) as catalogue:
        assert {leg.drive: leg.state for leg in catalogue.legs()}["d"] == "closed"
        assert len(catalogue.events("d")) == events


def test_legs_that_come_and_go_while_verify_reads_are_not_unknown_or_missing(tmp_path: Path) -> None:
    folder = write_drive(tmp_path, 30, policy=LogPolicy(image_fps_hz=None, leg_bytes=100_000, flush_s=0))
    contents = facts_of(folder / "000001.mcap")
    shutil.copy(folder / "000001.mcap", folder / "000008.mcap.part")

    def meanwhile(done: int) -> None:
        if done == 1:
            (folder / "000008.mcap.part").rename(folder / "000008.mcap")
            shutil.copy(folder / "000001.mcap", folder / "000009.mcap")
            for number in (8, 9):
                catalogue.close_leg(folder.name, number, contents.facts, "closed")
            catalogue.remove_leg(folder.name, 3)

    with open_drives(tmp_path) as catalogue:
        catalogue.close_leg(folder.name, 2, contents.facts, "closed")  # there is no such file: it stays so
        catalogue.close_leg(folder.name, 3, contents.facts, "closed")
        verdicts = verify(tmp_path, catalogue, on_leg=meanwhile)
    assert {one.number: one.verdict for one in verdicts} == {1: "whole", 2: "missing"}


def test_a_catalogue_without_its_tables_is_made_anew(tmp_path: Path) -> None:
    write_drive(tmp_path, 30)
    with Catalogue(tmp_path) as catalogue:
        catalogue._do("DROP TABLE legs", [])
    catalogue, rebuilt = open_catalogue(tmp_path)
    with catalogue:
        recover(tmp_path, catalogue)
        assert rebuilt
        assert len(catalogue.legs()) == 1

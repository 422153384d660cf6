from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from logged import write_drive

from edgevad.cli import main
from edgevad.drives.catalogue import Catalogue
from edgevad.drives.layout import leg_name
from edgevad.drives.lock import FolderLock
from edgevad.drives.policy import LogPolicy

Run = Callable[..., tuple[int, str, str]]
DAY_NS = 86_400 * 10**9
SMALL_LEGS = LogPolicy(image_fps_hz=None, leg_bytes=100_000, flush_s=0)


@pytest.fixture
def run(edgevad_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `edgevad drives` with these words; exit code, standard output and standard error."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgevad", "drives", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        found = capsys.readouterr()
        return int(caught.value.code or 0), found.out, found.err

    return call


@pytest.fixture
def drives(edgevad_home: Path) -> Path:
    """Where drives are logged by default, with one of three legs and two cameras, and an event in it."""
    root = edgevad_home / "drives"
    root.mkdir(parents=True)
    return write_drive(root, 100, policy=SMALL_LEGS, anomalies=range(30, 35), cameras=("front", "rear"))


def good(outcome: tuple[int, str, str]) -> str:
    code, out, err = outcome
    assert (code, err) == (0, "")
    return out


def refused(outcome: tuple[int, str, str], message: str) -> None:
    code, out, err = outcome
    assert (code, out) == (2, "")
    assert err.startswith("edgevad: ")
    assert err.count("\n") == 1
    assert message in err


def test_list_and_show_say_what_was_logged(run: Run, drives: Path) -> None:
    out = good(run("list"))
    for words in (drives.name, "front", "rear", "9.9 s"):
        assert words in out
    (drive,) = json.loads(good(run("list", "--json")))["drives"]
    assert (drive["name"], drive["cameras"], drive["frames"], drive["images"], drive["events"]) == (
        drives.name,
        ["front", "rear"],
        200,
        200,
        1,
    )
    assert drive["size_bytes"] == sum(path.stat().st_size for path in drives.iterdir())
    out = good(run("show", drives.name))
    for words in ("car d1ge57", "000001", "closed", "detail", "3.00", "0.4 s"):
        assert words in out
    shown = json.loads(good(run("show", drives.name, "--json")))
    assert [leg["number"] for leg in shown["legs"]] == list(range(1, len(shown["legs"]) + 1))
    assert shown["events"][0]["source_id"] == "front"


def test_verify_ends_with_1_where_a_leg_is_not_what_was_written(run: Run, drives: Path) -> None:
    assert "legs whole, 0 open, 0 not as they should be." in good(run("verify"))
    leg = drives / "000002.mcap"
    data = bytearray(leg.read_bytes())
    data[len(data) // 2] ^= 1
    leg.write_bytes(bytes(data))
    (drives / "000001.mcap").rename(drives / "000009.mcap")
    code, out, _ = run("verify", drives.name)
    assert code == 1
    for words in ("000002: broken", "000001: missing", "000009: unknown"):
        assert f"{drives.name}/{words}" in out
    code, out, _ = run("verify", "--json")
    assert code == 1
    assert {leg["number"]: leg["verdict"] for leg in json.loads(out)["legs"]} | {3: ""} == {
        1: "missing",
        2: "broken",
        3: "",
        9: "unknown",
    } | {k: "whole" for k in range(4, len(list(drives.iterdir())) + 1) if k != 9}


def test_recover_says_what_it_did(run: Run, drives: Path) -> None:
    assert good(run("recover")) == "Everything was as it should be.\n"
    leg = drives / "000001.mcap"
    (drives / "000001.mcap.part").write_bytes(leg.read_bytes()[:-2000])
    leg.unlink()
    (drives.parent / "catalogue.sqlite").write_bytes(b"not a database, by any means" * 100)
    refused(run("list"), f"edgevad drives recover --dir {drives.parent}")
    out = good(run("recover"))
    assert "The catalogue was broken and has been made anew." in out
    assert f"recovered: {drives.name}/000001\n" in out
    assert "0 not as they should be" in good(run("verify"))
    assert json.loads(good(run("recover", "--json")))["recovered"] == []


def test_recover_leaves_a_folder_that_is_logged_to_alone(run: Run, drives: Path) -> None:
    lock = FolderLock(drives.parent)
    lock.acquire()
    refused(run("recover"), "another process logs into this folder")
    lock.release()


def test_prune_and_mark(run: Run, drives: Path) -> None:
    count = len(list(drives.iterdir()))
    everything = ("prune", "--max-gb", 0, "--event-max-gb", 0, "--margin", 0, "--floor-gb", 0)
    would = json.loads(good(run(*everything, "--dry-run", "--json")))
    assert (len(would["removed"]), would["dry_run"]) == (count, True)
    out = good(run("mark", f"{drives.name}/1", "--keep"))
    assert "keep" in out
    marked = json.loads(good(run("mark", drives.name, "--never-train", "--json")))["legs"]
    assert [(leg["keep"], leg["never_train"]) for leg in marked] == [(leg["number"] == 1, True) for leg in marked]
    out = good(run(*everything))
    assert f"{count - 1} legs removed" in out
    assert sorted(path.name for path in drives.iterdir()) == ["000001.mcap", "marks.json"]
    assert "0 legs removed" in good(run(*everything))
    good(run("mark", drives.name, "--no-keep", "--may-train"))
    good(run(*everything))
    assert not drives.exists()
    assert json.loads(good(run("list", "--json")))["drives"] == []


def test_prune_goes_by_the_limits_that_are_named_and_no_others(run: Run, drives: Path) -> None:
    with Catalogue(drives.parent) as catalogue:
        leg = catalogue.legs()[0]
        for number, days in ((1, 36), (2, 24), (3, 12)):
            closed_ns = time.time_ns() - days * DAY_NS
            catalogue._do("UPDATE legs SET closed_ns = ? WHERE number >= ?", [closed_ns, number])
        catalogue._do("DELETE FROM events", [])
    assert "0 legs removed" in good(run("prune", "--max-gb", 1000))
    assert "1 legs removed" in good(run("prune", "--max-age-days", 30.5))
    assert not (drives / leg_name(leg.number)).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show", "nope"), "there is no drive 'nope'"),
        (("verify", "nope"), "there is no drive 'nope'"),
        (("mark", "nope", "--keep"), "there is no drive 'nope'"),
        (("mark", "nope"), "no mark is named"),
        (("prune",), "no limit is named; expected --max-gb"),
        (("prune", "--max-gb", "inf"), "--max-gb inf"),
        (("prune", "--max-gb", "nan"), "--max-gb nan"),
        (("prune", "--floor-gb", "inf"), "--floor-gb inf"),
        (("prune", "--max-gb", "1", "--margin", "1e300"), "margin around events in s: 1e+300"),
    ],
)
def test_bad_words_are_one_line(run: Run, drives: Path, words: tuple[str, ...], message: str) -> None:
    refused(run(*words), message)
    refused(run("mark", f"{drives.name}/99", "--keep"), "the drive has no leg 99")
    for number in ("\u00b2", "9" * 30, "9" * 5000):
        refused(run("mark", f"{drives.name}/{number}", "--keep"), "is no leg's number")
    refused(run("mark", f"{drives.name}/x", "--keep"), "'x' is no leg's number")


def test_where_there_are_no_drives_is_one_line(run: Run, tmp_path: Path) -> None:
    for words in (
        ("list",),
        ("show", "a"),
        ("verify",),
        ("recover",),
        ("prune", "--max-gb", 1),
        ("mark", "a", "--keep"),
    ):
        refused(run(*words, "--dir", tmp_path / "nowhere"), "there are no drives")
    assert not (tmp_path / "nowhere").exists()


def test_marks_that_cannot_be_read_are_not_taken_for_none(run: Run, drives: Path) -> None:
    (drives / "marks.json").write_text("{}")
    refused(run("mark", drives.name, "--keep"), "the drive's marks cannot be read")

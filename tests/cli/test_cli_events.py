"""edgevad events, on a store that the recorder has written."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from edgevad.cli import main
from edgevad.events import Event, Incident, RunInfo
from edgevad.events.recorder import Recorder, RecorderSpec
from edgevad.runtime.pipeline import Result
from edgevad.sources import Frame

START_NS = 1_800_000_000 * 10**9


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["edgevad", "events", *map(str, arguments)])
        patch.setenv("COLUMNS", "100")
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def as_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    code, out, err = run(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    value = json.loads(out)
    assert isinstance(value, dict)
    return value


@pytest.fixture
def home(edgevad_home: Path) -> Path:
    """Two events of one clip, with an incident between them, in the default store."""
    heat = np.full((4, 4), 1.5, np.float32)
    info = RunInfo("b", "road", "feed", "onnxruntime fp32", ("front",), 4.0, True, "0123456789ab")
    with Recorder(spec=RecorderSpec(pre_roll_s=1.0, post_roll_s=2.0, floor_bytes=0)) as recorder:
        recorder.start(info)
        for index in range(60):
            inside = 10 <= index < 20 or 30 <= index < 40
            image = np.full((48, 64, 3), index, np.uint8)
            score = (5.0,)
            frame = Frame(image, index, START_NS + index * 10**8, "front")
            state = "anomaly" if inside else "normal"
            recorder.push(Result(frame, score, score, 5.0, 5.0, "view", inside, state, heat, 0.0, None))  # type: ignore[arg-type]
            if index in (10, 30):
                number = 1 + index // 30
                ns = frame.timestamp_ns
                event = Event(number, ns, ns, index, index, 5.0, index, "view", "front", 0)
                recorder.event_began(event)
            if index in (20, 40):
                recorder.event(replace(event, end_ns=frame.timestamp_ns, end_frame=index))
            if index == 25:
                recorder.incident(Incident.once("frame_size", "=1+1", "now <64x48>", "front"))
    return edgevad_home / "events"


def numbers(value: dict[str, object]) -> list[int]:
    events = value["events"]
    assert isinstance(events, list)
    return [event["number"] for event in events]


def test_list_prints_a_table_and_json_with_all_facts(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["1", "2", "3"]
    assert "frame_size" in out
    value = as_json(capsys, "list")
    assert numbers(value) == [1, 2, 3]
    first = value["events"][0]  # type: ignore[index]
    assert (first["run_id"], first["id"], first["bundle_name"], first["duration_s"]) == (
        "0123456789ab",
        "1",
        "road",
        1.0,
    )
    assert Path(first["clip"]).is_file()
    assert Path(first["clip"]).is_relative_to(home)


def test_filters(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert numbers(as_json(capsys, "list", "--kind", "anomaly")) == [1, 3]
    assert numbers(as_json(capsys, "list", "--last", "1", "--camera", "front")) == [3]
    assert numbers(as_json(capsys, "list", "--since", "1h", "--dir", home)) == [1, 2, 3]
    assert numbers(as_json(capsys, "list", "--until", "2020-01-01")) == []
    assert numbers(as_json(capsys, "list", "--run", "0123456789ab", "--since", "2020-01-01T00:00:00Z")) == [1, 2, 3]
    assert run(capsys, "list", "--camera", "rear")[1].strip() == "No events."


def test_show_takes_a_number_or_the_name_in_messages(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", 1)
    assert code == 0
    assert "5.00 at frame 10; the threshold was 4.00" in " ".join(out.split())
    assert "the event begins at 1.0 s" in " ".join(out.split())
    assert as_json(capsys, "show", "0123456789ab/2") == as_json(capsys, "show", 3)


def test_keep_and_prune(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys, "keep", 3) == {"numbers": [3], "kept": True}
    tight = ("prune", "--max-gb", "0.000000001")
    before = as_json(capsys, *tight, "--dry-run")
    assert before["numbers"] == []  # 1 shares its clip with 3, which is kept
    assert as_json(capsys, "keep", 3, "--release") == {"numbers": [3], "kept": False}
    planned = as_json(capsys, *tight, "--dry-run")
    assert planned["numbers"] == [1, 3]
    assert len(list((home / "media").rglob("*.*"))) == 5  # one clip, two pictures each
    code, out, _ = run(capsys, *tight)
    assert (code, "5 files of 2 events" in out) == (0, True)
    assert list((home / "media").rglob("*.*")) == []
    assert as_json(capsys, "show", 1)["clip"] is None


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found |= {value for name, value in attributes if name in ("href", "src", "poster") and value}


def test_export_is_a_folder_that_stands_by_itself(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "taken away"
    value = as_json(capsys, "export", "--out", out)
    files = value["files"]
    assert isinstance(files, list)
    names = {path.name for path in out.iterdir()}
    assert {Path(file).name for file in files} == names
    assert {name for name in names if "clip" in name} == {"1-clip.mp4"}  # 3 shares it
    page = (out / "index.html").read_text(encoding="utf-8")
    links = Links()
    links.feed(page)
    assert links.found == names - {"index.html"}
    assert "now &lt;64x48&gt;" in page
    with (out / "events.csv").open(newline="", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    assert [row["number"] for row in table] == ["1", "2", "3"]
    assert table[1]["cause"] == "'=1+1"  # no formula
    assert [row["clip"] for row in table] == ["1-clip.mp4", "", "1-clip.mp4"]
    code, _, err = run(capsys, "export", "--out", out)
    assert (code, "there is something in it already" in err) == (2, True)
    assert as_json(capsys, "export", "3", "--out", tmp_path / "one")["events"] == 1
    assert (tmp_path / "one" / "3-clip.mp4").stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (("--last", str(10**22)), 3),
        (("--since", "999999999w"), 3),
        (("--until", "9999-12-31"), 3),
        (("--camera", "\udcff"), 0),
        (("--run", "\udcff"), 0),
    ],
)
def test_values_beyond_what_the_store_can_say(
    home: Path, arguments: tuple[str, ...], count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(as_json(capsys, "list", *arguments)["events"]) == count


def test_pruning_by_an_age_of_aeons_deletes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys, "prune", "--max-age-days", "1e300")["files"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list", "--dir", "/nowhere"), "there is no event store"),
        (("list", "--since", "yesterday"), "--since 'yesterday' is no moment; expected 30m, 12h or 7d ago"),
        (("show", "99"), "there is no event 99. See edgevad events list"),
        (("show", "x/y"), "there is no event x/y"),
        (("keep", "1", "99"), "there is no event 99"),
        (("export", "99", "--out", "/tmp/never-written"), "there is no event 99"),
        (("prune",), "no quota is named; expected --max-gb"),
        (("prune", "--max-age-days", "0"), "max_age_days of 0"),
        (("prune", "--max-gb", "nan"), "--max-gb nan"),
        (("prune", "--max-gb", "inf"), "--max-gb inf"),
        (("prune", "--max-gb", "1e300"), "--max-gb 1e+300"),
        (("show", "\udcff"), "there is no event"),
        (("show", "1/\udcff"), "there is no event"),
    ],
)
def test_bad_input_is_one_line(
    home: Path, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("edgevad: ")
    assert err.count("\n") == 1
    assert message in err


def test_marks_are_set_shown_and_taken_away(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys, "mark", 1, "0123456789ab/2", "confirmed") == {"numbers": [1, 3], "mark": "confirmed"}
    code, out, _ = run(capsys, "mark", 3, "dismissed")
    assert (code, out) == (0, "Marked as dismissed: 3\n")
    assert [line.split()[-1] for line in run(capsys, "list")[1].splitlines()[1:4]].count("clip") == 2
    assert "confirmed, clip" in run(capsys, "list")[1]
    assert "marked     dismissed" in run(capsys, "show", 3)[1]
    assert run(capsys, "mark", 1, 3, "none")[1] == "No mark any more: 1, 3\n"
    assert "confirmed" not in run(capsys, "list")[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [((1, "true"), "'true' is no mark"), (("confirmed",), "no event is named"), ((9, "none"), "no event 9")],
)
def test_marks_that_are_none_are_refused(
    home: Path, capsys: pytest.CaptureFixture[str], words: tuple[object, ...], message: str
) -> None:
    code, out, err = run(capsys, "mark", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err

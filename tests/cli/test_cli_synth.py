from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edgevad.cli.app import main

SHORT = ["--seconds", "2", "--fps", "4", "--size", "64x48", "--anomaly-share", "0"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["edgevad", "synth", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_json_is_one_object_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--out", str(tmp_path / "o"), *SHORT, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["frames"] == 8
    assert Path(result["video"]).is_file()
    assert Path(result["labels"]).read_text().splitlines()[0] == "frame,level,event"


def test_the_table_names_every_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--out", str(tmp_path), *SHORT) == 0
    shown = capsys.readouterr()
    assert "person crossing" in shown.out
    assert "sudden tilt" in shown.out
    assert "8 frames" in shown.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--size", "0x0"], "0x0"),
        (["--size", "big"], "WIDTHxHEIGHT"),
        (["--seconds", "-5"], "-5 seconds"),
        (["--seconds", "12"], "too short for anomalies"),
        (["--anomaly-share", "2"], "0 to 0.3"),
    ],
)
def test_bad_options_are_one_line_and_exit_2(
    arguments: list[str],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "--out", str(tmp_path / "o"), *arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert named in shown.err
    assert not (tmp_path / "o").exists()


def test_an_output_that_cannot_be_a_folder_exits_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    assert run(monkeypatch, "--out", str(tmp_path / "file"), *SHORT) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("edgevad: ")
    assert "a file is in the way" in error

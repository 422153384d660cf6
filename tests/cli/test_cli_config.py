"""edgevad config: check, show, example."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from edgevad.cli.app import build_app

MINIMAL = '[[camera]]\nname = "front"\nsource = "/dev/video0"\n'


def call(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(build_app(), ["config", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def test_what_example_prints_check_takes(tmp_path: Path) -> None:
    code, text, _ = call("example")
    assert code == 0
    path = tmp_path / "edgevad.toml"
    path.write_text(text)
    code, shown, _ = call("check", path)
    assert code == 0
    assert "front" in shown
    assert "Ready to be used." in shown


def test_problems_are_a_line_each_and_the_exit_code_2(tmp_path: Path) -> None:
    path = tmp_path / "edgevad.toml"
    path.write_text(MINIMAL + "stale = 3\n[lens]\nx = 1\n")
    code, out, err = call("check", path)
    assert (code, out) == (2, "")
    assert [line.split(":")[2] for line in err.splitlines()] == ["4", "6"]
    code, out, _ = call("check", path, "--json")
    assert code == 2
    assert [(row["line"], row["section"], row["key"]) for row in json.loads(out)["problems"]] == [
        (4, "camera", "stale"),
        (6, "lens", "x"),
    ]


def test_what_this_machine_lacks_is_told(tmp_path: Path) -> None:
    path = tmp_path / "edgevad.toml"
    path.write_text('[run]\nbundle = "gone"\n' + MINIMAL)
    code, out, _ = call("check", path)
    assert code == 0
    assert "Missing on this machine: [run] bundle: there is no" in out
    code, out, _ = call("check", path, "--json")
    assert len(json.loads(out)["missing_here"]) == 1


def test_show_tells_defaults_too(tmp_path: Path) -> None:
    path = tmp_path / "edgevad.toml"
    path.write_text(MINIMAL)
    code, out, _ = call("show", path, "--json")
    assert code == 0
    assert json.loads(out)["detection"]["exit_ratio"] == 0.7

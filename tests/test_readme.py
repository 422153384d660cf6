"""What the README shows must work as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import edgevad
from edgevad.cli.app import COMMANDS, build_app

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMAND_LINES = re.findall(r"^\$ (edgevad .*)$", README, re.MULTILINE)


def test_scoring_snippet_runs(
    tiny_bundle: Path,
    tiny_video: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bundle").symlink_to(tiny_bundle)
    (tmp_path / "drive.mp4").symlink_to(tiny_video)
    monkeypatch.chdir(tmp_path)
    exec(compile(SNIPPETS[0], "README", "exec"), {})
    indices = [int(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
    assert indices
    assert 55 <= indices[0] <= 65  # where something white comes into view


def test_training_snippet_names_what_exists() -> None:
    compile(SNIPPETS[1], "README", "exec")
    imported = re.search(r"from edgevad import (.*)", SNIPPETS[1])
    assert imported is not None
    for name in imported.group(1).split(", "):
        assert name in edgevad.__all__


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_commands_and_their_options_exist(line: str) -> None:
    words = shlex.split(line)
    assert words[1] in COMMANDS
    shown = CliRunner().invoke(build_app(), [words[1], "--help"], env={"COLUMNS": "200"}).output
    for option in (word for word in words if word.startswith("--")):
        assert option in shown, option


def test_nothing_was_left_to_fill_in() -> None:
    assert not re.search(r"^[A-Z_]+_(OUTPUT|TABLE)$", README, re.MULTILINE)


def test_every_command_is_shown() -> None:
    for command in COMMANDS:
        assert f"edgevad {command}" in README or command in ("synth", "activate", "demo")
    assert "scripts/demo" in README
    assert "scripts/test" in README

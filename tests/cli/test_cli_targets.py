from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edgevad.cli import main
from edgevad.targets import load_target, target_names


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """`edgevad` with these arguments; its exit code."""
    monkeypatch.setattr(sys, "argv", ["edgevad", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


def test_all_of_them(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "targets") == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert set(target_names()) < set(lines)
    assert "export only" in lines["jetson-nano"]
    assert "int8, fp16, fp32" in lines["jetson-orin"]
    assert "edgevad targets show NAME" in lines["More"]


def test_all_of_them_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "targets", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert value == {"targets": [load_target(name).to_json() for name in target_names()]}


@pytest.mark.parametrize("name", target_names())
def test_one_of_them_shows_everything(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "targets", "show", name) == 0
    shown = " ".join(capsys.readouterr().out.split())
    target = load_target(name)
    wanted = [target.description, ", ".join(target.precisions), f"{target.latency_budget_ms:g} ms", *target.power_modes]
    for text in [*wanted, *target.limits, *target.sources.values()]:
        # Lines are broken where they get too long, so words are looked for.
        assert all(word in shown for word in text.split()), text


def test_one_of_ones_own_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "mine.toml"
    source = Path(__file__).resolve().parents[2] / "targets" / "jetson-orin.toml"
    profile.write_text(source.read_text().replace('name = "jetson-orin"', 'name = "mine"'))
    assert run(monkeypatch, "targets", "show", profile, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {**load_target("jetson-orin").to_json(), "name": "mine"}


def test_an_unknown_one_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "targets", "show", "jetson-orin-nan0") == 2
    error = capsys.readouterr().err
    assert error.startswith("edgevad: unknown target 'jetson-orin-nan0'")
    assert error.count("\n") == 1
    assert "Did you mean jetson-orin-nano" in error

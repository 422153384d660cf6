"""The three commands: what they take from the command line, and what from the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgevad.cli.app import build_app
from edgevad.errors import ConfigError, EdgevadError, OptionError
from edgevad.refit.cycle import CycleResult
from edgevad.refit.cycle_options import CycleOptions


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[CycleOptions]:
    found: list[CycleOptions] = []

    def run(options: CycleOptions, **_: Any) -> CycleResult:
        found.append(options)
        return CycleResult("1", options.depth, "nothing", "nothing to do")

    monkeypatch.setattr("edgevad.refit.cycle.run_cycle", run)
    monkeypatch.setattr("edgevad.refit.priority.give_way", list)
    return found


def _run(*arguments: str) -> None:
    with pytest.raises(SystemExit) as end:
        build_app()(list(arguments))
    assert end.value.code == 0


def _config(tmp_path: Path, text: str = "") -> str:
    path = tmp_path / "car.toml"
    path.write_text(f'[[camera]]\nname = "front"\nsource = "/dev/video0"\n{text}')
    return str(path)


@pytest.mark.parametrize("depth", ["recalibrate", "adapt", "refit"])
def test_each_is_its_depth(asked: list[CycleOptions], depth: str, tmp_path: Path) -> None:
    _run(depth, "--drives", str(tmp_path), "--budget-frames", "500", "--shadow", "100", "--while-idle", "--json")
    assert asked == [
        CycleOptions(depth, drives=(str(tmp_path),), budget_frames=500, shadow_frames=100, while_idle=True)  # type: ignore[arg-type]
    ]


def test_the_timer_takes_everything_from_the_file(asked: list[CycleOptions], tmp_path: Path) -> None:
    text = '[drives]\ndir = "log"\n[events]\ndir = "seen"\n'
    text += '[refit]\nmodel = "model"\nbudget_minutes = 0\ncameras = ["front"]\n'
    _run("refit", "--config", _config(tmp_path, text))
    options = asked[0]
    assert options.depth == "auto"
    assert options.drives == (str(tmp_path / "log"),)
    assert (options.events, options.model) == (tmp_path / "seen", tmp_path / "model")
    assert options.budget_minutes is None
    assert options.while_idle
    assert options.cameras == ("front",)


def test_what_is_typed_comes_before_the_file(asked: list[CycleOptions], tmp_path: Path) -> None:
    config = _config(tmp_path, '[refit]\ndepth = "refit"\nwhile_idle = true\nbudget_minutes = 60.0\n')
    _run("recalibrate", "--config", config, "--at-once", "--budget-minutes", "5", "--drives", "here")
    options = asked[0]
    assert (options.depth, options.while_idle, options.budget_minutes) == ("recalibrate", False, 5.0)
    assert options.drives == (str(Path("here").absolute()),)


def test_a_file_without_the_section_has_its_defaults(asked: list[CycleOptions], tmp_path: Path) -> None:
    _run("refit", "--config", _config(tmp_path))
    assert (asked[0].depth, asked[0].drives, asked[0].budget_minutes) == ("auto", (), 60.0)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('[refit]\ndepth = "deep"\n', ConfigError),
        ("[refit]\nbudget_frames = 3\n", ConfigError),
        ("[refit]\nbudget_minuts = 3\n", ConfigError),
    ],
)
def test_bad_settings_are_one_line(tmp_path: Path, text: str, kind: type[EdgevadError]) -> None:
    with pytest.raises(kind):
        build_app()(["refit", "--config", _config(tmp_path, text)], standalone_mode=False)


@pytest.mark.parametrize("arguments", [["--budget-minutes", "-1"], ["--budget-frames", "1"], ["--shadow", "-4"]])
def test_bad_options_are_one_line(arguments: list[str]) -> None:
    with pytest.raises(OptionError):
        build_app()(["adapt", *arguments], standalone_mode=False)


def test_a_fault_of_our_own_is_no_refusal(
    asked: list[CycleOptions], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python's exit code for it would be 1, by which the timer's service succeeds."""

    def run(*_: Any, **__: Any) -> CycleResult:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("edgevad.refit.cycle.run_cycle", run)
    with pytest.raises(SystemExit) as end:
        build_app()(["refit"])
    assert end.value.code == 70
    assert "ZeroDivisionError: a fault" in capsys.readouterr().err

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edgevad.bundle import active_bundle
from edgevad.cli import main


def activate(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["edgevad", "activate", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


def test_activate_says_what_is_active_now(
    edgevad_home: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert activate(monkeypatch, str(tiny_bundle)) == 0
    assert "Active: tiny (cpu, fp32)" in capsys.readouterr().out
    assert activate(monkeypatch, str(tiny_bundle), "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert value == {"name": "tiny", "target": "cpu", "path": str(active_bundle())}


def test_no_bundle_is_one_line(
    edgevad_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert activate(monkeypatch, str(tmp_path / "none")) == 2
    err = capsys.readouterr().err
    expected = "no bundle there; expected the folder or the .edgevad file made by edgevad export"
    assert err == f"edgevad: {tmp_path}/none: {expected}\n"

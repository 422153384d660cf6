from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edgevad.cli import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["edgevad", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgevad.refit.verdict import Check

    monkeypatch.setattr("edgevad.refit.gate.check_latency", lambda *_: Check("latency", True, "Quick."))


def test_a_bundle_against_itself_and_what_the_history_says_of_it(
    edgevad_home: Path,
    tiny_bundle: Path,
    tiny_video: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    judged = ("gate", str(tiny_bundle), "--champion", str(tiny_bundle), "--drives", str(tiny_video))
    code = run(monkeypatch, *judged, "--without-replay", "--frames", "100", "--json")
    value = json.loads(capsys.readouterr().out)
    assert code == (0 if value["passed"] else 1)
    assert Path(value["page"]).is_file()
    assert sorted(path.name for path in (edgevad_home / "refit").iterdir()) == ["history", "history.jsonl"]
    assert run(monkeypatch, "history", "--json") == 0
    (decision,) = json.loads(capsys.readouterr().out)["decisions"]
    assert decision["id"] == value["id"]
    assert run(monkeypatch, "history", value["id"]) == 0
    assert "sight" in capsys.readouterr().out
    assert run(monkeypatch, "history", value["id"], "--json") == 0
    assert json.loads(capsys.readouterr().out)["verdict"]["why"] == value["why"]


def test_without_replay_it_is_refused_with_the_reason(
    edgevad_home: Path,
    tiny_bundle: Path,
    tiny_video: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "gate", str(tiny_bundle), "--champion", str(tiny_bundle), "--drives", str(tiny_video)) == 1
    out = capsys.readouterr().out
    assert "refused" in out
    assert "--no-replay" in out


def test_bad_input_is_one_line(
    edgevad_home: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "history", "nothing") == 2
    assert "no decision is called 'nothing'" in capsys.readouterr().err
    assert run(monkeypatch, "history") == 0
    assert "Nothing has been decided yet" in capsys.readouterr().out
    assert run(monkeypatch, "gate", str(tiny_bundle)) == 2
    assert "no bundle is active" in capsys.readouterr().err
    assert run(monkeypatch, "gate", str(tiny_bundle), "--champion", str(tiny_bundle), "--frames", "3") == 2
    assert capsys.readouterr().err.count("\n") == 1

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import edit_manifest
from typer.testing import CliRunner

from edgevad.cli.app import build_app
from edgevad.errors import EdgevadError


def call(*arguments: object) -> tuple[int, str]:
    """Exit code, and what was printed, or the line that would be."""
    done = CliRunner().invoke(build_app(), [*map(str, arguments)])
    if isinstance(done.exception, EdgevadError):
        return 2, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout


@pytest.fixture
def bundles(edgevad_home: Path, tmp_path: Path, tiny_bundle: Path) -> Callable[[str], Path]:
    def named(name: str) -> Path:
        copy = Path(shutil.copytree(tiny_bundle, tmp_path / name))
        edit_manifest(copy, name=name)
        return copy

    return named


def test_both_slots_and_what_is_blocked_are_shown(bundles: Callable[[str], Path]) -> None:
    assert call("slots") == (0, "No bundle is active. Run: edgevad activate BUNDLE\n")
    assert json.loads(call("slots", "--json")[1]) == {"current": None, "other": None, "blocked": []}
    call("activate", bundles("one"))
    code, said = call("activate", bundles("two"), "--why", "made last night")
    assert code == 0
    assert "It is on trial" in said
    shown = json.loads(call("slots", "--json")[1])
    assert (shown["current"]["name"], shown["current"]["state"], shown["current"]["slot"]) == ("two", "trial", "b")
    assert shown["current"]["why"] == "made last night"
    assert shown["current"]["trial"]["crashes"] == 0
    assert (shown["other"]["name"], shown["other"]["state"]) == ("one", "healthy")
    assert "trial" not in shown["other"]
    code, said = call("rollback", "--why", "too loud")
    assert code == 0
    assert said.startswith("Active: one ")
    shown = json.loads(call("slots", "--json")[1])
    assert [(one["name"], one["why"]) for one in shown["blocked"]] == [("two", "too loud")]
    said = " ".join(call("slots")[1].split())
    assert "Failed on this device, and not run again" in said
    assert "a in use" in said


def test_what_cannot_be_done_is_one_line(bundles: Callable[[str], Path], edgevad_home: Path) -> None:
    assert call("rollback") == (2, "no bundle is active. Run edgevad activate BUNDLE once, or pass --bundle")
    one, two = bundles("one"), bundles("two")
    call("activate", one)
    slots = edgevad_home / "slots"
    fix = "Activate one: edgevad activate BUNDLE"
    assert call("rollback") == (2, f"{slots}: there is no other bundle to go back to. {fix}")
    assert call("rollback", "--to", "a") == (2, f"{slots}/a: slot a is in use already")
    assert call("rollback", "--to", "b") == (2, f"{slots}/b: there is no other bundle to go back to. {fix}")
    assert call("rollback", "--to", "c") == (2, "no slot 'c'; expected a or b")
    call("activate", two, "--no-trial")
    assert call("rollback", "--to", "a", "--no-block")[0] == 0
    assert call("rollback")[0] == 0
    # The one that was left is blocked now, whichever way one asks for it.
    what = "this bundle was tried on this device and failed: sent back by hand"
    for code, said in (call("activate", one), call("rollback")):
        assert code == 2
        assert what in said
    assert call("activate", one, "--unblock")[0] == 0

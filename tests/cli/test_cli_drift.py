from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from driven import log_days, replay_frames
from tiny import write_tiny_bundle

from edgevad.bundle import Bundle
from edgevad.cli import main
from edgevad.spec import InputSpec

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_bundle(tmp_path_factory.mktemp("tiny") / "car", InputSpec(32, 32), replay=replay_frames())


@pytest.fixture
def run(edgevad_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `edgevad drift` with these words; exit code, standard output and standard error."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgevad", "drift", *map(str, words)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as caught:
            code = int(caught.code or 0)
        found = capsys.readouterr()
        return code, found.out, found.err

    return call


def test_days_without_drift_end_with_0(run: Run, bundle: Bundle, edgevad_home: Path) -> None:
    log_days(edgevad_home / "drives", bundle, 2, seconds=100)
    code, out, err = run("--bundle", bundle.path)
    assert (code, err) == (0, "")
    assert "2027-01-15" in out
    assert "front: none: nothing differs" in out
    assert len(list((edgevad_home / "refit" / "drift" / "legs").rglob("*.npz"))) == 2


def test_drift_ends_with_1_and_says_what_to_do(run: Run, bundle: Bundle, tmp_path: Path, edgevad_home: Path) -> None:
    pytest.importorskip("matplotlib")
    log_days(tmp_path / "drives", bundle, 1, seconds=300, deviate=9.0)
    options = ("--drives", tmp_path / "drives", "--bundle", bundle.path, "--alpha", 0.5, "--fresh")
    code, out, err = run(*options, "--plot", tmp_path / "drift.png")
    assert (code, err) == (1, "")
    assert "front: refit: scores are not what they were (patch)" in out
    assert (tmp_path / "drift.png").is_file()
    assert not (edgevad_home / "refit").exists()
    code, out, _ = run(*options, "--json")
    document = json.loads(out)
    assert code == 1
    assert document["advice"]["what"] == "refit"
    assert document["drifted"] is True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--drives", "/nonexistent"), "there are no drives"),
        (("--alpha", "2"), "alpha 2.0"),
        (("--margin", "0.7"), "margin 0.7"),
        (("--bundle", "/nonexistent"), "no bundle there"),
    ],
)
def test_what_cannot_be_used_is_one_line(run: Run, bundle: Bundle, words: tuple[str, ...], said: str) -> None:
    code, out, err = run("--bundle", bundle.path, *words)
    assert (code, out) == (2, "")
    assert err.startswith("edgevad: ")
    assert err.count("\n") == 1
    assert said in err

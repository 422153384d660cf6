"""edgevad drives choose, and what train says of drives that are marked."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgevad.cli import main
from edgevad.drives.folder import mark, open_drives
from edgevad.refit.selection import Selection

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(edgevad_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `edgevad` with these words; exit code, standard output and standard error."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["edgevad", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main()
        found = capsys.readouterr()
        return int(caught.value.code or 0), found.out, found.err

    return call


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Sixty frames with structure; those of a covered lens come after them where `cover` is called."""
    folder = tmp_path / "images"
    folder.mkdir()
    place = np.random.default_rng(0).integers(40, 160, (48, 264, 3)).astype(np.uint8)
    for index in range(60):
        cv2.imwrite(str(folder / f"{index:03d}.png"), place[:, 2 * index : 2 * index + 64])
    return folder


def test_what_would_be_learned_from_is_shown(run: Run, images: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    code, out, err = run("drives", "choose", images, "--bundle", tiny_bundle, "--out", tmp_path / "kept")
    assert (code, err) == (0, "")
    assert "frames to learn from" in out
    assert "Trusted." in out
    code, out, err = run("drives", "choose", images, "--bundle", tiny_bundle, "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert found["trust"]["trusted"] is True
    assert found["frames"] == found["learnable"] + found["held_out"] == len(Selection.load(tmp_path / "kept"))
    assert found["drives"][0]["name"] == "images"
    assert run("drives", "choose", images, "--out", tmp_path / "kept")[0] == 2


def test_without_a_bundle_nobody_is_asked(run: Run, images: Path) -> None:
    code, out, err = run("drives", "choose", images, "--json")
    assert (code, err, json.loads(out)["trust"]) == (0, "", None)


def test_what_is_not_to_be_trusted_ends_with_1_and_the_reason(run: Run, images: Path, tiny_bundle: Path) -> None:
    for index in range(60, 200):
        cv2.imwrite(str(images / f"{index:03d}.png"), np.full((48, 64, 3), 90, np.uint8))
    code, out, err = run("drives", "choose", images, "--bundle", tiny_bundle)
    assert (code, err) == (1, "")
    assert "Nothing would be learned from this:" in out
    assert "In 70% of the images the lens showed nothing" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--blur-faces", "nobody"), "'nobody' is no blur"),
        (("--blur-faces", "faces.onnx"), "there is no face detector's model"),
        (("--since", "yesterday"), "is no moment"),
        (("--dir", "nowhere"), "no such file or folder"),
        (("--events", "nowhere"), "there is no event store"),
    ],
)
def test_bad_input_is_one_line(run: Run, words: tuple[str, ...], message: str) -> None:
    code, out, err = run("drives", "choose", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_train_refuses_what_is_marked_never_train(run: Run, edgevad_home: Path, tmp_path: Path) -> None:
    from logged import write_drive

    root = edgevad_home / "drives"
    root.mkdir(parents=True)
    folder = write_drive(root, 30)
    with open_drives(root) as catalogue:
        mark(root, catalogue, folder.name, never_train=True)
    code, _, err = run("train", root, "--out", tmp_path / "model")
    assert (code, err.count("\n")) == (2, 1)
    assert f"{folder.name}: marked never to be trained on" in err
    assert not (tmp_path / "model").exists()
    code, _, err = run("train", root, "--out", tmp_path / "model", "--include-never-train")
    assert "marked never" not in err

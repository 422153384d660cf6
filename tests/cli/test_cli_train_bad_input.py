"""Recordings nobody can train on: one clear line each, exit code 2, and nothing lost or half written."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgevad.cli import main

TINY = ["--size", "16", "--width", "4", "--depth", "2", "--latent", "8", "--batch-size", "16", "--max-rounds", "5"]

pytestmark = pytest.mark.disk("512k")


def noise(size: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (size, size, 3), dtype=np.uint8)


def missing(at: Path) -> Path:
    return at / "nowhere.mp4"


def empty_folder(at: Path) -> Path:
    (at / "empty").mkdir()
    return at / "empty"


def text_named_mp4(at: Path) -> Path:
    (at / "text.mp4").write_text("this is no video\n" * 50)
    return at / "text.mp4"


def truncated_mp4(at: Path) -> Path:
    whole = at / "whole.mp4"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for k in range(40):
        writer.write(cv2.resize(noise(seed=k), (64, 48)))
    writer.release()
    (at / "cut.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])  # its index stood at the end
    return at / "cut.mp4"


def tub_with_broken_catalog(at: Path) -> Path:
    tub = at / "tub"
    (tub / "images").mkdir(parents=True)
    lines = [["cam/image_array"], ["image_array"], {}, {"created_at": 0.0}, {"paths": ["catalog_0.catalog"]}]
    (tub / "manifest.json").write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    (tub / "catalog_0.catalog").write_text("{broken\n" * 20)
    return tub


def one_pixel_images(at: Path) -> Path:
    folder = at / "ones"
    folder.mkdir()
    for k in range(40):
        cv2.imwrite(str(folder / f"{k:02d}.png"), noise(1, k))
    return folder


def too_few_frames(at: Path) -> Path:
    folder = at / "few"
    folder.mkdir()
    for k in range(5):
        cv2.imwrite(str(folder / f"{k}.png"), noise(seed=k))
    return folder


def missing_camera(at: Path) -> Path:
    return Path("/dev/video63")


BAD = [
    (missing, "nowhere.mp4"),
    (empty_folder, "empty"),
    (text_named_mp4, "text.mp4"),
    (truncated_mp4, "cut.mp4"),
    (tub_with_broken_catalog, "catalog"),
    (one_pixel_images, "1x1 pixels"),
    (too_few_frames, "at least 32"),
    (missing_camera, "/dev/video63"),
]


def train(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> tuple[int, str]:
    """Exit code and the lines on standard error that are no progress bar."""
    monkeypatch.setattr(sys, "argv", ["edgevad", "train", *map(str, arguments)])
    try:
        main()
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    else:
        code = 0
    err = capfd.readouterr().err
    return code, "\n".join(line for line in err.splitlines() if _is_error(line))


def _is_error(line: str) -> bool:
    return "Traceback" in line or (line.startswith("edgevad: ") and not line.startswith("edgevad: warning"))


@pytest.mark.parametrize(("make", "named"), BAD, ids=[make.__name__ for make, _ in BAD])
def test_a_bad_recording_is_one_line(
    make: Callable[[Path], Path],
    named: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, err = train(capfd, monkeypatch, make(tmp_path), "--out", tmp_path / "model", *TINY)
    assert code == 2
    assert err.count("edgevad: ") == 1
    assert "Traceback" not in err
    assert named in err
    assert not (tmp_path / "model" / "weights.safetensors").exists()


def test_frames_that_change_size_are_fine(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sizes"
    folder.mkdir()
    for k in range(60):
        cv2.imwrite(str(folder / f"{k:02d}.png"), noise(24 if k < 30 else 40, k))
    arguments = ("--out", tmp_path / "model", *TINY, "--motion", "difference")
    assert train(capfd, monkeypatch, folder, *arguments) == (0, "")


def test_a_failed_start_leaves_room_for_another(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _ = train(capfd, monkeypatch, missing(tmp_path), "--out", tmp_path / "model", *TINY)
    assert code == 2
    folder = tmp_path / "good"
    folder.mkdir()
    for k in range(40):
        cv2.imwrite(str(folder / f"{k:02d}.png"), noise(seed=k))
    assert train(capfd, monkeypatch, folder, "--out", tmp_path / "model", *TINY) == (0, "")


@pytest.mark.parametrize("where", ["cache", "model"])
def test_a_full_disk_is_one_line(
    where: str,
    small_disk: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for k in range(300 if where == "cache" else 60):
        cv2.imwrite(str(folder / f"{k:03d}.png"), noise(32, k))
    big = [] if where == "cache" else ["--cache", tmp_path / "cache", "--width", "32", "--latent", "64"]
    code, err = train(capfd, monkeypatch, folder, "--out", small_disk / "model", *TINY, "--size", "32", *big)
    assert code == 2
    assert err.count("edgevad: ") == 1
    assert "the disk is full" in err
    assert not (small_disk / "model" / "weights.safetensors").exists()

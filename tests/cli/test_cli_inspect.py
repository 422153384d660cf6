from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgevad.cli import main


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """`edgevad inspect` with these arguments; its exit code."""
    monkeypatch.setattr(sys, "argv", ["edgevad", "inspect", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Five images of two sizes; the third is empty."""
    folder = tmp_path / "[frames]"  # brackets, which are also a glob's
    folder.mkdir()
    for k in range(5):
        assert cv2.imwrite(str(folder / f"{k}.png"), np.zeros((8 + 8 * (k == 4), 16, 3), np.uint8))
    (folder / "2.png").write_bytes(b"")
    return folder


def test_the_table_names_what_is_in_it(
    frames: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(frames)) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"source      {frames}",
        "kind        images",
        "frames      4",
        "skipped     1",
        "            1 image empty (0 bytes)",
        "size        16x8 (3 frames)",
        "            16x16 (1 frames)",
        "duration    0.5 s",
        "frame rate  7.50 Hz",
        "segments    1",
    ]
    assert err == ""


def test_json_is_one_object_and_nothing_else(
    frames: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(frames), "--json", "--fps", "5") == 0
    out, err = capsys.readouterr()
    summary = json.loads(out)
    assert (summary["frames"], summary["skipped"], summary["fps_hz"], summary["complete"]) == (4, 1, 3.75, True)
    assert summary["skip_reasons"] == {"image empty (0 bytes)": 1}
    assert summary["sizes_px"][0] == {"width": 16, "height": 8, "frames": 3}
    assert err == ""


def test_several_sources_and_a_limit(
    frames: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(frames), str(frames), "--json", "--max-frames", "5") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["frames"], summary["segments"], summary["complete"], summary["kind"]) == (5, 2, False, "list")


def test_bad_input_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    for source in (tmp_path / "text.mp4", tmp_path / "missing"):
        assert run(monkeypatch, str(source), "--json") == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"edgevad: {source}: ")
        assert err.count("\n") == 1

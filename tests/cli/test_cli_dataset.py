from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgevad.cli import main


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A data set in the layout `clips`: two test clips of 20 frames with a white square in frames 8 to 13."""
    root = tmp_path / "set"
    rows = []
    for clip in ("01", "02"):
        (root / "test" / clip).mkdir(parents=True)
        for k in range(20):
            image = np.full((32, 32, 3), 102, np.uint8)
            if 8 <= k < 14:
                image[8:16, 8:16] = 255
            assert cv2.imwrite(str(root / "test" / clip / f"{k:03d}.jpg"), image)
            rows.append(f"{clip},{k:03d}.jpg,{int(8 <= k < 14)}\n")
    (root / "labels.csv").write_text("clip,frame,anomaly\n" + "".join(rows))
    return root


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """`edgevad` with these arguments; its exit code."""
    monkeypatch.setattr(sys, "argv", ["edgevad", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


def test_table(clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "dataset", clips) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert [row.split()[1:-1] for row in out.splitlines() if "test" in row.split()] == [
        ["test", "│", "2", "│", "40", "│", "12", "│", "0", "│", "no"]
    ]
    assert run(monkeypatch, "dataset", clips, "--clips", "--layout", "clips") == 0
    out, _ = capsys.readouterr()
    assert "test 01" in out
    assert "test 02" in out


def test_json(clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "dataset", clips, "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["layout"], value["pixel_labels"], value["train"]) == ("clips", False, [])
    assert value["test"][0] == {
        "name": "01",
        "source": str(clips / "test" / "01"),
        "fps_hz": 10.0,
        "frames": 20,
        "anomalous": 6,
        "ambiguous": 0,
        "pixel_labels": False,
    }


def test_evaluate_a_data_set(
    clips: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert run(monkeypatch, "evaluate", tiny_bundle, clips, "--dataset", "--out", out, "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["frames"], value["segments"], value["anomalous"]) == (40, 2, 12)
    assert value["labels"] == str(clips)
    assert value["series"]["frame"]["auroc"] == 1.0
    assert [kind["name"] for kind in value["kinds"]] == ["clip 01", "clip 02"]
    assert (out / "scores.csv").is_file()
    assert run(monkeypatch, "evaluate", tiny_bundle, clips, "--dataset", "--layout", "clips", "--fps", "5") == 0


def test_bad_input_is_one_line_and_exit_code_2(
    clips: Path,
    tiny_bundle: Path,
    tiny_video: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    labels = clips / "labels.csv"
    cases: tuple[tuple[tuple[object, ...], str], ...] = (
        (("dataset", tmp_path), "looks like no data set known here; expected one of these layouts (ucsd: "),
        (("dataset", clips, "--layout", "ped2"), "unknown layout 'ped2'"),
        (("dataset", tmp_path / "none"), "no such folder"),
        (("evaluate", tiny_bundle, clips), "there are no labels; expected --labels FILE, or --dataset"),
        (("evaluate", tiny_bundle, clips, "--layout", "clips", "--labels", labels), "Add --dataset"),
        (("evaluate", tiny_bundle, clips, "--dataset", "--labels", labels), "both --labels and --dataset"),
        (("evaluate", tiny_bundle, clips, tiny_video, "--dataset"), "2 sources are named with --dataset"),
        (("evaluate", tiny_bundle, clips, "--dataset", "--include-deleted"), "is about Donkeycar tubs"),
        (("evaluate", tiny_bundle, tiny_video, "--dataset"), "this is not a folder"),
    )
    for arguments, complaint in cases:
        assert run(monkeypatch, *arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("edgevad: ")
        assert complaint in err
        assert err.count("\n") == 1

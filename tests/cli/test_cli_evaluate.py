from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path

import cv2
import pytest
from fake_gpu.bundles import write_engine_bundle

from edgevad.cli import main


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """The truth about `tiny_video`."""
    path = tmp_path / "labels.csv"
    rows = [f"{k},{2 if 60 <= k < 80 else 0},{'square' if 60 <= k < 80 else ''}" for k in range(120)]
    path.write_text("frame,level,event\n" + "\n".join(rows) + "\n")
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """`edgevad evaluate` with these arguments; its exit code."""
    monkeypatch.setattr(sys, "argv", ["edgevad", "evaluate", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


def test_tables_and_files(
    tiny_bundle: Path,
    tiny_video: Path,
    labels: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "new" / "out"
    assert run(monkeypatch, tiny_bundle, tiny_video, "--labels", labels, "--out", out) == 0
    printed, err = capsys.readouterr()
    assert err == ""
    assert printed.splitlines()[0].split()[:2] == ["frame", "AUROC"]
    assert "1 of 1" in printed
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["series"]["frame"]["auroc"] == 1.0
    assert metrics["at_threshold"]["events_found"] == 1
    rows = list(csv.DictReader((out / "scores.csv").read_text(encoding="utf-8").splitlines()))
    assert [int(row["frame"]) for row in rows] == list(range(120))
    assert {row["event"] for row in rows[60:80]} == {"square"}
    assert {row["cause"] for row in rows} == {"patch"}
    assert metrics["parts"] == {}  # of one part there is nothing to compare
    assert "Parts of the score" not in printed
    assert cv2.imread(str(out / "evaluation.png")).std() > 10


def test_json_is_one_object_and_options_count(
    tiny_bundle: Path,
    tiny_video: Path,
    labels: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    common = (tiny_bundle, tiny_video, "--labels", labels, "--json")

    def printed(*options: object) -> dict[str, object]:
        assert run(monkeypatch, *common, *options) == 0
        out, err = capsys.readouterr()
        assert err == ""
        value = json.loads(out)
        assert isinstance(value, dict)
        return value

    plain = printed()
    assert plain["window"] == {"kind": "mean", "length_s": 0.5}
    assert plain["alarms_per_hour"] == 1.0
    assert plain["files"] == []
    other = printed("--window", "median", "--window-s", "0.3", "--alarms-per-hour", "30")
    assert other["window"] == {"kind": "median", "length_s": 0.3}
    assert other["alarms_per_hour"] == 30.0
    given = printed("--threshold", "1e9")
    assert (given["threshold"], given["alarms_per_hour"]) == (1e9, None)
    assert given["at_threshold"]["predicted_events"] == 0  # type: ignore[index]
    assert given["series"] == plain["series"]


def test_several_recordings_are_one(
    tiny_bundle: Path,
    tiny_video: Path,
    labels: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ranges = tmp_path / "ranges.csv"
    ranges.write_text("first,last,level,event\n60,79,2,square\n180,199,2,square\n")
    assert run(monkeypatch, tiny_bundle, tiny_video, tiny_video, "--labels", ranges, "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["frames"], value["segments"]) == (240, 2)
    assert value["kinds"][0]["events_found"] == value["kinds"][0]["events"] == 2
    assert value["series"]["frame"]["auroc"] == 1.0


def test_bad_input_is_one_line_and_exit_code_2(
    tiny_bundle: Path,
    tiny_video: Path,
    labels: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    short = tmp_path / "short.csv"
    short.write_text("".join(labels.read_text().splitlines(keepends=True)[:81]))
    (tmp_path / "file").write_text("")
    cases = (
        ((tiny_bundle, tiny_video, "--labels", short), "labels for 80 frames, but "),
        ((tiny_bundle, tiny_video, "--labels", tmp_path / "none.csv"), "none.csv: no such file"),
        ((tmp_path, tiny_video, "--labels", labels), "neither a model nor a bundle"),
        ((tmp_path / ("x" * 300), tiny_video, "--labels", labels), "x: cannot be read (File name too long)"),
        ((tiny_bundle, tmp_path / "none.mp4", "--labels", labels), "none.mp4: no such file or folder"),
        ((tiny_bundle, tiny_video, "--labels", labels, "--out", tmp_path / "file"), "a file is in the way"),
        ((tiny_bundle, tiny_video, "--labels", labels, "--window", "max"), "unknown window 'max'"),
        ((tiny_bundle, tiny_video, "--labels", labels, "--threshold", "nan"), "threshold nan"),
    )
    for arguments, complaint in cases:
        assert run(monkeypatch, *arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("edgevad: ")
        assert complaint in err
        assert err.count("\n") == 1


def test_without_scikit_learn_the_extra_is_named(
    tiny_bundle: Path,
    tiny_video: Path,
    labels: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, "sklearn.metrics", raising=False)
    assert run(monkeypatch, tiny_bundle, tiny_video, "--labels", labels) == 2
    assert "pip install 'edgevad[report]'" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(
    tiny_bundle: Path,
    tiny_video: Path,
    labels: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert run(monkeypatch, tiny_bundle, tiny_video, "--labels", labels, "--out", locked / "out") == 2
    assert "permission denied" in capsys.readouterr().err


def test_labels_that_judge_no_frame_leave_everything_undefined(
    tiny_motion_bundle: Path,
    tiny_video: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The only frames with a clear label are the first of their segment, before the model can score.
    ambiguous = tmp_path / "ambiguous.csv"
    rows = ["0,2,0", "1,0,1", *(f"{k},1,1" for k in range(2, 120))]
    ambiguous.write_text("frame,level,segment\n" + "\n".join(rows) + "\n")
    out = tmp_path / "out"
    assert run(monkeypatch, tiny_motion_bundle, tiny_video, "--labels", ambiguous, "--out", out) == 0
    printed, err = capsys.readouterr()
    assert err == ""
    assert "precision n/a, recall n/a, F1 n/a" in printed
    assert json.loads((out / "metrics.json").read_text())["series"]["window"]["auroc"] is None


def test_that_an_engine_is_built_first_is_said(
    tiny_video: Path,
    labels: Path,
    tmp_path: Path,
    fake_gpu: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = write_engine_bundle(tmp_path / "bundle")
    assert run(monkeypatch, bundle.path, tiny_video, "--labels", labels) == 0
    assert "edgevad: Building Engine" in capsys.readouterr().err

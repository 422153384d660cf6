from __future__ import annotations

from pathlib import Path

import pytest
from trees import levels, make_corridor, write_flags, write_frames, write_video

from edgevad.datasets import open_dataset
from edgevad.errors import LabelError


def test_as_published(tmp_path: Path) -> None:
    dataset = open_dataset(make_corridor(tmp_path))
    assert [(clip.name, clip.fps_hz) for clip in dataset.train] == [("000001", None)]
    first, second = dataset.test
    assert Path(first.source).name == "000209.avi"
    assert (levels(first), levels(second)) == ([0, 0, 0, 2, 2, 2], [0] * 6)
    assert first.mask(3) is None
    assert not dataset.has_pixel_labels


def test_extracted_frames_and_gathered_annotation(tmp_path: Path) -> None:
    write_frames(tmp_path / "training" / "000001", 2)
    write_frames(tmp_path / "testing" / "000209", 3)
    write_flags(tmp_path / "anomaly_labels" / "000209.npy", 3, (2,))
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "corridor"
    assert [clip.fps_hz for clip in (*dataset.train, *dataset.test)] == [25.0, 25.0]
    assert levels(dataset.test[0]) == [0, 0, 2]


def test_plain_videos(tmp_path: Path) -> None:
    write_video(tmp_path / "Test" / "000209.mp4", 3)
    write_flags(tmp_path / "Annotation" / "000209" / "000209.npy", 3, (0,))
    assert levels(open_dataset(tmp_path).test[0]) == [2, 0, 0]


def test_missing_annotation(tmp_path: Path) -> None:
    root = make_corridor(tmp_path)
    (root / "Test_IITB-Corridor" / "Test_Annotation" / "Annotation" / "000210" / "000210.npy").unlink()
    with pytest.raises(LabelError, match=r"Annotation/000210/000210.npy: no ground truth for this clip"):
        _ = open_dataset(root).test[1].labels

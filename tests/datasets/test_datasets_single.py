from __future__ import annotations

from pathlib import Path

import pytest
from trees import levels, make_single, write_video

from edgevad.datasets import open_dataset
from edgevad.errors import DatasetError


def test_levels_names_and_gaps(tmp_path: Path) -> None:
    dataset = open_dataset(make_single(tmp_path / "donkey"))
    assert dataset.name == "donkey"
    (train,), (test,) = dataset.train, dataset.test
    assert train.labels is None
    assert levels(test) == [0, 0, 2, 0, 0, 2, 1, 0]
    assert test.labels is not None
    assert test.labels.event == ("", "", "crash", "", "", "clip donkey", "", "")
    with test.open() as source:
        assert [frame.segment for frame in source] == [0] * 4 + [1] * 4


def test_what_synth_writes(tmp_path: Path) -> None:
    make_single(tmp_path)
    (tmp_path / "video.mp4").rename(tmp_path / "drive.mp4")
    (tmp_path / "frames.csv").rename(tmp_path / "labels.csv")
    assert open_dataset(tmp_path).layout == "single"


def test_two_videos_are_not_one(tmp_path: Path) -> None:
    write_video(make_single(tmp_path) / "other.mp4", 3)
    with pytest.raises(DatasetError, match="looks like no data set"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="2 videos and a label file; expected one video"):
        open_dataset(tmp_path, "single")

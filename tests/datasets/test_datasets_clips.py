from __future__ import annotations

from pathlib import Path

import pytest
from trees import assert_nothing, assert_square, levels, make_clips, write_frames

from edgevad.datasets import open_dataset
from edgevad.errors import LabelError


def test_labels_are_cut_by_clip(tmp_path: Path) -> None:
    dataset = open_dataset(make_clips(tmp_path / "mine"))
    assert dataset.name == "mine"
    first, second = dataset.test
    assert (levels(first), levels(second)) == ([0, 0, 2, 2], [2, 0, 0])
    assert_square(first.mask(3))
    assert_nothing(first.mask(0))
    assert second.mask(0) is None


def test_joined_training_clips_are_segments(tmp_path: Path) -> None:
    root = make_clips(tmp_path)
    (clip,) = open_dataset(root).train
    with clip.open() as source:
        assert [frame.segment for frame in source] == [0] * 5 + [1] * 3
    (root / "train_clips.csv").write_text("01;5\n")
    with pytest.raises(LabelError, match=r"train_clips.csv: cannot be read; expected rows of name,frames"):
        open_dataset(root)
    (root / "train_clips.csv").unlink()
    (clip,) = open_dataset(root).train
    assert clip.labels is None
    write_frames(root / "train" / "07", 2)
    assert [clip.name for clip in open_dataset(root).train] == ["07"]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    root = make_clips(tmp_path)
    write_frames(root / "test" / "03", 2)
    with pytest.raises(LabelError, match=r"labels.csv: clip 03 has no row"):
        _ = open_dataset(root).test[2].labels
    (root / "masks" / "01" / "003.png").unlink()
    with pytest.raises(LabelError, match="3 masks for the 4 frames"):
        _ = open_dataset(root).test[0].labels
    write_frames(root / "test" / "02", 4)
    with pytest.raises(LabelError, match=r"clip 02\): labels for 3 frames, but .*02 has 5 frames"):
        _ = open_dataset(root).test[1].labels
    (root / "labels.csv").write_text("frame,level\n0,0\n1,2\n")
    with pytest.raises(LabelError, match="no column clip"):
        _ = open_dataset(root).test[0].labels

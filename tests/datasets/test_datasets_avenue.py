from __future__ import annotations

import sys
from pathlib import Path

import pytest
from trees import assert_nothing, assert_square, levels, make_avenue, write_volume

from edgevad.datasets import open_dataset
from edgevad.errors import LabelError, MissingExtraError


def test_masks_make_labels(tmp_path: Path) -> None:
    dataset = open_dataset(make_avenue(tmp_path))
    assert "clip 18" in dataset.note
    assert [clip.name for clip in dataset.train] == ["01"]
    first, second = dataset.test
    assert (levels(first), levels(second)) == ([0, 2, 2, 0, 0, 0], [0, 0, 0, 0, 2])
    assert_square(first.mask(1))
    assert_nothing(second.mask(0))
    assert_square(second.mask(4))
    assert second.mask(5) is None


def test_as_the_two_archives_unpack(tmp_path: Path) -> None:
    make_avenue(tmp_path)
    inner = tmp_path / "Avenue Dataset"
    inner.mkdir()
    for name in ("training_videos", "testing_videos"):
        (tmp_path / name).rename(inner / name)
    for folder in (tmp_path, inner):
        dataset = open_dataset(folder)
        assert levels(dataset.test[1]) == [0, 0, 0, 0, 2]
        assert len(dataset.train) == 1


def test_missing_and_broken_masks(tmp_path: Path) -> None:
    root = make_avenue(tmp_path)
    masks = root / "ground_truth_demo" / "testing_label_mask"
    (masks / "2_label.mat").unlink()
    with pytest.raises(LabelError, match=r"2_label.mat: no such file; expected the masks of this clip"):
        _ = open_dataset(root).test[1].labels
    assert open_dataset(root).test[1].mask(0) is None
    (masks / "1_label.mat").write_bytes(b"no matrix" * 100)
    with pytest.raises(LabelError, match=r"1_label.mat: cannot be read as a .mat file"):
        _ = open_dataset(root).test[0].labels
    write_volume(masks / "1_label.mat", 6, (), variable="other")
    with pytest.raises(LabelError, match="there is no volLabel in it"):
        _ = open_dataset(root).test[0].labels


def test_without_scipy_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset(make_avenue(tmp_path))
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.delitem(sys.modules, "scipy.io", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgevad\[report\]'"):
        _ = dataset.test[0].labels

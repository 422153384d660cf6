from __future__ import annotations

from pathlib import Path

import pytest
from trees import assert_nothing, assert_square, by_name, levels, make_ucsd, write_masks

from edgevad.datasets import open_dataset
from edgevad.errors import DatasetError, LabelError


def test_ranges_and_masks(tmp_path: Path) -> None:
    dataset = open_dataset(make_ucsd(tmp_path / "UCSDped2"))
    assert (dataset.name, dataset.note) == ("UCSD Ped2", "")
    assert [clip.name for clip in dataset.train] == ["Train001"]
    assert [clip.name for clip in dataset.test] == ["Test001", "Test002"]
    first, second = dataset.test
    assert levels(first) == [0, 0, 2, 2, 2, 0]
    assert levels(second) == [2, 2, 0, 0, 0, 2]
    assert first.labels is not None
    assert first.labels.event[2] == "clip Test001"
    assert (first.has_pixel_labels, second.has_pixel_labels) == (True, False)
    assert_square(first.mask(2))
    assert_nothing(first.mask(0))
    assert second.mask(0) is None
    assert first.fps_hz == 10.0
    with pytest.raises(LabelError, match="no mask for frame 6; expected a frame from 0 to 5"):
        first.mask(6)


def test_masks_stand_in_for_missing_ranges(tmp_path: Path) -> None:
    root = make_ucsd(tmp_path)
    script = root / "Test" / "UCSDped2.m"
    script.unlink()
    dataset = open_dataset(root)
    assert levels(dataset.test[0]) == [0, 0, 2, 2, 2, 0]
    with pytest.raises(LabelError, match="no ground truth for Test002"):
        _ = dataset.test[1].labels
    # A line for clip 1 only: clip 2 falls back on its masks, once it has some.
    script.write_text("TestVideoFile{1}.gt_frame = [1:1];\n")
    write_masks(root / "Test" / "Test002_gt", 6, (5,))
    dataset = open_dataset(root)
    assert levels(dataset.test[0]) == [2, 0, 0, 0, 0, 0]
    assert levels(dataset.test[1]) == [0, 0, 0, 0, 0, 2]


def test_a_line_belongs_to_the_clip_of_its_number(tmp_path: Path) -> None:
    root = make_ucsd(tmp_path)
    for path in (root / "Test" / "Test001").iterdir():
        path.unlink()
    (root / "Test" / "Test001").rmdir()
    assert levels(by_name(open_dataset(root))["Test002"]) == [2, 2, 0, 0, 0, 2]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    root = make_ucsd(tmp_path)
    script = root / "Test" / "UCSDped2.m"
    script.write_text("TestVideoFile{end+1}.gt_frame = [3:7];\n")
    with pytest.raises(
        LabelError, match=r"UCSDped2.m \(Test001\): an anomaly reaches frame 6, but the clip has 6 frames"
    ):
        _ = open_dataset(root).test[0].labels
    script.write_text("TestVideoFile{end+1}.gt_frame = [5:3];\n")
    with pytest.raises(LabelError, match="from frame 4 to 2 is no range"):
        _ = open_dataset(root).test[0].labels
    script.unlink()
    (root / "Test" / "Test001_gt" / "006.bmp").unlink()
    with pytest.raises(LabelError, match="Test001_gt: 5 masks for the 6 frames"):
        _ = open_dataset(root).test[0].labels
    (root / "Test" / "Test001_gt" / "006.bmp").write_bytes(b"BM")
    with pytest.raises(LabelError, match=r"006.bmp: the mask cannot be read"):
        _ = open_dataset(root).test[0].labels


def test_the_folder_above(tmp_path: Path) -> None:
    make_ucsd(tmp_path / "UCSDped2")
    assert open_dataset(tmp_path).path == str(tmp_path / "UCSDped2")
    make_ucsd(tmp_path / "UCSDped1")
    with pytest.raises(DatasetError, match=r"holds two data sets. Name one of them: .*UCSDped1 or .*UCSDped2"):
        open_dataset(tmp_path)

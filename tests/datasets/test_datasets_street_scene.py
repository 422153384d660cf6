from __future__ import annotations

from pathlib import Path

import pytest
from trees import SIZE, assert_nothing, assert_square, levels, make_street_scene

from edgevad.datasets import open_dataset
from edgevad.errors import LabelError


def test_boxes(tmp_path: Path) -> None:
    dataset = open_dataset(make_street_scene(tmp_path))
    first, second = dataset.test
    assert (levels(first), levels(second)) == ([0, 0, 2, 2, 0], [2, 0, 0, 0, 0])
    assert_square(first.mask(2))
    assert_nothing(first.mask(0))
    assert first.fps_hz == 15.0
    with pytest.raises(LabelError, match="no mask for frame 5"):
        first.mask(5)


def test_boxes_end_at_the_border_and_may_have_commas(tmp_path: Path) -> None:
    root = make_street_scene(tmp_path)
    path = root / "Test" / "Test001" / "Test001_gt.txt"
    path.write_text("00001.jpg, 0, 0.5, 0, 5, 4\n\n00001.jpg, 1, 31, 31, 9, 9\n00002.jpg, 1, 99, 99, 2, 2\n")
    clip = open_dataset(root).test[0]
    assert levels(clip) == [2, 2, 0, 0, 0]
    mask = clip.mask(0)
    assert mask is not None
    assert mask[:2, :3].all()
    assert mask[26:, 26:].all()
    assert mask.sum() == 2 * 3 + (SIZE - 26) ** 2
    assert_nothing(clip.mask(1))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("00009.jpg 0 1 1 2 2", "line 1: there is no frame 00009; expected one of 00001.jpg to 00005.jpg"),
        ("00001.jpg 0 1 1", "line 1: '00001.jpg 0 1 1'; expected image, track, centre column"),
        ("00001.jpg 0 1 nan 2 2", "line 1: "),
    ],
)
def test_broken_lines(tmp_path: Path, line: str, complaint: str) -> None:
    root = make_street_scene(tmp_path)
    (root / "Test" / "Test001" / "Test001_gt.txt").write_text(line)
    with pytest.raises(LabelError, match=complaint):
        _ = open_dataset(root).test[0].labels


def test_a_clip_without_boxes_is_not_taken_for_normal(tmp_path: Path) -> None:
    root = make_street_scene(tmp_path)
    (root / "Test" / "Test002" / "Test002_gt.txt").unlink()
    clip = open_dataset(root).test[1]
    with pytest.raises(LabelError, match=r"Test002_gt.txt: no such file"):
        _ = clip.labels
    assert clip.mask(0) is None

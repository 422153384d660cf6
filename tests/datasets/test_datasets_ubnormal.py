from __future__ import annotations

from pathlib import Path

import pytest
from trees import assert_nothing, assert_square, levels, make_ubnormal

from edgevad.datasets import open_dataset
from edgevad.errors import DatasetError, LabelError

NAME = "abnormal_scene_1_scenario_1"


def annotations(root: Path) -> Path:
    return root / "Scene1" / f"{NAME}_annotations"


def test_tracks_and_masks(tmp_path: Path) -> None:
    dataset = open_dataset(make_ubnormal(tmp_path))
    assert dataset.note.startswith("Not the official split")
    assert [clip.name for clip in dataset.train] == ["normal_scene_1_scenario_1", "normal_scene_1_scenario_2"]
    (clip,) = dataset.test
    # Ranges: how many normal frames follow is known once the video was read.
    assert levels(clip) == [0, 2, 2, 2, 2]
    assert clip.labels is not None
    assert clip.labels.open_ended
    assert_square(clip.mask(1))
    assert_nothing(clip.mask(0))
    assert clip.mask(6) is None


def test_the_official_split(tmp_path: Path) -> None:
    root = make_ubnormal(tmp_path)
    lists = root / "scripts"
    lists.mkdir()
    (lists / "normal_training_video_names.txt").write_text("normal_scene_1_scenario_2\n")
    (lists / "normal_test_video_names.txt").write_text("normal_scene_1_scenario_1\n")
    (lists / "abnormal_test_video_names.txt").write_text(NAME)
    dataset = open_dataset(root)
    assert dataset.note == ""
    assert [clip.name for clip in dataset.train] == ["normal_scene_1_scenario_2"]
    assert [clip.name for clip in dataset.test] == ["normal_scene_1_scenario_1", NAME]
    assert levels(dataset.test[0]) == []
    assert dataset.test[0].labels is not None
    assert dataset.test[0].labels.covering(5).level.tolist() == [0] * 5
    (lists / "abnormal_test_video_names.txt").write_text(f"{NAME}\nabnormal_scene_2_scenario_1\n")
    with pytest.raises(DatasetError, match="1 videos of the official split are missing: abnormal_scene_2_scenario_1"):
        open_dataset(root)


def test_masks_stand_in_for_missing_tracks(tmp_path: Path) -> None:
    root = make_ubnormal(tmp_path)
    (annotations(root) / f"{NAME}_tracks.txt").unlink()
    assert levels(open_dataset(root).test[0]) == [0, 2, 2, 2, 2, 0]
    (annotations(root) / f"{NAME}_0003_gt.png").unlink()
    with pytest.raises(LabelError, match="1 of 6 masks are missing"):
        _ = open_dataset(root).test[0].labels
    for path in annotations(root).iterdir():
        path.unlink()
    with pytest.raises(LabelError, match=r"_tracks.txt: no such file; expected rows of number,first,last"):
        _ = open_dataset(root).test[0].labels


@pytest.mark.parametrize(("text", "complaint"), [("1,2\n", "line 1: '1,2'"), ("1,5,2\n", "from frame 5 to 2 is no")])
def test_broken_tracks(tmp_path: Path, text: str, complaint: str) -> None:
    root = make_ubnormal(tmp_path)
    (annotations(root) / f"{NAME}_tracks.txt").write_text(text)
    with pytest.raises(LabelError, match=complaint):
        _ = open_dataset(root).test[0].labels

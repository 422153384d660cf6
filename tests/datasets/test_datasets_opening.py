from __future__ import annotations

from pathlib import Path

import pytest
from trees import MAKERS, make_street_scene, make_ucsd, write_frames

from edgevad.datasets import LAYOUTS, open_dataset
from edgevad.errors import DatasetError, OptionError


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognised_and_its_clips_can_be_read(layout: str, tmp_path: Path) -> None:
    root = MAKERS[layout](tmp_path / "set")
    dataset = open_dataset(root)
    assert dataset.layout == layout
    assert dataset.train
    assert dataset.test
    assert open_dataset(str(root), layout).layout == layout
    for clip in (*dataset.train, *dataset.test):
        with clip.open() as source:
            frames = list(source)
        assert frames[0].image.shape == (32, 32, 3)
        assert clip.frame_count in (None, len(frames))
        if clip.labels is not None:
            assert len(clip.labels.covering(len(frames))) == len(frames)
        if clip.fps_hz is not None:
            assert source.fps_hint_hz == clip.fps_hz
        assert isinstance(clip.mask(0), object if clip.has_pixel_labels else type(None))
    for clip in dataset.test:
        assert clip.labels is not None
        assert {name for name, at in zip(clip.labels.event, clip.labels.level, strict=True) if at != 2} <= {""}


def test_a_foreign_folder_is_told_all_layouts(tmp_path: Path) -> None:
    write_frames(tmp_path / "set" / "01", 2)
    with pytest.raises(DatasetError) as error:
        open_dataset(tmp_path / "set")
    message = str(error.value)
    assert message.startswith(f"{tmp_path / 'set'}: looks like no data set known here; expected one of these layouts")
    assert all(f"{name}: " in message for name in LAYOUTS)
    assert "\n" not in message


def test_two_layouts_in_one_folder_are_told_apart_by_name_only(tmp_path: Path) -> None:
    make_ucsd(make_street_scene(tmp_path))
    with pytest.raises(DatasetError, match=r"looks like ucsd \(.*\) and like street-scene .*--layout ucsd"):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path, "street-scene").name == "Street Scene"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_that_is_not_there(layout: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected "):
        open_dataset(tmp_path, layout)


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="unknown layout 'ped2'; expected ucsd, clips, avenue"):
        open_dataset(tmp_path, "ped2")
    with pytest.raises(DatasetError, match="no such folder"):
        open_dataset(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(DatasetError, match="not a folder"):
        open_dataset(tmp_path / "file")
    with pytest.raises(DatasetError, match="File name too long"):
        open_dataset(tmp_path / ("x" * 300))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "layout", "frames", "anomalous"),
    [
        ("ucsd_ped2", "clips", 2010, 1648),
        ("donkey_track_1124", "single", 6782, 618),
        ("donkey_usi_mit", "single", 11564, 500),
    ],
)
def test_real_sets(data_dir: Path, name: str, layout: str, frames: int, anomalous: int) -> None:
    dataset = open_dataset(data_dir / name)
    assert dataset.layout == layout
    labels = [clip.labels for clip in dataset.test if clip.labels is not None]
    assert sum(map(len, labels)) == frames
    assert sum(int((part.level == 2).sum()) for part in labels) == anomalous

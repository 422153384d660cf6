from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trees import assert_nothing, assert_square, levels, make_shanghaitech, write_flags, write_frames

from edgevad.datasets import open_dataset
from edgevad.errors import LabelError


def test_frame_labels_or_pixels(tmp_path: Path) -> None:
    dataset = open_dataset(make_shanghaitech(tmp_path))
    assert [(clip.name, clip.fps_hz) for clip in dataset.train] == [("01_001", None)]
    first, second = dataset.test
    assert (levels(first), levels(second)) == ([0, 2, 2, 0, 0], [0, 0, 0, 0, 2])
    assert first.fps_hz == 24.0
    assert_square(first.mask(1))
    assert_nothing(second.mask(0))
    with pytest.raises(LabelError, match="no mask for frame 5"):
        second.mask(5)


def test_extracted_training_frames_and_masks_beside(tmp_path: Path) -> None:
    root = make_shanghaitech(tmp_path)
    (root / "training" / "videos" / "01_001.avi").unlink()
    (root / "training" / "videos").rmdir()
    write_frames(root / "training" / "frames" / "01_001", 3)
    (root / "testing" / "test_frame_mask").rename(root / "test_frame_mask")
    dataset = open_dataset(root)
    assert [(clip.name, clip.fps_hz) for clip in dataset.train] == [("01_001", 24.0)]
    assert levels(dataset.test[0]) == [0, 2, 2, 0, 0]
    for part in ("training", "testing"):
        for clip in (root / part / "frames").iterdir():
            clip.rename(root / part / clip.name)
    dataset = open_dataset(root)
    assert [clip.name for clip in dataset.train] == ["01_001"]
    assert levels(dataset.test[1]) == [0, 0, 0, 0, 2]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    root = make_shanghaitech(tmp_path)
    frames = root / "testing" / "test_frame_mask" / "01_0014.npy"
    pixels = root / "testing" / "test_pixel_mask" / "01_0014.npy"
    write_flags(frames, 6, (1,))
    with pytest.raises(LabelError, match=r"01_0014.npy: masks for 5 frames; expected 6, as "):
        _ = open_dataset(root).test[0].labels
    pixels.unlink()
    with pytest.raises(LabelError, match=r"labels for 6 frames, but .*01_0014 has 5 frames"):
        _ = open_dataset(root).test[0].labels
    frames.unlink()
    with pytest.raises(LabelError, match=r"01_0014.npy: no ground truth for this clip"):
        _ = open_dataset(root).test[0].labels
    np.save(pixels, np.zeros((5, 4), np.uint8))
    with pytest.raises(LabelError, match=r"shape \(5, 4\); expected masks of shape \(N, H, W\)"):
        _ = open_dataset(root).test[0].labels

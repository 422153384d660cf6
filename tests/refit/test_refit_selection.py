from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgevad.errors import RefitError
from edgevad.model.cache import FrameCache
from edgevad.refit.selection import Selection

FRAMES = 300


def recording() -> FrameCache:
    images = np.random.default_rng(0).integers(0, 255, (FRAMES, 4, 4, 3), dtype=np.uint8)
    times = np.arange(FRAMES, dtype=np.int64) * 200_000_000
    return FrameCache(images, None, times, np.zeros(FRAMES, np.int32), 0)


def test_whole_stretches_are_held_out_and_never_share_a_segment_with_others() -> None:
    selection = Selection.of_recording(recording())
    assert 0.1 < selection.held_out.mean() < 0.3
    for segment in np.unique(selection.cache.segment):
        assert len(np.unique(selection.held_out[selection.cache.segment == segment])) == 1
    assert not (selection.learnable & selection.held_out).any()


def test_it_comes_back_from_its_folder(tmp_path: Path) -> None:
    selection = Selection.of_recording(recording())
    selection.save(tmp_path / "chosen")
    back = Selection.load(tmp_path / "chosen")
    assert (back.cache.images == selection.cache.images).all()
    assert (back.held_out == selection.held_out).all()
    assert back.held_out.dtype == np.bool_
    assert back.drives[0].name == "recording"
    assert np.isnan(back.drives[0].novelty)


def test_a_part_of_it_has_a_segment_for_each_run_of_frames() -> None:
    selection = Selection.of_recording(recording())
    part = selection.subset(selection.held_out)
    assert part.held_out.all()
    assert len(np.unique(part.cache.segment)) == 1
    assert selection.subset(np.array([0, 1, 5, 6])).cache.segment.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("damage", ["selection.json", "selection.npz", "images.npy"])
def test_a_broken_one_is_one_clear_error(tmp_path: Path, damage: str) -> None:
    Selection.of_recording(recording()).save(tmp_path / "chosen")
    (tmp_path / "chosen" / damage).write_bytes(b"{}")
    with pytest.raises(RefitError, match="selection"):
        Selection.load(tmp_path / "chosen")


def test_one_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RefitError, match="cannot be read"):
        Selection.load(tmp_path / "nothing")

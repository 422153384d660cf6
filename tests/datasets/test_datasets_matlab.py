from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from trees import assert_square, write_volume

from edgevad.datasets.matlab import MaskVolumes, read_frame_ranges
from edgevad.errors import LabelError


def test_ranges_count_from_zero(tmp_path: Path) -> None:
    script = tmp_path / "UCSDped1.m"
    script.write_text(
        "TestVideoFile = {};\n"
        "%TestVideoFile{end+1}.gt_frame = [9:9];\n"
        "TestVideoFile{end+1}.gt_frame = [60:152];\r\n"
        "TestVideoFile{ end + 1 }.gt_frame=[5 : 90, 140:200]; % two\n"
        "TestVideoFile{end+1}.gt_frame = [];\n"
        "TestVideoFile{7}.gt_frame = 4;\n"
        "TestVideoFile{end+1}.gt_frame = [1 3 8:9];\n"
    )
    assert read_frame_ranges(script) == {
        1: ((59, 151),),
        2: ((4, 89), (139, 199)),
        3: (),
        7: ((3, 3),),
        8: ((0, 0), (2, 2), (7, 8)),
    }


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not one line tells of anomalous frames"),
        ("TestVideoFile{end+1}.gt_frame = [1:2:9];", "'1:2:9' is no range of frames; expected first:last"),
        ("TestVideoFile{end+1}.gt_frame = [0:5];", "'0:5' is no range"),
        ("TestVideoFile{end+1}.gt_frame = [a:b];", "'a:b' is no range"),
    ],
)
def test_scripts_that_are_none(tmp_path: Path, text: str, complaint: str) -> None:
    script = tmp_path / "UCSDped1.m"
    script.write_text(text)
    with pytest.raises(LabelError, match=complaint):
        read_frame_ranges(script)
    with pytest.raises(LabelError, match="cannot be read"):
        read_frame_ranges(tmp_path)


def test_volumes_are_read_once(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "1_label.mat", 3, (1,))
    volumes = MaskVolumes("volLabel")
    assert volumes.flags(path).tolist() == [False, True, False]
    path.unlink()
    assert_square(volumes.mask(path, 1))
    assert volumes.mask(path, 3) is None
    with pytest.raises(LabelError, match="no such file"):
        volumes.mask(tmp_path / "2_label.mat", 0)


def test_other_matrices(tmp_path: Path) -> None:
    path = tmp_path / "1_label.mat"
    volumes = MaskVolumes("volLabel")
    scipy.io.savemat(path, {"volLabel": np.zeros((3, 4))})
    with pytest.raises(LabelError, match="volLabel is no cell array"):
        volumes.flags(path)
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = np.zeros((2, 3)), np.zeros((3, 2))
    scipy.io.savemat(path, {"volLabel": cells})
    with pytest.raises(LabelError, match="no masks of one size"):
        volumes.flags(path)
    # What MATLAB writes with -v7.3, up to the version.
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(512))
    with pytest.raises(LabelError, match=r"version 7.3.*save -v7"):
        volumes.flags(path)

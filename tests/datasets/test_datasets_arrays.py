from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgevad.datasets.arrays import ArrayTruth, read_npy
from edgevad.errors import LabelError


def test_a_column_of_floats_is_a_vector(tmp_path: Path) -> None:
    path = tmp_path / "000209.npy"
    np.save(path, np.array([[0.0], [1.0], [0.0]]))
    assert ArrayTruth(path).labels().level.tolist() == [0, 2, 0]


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.zeros((2, 3)), r"shape \(2, 3\); expected one number a frame"),
        (np.array(0), r"shape \(\); expected one number a frame"),
        (np.array([0, 2]), "something else than 0 and 1"),
        (np.array([0.0, np.nan]), "something else than 0 and 1"),
        (np.array(["0", "1"]), "something else than 0 and 1"),
    ],
)
def test_other_arrays(tmp_path: Path, array: object, complaint: str) -> None:
    path = tmp_path / "000209.npy"
    np.save(path, np.asarray(array))
    with pytest.raises(LabelError, match=complaint):
        ArrayTruth(path).labels()


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "000209.npy"
    objects = np.empty(1, object)
    objects[0] = [0, 1]
    np.save(path, objects, allow_pickle=True)
    with pytest.raises(LabelError, match="pickled Python objects, and nothing is unpickled here"):
        read_npy(path)
    path.write_bytes(b"\x80\x04]\x94.")  # a pickle without npy around it
    with pytest.raises(LabelError, match="pickled Python objects"):
        read_npy(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "000209.npy"
    with pytest.raises(LabelError, match="no such file"):
        read_npy(path)
    path.write_bytes(b"")
    with pytest.raises(LabelError, match="cannot be read as npy"):
        read_npy(path)
    np.save(path, np.arange(100))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(LabelError, match="cannot be read as npy"):
        read_npy(path)
    np.savez(tmp_path / "all.npz", a=np.zeros(1))
    with pytest.raises(LabelError, match="archive of arrays"):
        read_npy(tmp_path / "all.npz")

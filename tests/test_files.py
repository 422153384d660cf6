from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgevad._files import atomic_directory


def test_a_folder_is_on_the_disk_with_all_that_is_in_it_before_it_is_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted(handle: int) -> None:
        synced.append(Path(f"/proc/self/fd/{handle}").resolve().name)
        fsync(handle)

    def put(path: Path, target: Path) -> Path:
        assert sorted(synced) == sorted(["file", "inner", "deep", path.name])
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", put)
    with atomic_directory(tmp_path / "folder") as part:
        (part / "file").write_text("x")
        (part / "inner").mkdir()
        (part / "inner" / "deep").write_text("y")
    assert (tmp_path / "folder" / "inner" / "deep").read_text() == "y"
    assert synced[-1] == tmp_path.name

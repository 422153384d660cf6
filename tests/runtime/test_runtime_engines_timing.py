from __future__ import annotations

from pathlib import Path

import pytest

from edgevad.runtime.engines.timing import read_timing, write_timing


def test_there_and_back(tmp_path: Path) -> None:
    write_timing(tmp_path / "folder" / "t.bin", b"\x00measured\n")
    assert read_timing(tmp_path / "folder" / "t.bin") == b"\x00measured\n"


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d + b"x", lambda d: b"x" + d[1:], lambda d: d[:20]])
def test_what_is_damaged_is_not_handed_to_tensorrt(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "t.bin"
    write_timing(path, b"measured")
    path.write_bytes(damage(path.read_bytes()))
    assert read_timing(path) == b""


def test_no_file_is_no_measurements(tmp_path: Path) -> None:
    assert read_timing(tmp_path / "none.bin") == b""

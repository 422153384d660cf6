"""The floor of a disk, told by a disk that we make up."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from edgevad.errors import OutputError
from edgevad.events.disk import DiskFloor, free_bytes

BLOCK = 4096


class FakeDisk:
    """Stands in for `os.statvfs` and for the clock."""

    def __init__(self, free_bytes: int) -> None:
        self.free_bytes = free_bytes
        self.now_s = 100.0
        self.looks = 0

    def statvfs(self, path: Path) -> SimpleNamespace:
        self.looks += 1
        return SimpleNamespace(f_bavail=self.free_bytes // BLOCK, f_frsize=BLOCK)

    def floor(self, floor_bytes: int) -> DiskFloor:
        return DiskFloor("/data", floor_bytes, statvfs=self.statvfs, clock=lambda: self.now_s)


def test_the_real_disk_has_room(tmp_path: Path) -> None:
    assert free_bytes(tmp_path) > 0
    assert DiskFloor(tmp_path, 0).allows(1)


def test_a_path_that_is_gone_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nowhere"):
        free_bytes(tmp_path / "nowhere")


def test_the_disk_is_looked_at_once_a_second() -> None:
    disk = FakeDisk(100 * BLOCK)
    floor = disk.floor(10 * BLOCK)
    for _ in range(50):
        assert floor.allows()
    assert disk.looks == 1
    disk.now_s += 1.0
    floor.allows()
    assert disk.looks == 2


def test_what_was_allowed_since_the_last_look_counts_as_written() -> None:
    disk = FakeDisk(100 * BLOCK)
    floor = disk.floor(10 * BLOCK)
    allowed = sum(floor.allows(20 * BLOCK) for _ in range(10))
    assert allowed == 4  # 80 of the 90 blocks above the floor
    assert disk.looks == 1


def test_after_a_refusal_a_tenth_more_must_be_free() -> None:
    disk = FakeDisk(99 * BLOCK)
    floor = disk.floor(100 * BLOCK)
    assert not floor.allows()
    disk.free_bytes, disk.now_s = 109 * BLOCK, disk.now_s + 1
    assert not floor.allows()
    disk.free_bytes, disk.now_s = 110 * BLOCK, disk.now_s + 1
    assert floor.allows()
    disk.free_bytes, disk.now_s = 101 * BLOCK, disk.now_s + 1
    assert floor.allows()


def test_the_error_says_how_much_is_free_and_how_much_has_to_be() -> None:
    disk = FakeDisk(1000 * BLOCK)
    with pytest.raises(OutputError, match=r"/data: the disk is almost full \(4 MB free\); expected 8 MB"):
        disk.floor(2000 * BLOCK).demand(BLOCK)

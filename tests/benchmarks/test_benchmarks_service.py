"""The world of the service's benchmark; that it runs at all needs root and a minute, and is not tested here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from benchmarks._systemd_world import World
from edgevad.errors import ServiceError

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "_systemd_world.sh"


def test_without_root_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ServiceError, match="needs root"):
        World(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_script_is_one_that_a_shell_reads() -> None:
    assert os.access(SCRIPT, os.X_OK)
    assert subprocess.run(["bash", "-n", SCRIPT], capture_output=True, check=False).stderr == b""

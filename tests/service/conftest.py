"""Fixtures of the service's tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgevad.service import checks, installing


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl that writes down what it is asked and answers what `answer` holds, on a machine where it runs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("systemctl", "systemd-sysusers"):
        script = folder / name
        script.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {folder}/asked\n'
            f'if [ -e {folder}/refuse ]; then echo "Failed: access denied" >&2; exit 1; fi\n'
            f'case "$*" in --version) echo "systemd 255 (255.4)";; show*) cat {folder}/answer;; esac\n'
        )
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    for module in (installing, checks):
        monkeypatch.setattr(module, "has_systemd", lambda: True)
    return folder

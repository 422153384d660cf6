"""Fixtures of the service's tests."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from simulated import SimulatedCamera

from edgevad.service import checks, installing
from edgevad.service.sections import CameraConfig
from edgevad.sources.backoff import Backoff
from edgevad.sources.live import LiveSource


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Other tests find logging as it was."""
    loggers = [logging.getLogger(name) for name in ("edgevad", "py.warnings")]
    before = [(logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, (level, propagate, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers = handlers


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


@pytest.fixture
def cameras(monkeypatch: pytest.MonkeyPatch) -> dict[str, SimulatedCamera]:
    """Cameras by their name in the configuration."""
    found = {"front": SimulatedCamera(rate_hz=100.0), "rear": SimulatedCamera(rate_hz=50.0)}

    def opened(camera: CameraConfig) -> LiveSource:
        return LiveSource(
            found[camera.name],
            name=camera.name,
            kind="camera",
            stale_s=camera.stale_s,
            reconnect=True,
            wait=True,
            backoff=Backoff(0.05, 0.1),
        )

    monkeypatch.setattr("edgevad.service.running.open_camera", opened)
    return found

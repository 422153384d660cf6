"""`edgevad run --config` as systemd runs it: a process, its signals, what it tells, and what it leaves."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from network_camera import network_camera

from edgevad.drives.catalogue import Catalogue
from edgevad.events.store import EventStore

pytestmark = pytest.mark.disk("6m")


class Systemd:
    """The end of the notify socket that systemd holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(20)

    def wait_for(self, line: str) -> list[str]:
        """Everything told up to a message that has this line."""
        told: list[str] = []
        while True:
            lines = self._socket.recv(4096).decode().split("\n")
            told += lines
            if any(one.startswith(line) for one in lines):
                return told

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    listening = Systemd(tmp_path / "notify")
    yield listening
    listening.close()


@pytest.fixture
def camera() -> Iterator[str]:
    with network_camera() as address:
        yield address


def write_config(path: Path, bundle: Path, camera: str, *, threshold: float, more: str = "") -> Path:
    path.write_text(
        f'[run]\nbundle = "{bundle}"\n[[camera]]\nname = "front"\nsource = "{camera}"\n'
        f"[detection]\nthreshold = {threshold}\nwarm_up_s = 0.0\n"
        f'[events]\ndir = "events"\nfloor_bytes = 0\n[drives]\ndir = "drives"\nfloor_bytes = 0\n{more}\n',
        encoding="utf-8",
    )
    return path


def start(config: Path, systemd: Systemd, tmp_path: Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "NOTIFY_SOCKET": str(systemd.path),
        "WATCHDOG_USEC": "900000",
        "EDGEVAD_HOME": str(tmp_path / "home"),
    }
    environment.pop("WATCHDOG_PID", None)
    command = [sys.executable, "-m", "edgevad", "run", "--config", str(config), "--json"]
    with (tmp_path / "log").open("w") as log:
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)


def log_lines(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "log").read_text(encoding="utf-8").splitlines()]


def test_a_service_from_its_start_to_its_end(tiny_bundle: Path, camera: str, systemd: Systemd, tmp_path: Path) -> None:
    config = write_config(tmp_path / "car.toml", tiny_bundle, camera, threshold=1e6)
    process = start(config, systemd, tmp_path)
    try:
        systemd.wait_for("READY=1")
        for _ in range(3):
            systemd.wait_for("WATCHDOG=1")
        write_config(config, tiny_bundle, camera, threshold=-1e6)
        process.send_signal(signal.SIGHUP)
        told = systemd.wait_for("RELOADING=1") + systemd.wait_for("READY=1")
        assert any(line.startswith("MONOTONIC_USEC=") for line in told)
        for _ in range(3):
            systemd.wait_for("WATCHDOG=1")
        started_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=10)
        assert time.monotonic() - started_s < 2.0
        systemd.wait_for("STOPPING=1")
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    summary = json.loads(out)
    [counters] = summary["cameras"]
    assert counters["captured"] == counters["given"] + counters["dropped"] > 20
    assert summary["event_count"] == 1
    lines = log_lines(tmp_path)
    assert any("settings loaded anew: threshold -1000000.00" in line["message"] for line in lines)
    assert lines[-1]["message"].startswith("run ended: ")
    with EventStore.open(tmp_path / "events") as store:
        events = store.events()
    assert sorted(event.kind for event in events) == ["anomaly", "config"]
    assert all(event.end_ns is not None and not event.interrupted for event in events)
    with Catalogue(tmp_path / "drives") as catalogue:
        legs = catalogue.legs()
    assert legs
    assert all(leg.state == "closed" for leg in legs)


def test_a_full_disk_is_told_once_and_scoring_goes_on(
    tiny_bundle: Path, camera: str, systemd: Systemd, tmp_path: Path, small_disk: Path
) -> None:
    config = write_config(tmp_path / "car.toml", tiny_bundle, camera, threshold=1e6)
    text = config.read_text(encoding="utf-8").replace(
        'dir = "drives"', f'dir = "{small_disk}/drives"\nimage_fps_hz = 0'
    )
    config.write_text(text, encoding="utf-8")
    process = start(config, systemd, tmp_path)
    try:
        systemd.wait_for("READY=1")
        systemd.wait_for("WATCHDOG=1")
        filler = small_disk / "filler"
        fill(filler)
        wait_until(lambda: storage_incidents(tmp_path))
        for _ in range(8):  # scoring goes on
            systemd.wait_for("WATCHDOG=1")
        assert len(storage_incidents(tmp_path)) == 1
        filler.unlink()
        wait_until(lambda: [one for one in storage_incidents(tmp_path) if one["end_ns"] is not None], 25)
        time.sleep(1.5)  # something more to log
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    [counters] = json.loads(out)["cameras"]
    assert counters["captured"] == counters["given"] + counters["dropped"]
    begun, over = storage_incidents(tmp_path)
    assert (begun["id"], begun["cause"], begun["end_ns"]) == (over["id"], "full", None)
    verified = subprocess.run(
        [sys.executable, "-m", "edgevad", "drives", "verify", "--dir", str(small_disk / "drives"), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout


def test_a_disk_that_came_back_read_only_keeps_nobody_from_watching(
    tiny_bundle: Path, camera: str, systemd: Systemd, tmp_path: Path, small_disk: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    config = write_config(tmp_path / "car.toml", tiny_bundle, camera, threshold=1e6, more="[[webhook]]")
    text = config.read_text(encoding="utf-8").replace('dir = "', f'dir = "{small_disk}/')
    config.write_text(text + 'url = "http://127.0.0.1:1/x"\n', encoding="utf-8")
    # What waits for the web server lies in $EDGEVAD_HOME, on the same disk.
    (tmp_path / "home").symlink_to(small_disk)
    process = start(config, systemd, tmp_path)
    try:
        systemd.wait_for("READY=1")
        for _ in range(8):
            systemd.wait_for("WATCHDOG=1")
        assert [one["end_ns"] for one in storage_incidents(tmp_path)] == [None] * 3
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        wait_until(lambda: all((small_disk / name).exists() for name in ("events", "drives", "outbox")))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    with EventStore.open(small_disk / "events") as store:
        assert {event.kind for event in store.events()} == {"storage"}


def fill(path: Path) -> None:
    """Write until the disk is full, to the last byte."""
    with path.open("wb", buffering=0) as stream:
        for block in (bytes(1 << 16), bytes(1)):
            with suppress(OSError):
                while True:
                    stream.write(block)


def storage_incidents(tmp_path: Path) -> list[dict[str, Any]]:
    incidents = [line["incident"] for line in log_lines(tmp_path) if "incident" in line]
    return [one for one in incidents if one["kind"] == "storage"]


def wait_until(holds: Any, limit_s: float = 15.0) -> None:
    end_s = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.1)

"""What systemd is told, over real sockets."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgevad.service.notify import Notifier, Watchdog


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A listening socket and what NOTIFY_SOCKET says of it."""
    abstract = request.param == "abstract"
    name = f"@edgevad-{uuid.uuid4().hex}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if abstract else name)
        listener.settimeout(2)
        yield listener, name


def heard(listener: socket.socket) -> list[str]:
    return listener.recv(4096).decode().split("\n")


def test_every_message_reaches_systemd(systemd: tuple[socket.socket, str]) -> None:
    listener, name = systemd
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready("scoring 2\ncameras")
    assert heard(listener) == ["READY=1", "STATUS=scoring 2 cameras"]
    notifier.status("12 fps")
    assert heard(listener) == ["STATUS=12 fps"]
    before_us = time.monotonic_ns() // 1000
    notifier.reloading()
    reloading, stamp = heard(listener)
    assert reloading == "RELOADING=1"
    assert before_us <= int(stamp.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    notifier.extend_timeout(90)
    assert heard(listener) == ["EXTEND_TIMEOUT_USEC=90000000"]
    notifier.stopping()
    assert heard(listener) == ["STOPPING=1"]


@pytest.mark.parametrize("address", ["", "@", "vsock:2:1234", "relative"])
def test_without_systemd_nothing_happens(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    assert not notifier.is_active
    assert notifier.watchdog_s is None
    notifier.ready("x")
    Watchdog(notifier).beat()


def test_a_listener_that_is_gone_or_does_not_read_holds_nothing_up(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    name = str(tmp_path / "deaf")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name)
        notifier = Notifier({"NOTIFY_SOCKET": name})
        started_s = time.monotonic()
        for _ in range(2000):  # more than a socket's queue holds
            notifier.status("x")
        assert time.monotonic() - started_s < 30


def test_the_watchdog_passes_progress_on_three_times_in_its_limit(systemd: tuple[socket.socket, str]) -> None:
    listener, name = systemd
    now_s = 0.0
    notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())})
    assert notifier.watchdog_s == 3.0
    watchdog = Watchdog(notifier, clock=lambda: now_s)
    sent = 0
    for step in range(101):  # ten seconds at 10 Hz
        now_s = step / 10
        watchdog.beat()
        listener.setblocking(False)
        try:
            while heard(listener) == ["WATCHDOG=1"]:
                sent += 1
        except BlockingIOError:
            pass
    assert sent == 11  # at 0, 1, ... 10 s


def test_silence_is_silence(systemd: tuple[socket.socket, str]) -> None:
    """Without a beat nothing is sent: no thread keeps a hung pipeline alive."""
    listener, name = systemd
    watchdog = Watchdog(Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "30000"}))
    watchdog.beat()
    assert heard(listener) == ["WATCHDOG=1"]
    listener.settimeout(0.2)
    with pytest.raises(TimeoutError):
        heard(listener)


@pytest.mark.parametrize("variables", [{"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}, {}])
def test_a_watchdog_that_is_not_ours_is_none(variables: dict[str, str]) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/run/x", **variables}).watchdog_s is None

"""Talking to systemd: the service is ready, what it is doing, and that it still does it.

Written here because the protocol is one datagram: sdnotify on PyPI has not changed since 2017 and knows neither
RELOADING's time stamp nor EXTEND_TIMEOUT_USEC; systemd-python and cysystemd are C extensions that have to be compiled
against libsystemd on every device.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping

__all__ = ["Notifier", "Watchdog"]

_MAX_STATUS = 500


class Notifier:
    """Tells systemd how the service is; does nothing where systemd did not start it.

    A message that cannot be sent is left out: it must never stop the work it tells of.

    Attributes:
        is_active: systemd listens.
        watchdog_s: seconds after which systemd takes the service for hung, None where it does not ask.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        address = environment.get("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte of an abstract socket; other kinds (vsock) reach no service of ours.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.is_active = address.startswith(("/", "@")) and len(address) > 1
        self.watchdog_s = _watchdog_s(environment) if self.is_active else None

    def ready(self, status: str = "") -> None:
        """Frames are being scored (again, after a reload)."""
        self._send("READY=1", *_status(status))

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(*_status(text))

    def reloading(self) -> None:
        """Settings are being loaded anew; `ready` follows."""
        # systemd tells by the time which of several reloads this is.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> None:
        """The end has begun."""
        self._send("STOPPING=1", *_status(status))

    def extend_timeout(self, seconds: float) -> None:
        """Starting, or stopping, takes so long from now on: an engine is being built."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def watchdog(self) -> None:
        """There was progress. See `Watchdog`."""
        self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not (self.is_active and lines):
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                # Never waited for: systemd's queue is full where the machine is in far worse trouble than we are.
                sender.setblocking(False)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            pass


class Watchdog:
    """Passes real progress on to systemd, which restarts a service that makes none.

    There is no thread here, on purpose: a timer would keep a pipeline alive that hangs. `beat` is called by the loop
    that scores, for every batch of frames and while it waits for one.
    """

    def __init__(self, notifier: Notifier, clock: Callable[[], float] = time.monotonic) -> None:
        self._notifier = notifier
        self._clock = clock
        self._every_s = None if notifier.watchdog_s is None else notifier.watchdog_s / 3
        self._sent_s: float | None = None

    def beat(self) -> None:
        """There was progress; passed on at most three times in systemd's limit. Costs nothing otherwise."""
        if self._every_s is None:
            return
        now_s = self._clock()
        if self._sent_s is None or now_s - self._sent_s >= self._every_s:
            self._sent_s = now_s
            self._notifier.watchdog()


def _status(text: str) -> list[str]:
    line = " ".join(text.split())[:_MAX_STATUS]
    return [f"STATUS={line}"] if line else []


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    try:
        limit_us = int(environment.get("WATCHDOG_USEC", "0"))
        pid = int(environment.get("WATCHDOG_PID") or os.getpid())
    except ValueError:
        return None
    # A child inherits the variables and is not the one that is watched.
    return limit_us / 1e6 if limit_us > 0 and pid == os.getpid() else None

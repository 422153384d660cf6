"""A real MQTT broker and a subscriber, for tests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PATIENCE_S = 30.0


def need_mosquitto() -> None:
    if MOSQUITTO is None:
        if os.environ.get("CI") == "true":
            pytest.fail("mosquitto is not installed, and .ci/run should have done it")
        pytest.skip("mosquitto is not installed (Debian: apt-get install mosquitto)")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.005)


class Broker:
    """mosquitto on a port of its own; what subscribers have not got yet outlives its end."""

    def __init__(self, folder: Path, *, listener: str = "", options: str = "allow_anonymous true") -> None:
        need_mosquitto()
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\n{listener}\n{options}\n"
            f"persistence true\npersistence_location {folder}/\nautosave_on_changes true\nautosave_interval 1\n"
            "max_queued_messages 100000\n"
            f"user {'root' if os.geteuid() == 0 else os.environ.get('USER', 'nobody')}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        assert MOSQUITTO is not None
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

        def answers() -> bool:
            with socket.socket() as one:
                return one.connect_ex(("127.0.0.1", self.port)) == 0

        until(answers)

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None


class Listener:
    """Subscribes to everything, with a session that the broker keeps; `messages` is what came, as (topic, payload)."""

    def __init__(self, port: int, **login: str) -> None:
        from paho.mqtt import client as mqtt

        self.messages: list[tuple[str, Any]] = []
        self.retained: list[tuple[str, Any]] = []
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "listener", clean_session=False)
        self._client.reconnect_delay_set(1, 1)
        if login:
            self._client.username_pw_set(login["username"], login["password"])
        ready = threading.Event()
        self._client.on_connect = lambda *_: self._client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert ready.wait(PATIENCE_S)

    def _take(self, client: Any, userdata: Any, message: Any) -> None:
        (self.retained if message.retain else self.messages).append((message.topic, json.loads(message.payload)))

    def of(self, kind: str) -> list[Any]:
        return [payload for topic, payload in list(self.messages) if topic.endswith(f"/{kind}")]

    def sequence(self) -> list[int]:
        return [payload["sequence"] for _, payload in list(self.messages) if "sequence" in payload]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def in_order_at_least_once(numbers: list[int]) -> bool:
    """Each number from 1 on, none before one smaller than it has come for the first time."""
    seen = 0
    for number in numbers:
        if number > seen + 1:
            return False
        seen = max(seen, number)
    return True

"""One connection to an MQTT broker, driven by one thread."""

from __future__ import annotations

import select
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevad._extras import require
from edgevad.errors import ConfigError, SinkError

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessageInfo

__all__ = ["MqttLink", "MqttSettings"]

_ANSWER_S = 10.0


@dataclass(frozen=True)
class MqttSettings:
    """Where the broker is, and who we are there.

    Attributes:
        username, password: None means none. A password belongs into a file or the environment, not into an argument.
        tls: encrypt; the broker's certificate is verified against `ca_file` (PEM), or the system's authorities.
        cert_file, key_file: PEM, this device's own certificate, where the broker asks for one.
        prefix: first level(s) of all topics.
        client_id: None means edgevad-<device>. A broker lets in each id once.
        keepalive_s: after one and a half of this without a sign of life the broker publishes the last will.
        score_every_s: publish each camera's anomaly score this often; None means never.
    """

    host: str
    port: int = 1883
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    prefix: str = "edgevad"
    client_id: str | None = None
    keepalive_s: int = 15
    score_every_s: float | None = None

    def __post_init__(self) -> None:
        if self.password is not None and self.username is None:
            raise ConfigError("an MQTT password without a user name", where="mqtt.username", fix="Name the user")
        if not self.prefix.strip("/") or set(self.prefix) & set("+#"):
            raise ConfigError(
                f"{self.prefix!r} cannot begin an MQTT topic", where="mqtt.prefix", expected="a name without + and #"
            )

    def context(self) -> ssl.SSLContext | None:
        """What TLS needs, or None without it.

        Raises:
            ConfigError: one of the files cannot be read, or holds no certificate or key.
        """
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except (OSError, ValueError) as error:
            names = ", ".join(str(file) for file in (self.ca_file, self.cert_file, self.key_file) if file is not None)
            raise ConfigError(f"cannot be used for TLS ({error})", where=names, expected="PEM files") from error
        return context


class MqttLink:
    """Connects on construction; `step` moves what there is to move. Every message published here is sent in order.

    A link is used for one connection and thrown away: what was not acknowledged is sent again by the next one, before
    anything newer. (A client that reconnects by itself would mix the two.)

    Args:
        will: topic and payload that the broker publishes, retained, when this connection ends without a good-bye.
        wake: readable when there is something new to publish; `step` returns then.

    Raises:
        SinkError: the broker cannot be reached, refuses us, or does not answer in time.
        MissingExtraError: paho-mqtt is not installed.
    """

    def __init__(self, settings: MqttSettings, client_id: str, *, will: tuple[str, bytes], wake: socket.socket) -> None:
        mqtt = require("paho.mqtt.client", extra="mqtt", needed_for="MQTT")
        self._where = f"{settings.host}:{settings.port}"
        self._wake = wake
        self._lost: str | None = None
        self._is_in = False
        self._client = client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id, clean_session=True, reconnect_on_failure=False
        )
        client.max_inflight_messages_set(1000)  # the window is ours to keep
        client.username_pw_set(settings.username, settings.password)
        if (context := settings.context()) is not None:
            client.tls_set_context(context)
        client.will_set(*will, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        try:
            client.connect(settings.host, settings.port, settings.keepalive_s)
        except (OSError, ValueError) as error:
            raise SinkError(f"cannot be reached ({error})", where=self._where) from error
        deadline_s = time.monotonic() + _ANSWER_S
        try:
            while not self._is_in:
                self.step(0.1, ignore_wake=True)
                if time.monotonic() > deadline_s:
                    raise SinkError(f"does not answer within {_ANSWER_S:g} s", where=self._where, expected="MQTT")
        except BaseException:
            self.drop()
            raise

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> MQTTMessageInfo:
        info: MQTTMessageInfo = self._client.publish(topic, payload, qos, retain)
        return info

    def step(self, timeout_s: float, *, ignore_wake: bool = False) -> None:
        """Send and receive, waiting at most this long for something to happen.

        Raises:
            SinkError: the connection is lost.
        """
        client, connection = self._client, self._client.socket()
        if connection is not None:
            reading: list[Any] = [connection] if ignore_wake else [connection, self._wake]
            writing = [connection] if client.want_write() else []
            pending = isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
            readable, writable, _ = select.select(reading, writing, [], 0.0 if pending else timeout_s)
            if pending or connection in readable:
                client.loop_read()
            if writable and client.socket() is not None:
                client.loop_write()
            client.loop_misc()
            if self._wake in readable:
                with suppress(BlockingIOError):
                    self._wake.recv(4096)
        if self._lost is not None or client.socket() is None:
            raise SinkError(f"the connection was lost ({self._lost or 'closed'})", where=self._where)

    def leave(self, timeout_s: float) -> None:
        """Say good-bye: the broker keeps the last will to itself."""
        self._client.disconnect()
        deadline_s = time.monotonic() + timeout_s
        with suppress(SinkError):
            while time.monotonic() < deadline_s:
                self.step(0.05, ignore_wake=True)

    def drop(self) -> None:
        """Let go of the connection as it is."""
        connection = self._client.socket()
        if connection is not None:
            connection.close()

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._lost = f"refused: {str(reason).lower()}"
        else:
            self._is_in = True

    def _on_disconnect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._lost = self._lost or str(reason).lower()

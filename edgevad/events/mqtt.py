"""Events, incidents and the device's state over MQTT; see docs/outlets.md for topics and payloads."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from os import PathLike
from typing import TYPE_CHECKING, Any

from edgevad._extras import require
from edgevad.errors import SinkError
from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.events.messages import DeviceStatus
from edgevad.events.mqtt_link import MqttLink, MqttSettings
from edgevad.events.outbox import Outbox, OutboxLimits
from edgevad.events.outbox_sink import BackOff, OutboxSink
from edgevad.events.run_info import RunInfo

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessageInfo

    from edgevad.runtime.pipeline import Result

__all__ = ["MqttSettings", "MqttSink", "topic_level"]

# Sent and not yet acknowledged; brokers take twenty or more.
_WINDOW = 20
_STEP_S = 1.0
_LEAVE_S = 0.5


class MqttSink(OutboxSink):
    """Publishes to `<prefix>/<device>/`: `status` (retained, with a last will), `event`, `incident`, and `score`.

    Events and incidents are of QoS 1 and wait on the disk while the broker is away; they arrive in order, each at least
    once, with a sequence number. The state is always the latest, scores (QoS 0) are sent only while there is a broker.

    Raises:
        ConfigError: the settings contradict each other, or name files that cannot be used.
        MissingExtraError: paho-mqtt is not installed.
        OutputError, SinkError: see `OutboxSink`.
    """

    def __init__(self, settings: MqttSettings, outbox: str | PathLike[str], limits: OutboxLimits | None = None) -> None:
        require("paho.mqtt.client", extra="mqtt", needed_for="MQTT")
        settings.context()  # now, while somebody looks
        super().__init__("mqtt", outbox, limits)
        self.wants_results = settings.score_every_s is not None
        self._settings = settings
        self._status: DeviceStatus | None = None
        self._lock = threading.Lock()
        self._told: bytes | None = None  # the status that was last published in this connection
        self._scores: dict[str, bytes] = {}
        self._score_due_s: dict[str, float] = {}
        self._back_off = BackOff()
        self._bell, self._ear = socket.socketpair()
        for end in (self._bell, self._ear):
            end.setblocking(False)

    def start(self, run: RunInfo) -> None:
        self._status = DeviceStatus(run)
        self._topic = f"{self._settings.prefix.strip('/')}/{topic_level(run.device)}"
        super().start(run)

    def push(self, result: Result) -> None:
        every_s = self._settings.score_every_s
        source, now_s = result.frame.source_id, time.monotonic()
        if every_s is None or now_s < self._score_due_s.get(source, 0.0):
            return
        self._score_due_s[source] = now_s + every_s
        score = {
            "source_id": source,
            "timestamp_ns": result.frame.timestamp_ns,
            "anomaly_score": result.anomaly_score,
            "cause": result.cause,
            "state": result.state,
        }
        with self._lock:
            self._scores[source] = json.dumps(score).encode()
        self._wake()

    def continues(self, run: RunInfo) -> None:
        self._note(lambda status: status.continues(run))
        super().continues(run)
        self._wake()

    def event_began(self, event: Event) -> None:
        self._note(lambda status: status.event_began(event))
        super().event_began(event)

    def event(self, event: Event) -> None:
        self._note(lambda status: status.event(event))
        super().event(event)

    def incident(self, incident: Incident) -> None:
        self._note(lambda status: status.incident(incident))
        super().incident(incident)

    def _note(self, change: Any) -> None:
        with self._lock:
            change(self._status)

    def _wake(self) -> None:
        super()._wake()
        with suppress(OSError):  # full: it is awake already; closed: nobody sleeps
            self._bell.send(b"!")

    def _serve(self, outbox: Outbox) -> None:
        status = self._status
        assert status is not None
        will = f"{self._topic}/status", json.dumps(status.offline("connection lost")).encode()
        client_id = self._settings.client_id or f"edgevad-{self._topic.rpartition('/')[2]}"
        try:
            link = MqttLink(self._settings, client_id, will=will, wake=self._ear)
        except SinkError as error:
            self._health.failed(error, "unreachable")
            self._flush(outbox)
            self._pause(self._back_off.wait_s())
            return
        try:
            self._talk(link, outbox, status)
        except (SinkError, RuntimeError, ValueError) as error:  # paho's own, where a message could not be queued
            self._health.failed(error, "unreachable")
            self._pause(self._back_off.wait_s())
        finally:
            link.drop()

    def _release(self) -> None:
        self._bell.close()
        self._ear.close()

    def _talk(self, link: MqttLink, outbox: Outbox, status: DeviceStatus) -> None:
        """Send in order what waits, until the connection is lost (SinkError) or the sink is closed."""
        self._told = None
        sent = self._taken
        flying: deque[tuple[int, MQTTMessageInfo]] = deque()
        while not self._closing:
            self._publish_state(link, status)
            if len(flying) < _WINDOW:
                for message in outbox.after(sent, _WINDOW - len(flying)):
                    info = link.publish(f"{self._topic}/{message.topic}", message.payload)
                    sent = message.sequence
                    flying.append((sent, info))
            link.step(_STEP_S)
            self._acknowledge(flying, outbox)
            self._flush(outbox)
        self._bid_farewell(link, outbox, flying, status)

    def _acknowledge(self, flying: deque[tuple[int, MQTTMessageInfo]], outbox: Outbox) -> None:
        """Take what was acknowledged, in order, off the disk."""
        done = 0
        while flying and flying[0][1].is_published():
            done = flying.popleft()[0]
        if done:
            self._settle(outbox, done)
        # A connection that answers is one that works; one that was only accepted may be a broker that is going down.
        if done or not flying:
            self._back_off.reset()
            self._health.worked()

    def _publish_state(self, link: MqttLink, status: DeviceStatus) -> None:
        with self._lock:
            now = json.dumps(status.to_json()).encode()
            scores, self._scores = list(self._scores.values()), {}
        if now != self._told:
            link.publish(f"{self._topic}/status", now, retain=True)
            self._told = now
        for score in scores:
            link.publish(f"{self._topic}/score", score, qos=0)

    def _bid_farewell(
        self,
        link: MqttLink,
        outbox: Outbox,
        flying: deque[tuple[int, MQTTMessageInfo]],
        status: DeviceStatus,
    ) -> None:
        """What can still be sent in half a second, then the retained state, so that nobody takes us for alive."""
        deadline_s = time.monotonic() + _LEAVE_S
        sent = flying[-1][0] if flying else self._taken
        for message in outbox.after(sent, _WINDOW - len(flying)):
            flying.append((message.sequence, link.publish(f"{self._topic}/{message.topic}", message.payload)))
        last = link.publish(f"{self._topic}/status", json.dumps(status.offline("stopped")).encode(), retain=True)
        while time.monotonic() < deadline_s and not last.is_published():
            link.step(0.05)
        self._acknowledge(flying, outbox)
        link.leave(_LEAVE_S / 2)


def topic_level(name: str) -> str:
    """`name` as one level of a topic."""
    return re.sub(r"[/+#\x00\s]", "_", name) or "_"

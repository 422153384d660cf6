from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broker import Broker, Listener, free_port, in_order_at_least_once, need_mosquitto, until
from web_server import self_signed

from edgevad.errors import ConfigError, EdgevadError
from edgevad.events import Dispatcher, Event, Incident, RunInfo
from edgevad.events.dispatch import Limits
from edgevad.events.mqtt import MqttSettings, MqttSink, topic_level
from edgevad.events.outbox import OutboxLimits
from edgevad.runtime.pipeline import Result
from edgevad.sources import Frame

RUN = RunInfo("car.edgevad", "car", "ab" * 32, "onnxruntime float32", ("front", "rear"), 4.0, True, device="car 17/a")
HERE = Path(__file__).parent


def event(number: int, camera: str = "front") -> Event:
    return Event(number, 10, 20, 1, 2, 5.5, 2, "detail", camera, 0)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    (tmp_path / "broker").mkdir()
    made = Broker(tmp_path / "broker")
    yield made
    made.stop()


Listen = Callable[..., Listener]


@pytest.fixture
def listen() -> Iterator[Listen]:
    made: list[Listener] = []

    def listener(port: int, **login: str) -> Listener:
        made.append(Listener(port, **login))
        return made[-1]

    yield listener
    for one in made:
        one.close()


@pytest.fixture
def sinks() -> Iterator[list[MqttSink]]:
    made: list[MqttSink] = []
    yield made
    for one in made:
        one.close()


def opened(sinks: list[MqttSink], path: Path, told: list[Incident] | None = None, **settings: Any) -> MqttSink:
    sink = MqttSink(MqttSettings("127.0.0.1", **settings), path / "mqtt.db")
    sink._back_off._most_s = 0.2  # tests have no minute
    sink._back_off._least_s = sink._back_off._next_s = 0.1
    sink._health._patience_s = 0.1
    sink.on_incident = [].append if told is None else told.append
    sinks.append(sink)
    sink.start(RUN)
    return sink


def test_events_incidents_and_state_are_published(
    broker: Broker, listen: Listen, sinks: list[MqttSink], tmp_path: Path
) -> None:
    listener = listen(broker.port)
    sink = opened(sinks, tmp_path, port=broker.port)
    until(lambda: listener.of("status"))
    assert {topic for topic, _ in listener.messages} == {"edgevad/car_17_a/status"}
    status = listener.of("status")[0]
    assert status == {
        "online": True,
        "state": "normal",
        "cameras": {"front": "normal", "rear": "normal"},
        "device": "car 17/a",
        "run_id": RUN.run_id,
        "started_ns": RUN.started_ns,
        "bundle": "car",
        "bundle_digest": "ab" * 32,
        "engine": "onnxruntime float32",
    }
    lost = Incident("camera_lost", "stale", "no frame for 2 s", "rear")
    sink.event_began(event(1))
    until(lambda: listener.of("status")[-1]["state"] == "anomaly")
    sink.incident(lost)
    sink.event(event(1))
    until(lambda: listener.of("status")[-1]["state"] == "fault")
    assert listener.of("status")[-1]["cameras"] == {"front": "normal", "rear": "fault"}
    sink.incident(lost.ended())
    until(lambda: listener.of("status")[-1]["state"] == "normal")
    until(lambda: len(listener.sequence()) == 4)
    began, ended = listener.of("event")
    assert (began["phase"], ended["phase"], began["id"], ended["peak_score"]) == ("began", "ended", 1, 5.5)
    assert (ended["run_id"], ended["device"], ended["bundle"]) == (RUN.run_id, "car 17/a", "car")
    assert [one["end_ns"] is None for one in listener.of("incident")] == [True, False]
    assert listener.sequence() == [1, 2, 3, 4]
    until(lambda: sink.figures()["waiting"] == 0)
    sink.close()
    until(lambda: listener.of("status")[-1]["online"] is False)
    assert listener.of("status")[-1]["reason"] == "stopped"
    # Whoever comes later is told the last state at once.
    late = listen(broker.port)
    until(lambda: late.retained)
    assert late.retained[0][1]["online"] is False


def test_nothing_is_lost_while_the_broker_is_away_at_the_start_and_later(
    listen: Listen, sinks: list[MqttSink], tmp_path: Path
) -> None:
    (tmp_path / "broker").mkdir()
    broker = Broker(tmp_path / "broker")
    listener = listen(broker.port)
    broker.stop()
    told: list[Incident] = []
    sink = opened(sinks, tmp_path, told, port=broker.port)
    number = 0

    def tell(count: int) -> None:
        nonlocal number
        for _ in range(count):
            number += 1
            started_s = time.monotonic()
            sink.event(event(number))
            assert time.monotonic() - started_s < 2.0  # an fsync, and no network

    try:
        tell(30)
        until(lambda: [(one.kind, one.cause, one.lasts) for one in told] == [("sink", "unreachable", True)])
        broker.start()
        until(lambda: len(set(listener.sequence())) == 30)
        until(lambda: len(told) == 2 and not told[1].lasts)
        for how in (signal.SIGTERM, signal.SIGKILL):
            tell(30)  # some are on their way when it goes
            broker.stop(how)
            tell(30)
            broker.start()
            tell(5)
            until(lambda: len(set(listener.sequence())) == number)
        assert in_order_at_least_once(listener.sequence())
        assert {one["id"] for one in listener.of("event")} == set(range(1, number + 1))
        until(lambda: sink.figures()["waiting"] == 0)
    finally:
        sink.close()
        broker.stop()


def test_what_one_run_could_not_send_the_next_one_does(listen: Listen, sinks: list[MqttSink], tmp_path: Path) -> None:
    need_mosquitto()
    port = free_port()
    first = opened(sinks, tmp_path, port=port)
    for k in range(1, 6):
        first.event(event(k))
    started_s = time.monotonic()
    first.close()
    assert time.monotonic() - started_s < 1.5
    (tmp_path / "broker").mkdir()
    broker = Broker(tmp_path / "broker")
    listener = listen(broker.port)
    second = opened(sinks, tmp_path, port=broker.port)
    second.event(event(6))
    until(lambda: listener.sequence() == [1, 2, 3, 4, 5, 6])
    second.close()
    broker.stop()


def test_the_broker_tells_of_a_run_that_was_killed(broker: Broker, listen: Listen, tmp_path: Path) -> None:
    listener = listen(broker.port)
    code = (
        "import sys, time; from pathlib import Path\n"
        "from edgevad.events import RunInfo; from edgevad.events.mqtt import MqttSettings, MqttSink\n"
        "sink = MqttSink(MqttSettings('127.0.0.1', port=int(sys.argv[1])), Path(sys.argv[2]) / 'q.db')\n"
        "sink.start(RunInfo('b', 'b', '', 'cpu', ('a',), 4.0, True, device='killed'))\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(broker.port), str(tmp_path)])
    try:
        until(lambda: listener.of("status"))
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    until(lambda: len(listener.of("status")) == 2)
    assert [(one["online"], one["device"]) for one in listener.of("status")] == [(True, "killed"), (False, "killed")]
    assert listener.of("status")[1]["reason"] == "connection lost"


def test_a_broker_that_hangs_costs_nothing(listen: Listen, sinks: list[MqttSink], tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    broker = Broker(tmp_path / "broker")
    listener = listen(broker.port)
    told: list[Incident] = []
    sink = opened(sinks, tmp_path, told, port=broker.port, keepalive_s=1)
    sink.event(event(1))
    until(lambda: listener.sequence() == [1])
    broker.send(signal.SIGSTOP)
    try:
        for k in range(2, 60):  # more than may be on their way
            sink.event(event(k))
        until(lambda: told)
        assert told[0].cause == "unreachable"
    finally:
        broker.send(signal.SIGCONT)
    until(lambda: len(set(listener.sequence())) == 59)
    assert in_order_at_least_once(listener.sequence())
    sink.close()
    broker.stop()


def test_what_answers_but_is_no_broker_is_told(
    sinks: list[MqttSink], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgevad.events.mqtt_link._ANSWER_S", 0.2)
    told: list[Incident] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sink = opened(sinks, tmp_path, told, port=silent.getsockname()[1])
        until(lambda: told)
        assert "does not answer within 0.2 s; expected MQTT" in told[0].detail
        sink.close()


def test_new_settings_take_over_the_queue(broker: Broker, listen: Listen, tmp_path: Path) -> None:
    listener = listen(broker.port)
    limits = Limits(retry_s=0.05)
    before = MqttSink(MqttSettings("127.0.0.1", free_port()), tmp_path / "q.db")  # the wrong broker
    dispatcher = Dispatcher([before], lossless=False, report=[].append, limits=limits)
    dispatcher.start(RUN)
    for k in range(1, 11):
        dispatcher.event(event(k))
    after = MqttSink(MqttSettings("127.0.0.1", broker.port), tmp_path / "q.db")
    dispatcher.replace([after])
    for k in range(11, 21):
        dispatcher.event(event(k))
    until(lambda: listener.sequence() == list(range(1, 21)))
    assert [one["id"] for one in listener.of("event")] == list(range(1, 21))
    dispatcher.close()


def test_scores_are_published_at_a_low_rate(
    broker: Broker, listen: Listen, sinks: list[MqttSink], tmp_path: Path
) -> None:
    listener = listen(broker.port)
    sink = opened(sinks, tmp_path, port=broker.port, score_every_s=1000.0)
    assert sink.wants_results
    for k in range(20):
        frame = Frame(np.zeros((2, 2, 3), np.uint8), k, k, "front" if k % 2 else "rear")
        sink.push(Result(frame, (1.0,), (1.0,), 1.0, 1.5, "detail", False, "normal", None, 0.001, None))
    until(lambda: len(listener.of("score")) == 2)
    assert {one["source_id"]: one["anomaly_score"] for one in listener.of("score")} == {"front": 1.5, "rear": 1.5}
    assert not opened(sinks, tmp_path / "other", port=broker.port, client_id="other").wants_results


def test_a_wrong_password_is_told_and_the_right_one_gets_in(
    listen: Listen, sinks: list[MqttSink], tmp_path: Path
) -> None:
    need_mosquitto()
    (tmp_path / "broker").mkdir()
    users = tmp_path / "users"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(users), "car", "secret"], check=True, capture_output=True)
    broker = Broker(tmp_path / "broker", options=f"allow_anonymous false\npassword_file {users}")
    listener = listen(broker.port, username="car", password="secret")
    told: list[Incident] = []
    wrong = opened(sinks, tmp_path / "wrong", told, port=broker.port, username="car", password="wrong")
    until(lambda: told)
    assert "refused: not authorized" in told[0].detail
    assert "wrong" not in repr(wrong._settings)
    opened(sinks, tmp_path / "right", port=broker.port, username="car", password="secret", client_id="right")
    until(lambda: listener.of("status"))
    for sink in sinks:
        sink.close()
    broker.stop()


# paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_over_tls_the_brokers_certificate_is_verified(sinks: list[MqttSink], tmp_path: Path) -> None:
    need_mosquitto()
    (tmp_path / "broker").mkdir()
    certificate, key = self_signed(tmp_path)
    broker = Broker(tmp_path / "broker", listener=f"certfile {certificate}\nkeyfile {key}")
    told: list[Incident] = []
    opened(sinks, tmp_path / "a", told, port=broker.port, tls=True)
    until(lambda: told)
    assert "certificate verify failed" in told[0].detail
    trusting = opened(sinks, tmp_path / "b", port=broker.port, tls=True, ca_file=certificate, client_id="b")
    for k in range(1, 50):
        trusting.event(event(k))
    until(lambda: trusting.figures()["waiting"] == 0)
    for sink in sinks:
        sink.close()
    broker.stop()


def test_a_full_queue_is_told_once(sinks: list[MqttSink], tmp_path: Path) -> None:
    sink = MqttSink(MqttSettings("127.0.0.1", free_port()), tmp_path / "q.db", OutboxLimits(count=3))
    told: list[Incident] = []
    sink.on_incident = told.append
    sinks.append(sink)
    sink.start(RUN)
    for k in range(8):
        sink.event(event(k))
    assert [one.cause for one in told] == ["overflow"]
    assert (sink.figures()["waiting"], sink.figures()["dropped"]) == (3, 5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"password": "x"}, "a password without a user name"),
        ({"prefix": "a/#"}, "cannot begin an MQTT topic"),
        ({"prefix": "/"}, "cannot begin an MQTT topic"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("a password", "MQTT password")):
        MqttSettings("broker", **settings)


def test_files_that_cannot_be_used_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(EdgevadError, match=r"cannot be used for TLS .*expected PEM files"):
            MqttSink(MqttSettings("broker", tls=True, ca_file=tmp_path / name), tmp_path / "q.db")


def test_a_name_becomes_one_level_of_a_topic() -> None:
    assert [topic_level(name) for name in ("car-17", "a/b+c#d e", "")] == ["car-17", "a_b_c_d_e", "_"]

from __future__ import annotations

import http.client
import json
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgevad.errors import ConfigError, SinkError
from edgevad.events import Event, Incident, RunInfo
from edgevad.events.counters import RunSnapshot
from edgevad.events.dispatch import QueueCounters, SinkCounters
from edgevad.events.metrics import MetricsSettings, PrometheusSink, token_of
from edgevad.refit.drift_advice import Advice
from edgevad.refit.drift_watch import CameraDrift
from edgevad.runtime.counters import FrameCounters
from edgevad.runtime.latency import LatencyHistogram
from edgevad.runtime.power import MachineReading

RUN = RunInfo("car.edgevad", "car", "abcd", "onnxruntime float32", ("front", "rear"), 4.0, True, device="car-17")


def snapshot(*, lost: bool = False, idle_s: float = 0.1) -> RunSnapshot:
    latency = LatencyHistogram()
    for latency_s in (0.004, 0.012, 0.3):
        latency.push(latency_s)
    return RunSnapshot(
        [
            FrameCounters("front", 103, 100, 90, 10, 2, 1, 0, lost),
            FrameCounters("rear", 10, 10, 10, 0, 0, 0, 0, True),
        ],
        {"front": 1.5, "rear": None},
        4.0,
        latency,
        15.0,
        {"mqtt": SinkCounters(QueueCounters(0, 0, 0, 0), QueueCounters(9, 7, 0, 2), 3, True, {"waiting": 5})},
        MachineReading({"cpu": 51.5}, power_w={"VDD_IN": 7.25}, gpu_load=0.5),
        idle_s,
        {"front": CameraDrift(Advice("adapt", "adapt", "scores moved"), {"brightness": 0.9, "veil": 0.5}, 7)},
    )


Start = Callable[..., PrometheusSink]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[PrometheusSink] = []

    def started(ask: Callable[[], RunSnapshot] = snapshot, port: int = 0) -> PrometheusSink:
        sink = PrometheusSink(MetricsSettings(tmp_path / "token", port), ask)
        made.append(sink)
        sink.start(RUN)
        return sink

    yield started
    for sink in made:
        sink.close()
        sink.close()


def get(sink: PrometheusSink, path: str, token: str | None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=10)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def test_every_figure_is_served_under_its_name_and_unit(start: Start, tmp_path: Path) -> None:
    sink = start()
    sink.event(Event(1, 0, 1, 0, 1, 5.0, 0, "detail", "front", 0))
    sink.event(Event(2, 0, 1, 0, 1, 5.0, 0, "detail", "clip-4711.mp4", 0))
    lost = Incident("camera_lost", "stale", "no frame", "rear")
    sink.incident(lost)
    sink.incident(Incident.once("config", "loaded", "new settings"))
    status, text = get(sink, "/metrics", (tmp_path / "token").read_text().strip())
    assert status == 200
    found = {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    for name, labels, value in (
        ("edgevad_camera_frames_captured_total", ("front",), 103),
        ("edgevad_camera_frames_scored_total", ("front",), 90),
        ("edgevad_camera_frames_dropped_total", ("front",), 2),
        ("edgevad_camera_frames_faulty_total", ("front",), 10),
        ("edgevad_camera_up", ("front",), 1),
        ("edgevad_camera_up", ("rear",), 0),
        ("edgevad_anomaly_score", ("front",), 1.5),
        ("edgevad_threshold", (), 4),
        ("edgevad_rate_limit_hertz", (), 15),
        ("edgevad_latency_seconds_bucket", ("0.005",), 1),
        ("edgevad_latency_seconds_bucket", ("0.02",), 2),
        ("edgevad_latency_seconds_bucket", ("+Inf",), 3),
        ("edgevad_latency_seconds_count", (), 3),
        ("edgevad_events_total", ("front", "detail"), 1),
        ("edgevad_events_total", ("other", "detail"), 1),
        ("edgevad_incidents_total", ("camera_lost", "stale"), 1),
        ("edgevad_incidents_total", ("config", "loaded"), 1),
        ("edgevad_incidents_open", ("camera_lost",), 1),
        ("edgevad_sink_items_total", ("mqtt", "events", "handled"), 7),
        ("edgevad_sink_queue_length", ("mqtt", "events"), 2),
        ("edgevad_sink_failures_total", ("mqtt",), 3),
        ("edgevad_sink_figure", ("mqtt", "waiting"), 5),
        ("edgevad_temperature_celsius", ("cpu",), 51.5),
        ("edgevad_power_watts", ("VDD_IN",), 7.25),
        ("edgevad_gpu_load_ratio", (), 0.5),
        ("edgevad_drift_shift", ("front", "brightness"), 0.9),
        ("edgevad_drift_advice", ("front", "adapt"), 1),
        ("edgevad_drift_looks_total", ("front",), 7),
    ):
        assert found[name, frozenset(labels)] == pytest.approx(value), name
    assert ("edgevad_anomaly_score", frozenset({"rear"})) not in found
    assert found["process_resident_memory_bytes", frozenset()] > 1e6
    assert 'bundle="car"' in text
    sink.incident(lost.ended())
    assert "edgevad_incidents_open{" not in get(sink, "/metrics", (tmp_path / "token").read_text().strip())[1]


@pytest.mark.parametrize("token", [None, "", "wrong", "ä"])
@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/"])
def test_nothing_is_told_without_the_token(token: str | None, path: str, start: Start) -> None:
    status, text = get(start(), path, token)
    assert (status, text) == (401, "a bearer token is needed\n")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [(snapshot(), (200, "ok")), (snapshot(lost=True), (503, "failing")), (snapshot(idle_s=60.0), (503, "failing"))],
)
def test_health_is_that_of_cameras_and_pipeline(
    given: RunSnapshot, wanted: tuple[int, str], start: Start, tmp_path: Path
) -> None:
    status, text = get(start(lambda: given), "/healthz", token_of(tmp_path / "token").decode())
    document = json.loads(text)
    assert (status, document["status"]) == wanted
    assert document["sinks_failing"] == ["mqtt"]


def test_a_run_that_does_not_answer_is_no_end_of_the_server(start: Start, tmp_path: Path) -> None:
    def broken() -> RunSnapshot:
        raise RuntimeError("gone")

    sink, token = start(broken), token_of(tmp_path / "token").decode()
    assert get(sink, "/metrics", token) == (503, "the run does not tell (gone)\n")
    assert get(sink, "/healthz", token)[0] == 503
    assert get(sink, "/elsewhere", token)[0] == 404


def test_clients_that_say_nothing_keep_nobody_from_being_served_for_long(start: Start, tmp_path: Path) -> None:
    sink, token = start(), token_of(tmp_path / "token").decode()
    silent = [socket.create_connection(("127.0.0.1", sink.port)) for _ in range(3)]
    try:
        assert get(sink, "/metrics", token)[0] == 200
    finally:
        for one in silent:
            one.close()


def test_the_server_is_gone_with_the_run_and_a_port_in_use_is_one_clear_error(start: Start) -> None:
    first = start()
    port = first.port
    with pytest.raises(SinkError, match=rf"127\.0\.0\.1:{port}: cannot listen there .*Choose another port"):
        start(port=port)
    first.close()
    assert first.port == 0
    assert start(port=port).port == port
    assert sum(thread.name == "edgevad-metrics" for thread in threading.enumerate()) == 1


def test_the_token_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "made" / "token"
    token = token_of(path)
    assert len(token) >= 40
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token_of(path) == token
    path.chmod(0o640)
    assert token_of(path) == token
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="everybody on this machine can read the token"):
        token_of(path)
    path.chmod(0o600)
    path.write_text("\nnot in the first line")
    with pytest.raises(ConfigError, match="is empty"):
        token_of(path)


@pytest.mark.parametrize("left", ["", "\n", "\0" * 44])
def test_a_token_that_was_lost_with_the_power_is_made_anew(tmp_path: Path, left: str) -> None:
    path = tmp_path / "token"
    path.write_text(left)
    token = token_of(path)
    assert len(token) >= 40
    assert token_of(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_token_is_never_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(size: int) -> str:
        raise KeyboardInterrupt

    path = tmp_path / "token"
    with monkeypatch.context() as patch:
        patch.setattr("edgevad.events.metrics.secrets.token_urlsafe", killed)
        with pytest.raises(KeyboardInterrupt):
            token_of(path)
    assert not path.exists()
    assert len(token_of(path)) >= 40

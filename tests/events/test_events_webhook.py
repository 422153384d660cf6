from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from broker import free_port, in_order_at_least_once, until
from web_server import Server, self_signed

from edgevad.errors import ConfigError
from edgevad.events import Event, Incident, RunInfo
from edgevad.events.webhook import SIGNATURE_HEADER, TIMESTAMP_HEADER, WebhookSettings, WebhookSink, signature

RUN = RunInfo("car.edgevad", "car", "", "cpu", ("front",), 4.0, True, device="car-17")
SECRET = "a secret"


def event(number: int) -> Event:
    return Event(number, 10, 20, 1, 2, 5.5, 2, "detail", "front", 0)


@pytest.fixture
def cleanup() -> Iterator[list[Any]]:
    made: list[Any] = []
    yield made
    for one in reversed(made):
        one.close()


def opened(
    cleanup: list[Any], path: Path, url: str, told: list[Incident] | None = None, **settings: Any
) -> WebhookSink:
    sink = WebhookSink(WebhookSettings(url, **{"secret": SECRET, "timeout_s": 0.3, **settings}), path / "webhook.db")
    sink._back_off._least_s = sink._back_off._next_s = 0.02  # tests have no minute
    sink._back_off._most_s = 0.1
    sink._health._patience_s = 0.0
    sink.on_incident = [].append if told is None else told.append
    cleanup.append(sink)
    sink.start(RUN)
    return sink


def test_messages_are_posted_signed_and_in_order(cleanup: list[Any], tmp_path: Path) -> None:
    server = Server([])
    cleanup.append(server)
    sink = opened(cleanup, tmp_path, f"http://127.0.0.1:{server.port}/hook?for=car")
    sink.event_began(event(1))
    sink.event(event(1))
    lost = Incident("camera_lost", "stale", "no frame for 2 s", "front")
    sink.incident(lost)
    until(lambda: sink.figures()["waiting"] == 0)
    bodies = [json.loads(body) for _, body in server.taken]
    assert [(one["sequence"], one["type"], one.get("phase")) for one in bodies] == [
        (1, "event", "began"),
        (2, "event", "ended"),
        (3, "incident", None),
    ]
    assert (bodies[2]["kind"], bodies[2]["end_ns"], bodies[2]["device"]) == ("camera_lost", None, "car-17")
    for headers, body in server.taken:
        assert headers["Content-Type"] == "application/json"
        assert headers[SIGNATURE_HEADER] == signature(SECRET, headers[TIMESTAMP_HEADER], body)
        assert headers[SIGNATURE_HEADER] != signature("another", headers[TIMESTAMP_HEADER], body)
        assert abs(int(headers[TIMESTAMP_HEADER]) - time.time()) < 30


@pytest.mark.parametrize(
    "trouble",
    [[500, 503, 500], ["hang"], ["cut", "cut"], [408, 401, 302], [(429, "0")], [500, "hang", "cut", (503, "nonsense")]],
    ids=str,
)
def test_nothing_is_lost_and_the_order_kept_whatever_the_server_does(
    trouble: list[Any], cleanup: list[Any], tmp_path: Path
) -> None:
    server = Server([200, *trouble, 200, *trouble])
    cleanup.append(server)
    told: list[Incident] = []
    sink = opened(cleanup, tmp_path, f"http://127.0.0.1:{server.port}", told)
    for k in range(1, 8):
        sink.event(event(k))
    until(lambda: sink.figures()["waiting"] == 0)
    assert server.sequence() == list(range(1, 8))
    assert not server.script
    assert [one.cause for one in told] == ["unreachable"] * len(told)
    assert len(told) % 2 == 0  # each outage begins and ends
    assert not sink.figures()["failing"]


def test_the_server_may_say_when_to_come_again(cleanup: list[Any], tmp_path: Path) -> None:
    server = Server([(429, "1"), (503, formatdate(time.time() + 2, usegmt=True))])
    cleanup.append(server)
    sink = opened(cleanup, tmp_path, f"http://127.0.0.1:{server.port}")
    sink.event(event(1))
    until(lambda: server.taken)
    assert server.asked_s[1] - server.asked_s[0] >= 0.99
    assert len(server.asked_s) == 3


@pytest.mark.parametrize("status", [400, 404, 410, 422])
def test_what_will_never_be_taken_is_dropped_counted_and_told_once(
    status: int, cleanup: list[Any], tmp_path: Path
) -> None:
    server = Server([200, status, status, 200])
    cleanup.append(server)
    told: list[Incident] = []
    sink = opened(cleanup, tmp_path, f"http://127.0.0.1:{server.port}", told)
    for k in range(1, 5):
        sink.event(event(k))
    until(lambda: sink.figures()["waiting"] == 0)
    assert server.sequence() == [1, 4]
    assert sink.figures()["refused"] == 2
    assert [(one.cause, one.lasts) for one in told] == [("refused", False)]
    assert f"answers {status} to message 2" in told[0].detail


def test_messages_wait_for_a_server_that_comes_later_and_for_the_next_run(cleanup: list[Any], tmp_path: Path) -> None:
    port = free_port()
    told: list[Incident] = []
    first = opened(cleanup, tmp_path, f"http://127.0.0.1:{port}", told)
    for k in range(1, 4):
        first.event(event(k))
    until(lambda: told)
    assert "127.0.0.1: cannot be reached" in told[0].detail
    started_s = time.monotonic()
    first.close()
    assert time.monotonic() - started_s < 1.5
    second = opened(cleanup, tmp_path, f"http://127.0.0.1:{port}")
    second.event(event(4))
    server = Server([], port=port)
    cleanup.insert(0, server)
    until(lambda: second.figures()["waiting"] == 0)
    assert server.sequence() == [1, 2, 3, 4]


def test_a_server_that_hangs_keeps_nobody_from_closing(cleanup: list[Any], tmp_path: Path) -> None:
    server = Server(["hang"])
    cleanup.append(server)
    sink = opened(cleanup, tmp_path, f"http://127.0.0.1:{server.port}", timeout_s=20.0)
    sink.event(event(1))
    until(lambda: server.asked_s)
    started_s = time.monotonic()
    sink.close()
    assert time.monotonic() - started_s < 3.0
    server.released.set()
    sink._thread.join()


def test_garbage_is_no_answer(cleanup: list[Any], tmp_path: Path) -> None:
    told: list[Incident] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sink = opened(cleanup, tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}", told)
        sink.event(event(1))
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"\x00\xffnot http\r\n\r\n")
        until(lambda: told)
        assert sink.figures()["waiting"] == 1
        sink.close()


def test_the_servers_certificate_is_verified(cleanup: list[Any], tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Server([], context=context)
    cleanup.append(server)
    url, told = f"https://127.0.0.1:{server.port}", list[Incident]()
    sink = opened(cleanup, tmp_path / "a", url, told)
    sink.event(event(1))
    until(lambda: told)
    assert "certificate verify failed" in told[0].detail
    assert server.taken == []
    sink.close()
    sink = opened(cleanup, tmp_path / "b", url, ca_file=certificate, timeout_s=5.0)
    sink.event(event(1))
    until(lambda: server.taken)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x", "no address to post to"),
        ("https://", "no address to post to"),
        ("https://host:99999/", "no address to post to"),
        ("https://me:secret@host/", "holds a user or password"),
    ],
)
def test_addresses_that_cannot_be_are_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        WebhookSettings(url)
    assert "secret@" not in str(caught.value)


def test_order_is_told_from_disorder() -> None:
    assert in_order_at_least_once([1, 2, 2, 3, 1, 2, 3, 4])
    assert not in_order_at_least_once([1, 3, 2])

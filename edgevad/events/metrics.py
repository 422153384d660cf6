"""Prometheus metrics of a run over HTTP, for those who know the token; docs/outlets.md has the list of metrics."""

from __future__ import annotations

import hmac
import json
import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevad._extras import require
from edgevad._files import atomic_file, input_errors
from edgevad.errors import ConfigError, SinkError
from edgevad.events.counters import RunSnapshot
from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.events.metrics_families import RunCollector
from edgevad.events.run_info import RunInfo
from edgevad.events.sink import Sink

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["MetricsSettings", "PrometheusSink", "token_of"]

_CLIENT_S = 5.0
_MOST_CLIENTS = 8
# A pipeline beats twice a second where no frames come (`Pipeline.heartbeat`).
_IDLE_S = 10.0
_OTHER = "other"


@dataclass(frozen=True)
class MetricsSettings:
    """Where metrics are served, and to whom.

    Attributes:
        token_file: its first line is asked for as a bearer token; made, for its owner alone, where there is none.
        port: 0 takes any free one (`PrometheusSink.port`).
        host: the default lets in nobody from outside this machine.
    """

    token_file: Path
    port: int = 9464
    host: str = "127.0.0.1"


class PrometheusSink(Sink):
    """Serves `GET /metrics` and `GET /healthz` while the run lasts; both demand `Authorization: Bearer <token>`.

    /healthz answers 200 while the pipeline works and a camera gives frames, else 503, with the reasons as JSON.

    Args:
        snapshot: asked at every scrape, in the server's thread.

    Raises:
        MissingExtraError: prometheus-client is not installed.
        ConfigError: the token's file has no token, or is readable by everybody.
        OutputError: it cannot be made.
        SinkError: the address is taken or not this machine's (from `start`).
    """

    name = "metrics"
    wants_results = False

    def __init__(self, settings: MetricsSettings, snapshot: Callable[[], RunSnapshot]) -> None:
        require("prometheus_client", extra="metrics", needed_for="metrics")
        self._settings = settings
        self._snapshot = snapshot
        self._token = token_of(settings.token_file)
        self._cameras: frozenset[str] = frozenset()
        self._collector: RunCollector | None = None
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """Where it listens; 0 while it does not."""
        return 0 if self._server is None else int(self._server.server_address[1])

    def start(self, run: RunInfo) -> None:
        from prometheus_client import CollectorRegistry, ProcessCollector

        self._cameras = frozenset(run.sources)
        self._collector = RunCollector(run, self._snapshot)
        registry = CollectorRegistry()
        registry.register(self._collector)
        ProcessCollector(registry=registry)
        settings = self._settings
        try:
            self._server = _Server(settings.host, settings.port, self._token, registry, self._snapshot)
        except (OSError, OverflowError) as error:
            raise SinkError(
                f"cannot listen there ({getattr(error, 'strerror', None) or error})",
                where=f"metrics at {settings.host}:{settings.port}",
                fix="Choose another port or address",
            ) from error
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="edgevad-metrics", daemon=True
        ).start()

    def continues(self, run: RunInfo) -> None:
        if self._collector is not None:
            self._collector.continues(run)

    def event(self, event: Event) -> None:
        if self._collector is not None:
            # Of recordings there may be thousands, and every label that was ever used is scraped for good.
            camera = event.source_id if event.source_id in self._cameras else _OTHER
            self._collector.events[camera, event.cause] += 1

    def incident(self, incident: Incident) -> None:
        if self._collector is None:
            return
        if incident.id in self._collector.open_incidents:
            if not incident.lasts:
                del self._collector.open_incidents[incident.id]
            return
        self._collector.incidents[incident.kind, incident.cause] += 1
        if incident.lasts:
            self._collector.open_incidents[incident.id] = incident.kind

    def close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()


def token_of(path: Path) -> bytes:
    """The token in the first line of `path`; the file is made, readable by its owner alone, where there is none.

    Raises:
        ConfigError: it has no token, or is readable by everybody.
        OutputError: it cannot be made.
    """
    with input_errors(path, ConfigError):
        is_made_anew = not path.exists() or _is_blank(path)
    if is_made_anew:
        with atomic_file(path, "w", permissions=0o600) as stream:
            stream.write(secrets.token_urlsafe(32) + "\n")
    with input_errors(path, ConfigError), path.open("rb") as stream:
        if os.fstat(stream.fileno()).st_mode & 0o007:
            raise ConfigError("everybody on this machine can read the token", where=path, fix=f"chmod o= {path}")
        token = stream.read(4096).partition(b"\n")[0].strip()
    if not token:
        raise ConfigError(
            "is empty", where=path, expected="a token in its first line", fix="Delete it to get a new one"
        )
    return token


def _is_blank(path: Path) -> bool:
    """Our own file, and nothing in it: power was lost while an earlier version wrote it."""
    with path.open("rb") as stream:
        is_ours = os.fstat(stream.fileno()).st_uid == os.geteuid()
        return is_ours and not stream.read(4096).strip(b"\0 \t\r\n")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self,
        host: str,
        port: int,
        token: bytes,
        registry: CollectorRegistry,
        snapshot: Callable[[], RunSnapshot],
    ) -> None:
        self.token = token
        self.registry = registry
        self.snapshot = snapshot
        self._free = threading.BoundedSemaphore(_MOST_CLIENTS)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nobody's concern."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _CLIENT_S
    server_version, sys_version = "edgevad", ""

    def do_GET(self) -> None:
        asked = self.headers.get("Authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(asked, b"Bearer " + self.server.token):
            self._answer(HTTPStatus.UNAUTHORIZED, "text/plain", b"a bearer token is needed\n")
            return
        path = self.path.partition("?")[0]
        if path not in ("/metrics", "/healthz"):
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"there are /metrics and /healthz\n")
            return
        try:
            status, kind, body = self._metrics() if path == "/metrics" else self._health()
        except Exception as error:  # whatever the run's counters do, the server stays
            text = f"the run does not tell ({error})\n".encode()
            status, kind, body = HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", text
        self._answer(status, kind, body)

    def _metrics(self) -> tuple[HTTPStatus, str, bytes]:
        from prometheus_client.exposition import choose_encoder

        encode, kind = choose_encoder(self.headers.get("Accept", ""))
        return HTTPStatus.OK, kind, encode(self.server.registry)

    def _health(self) -> tuple[HTTPStatus, str, bytes]:
        snapshot = self.server.snapshot()
        up = {one.source_id: not one.is_lost for one in snapshot.cameras}
        works = snapshot.idle_s < _IDLE_S
        document: Mapping[str, Any] = {
            "status": "ok" if works and (any(up.values()) or not up) else "failing",
            "idle_s": round(snapshot.idle_s, 3),
            "cameras_up": up,
            "sinks_failing": [name for name, sink in snapshot.sinks.items() if sink.is_failing],
        }
        status = HTTPStatus.OK if document["status"] == "ok" else HTTPStatus.SERVICE_UNAVAILABLE
        return status, "application/json", json.dumps(document).encode() + b"\n"

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Scrapes are no news."""

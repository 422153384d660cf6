"""Events and incidents posted to a web server as signed JSON; see docs/outlets.md for how to verify them."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from os import PathLike
from pathlib import Path
from urllib.parse import urlsplit

from edgevad import __version__
from edgevad.errors import ConfigError, EdgevadError, SinkError
from edgevad.events.incident import Incident
from edgevad.events.outbox import Message, Outbox, OutboxLimits
from edgevad.events.outbox_sink import BackOff, OutboxSink

__all__ = ["SIGNATURE_HEADER", "TIMESTAMP_HEADER", "WebhookSettings", "WebhookSink", "signature"]

TIMESTAMP_HEADER = "X-Edgevad-Timestamp"
SIGNATURE_HEADER = "X-Edgevad-Signature"

# The server has read the message and will never take it, however often it comes.
_NEVER = {400, 404, 405, 406, 409, 410, 411, 413, 414, 415, 422, 501, 505}
_IDLE_S = 60.0
_MOST_PATIENT_S = 3600.0
_ANSWER_BYTES = 64 << 10


@dataclass(frozen=True)
class WebhookSettings:
    """Where to post, and how.

    Attributes:
        url: http:// or https://; of https the server's certificate is verified.
        secret: what messages are signed with; None means they are not. It belongs into a file or the environment.
        ca_file: PEM, authorities to trust instead of the system's.
        timeout_s: of connecting, and of every wait for the server.
        name: what people call it; None means "webhook <host>".
    """

    url: str
    secret: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    timeout_s: float = 10.0
    name: str | None = None

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            is_sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_sound = False
        if not is_sound:
            raise ConfigError("is no address to post to", where="webhook.url", expected="https://host/path")
        if parts.username is not None or parts.password is not None:
            raise ConfigError(
                "the address holds a user or password",
                where="webhook.url",
                fix="Leave it out; messages are signed with the webhook's secret",
            )

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What `X-Edgevad-Signature` holds: "v1=" and HMAC-SHA256, in hexadecimal, of timestamp, a dot, and the body."""
    signed = timestamp.encode() + b"." + body
    return "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


class WebhookSink(OutboxSink):
    """Posts every event and incident, in order, each at least once; what is not taken yet waits on the disk.

    2xx means taken. What will never be taken (400, 404, 410, 422 …) is dropped, counted in `refused`, and told. With
    everything else (no connection, no answer, 5xx, 429, 401, redirects) the same message is tried again, after a wait
    that grows to half a minute, or as long as `Retry-After` asks for.

    Raises:
        ConfigError: the address or the authorities' file cannot be used.
        OutputError, SinkError: see `OutboxSink`.
    """

    def __init__(
        self, settings: WebhookSettings, outbox: str | PathLike[str], limits: OutboxLimits | None = None
    ) -> None:
        super().__init__(settings.name or f"webhook {settings.host}", outbox, limits)
        self._settings = settings
        self._back_off = BackOff()
        self._is_refused = False
        parts = urlsplit(settings.url)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._port = parts.port
        self._context = _context(settings) if parts.scheme == "https" else None

    def _serve(self, outbox: Outbox) -> None:
        connection = self._connection()
        try:
            while not self._closing:
                self._flush(outbox)
                messages = outbox.after(self._taken, 1)
                if not messages:
                    connection.close()  # servers close idle connections, and we would find out with the next message
                    self._wait(_IDLE_S)
                    continue
                if self._deliver(connection, messages[0]):
                    self._settle(outbox, messages[0].sequence)
        finally:
            connection.close()

    def _deliver(self, connection: http.client.HTTPConnection, message: Message) -> bool:
        """Post it once, and wait where that failed; whether it need not be sent again."""
        try:
            status, retry_after_s = self._post_once(connection, message)
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            what = str(error) or type(error).__name__
            self._failed(SinkError(f"cannot be reached ({what})", where=self._settings.host), None)
            return False
        if 200 <= status < 300:
            self._back_off.reset()
            self._is_refused = False
            self._health.worked()
            return True
        if status in _NEVER:
            self._refuse(status, message)
            return True
        self._failed(SinkError(f"answers {status}{_hint(status)}", where=self._settings.host), retry_after_s)
        return False

    def _post_once(self, connection: http.client.HTTPConnection, message: Message) -> tuple[int, float | None]:
        body, timestamp = message.payload, str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"edgevad/{__version__}",
            TIMESTAMP_HEADER: timestamp,
        }
        if self._settings.secret is not None:
            headers[SIGNATURE_HEADER] = signature(self._settings.secret, timestamp, body)
        connection.request("POST", self._target, body, headers)
        response = connection.getresponse()
        rest = response.read(_ANSWER_BYTES)
        if len(rest) == _ANSWER_BYTES:
            connection.close()  # nobody wants to know the remainder
        elif response.length:
            # An answer that breaks off is none: the server may not have come to its end either.
            raise http.client.IncompleteRead(rest, response.length)
        return response.status, _retry_after_s(response.getheader("Retry-After"))

    def _failed(self, error: EdgevadError, retry_after_s: float | None) -> None:
        self._health.failed(error, "unreachable")
        wait_s = self._back_off.wait_s()
        self._pause(wait_s if retry_after_s is None else max(retry_after_s, wait_s))

    def _refuse(self, status: int, message: Message) -> None:
        self.refused += 1
        self._back_off.reset()
        self._health.worked()
        if not self._is_refused:
            detail = (
                f"{self.name}: answers {status} to message {message.sequence}, and will to others: they are dropped"
            )
            self._tell(Incident.once("sink", "refused", detail))
        self._is_refused = True

    def _connection(self) -> http.client.HTTPConnection:
        settings = self._settings
        if self._context is None:
            return http.client.HTTPConnection(settings.host, self._port, timeout=settings.timeout_s)
        return http.client.HTTPSConnection(settings.host, self._port, timeout=settings.timeout_s, context=self._context)


def _context(settings: WebhookSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot be used for TLS ({error})", where=settings.ca_file, expected="certificates in PEM"
        ) from error


def _hint(status: int) -> str:
    if status in (401, 403):
        return " (not authorised)"
    if 300 <= status < 400:
        return " (it has moved: change the address)"
    return ""


def _retry_after_s(value: str | None) -> float | None:
    """Seconds that the server asks for, as a number or a date; None where it does not, or not in a way we know."""
    if value is None:
        return None
    try:
        wait_s = float(value) if value.strip().isdigit() else parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(wait_s, 0.0), _MOST_PATIENT_S)

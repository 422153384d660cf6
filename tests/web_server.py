"""A web server that takes webhooks, and fails in the ways web servers do; a certificate that nobody vouches for."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Server:
    """Answers each request as the next of `script` says: a status, (status, Retry-After), "hang" or "cut".

    Attributes:
        answer: what it says when the script is at its end.
        taken: headers and body of every request that was answered with 2xx.
    """

    def __init__(self, script: list[Any], *, port: int = 0, context: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.answer: Any = 200
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.asked_s: list[float] = []
        self.released = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked_s.append(time.monotonic())
                answer = outer.script.pop(0) if outer.script else outer.answer
                if answer == "hang":
                    outer.released.wait(30)
                    return
                status, retry_after = answer if isinstance(answer, tuple) else (answer, None)
                cut = status == "cut"
                status = 200 if cut else status
                if 200 <= status < 300 and not cut:
                    outer.taken.append((dict(self.headers), body))
                self.send_response(status)
                if retry_after is not None:
                    self.send_header("Retry-After", retry_after)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "100" if cut else "2")
                self.end_headers()
                self.wfile.write(b"ok")
                self.close_connection = cut

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def sequence(self) -> list[int]:
        return [json.loads(body)["sequence"] for _, body in list(self.taken)]

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Certificate and key for 127.0.0.1, as PEM files."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths

"""A network camera on this machine: JPEG images over HTTP, as many cameras on the market send them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

__all__ = ["network_camera"]


@contextmanager
def network_camera(
    *, rate_hz: float = 25.0, size_px: tuple[int, int] = (64, 48), frames: int | None = None
) -> Iterator[str]:
    """Its address; a bar wanders through its picture while the block lasts, or for `frames`: then it hangs up."""
    width_px, height_px = size_px

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            number = 0
            while not ended.is_set() and number != frames:
                image = np.random.default_rng(number).integers(90, 115, (height_px, width_px, 3), np.uint8)
                image[:, number % width_px] = 255
                jpeg = cv2.imencode(".jpg", image)[1].tobytes()
                head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
                try:
                    self.wfile.write(head + jpeg + b"\r\n")
                except OSError:
                    return
                number += 1
                time.sleep(1 / rate_hz)

        def log_message(self, *_: object) -> None:
            pass

    ended = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/video"
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()

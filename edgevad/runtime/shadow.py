"""What a running service gives to somebody who tries another bundle beside it, on the same frames.

The other one runs in a process of its own (edgevad/refit/shadow.py) and listens at a socket; here nothing of it is
loaded, so it can neither slow nor end what watches. Frames go at the model's size, those that it is too slow for are
left out and counted, and nothing ever comes back.

A message is its header's length (4 bytes, big endian), the header (JSON), the image (h*w*3 bytes) and, where the model
uses motion, that (h*w*M float32). The first message of a connection has no image and says which bundle runs here.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgevad.runtime.reader import PreparedFrame
    from edgevad.runtime.stream import Result

__all__ = ["SHADOW_SOCKET", "ShadowFeed", "socket_address"]

SHADOW_SOCKET = "shadow.sock"
# Waiting to be sent: a fifth of a second at 30 Hz. At 224 px and two motion channels that is 4 MB.
_MAX_WAITING = 6
_LOOK_S = 1.0
# A listener that takes nothing for so long is left.
_SEND_S = 2.0


class ShadowFeed:
    """Gives every frame that was scored, and what the champion said of it, to whoever listens at `folder`'s socket.

    Costs the thread that scores one comparison where nobody listens, and a queue's `put` where somebody does.

    Args:
        folder: of the socket; need not be there.
        digest: gives that of the bundle that runs here, which may change.
    """

    def __init__(self, folder: Path, digest: Callable[[], str]) -> None:
        self._digest = digest
        self._path = folder / SHADOW_SOCKET
        self._queue: SimpleQueue[tuple[dict[str, Any], npt.NDArray[np.uint8], Any] | None] = SimpleQueue()
        self._is_heard = False
        self._dropped = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="edgevad shadow", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_heard(self) -> bool:
        """Somebody listens."""
        return self._is_heard

    def push(self, prepared: PreparedFrame, result: Result) -> None:
        """Take a frame and the verdict on it; called by the thread that scores."""
        if not self._is_heard or prepared.input is None:
            return
        if self._queue.qsize() >= _MAX_WAITING:
            self._dropped += 1
            return
        frame = result.frame
        header = {
            "camera": frame.source_id,
            "segment": frame.segment,
            "index": frame.index,
            "timestamp_ns": frame.timestamp_ns,
            "score": result.anomaly_score,
            "is_anomaly": result.is_anomaly,
            "fault": result.fault,
            "dropped": self._dropped,
        }
        self._queue.put((header, prepared.input.image, prepared.input.motion))

    def close(self) -> None:
        """End the thread. May be called twice."""
        self._ending.set()
        self._queue.put(None)
        if self._thread.ident is not None:
            self._thread.join(_SEND_S + 1.0)

    def _feed(self) -> None:
        while not self._ending.wait(_LOOK_S):
            if not self._path.exists():
                continue
            # Nobody there yet, or no longer, or somebody who hangs: the next look will tell.
            with suppress(OSError):
                self._feed_one()
            self._is_heard = False
            while not self._queue.empty():
                with suppress(Empty):
                    self._queue.get_nowait()

    def _feed_one(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link, socket_address(self._path) as address:
            link.settimeout(_SEND_S)
            link.connect(address)
            self._dropped = 0
            told = self._digest()
            _send(link, {"digest": told}, None, None)
            self._is_heard = True
            while not self._ending.is_set() and self._digest() == told:
                try:
                    item = self._queue.get(timeout=_LOOK_S)
                except Empty:
                    _send(link, {"alive": True}, None, None)  # so that one who went away is noticed
                    continue
                if item is not None:
                    _send(link, *item)


def _send(link: socket.socket, header: dict[str, Any], image: npt.NDArray[np.uint8] | None, motion: Any) -> None:
    if image is not None:
        header = {**header, "image": list(image.shape), "motion": None if motion is None else list(motion.shape)}
    text = json.dumps(header).encode()
    link.sendall(len(text).to_bytes(4, "big") + text)
    for array in (image, motion):
        if array is not None:
            link.sendall(array.tobytes())


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """`path` in few enough characters for a socket's address, which holds 107: by way of the folder's handle."""
    handle = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{path.name}"
    finally:
        os.close(handle)

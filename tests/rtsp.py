"""A network camera on this machine: GStreamer's RTSP server, sending frames whose numbers can be read.

with RtspServer() as server:
    server.start((320, 240))
    source = open_source(server.url, reconnect=True)
    server.kill()
    server.start((640, 480))  # at the same address
"""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from types import TracebackType

from edgevad.sources import Image

__all__ = ["FRAMES_OF_START", "SYSTEM_PYTHON", "RtspServer", "lacking", "number_in"]

SYSTEM_PYTHON = "/usr/bin/python3"
# Each start of a server counts from a multiple of this, so that a number tells which one sent it.
FRAMES_OF_START = 1 << 16
_BITS = 32


def number_in(image: Image) -> int | None:
    """The number that a frame from `rtsp_server.py` carries; None for a frame that is none of its."""
    height_px, width_px = image.shape[:2]
    block_px = width_px // _BITS
    row = image[height_px // 2, :, 1]
    code = sum(1 << bit for bit in range(_BITS) if row[bit * block_px + block_px // 2] > 127)
    number, check = code >> 8, code & 255
    return number if check == (number * 151 + 89) % 251 else None


def lacking(modules: str) -> str | None:
    """Why the system's Python cannot run `modules` (statements that import them), None where it can."""
    if not Path(SYSTEM_PYTHON).exists():
        return f"there is no {SYSTEM_PYTHON}"
    run = subprocess.run([SYSTEM_PYTHON, "-c", modules], capture_output=True, text=True, check=False)
    return run.stderr.strip().rpartition("\n")[2] if run.returncode else None


class RtspServer:
    """A server that can be killed and started again at one address.

    Attributes:
        starts: how often it was started; start k (from 0) sends frames from number `k * FRAMES_OF_START`.
    """

    def __init__(self, *, fps_hz: int = 25) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        self._fps_hz = fps_hz
        self._process: subprocess.Popen[str] | None = None
        self.starts = 0

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self._port}/camera"

    def start(self, size_px: tuple[int, int]) -> None:
        """Serve frames of (width, height), and return when a client can connect."""
        script = Path(__file__).with_name("rtsp_server.py")
        numbers = (self._port, *size_px, self._fps_hz, self.starts * FRAMES_OF_START)
        # None of a virtual environment's packages belong to the system's Python.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._process = subprocess.Popen(
            [SYSTEM_PYTHON, str(script), *map(str, numbers)], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline().startswith("serving"):
            self.kill()
            raise RuntimeError("the RTSP server does not start")
        self.starts += 1

    def kill(self) -> None:
        """As a power failure would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

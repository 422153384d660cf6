"""GStreamer's RTSP server, sending frames whose numbers can be read from their pixels.

    /usr/bin/python3 tests/rtsp_server.py PORT WIDTH HEIGHT FPS FIRST

FIRST is the number of the first frame. Each frame carries its number and a check of it as black and white blocks, which
survive encoding: see `rtsp.number_in`. Only the system's Python has GStreamer's bindings, so this runs by itself.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import gi
import numpy as np

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

BITS = 32


def coded_frame(number: int, width_px: int, height_px: int) -> bytes:
    """A gray frame with 24 bits of its number and 8 bits of check in a row of blocks across its middle."""
    code = number << 8 | (number * 151 + 89) % 251
    frame = np.full((height_px, width_px), 128, np.uint8)
    frame[: height_px // 4] = (np.arange(width_px) + 3 * number) % 256  # something moves
    bits = [255 * (code >> bit & 1) for bit in range(BITS)]
    block_px = width_px // BITS
    frame[height_px // 3 : 2 * height_px // 3, : block_px * BITS] = np.repeat(np.array(bits, np.uint8), block_px)
    return frame.tobytes()


def main() -> None:
    port, width_px, height_px, fps_hz, first = map(int, sys.argv[1:6])
    Gst.init(None)
    number = first
    start_s = time.monotonic()

    def push(source: Any) -> bool:
        nonlocal number
        buffer = Gst.Buffer.new_wrapped(coded_frame(number, width_px, height_px))
        number += 1
        return bool(source.emit("push-buffer", buffer) == Gst.FlowReturn.OK)

    def configure(_: Any, media: Any) -> None:
        GLib.timeout_add(1000 // fps_hz, push, media.get_element().get_child_by_name("frames"))

    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    factory = GstRtspServer.RTSPMediaFactory()
    caps = f"video/x-raw,format=GRAY8,width={width_px},height={height_px},framerate={fps_hz}/1"
    factory.set_launch(
        f"( appsrc name=frames is-live=true format=time do-timestamp=true caps={caps} ! videoconvert ! "
        f"video/x-raw,format=I420 ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps_hz} bitrate=2000 "
        "! rtph264pay name=pay0 pt=96 config-interval=1 )"
    )
    factory.set_shared(True)
    factory.connect("media-configure", configure)
    server.get_mount_points().add_factory("/camera", factory)
    if not server.attach(None):
        sys.exit(f"port {port} is taken")
    print(f"serving after {time.monotonic() - start_s:.2f} s", flush=True)
    GLib.MainLoop().run()


main()

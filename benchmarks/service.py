"""The service under a systemd of its own: how long it takes to start, to stop, to come back when killed or hung, and to
use what the unit that refits has activated.

    python -m benchmarks.service [--repeats 3] [--json]      for root, on Linux with systemd

Frames come over HTTP from this process. A second systemd (_systemd_world.py) has everything of this machine's files,
none of its devices, and writes into memory. Bars: stopped within 2 s, and no promise broken.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np

from benchmarks._common import Row, add_json_option, guarded, report
from benchmarks._systemd_world import World
from edgevad.service.installing import own_command
from edgevad.spec import InputSpec
from tests.tiny import edit_manifest, write_tiny_bundle

_CONFIG = """
[run]
bundle = "/opt/edgevad-bundle"
backend = "onnxruntime"
[[camera]]
name = "front"
source = "http://127.0.0.1:{port}/front.mjpeg"
[lens]
[governor]
[events]
max_bytes = 100000000
floor_bytes = 0
[drives]
max_bytes = 200000000
floor_bytes = 0
"""
_PATH = "/etc/edgevad/edgevad.toml"
_WATCHDOG_S = 20.0


class _Camera(BaseHTTPRequestHandler):
    """A small moving picture, twenty times a second, as long as somebody looks."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        noise = np.random.default_rng(0)
        for index in range(1 << 30):
            image = noise.integers(80, 96, (48, 64, 3), dtype=np.uint8)
            image[10:30, index % 40 : index % 40 + 15] = (40, 160, 200)
            jpeg = cv2.imencode(".jpg", image)[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
            try:
                self.wfile.write(head + jpeg + b"\r\n")
            except OSError:
                return
            time.sleep(0.05)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Service:
    """The installed service, and every promise it broke."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.broken: list[str] = []

    def expect(self, good: bool, what: str) -> None:
        if not good:
            self.broken.append(what)

    def value(self, name: str) -> str:
        return self.world.call("systemctl", "show", "edgevad", "--value", "-p", name).strip()

    def said(self, text: str) -> int:
        """How many of its log lines hold `text`."""
        return self.world.call("journalctl", "-u", "edgevad", "-o", "cat", "--no-pager").count(text)

    def timed(self, *command: str) -> float:
        started_s = time.monotonic()
        self.world.call(*command)
        return time.monotonic() - started_s

    def until_back(self, pid: str, limit_s: float) -> float:
        """Seconds until another process than `pid` is ready."""
        return self.world.wait(
            lambda: self.value("ActiveState") == "active" and self.value("MainPID") not in ("0", pid),
            limit_s,
            "the service to come back",
        )


def measure(world: World, port: int, repeats: int) -> tuple[list[Row], list[str]]:
    edgevad, service = own_command(), _Service(world)
    config = _CONFIG.format(port=port)
    world.write(_PATH, config)
    world.call(*edgevad, "service", "install", "--no-start")
    figures: dict[str, list[float]] = {"start": [], "stop": [], "killed": [], "hung": []}
    for _ in range(repeats):
        figures["start"].append(service.timed("systemctl", "start", "edgevad"))
        # What `systemctl status` shows, anew every ten seconds.
        world.wait(lambda: service.value("StatusText").split(" ")[0] not in ("0", "waiting"), 60, "frames")
        ended, empty = service.said('"run ended'), service.said("run ended: 0 frames")
        figures["stop"].append(service.timed("systemctl", "stop", "edgevad"))
        service.expect(service.value("Result") == "success", "a stop is a failure")
        service.expect(service.said('"run ended') == ended + 1, "a stop does not end the run")
        service.expect(service.said("run ended: 0 frames") == empty, "no frame was scored")
        world.call("systemctl", "start", "edgevad")
        _reload(service, config)
        pid = service.value("MainPID")
        world.call("systemctl", "kill", "--signal=KILL", "--kill-who=main", "edgevad")
        figures["killed"].append(service.until_back(pid, 30))
        time.sleep(3)
        pid = service.value("MainPID")
        world.call("systemctl", "kill", "--signal=STOP", "--kill-who=main", "edgevad")
        figures["hung"].append(service.until_back(pid, 3 * _WATCHDOG_S))
        service.expect(service.said("Fatal Python error") > 0, "the journal does not show where it hung")
        world.call("systemctl", "stop", "edgevad")
    rows = _swapped(service, config)
    state = json.loads(world.call(*edgevad, "service", "status", "--json", check=False))
    service.expect(state["installed"] and not state["active"], "the state is not told")
    world.call(*edgevad, "service", "uninstall")
    service.expect(service.value("LoadState") == "not-found", "it is still installed")
    owners = world.call("find", "/var/lib/edgevad", "-not", "-user", "edgevad")
    service.expect(owners == "", "files of another user's in /var/lib/edgevad")
    rows = [
        *rows,
        Row("start, until it is ready (s)", figures["start"], "s"),
        Row("stop (s)", figures["stop"], "s", "SIGTERM to the end (s)"),
        Row("killed, until it is ready again (s)", figures["killed"], "s"),
        Row(f"hung, until it is ready again (watchdog: {_WATCHDOG_S:g} s)", figures["hung"], "s"),
        Row("broken promises", [float(len(service.broken))], "", "broken promises"),
    ]
    return rows, service.broken


def _swapped(service: _Service, config: str) -> list[Row]:
    """The unit that the timer starts activates another bundle, as its own user, while the service runs."""
    world, edgevad = service.world, own_command()
    # What it would have learnt is not what is tested here.
    activates = f"[Service]\nExecStart=\nExecStart={' '.join(edgevad)} activate /opt/edgevad-newer\n"
    world.write("/etc/systemd/system/edgevad-refit.service.d/test.conf", activates)
    world.write(_PATH, config.replace('bundle = "/opt/edgevad-bundle"\n', ""))
    world.call(*edgevad, "service", "install", "--no-start", "--refit", "weekly")
    as_user = (
        "setpriv",
        "--reuid=edgevad",
        "--regid=edgevad",
        "--clear-groups",
        "env",
        "EDGEVAD_HOME=/var/lib/edgevad",
    )
    world.call(*as_user, *edgevad, "activate", "/opt/edgevad-bundle")
    world.call("systemctl", "start", "edgevad", "edgevad-refit.timer")
    world.wait(lambda: service.value("StatusText").split(" ")[0] not in ("0", "waiting"), 60, "frames")
    pid = service.value("MainPID")
    started_s = time.monotonic()
    world.call("systemctl", "start", "edgevad-refit.service")
    activated_s = time.monotonic()
    world.wait(lambda: service.said("is in use, in place of tiny") > 0, 30, "the swap")
    in_use_s = time.monotonic()
    service.expect(service.value("MainPID") == pid, "a swap started another process")
    state = json.loads(world.call(*edgevad, "service", "status", "--json"))
    service.expect((state["refit"] or {}).get("Result") == "success", "what refits has failed")
    service.expect(bool((state["refit"] or {}).get("NextElapseUSecRealtime")), "the timer does not tell when it is due")
    shown = json.loads(world.call(*as_user, *edgevad, "slots", "--json"))
    service.expect(shown["current"]["state"] == "trial", "the new bundle is not on trial")
    world.call(*as_user, *edgevad, "rollback")
    world.wait(lambda: service.said("is in use, in place of newer") > 0, 30, "the way back")
    world.call("systemctl", "stop", "edgevad")
    return [
        Row("the unit that refits, activating a bundle (s)", [activated_s - started_s], "s"),
        Row("until the running service uses it (s)", [in_use_s - activated_s], "s"),
    ]


def _reload(service: _Service, config: str) -> None:
    """A threshold that can be used, and a file that cannot."""
    pid, loaded, refused = service.value("MainPID"), service.said('"loaded"'), service.said('"refused"')
    for text, which, before in (
        (config + "[detection]\nthreshold = 3.5\n", '"loaded"', loaded),
        (config + "colour = 1\n", '"refused"', refused),
    ):
        service.world.write(_PATH, text)
        service.world.call("systemctl", "reload", "edgevad")
        try:
            service.world.wait(lambda w=which, n=before: service.said(w) == n + 1, 10, "a reload")  # type: ignore[misc]
        except Exception as error:
            service.broken.append(str(error))
    service.expect(service.value("MainPID") == pid, "a reload started another process")
    service.world.write(_PATH, config)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(prog="benchmarks.service", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    add_json_option(parser)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, ThreadingHTTPServer(("127.0.0.1", 0), _Camera) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bundle = write_tiny_bundle(Path(folder) / "bundle", InputSpec(32, 32)).path
        (Path(folder) / "world").mkdir()
        with World(Path(folder) / "world") as world:
            for path in bundle.iterdir():
                world.copy(path, f"/opt/edgevad-bundle/{path.name}")
            edit_manifest(bundle, name="newer")
            for path in bundle.iterdir():
                world.copy(path, f"/opt/edgevad-newer/{path.name}")
            rows, broken = measure(world, server.server_port, options.repeats)
        server.shutdown()
    for line in broken:
        print(line, file=sys.stderr)
    return report("service", rows, as_json=options.json)


if __name__ == "__main__":
    sys.exit(guarded(main))

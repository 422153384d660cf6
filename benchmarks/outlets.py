"""Broker gone for a minute, webhook answering 500: is anything lost, out of order, or slowed?

A camera's results, with their frames of 960x540, and events go through the dispatcher to MQTT (a real mosquitto, killed
and started again), a webhook (a real server on loopback), Prometheus and a JSON lines sink. A subscriber whose session
the broker keeps, and the server, say what came. What a frame costs is the time the scoring thread spends in the
dispatcher.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]

from benchmarks._common import Row, add_json_option, guarded, report
from edgevad.events import Dispatcher, Event, Incident, JsonlSink, RunInfo
from edgevad.events.counters import RunSnapshot
from edgevad.events.metrics import MetricsSettings, PrometheusSink
from edgevad.events.mqtt import MqttSettings, MqttSink
from edgevad.events.webhook import SIGNATURE_HEADER, TIMESTAMP_HEADER, WebhookSettings, WebhookSink, signature
from edgevad.runtime.pipeline import Result
from edgevad.sources import Frame
from tests.broker import Broker, Listener, in_order_at_least_once, until
from tests.web_server import Server

PROMISES_BAR = "broken promises"
OVERHEAD_BAR = "a frame in the dispatcher (ms)"
SIZE_PX = (540, 960)
SECRET = "a secret"
# Longer than the longest wait between two attempts.
DRAIN_S = 60.0
RUN = RunInfo("bench", "bench", "", "none", ("front",), 4.0, True, device="bench")


@dataclass
class Outage:
    """What came of one."""

    told: int = 0
    before_s: list[float] = field(default_factory=list)
    during_s: list[float] = field(default_factory=list)
    after_s: list[float] = field(default_factory=list)
    mqtt: list[int] = field(default_factory=list)
    webhook: list[int] = field(default_factory=list)
    forged: int = 0
    results_dropped: int = 0
    events_dropped: int = 0
    drained_s: float = 0.0
    most_waiting: int = 0
    grown_mb: float = 0.0
    incidents: list[Incident] = field(default_factory=list)

    def lost(self, came: list[int]) -> int:
        """Messages told that did not come; all are numbered from 1."""
        return len(set(range(1, self.told + 1)) - set(came))


class _Camera:
    """Feeds a dispatcher at a camera's pace: a result a frame, and some events."""

    def __init__(self, dispatcher: Dispatcher, rate_hz: float, events_hz: float) -> None:
        self._dispatcher = dispatcher
        self._rate_hz = rate_hz
        self._every = max(round(rate_hz / events_hz), 2)
        self._images = [np.full((*SIZE_PX, 3), k, np.uint8) for k in range(8)]
        self._index = 0
        self.messages = 0

    def run(self, seconds: float) -> list[float]:
        """Seconds that each frame spent in the dispatcher."""
        spent_s: list[float] = []
        started_s = time.perf_counter()
        for k in range(round(seconds * self._rate_hz)):
            time.sleep(max(started_s + k / self._rate_hz - time.perf_counter(), 0.0))
            # A frame of its own, as a camera gives it, so that what waits in a queue is seen in the memory.
            frame = Frame(self._images[k % 8].copy(), self._index, time.time_ns(), "front")
            result = Result(frame, (1.0,), (1.0,), 1.0, 1.0, "detail", False, "normal", None, 0.01, None)
            before_s = time.perf_counter()
            self._dispatcher.push(result)
            place = self._index % self._every
            if place < 2:
                number = self._index // self._every + 1
                event = Event(number, 1, 2, self._index, self._index, 5.0, self._index, "detail", "front", 0)
                (self._dispatcher.event_began if place == 0 else self._dispatcher.event)(event)
                self.messages += 1
            spent_s.append(time.perf_counter() - before_s)
            self._index += 1
        return spent_s


def measure(
    folder: Path, outage_s: float, *, around_s: float = 10.0, rate_hz: float = 30.0, hurry: bool = False
) -> Outage:
    """One outage of both, with `around_s` before and after it; `hurry` shortens the waits between attempts."""
    found = Outage()
    (folder / "broker").mkdir()
    broker, server = Broker(folder / "broker"), Server([])
    listener = Listener(broker.port)
    outlets = [
        MqttSink(MqttSettings("127.0.0.1", broker.port), folder / "mqtt.db"),
        WebhookSink(WebhookSettings(f"http://127.0.0.1:{server.port}/", SECRET), folder / "webhook.db"),
    ]
    if hurry:
        for outlet in outlets:
            outlet._back_off._most_s = 0.2
    sinks = [
        *outlets,
        PrometheusSink(MetricsSettings(folder / "token", port=0), RunSnapshot),
        JsonlSink(folder / "out"),
    ]
    dispatcher = Dispatcher(sinks, lossless=False, report=found.incidents.append)
    try:
        dispatcher.start(RUN)
        camera = _Camera(dispatcher, rate_hz, events_hz=4.0)
        found.before_s = camera.run(around_s)
        memory = psutil.Process()
        resident = memory.memory_info().rss
        broker.stop(signal.SIGKILL)
        server.answer = 500
        found.during_s = camera.run(outage_s)
        found.most_waiting = max(outlet.figures()["waiting"] for outlet in outlets)
        found.grown_mb = (memory.memory_info().rss - resident) / 1e6
        broker.start()
        server.answer = 200
        back_s = time.perf_counter()
        found.after_s = camera.run(around_s)
        found.told = camera.messages
        until(lambda: not any(outlet.figures()["waiting"] for outlet in outlets), DRAIN_S)
        until(lambda: found.lost(listener.sequence()) == 0, DRAIN_S)
        found.drained_s = time.perf_counter() - back_s
        counters = dispatcher.counters().values()
        found.results_dropped = sum(one.results.dropped for one in counters)
        found.events_dropped = sum(one.notes.dropped + one.figures.get("dropped", 0) for one in counters)
    finally:
        dispatcher.close()
        listener.close()
        broker.stop()
        server.close()
    found.mqtt, found.webhook = listener.sequence(), server.sequence()
    found.forged = sum(
        headers[SIGNATURE_HEADER] != signature(SECRET, headers[TIMESTAMP_HEADER], body)
        for headers, body in server.taken
    )
    return found


def rows_of(found: Outage) -> list[Row]:
    def ms(values: list[float]) -> list[float]:
        return [1e3 * statistics.median(values)]

    def p99(values: list[float]) -> list[float]:
        return [1e3 * float(np.percentile(values, 99))]

    rows = [Row("messages told", [found.told]), Row("most that waited on the disk", [found.most_waiting])]
    for name, came in (("MQTT", found.mqtt), ("webhook", found.webhook)):
        rows += [
            Row(f"{name}: messages lost", [found.lost(came)], bar=PROMISES_BAR),
            Row(f"{name}: out of order", [int(not in_order_at_least_once(came))], bar=PROMISES_BAR),
            Row(f"{name}: delivered twice", [len(came) - len(set(came))]),
        ]
    lasting = {one.id for one in found.incidents if one.lasts} - {one.id for one in found.incidents if not one.lasts}
    return [
        *rows,
        Row("webhook: signatures that do not fit", [found.forged], bar=PROMISES_BAR),
        Row("results dropped by any sink", [found.results_dropped], bar=PROMISES_BAR),
        Row("events dropped by any sink or queue", [found.events_dropped], bar=PROMISES_BAR),
        Row("incidents that never ended", [len(lasting)], bar=PROMISES_BAR),
        Row("outages told", [len({one.id for one in found.incidents})]),
        Row("all delivered after both are back", [found.drained_s], "s"),
        Row("a frame in the dispatcher, before, median", ms(found.before_s), "ms", bar=OVERHEAD_BAR),
        Row("a frame in the dispatcher, during, median", ms(found.during_s), "ms", bar=OVERHEAD_BAR),
        Row("a frame in the dispatcher, after, median", ms(found.after_s), "ms", bar=OVERHEAD_BAR),
        Row("a frame in the dispatcher, before, p99", p99(found.before_s), "ms"),
        Row("a frame in the dispatcher, during, p99", p99(found.during_s), "ms"),
        Row("a frame in the dispatcher, after, p99", p99(found.after_s), "ms"),
        Row("resident memory, growth during the outage", [found.grown_mb], "MB", bar="resident memory, growth (MB)"),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.outlets", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--outage-s", type=float, default=60.0, help="how long both are away (default 60)")
    parser.add_argument("--rate-hz", type=float, default=30.0, help="frames a second (default 30)")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="edgevad-bench-") as folder:
        found = measure(Path(folder), options.outage_s, rate_hz=options.rate_hz)
    facts = {"outage": f"{options.outage_s:g} s", "camera": f"960x540 at {options.rate_hz:g} Hz"}
    return report("outlets", rows_of(found), as_json=options.json, facts=facts)


if __name__ == "__main__":
    sys.exit(guarded(main))

"""A run's figures in Prometheus' words; docs/outlets.md has the list."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from edgevad import __version__
from edgevad._extras import require
from edgevad.events.run_info import RunInfo

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from edgevad.events.counters import RunSnapshot

__all__ = ["RunCollector"]

_BOUNDS_S = (0.002, 0.005, 0.01, 0.02, 0.033, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)
_Labelled = Iterable[tuple[tuple[str, ...], float]]


class RunCollector:
    """Answers a scrape from a snapshot taken at that moment; what was scraped last costs the run nothing afterwards.

    Attributes:
        events: counted by camera and cause.
        incidents: counted by kind and cause.
        open_incidents: those that last, their kind by their id.
    """

    def __init__(self, run: RunInfo, snapshot: Callable[[], RunSnapshot]) -> None:
        self.events: Counter[tuple[str, str]] = Counter()
        self.incidents: Counter[tuple[str, str]] = Counter()
        self.open_incidents: dict[str, str] = {}
        self._run = run
        self._snapshot = snapshot
        core = require("prometheus_client.core", extra="metrics", needed_for="metrics")
        self._gauge_family = core.GaugeMetricFamily
        self._counter_family = core.CounterMetricFamily
        self._histogram_family = core.HistogramMetricFamily
        self._info_family = core.InfoMetricFamily

    def continues(self, run: RunInfo) -> None:
        """Another bundle is in use; what was counted goes on."""
        self._run = run

    def describe(self) -> list[Metric]:
        """Nothing: the registry need not ask for a snapshot to know the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        snapshot = self._snapshot()
        yield self._info()
        yield from self._cameras(snapshot)
        yield from self._noticed()
        yield from self._sinks(snapshot)
        yield from self._machine(snapshot)
        yield from self._drift(snapshot)

    def _cameras(self, snapshot: RunSnapshot) -> Iterator[Metric]:
        cameras = {one.source_id: one for one in snapshot.cameras}

        def each(field: str) -> _Labelled:
            return [((name,), float(getattr(one, field))) for name, one in cameras.items()]

        name = "edgevad_camera_frames"
        yield self._counter(f"{name}_captured", "Frames that left the driver", ["camera"], each("captured"))
        yield self._counter(f"{name}_scored", "Frames that were scored", ["camera"], each("scored"))
        yield self._counter(
            f"{name}_dropped", "Frames replaced by a newer one before they could be scored", ["camera"], each("dropped")
        )
        yield self._counter(f"{name}_faulty", "Frames that show nothing to judge", ["camera"], each("faulty"))
        up = [((name,), float(not one.is_lost)) for name, one in cameras.items()]
        yield self._gauge("edgevad_camera_up", "1 while the camera gives frames", ["camera"], up)
        scores = [((name,), score) for name, score in snapshot.scores.items() if score is not None]
        yield self._gauge("edgevad_anomaly_score", "Anomaly score of the latest frame", ["camera"], scores)
        yield from self._single("edgevad_threshold", "Anomaly score at which events start", snapshot.threshold)
        yield from self._single(
            "edgevad_rate_limit_hertz", "Frames a second that the governor allows each camera", snapshot.rate_hz
        )
        if snapshot.latency is not None:
            yield self._latency(snapshot)

    def _latency(self, snapshot: RunSnapshot) -> Metric:
        latency = snapshot.latency
        assert latency is not None
        counts = latency.counts_up_to([*_BOUNDS_S, math.inf])
        names = [f"{bound:g}" for bound in _BOUNDS_S] + ["+Inf"]
        family = self._histogram_family("edgevad_latency_seconds", "From the camera to the score")
        family.add_metric([], list(zip(names, counts, strict=True)), latency.total_s)
        return family  # type: ignore[no-any-return]

    def _noticed(self) -> Iterator[Metric]:
        events = [(labels, float(count)) for labels, count in list(self.events.items())]
        yield self._counter("edgevad_events", "Events that have ended", ["camera", "cause"], events)
        incidents = [(labels, float(count)) for labels, count in list(self.incidents.items())]
        yield self._counter("edgevad_incidents", "Incidents that have begun", ["kind", "cause"], incidents)
        lasting = Counter(list(self.open_incidents.values()))
        yield self._gauge(
            "edgevad_incidents_open", "Incidents that last", ["kind"], [((kind,), n) for kind, n in lasting.items()]
        )

    def _sinks(self, snapshot: RunSnapshot) -> Iterator[Metric]:
        handed, waiting, own = [], [], []
        for name, sink in snapshot.sinks.items():
            for kind, queue in (("results", sink.results), ("events", sink.notes)):
                handed += [
                    ((name, kind, "handled"), float(queue.handled)),
                    ((name, kind, "dropped"), float(queue.dropped)),
                ]
                waiting.append(((name, kind), float(queue.waiting)))
            own += [((name, figure), float(value)) for figure, value in sink.figures.items()]
        yield self._counter(
            "edgevad_sink_items", "What became of what a sink was given", ["sink", "item", "fate"], handed
        )
        yield self._gauge("edgevad_sink_queue_length", "What waits for a sink", ["sink", "item"], waiting)
        failures = [((name,), float(sink.failures)) for name, sink in snapshot.sinks.items()]
        yield self._counter("edgevad_sink_failures", "Calls of a sink that failed", ["sink"], failures)
        yield self._gauge("edgevad_sink_figure", "What a sink counts by itself", ["sink", "figure"], own)

    def _machine(self, snapshot: RunSnapshot) -> Iterator[Metric]:
        machine = snapshot.machine
        if machine is None:
            return
        yield self._gauge("edgevad_temperature_celsius", "By thermal zone", ["zone"], _by_name(machine.temperatures_c))
        yield self._gauge("edgevad_power_watts", "By rail", ["rail"], _by_name(machine.power_w))
        yield from self._single("edgevad_gpu_load_ratio", "Load of the GPU, 0 to 1", machine.gpu_load)
        for kind, value in (("used", machine.memory_used_bytes), ("total", machine.memory_total_bytes)):
            yield from self._single(f"edgevad_memory_{kind}_bytes", f"Memory of the machine, {kind}", value)

    def _drift(self, snapshot: RunSnapshot) -> Iterator[Metric]:
        drift = snapshot.drift
        if not drift:
            return
        shifts = [((camera, name), value) for camera, one in drift.items() for name, value in one.shifts.items()]
        yield self._gauge(
            "edgevad_drift_shift",
            "Chance that a frame has more of the figure than one of the calibration; 0.5: as it was",
            ["camera", "figure"],
            shifts,
        )
        advice = [((camera, one.advice.what), 1.0) for camera, one in drift.items()]
        yield self._gauge("edgevad_drift_advice", "1 for what drift calls for", ["camera", "advice"], advice)
        looks = [((camera,), float(one.looks)) for camera, one in drift.items()]
        yield self._counter("edgevad_drift_looks", "Looks for drift, with this bundle", ["camera"], looks)

    def _info(self) -> Metric:
        run = self._run
        facts = {
            "version": __version__,
            "device": run.device,
            "run_id": run.run_id,
            "bundle": run.bundle_name,
            "bundle_digest": run.bundle_digest,
            "engine": run.engine,
        }
        return self._info_family("edgevad_run", "What runs", value=facts)  # type: ignore[no-any-return]

    def _single(self, name: str, text: str, value: float | None) -> Iterator[Metric]:
        if value is not None:
            yield self._gauge(name, text, [], [((), value)])

    def _gauge(self, name: str, text: str, labels: list[str], values: _Labelled) -> Metric:
        family = self._gauge_family(name, text, labels=labels)
        for names, value in values:
            family.add_metric(names, value)
        return family  # type: ignore[no-any-return]

    def _counter(self, name: str, text: str, labels: list[str], values: _Labelled) -> Metric:
        family = self._counter_family(name, text, labels=labels)
        for names, value in values:
            family.add_metric(names, value)
        return family  # type: ignore[no-any-return]


def _by_name(values: Mapping[str, float]) -> _Labelled:
    return [((name,), value) for name, value in values.items()]

"""The sinks that a configuration asks for, kept through reloads as long as their section stays the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevad._files import output_error
from edgevad.bundle.home import home_directory
from edgevad.errors import OutputError, StoreError
from edgevad.events.event import Event
from edgevad.events.incident import Incident
from edgevad.events.run_info import RunInfo
from edgevad.events.sink import Sink
from edgevad.service.config import RunConfig
from edgevad.service.keeping import DrivesConfig, EventsConfig
from edgevad.service.outlets import MetricsConfig, MqttConfig, WebhookConfig
from edgevad.service.watching import DriftConfig, LearningConfig

if TYPE_CHECKING:
    from edgevad.events.counters import RunSnapshot
    from edgevad.refit.drift_watch import CameraDrift
    from edgevad.runtime.pipeline import Pipeline, Result
    from edgevad.runtime.session import RunSummary

__all__ = ["Deferred", "SinkSet", "drive_log", "recorder", "slow_learner"]

Snapshot = Callable[[], "RunSnapshot"]


class Deferred(Sink):
    """A sink that is made when it is started; `Dispatcher` starts it again and again until it can be.

    Two sinks must not write to one folder, and the one that goes has it until it has written everything: `Dispatcher`
    starts the new one only then. And a folder that cannot be used may be one later: a disk is plugged in, or mended.

    Args:
        failure: why it could not be made just now; None where nobody has tried.
    """

    def __init__(self, name: str, make: Callable[[], Sink], failure: OutputError | None = None) -> None:
        self.name = name
        self.failure = failure
        self._make = make
        self._sink: Sink | None = None

    @property
    def made(self) -> Sink | None:
        """What was made; None while it could not be."""
        return self._sink

    @property
    def wants_results(self) -> bool:  # type: ignore[override]
        if self._sink is None:
            return self.failure is None  # else it may take days, and frames would lie in memory
        return self._sink.wants_results

    def figures(self) -> Mapping[str, int]:
        return {} if self._sink is None else self._sink.figures()

    def start(self, run: RunInfo) -> None:
        if self._sink is None:
            made = _made(self._make)
            if isinstance(made, OutputError):
                self.failure = made
                raise made
            made.on_incident = self.on_incident
            self._sink, self.failure = made, None
        self._sink.start(run)

    def continues(self, run: RunInfo) -> None:
        if self._sink is not None:
            self._sink.continues(run)

    def push(self, result: Result) -> None:
        if self._sink is not None:
            self._sink.push(result)

    def event_began(self, event: Event) -> None:
        if self._sink is not None:
            self._sink.event_began(event)

    def event(self, event: Event) -> None:
        if self._sink is not None:
            self._sink.event(event)

    def incident(self, incident: Incident) -> None:
        if self._sink is not None:
            self._sink.incident(incident)

    def finish(self, summary: RunSummary) -> None:
        if self._sink is not None:
            self._sink.finish(summary)

    def close(self) -> None:
        if self._sink is not None:
            self._sink.close()

    def abandon(self) -> None:
        if self._sink is not None:
            self._sink.abandon()


class SinkSet:
    """Makes a configuration's sinks, and after a reload only those whose settings have changed.

    Args:
        snapshot: how the run is doing, for those who ask (metrics).
        pipeline: what scores, for those who change it (learning); asked for once the run has begun.
    """

    def __init__(self, snapshot: Snapshot, pipeline: Callable[[], Pipeline]) -> None:
        self._snapshot = snapshot
        self._pipeline = pipeline
        self._made: dict[tuple[str, Any], Sink] = {}

    def of(self, config: RunConfig, *, starting: bool = False) -> list[Sink]:
        """The sinks of `config`, made at once, so that what cannot work is told now.

        Only one whose folder another one still has is made later, when `Dispatcher` starts it; when the run is
        `starting`, one whose folder cannot be used as well: a broken disk must not keep a vehicle from being watched.

        Raises:
            EdgevadError: a sink cannot be made of its settings, a package is missing, or a folder cannot be used.
        """
        sinks: dict[tuple[str, Any], Sink] = {}
        taken = [(name, _folder(settings)) for name, settings in self._made]
        try:
            for name, settings, make in self._asked(config):
                key = (name, settings)
                if key in self._made:
                    sinks[key] = self._made[key]
                elif (name, _folder(settings)) in taken:
                    sinks[key] = Deferred(name, make)
                elif not isinstance(made := _made(make), OutputError):
                    sinks[key] = made
                elif starting:
                    sinks[key] = Deferred(name, make, made)
                else:
                    raise made
        except BaseException:
            for key, sink in sinks.items():
                if key not in self._made:
                    sink.abandon()
            raise
        self._made = sinks
        return list(sinks.values())

    def drift(self) -> Mapping[str, CameraDrift]:
        """What the watch for drift last showed of each camera; nothing where there is none. Safe in any thread."""
        from edgevad.refit.drift_watch import DriftWatch

        made = [sink.made if isinstance(sink, Deferred) else sink for sink in list(self._made.values())]
        watch = next((sink for sink in made if isinstance(sink, DriftWatch)), None)
        return {} if watch is None else watch.latest()

    def _asked(self, config: RunConfig) -> Iterator[tuple[str, Any, Callable[[], Sink]]]:
        """Name, settings and maker of each sink."""
        if (events := config.events) is not None:
            yield "event store", events, partial(recorder, events)
        if (drives := config.drives) is not None:
            yield "drive log", drives, partial(drive_log, drives)
        if (drift := config.drift) is not None:
            yield "drift", drift, partial(_drift_watch, drift)
        if (learning := config.learning) is not None:
            yield "learning", learning, partial(slow_learner, learning, self._pipeline)
        if (mqtt := config.mqtt) is not None:
            yield "mqtt", mqtt, partial(_mqtt, mqtt)
        for webhook in config.webhooks:
            yield "webhook", webhook, partial(_webhook, webhook)
        if (metrics := config.metrics) is not None:
            yield "metrics", metrics, partial(_metrics, metrics, self._snapshot)
        for name, settings in config.plugins.items():
            yield name, repr(settings), partial(_plugin, name, settings)


def _made(make: Callable[[], Sink]) -> Sink | OutputError:
    """What `make` makes, or why the disk does not let it; settings that cannot be used are raised."""
    try:
        return make()
    except OutputError as error:
        return error
    except StoreError as error:  # for whoever is told it is the same: nothing is recorded
        return OutputError(error.what, where=error.where, expected=error.expected, fix=error.fix)
    except OSError as error:
        return output_error(error, error.filename or "the folder")


def _folder(settings: Any) -> Path | None:
    """Where a sink of these settings writes, as far as they say so."""
    return getattr(settings, "dir", None)


def recorder(config: EventsConfig) -> Sink:
    """Raises what `Recorder` does."""
    from edgevad.events.recorder import Recorder
    from edgevad.events.recorder_spec import RecorderSpec
    from edgevad.events.retention import MediaRetention

    return Recorder(config.dir, config.build(RecorderSpec, retention=config.build(MediaRetention)))


def drive_log(config: DrivesConfig) -> Sink:
    """Raises what `DriveLog` does."""
    from edgevad.drives.log import DriveLog
    from edgevad.drives.policy import LegRetention, LogPolicy

    directory = home_directory() / "drives" if config.dir is None else config.dir
    return DriveLog(directory, config.build(LogPolicy), config.build(LegRetention))


def _drift_watch(config: DriftConfig) -> Sink:
    from edgevad.refit.drift_watch import DriftWatch, WatchSpec
    from edgevad.refit.place import RefitHome

    return DriftWatch(RefitHome.of_device().drift, config.build(WatchSpec))


def slow_learner(config: LearningConfig, pipeline: Callable[[], Pipeline]) -> Sink:
    from edgevad.refit.slow_learner import SlowLearner, SlowSpec

    return SlowLearner(pipeline, config.build(SlowSpec))


def _mqtt(config: MqttConfig) -> Sink:
    from edgevad.events.mqtt import MqttSink
    from edgevad.events.mqtt_link import MqttSettings

    return MqttSink(config.build(MqttSettings, password=config.secret()), _outbox("mqtt"))


def _webhook(config: WebhookConfig) -> Sink:
    from edgevad.events.webhook import WebhookSettings, WebhookSink

    # By its address: what waits for one server must never go to another one.
    digest = hashlib.sha256(config.url.encode()).hexdigest()[:12]
    return WebhookSink(config.build(WebhookSettings, secret=config.secret()), _outbox(f"webhook-{digest}"))


def _metrics(config: MetricsConfig, snapshot: Snapshot) -> Sink:
    from edgevad.events.metrics import MetricsSettings, PrometheusSink

    token_file = home_directory() / "metrics.token" if config.token_file is None else config.token_file
    return PrometheusSink(config.build(MetricsSettings, token_file=token_file), snapshot)


def _plugin(name: str, settings: Any) -> Sink:
    from edgevad.events.plugins import open_plugin

    return open_plugin(name, settings)


def _outbox(name: str) -> Path:
    """Where messages wait that are not delivered yet."""
    return home_directory() / "outbox" / f"{name}.sqlite"

"""`edgevad run --config`: everything that a configuration file asks for, put together and kept running."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from os import PathLike

from edgevad.bundle import Bundle, Manifest, active_bundle
from edgevad.errors import ConfigError, EdgevadError
from edgevad.events.dispatch import Dispatcher
from edgevad.events.incident import Incident
from edgevad.events.sink import Sink
from edgevad.refit.idle import DrivingMark
from edgevad.refit.place import RefitHome
from edgevad.runtime.governor import Governor
from edgevad.runtime.lens import LensSpec
from edgevad.runtime.machine_watch import MachineWatch
from edgevad.runtime.pipeline import Pipeline, Result
from edgevad.runtime.reader import PreparedFrame
from edgevad.runtime.scorer import Scorer
from edgevad.runtime.session import RunSummary, run_session
from edgevad.runtime.shadow import ShadowFeed
from edgevad.runtime.threshold import Hysteresis
from edgevad.runtime.trial import TrialSpec
from edgevad.service.champion import Champion
from edgevad.service.config import RunConfig, load_config
from edgevad.service.logs import LogSink, configure_logging, log_uncaught
from edgevad.service.meter import RunMeter
from edgevad.service.notify import Notifier, Watchdog
from edgevad.service.sections import CameraConfig, DetectionConfig, is_recording
from edgevad.service.signals import noting_hangups, obeying_signals
from edgevad.service.sinks import Deferred, SinkSet
from edgevad.sources import open_source
from edgevad.sources.source import Source
from edgevad.targets import Target

__all__ = ["ServiceRun", "calibrated", "run_service"]

_log = logging.getLogger("edgevad.service")

# Of one step of building an engine; systemd is told anew at every step.
_BUILD_STEP_S = 300.0
_STATUS_EVERY_S = 10.0
# Of the two seconds from SIGTERM to the end; the rest is for cameras whose driver hangs.
_CLOSE_S = 1.2


def run_service(path: str | PathLike[str], *, max_frames: int | None = None, views: Sequence[Sink] = ()) -> RunSummary:
    """Run what the configuration at `path` asks for, until SIGTERM or Ctrl-C; SIGHUP loads it anew.

    Cameras that are not there are waited for. `views` are fed as well, in the thread that scores. Call it in the main
    thread: it takes the signals.

    Raises:
        ConfigError: the file holds what cannot be used.
        EdgevadError: the bundle cannot be run, or a sink cannot be made of its settings. Where only its folder cannot
            be used, cameras are watched all the same, that is told as an incident, and the sink is tried again.
    """
    with noting_hangups() as was_asked:
        config = load_config(path)
        configure_logging(level=config.logging.level, format=config.logging.format, repeat_s=config.logging.repeat_s)
        log_uncaught()
        with ServiceRun(config, views=views) as service, obeying_signals(service.stop, service.reload_soon):
            if was_asked():  # while the engine was built
                service.reload_soon()
            return service.run(max_frames=max_frames)


class ServiceRun:
    """One configuration, running; a context manager that closes everything it opened.

    Attributes:
        config: the settings in force.
        pipeline: what scores.
    """

    def __init__(self, config: RunConfig, *, views: Sequence[Sink] = (), notifier: Notifier | None = None) -> None:
        self.config = config
        self._started = config  # what takes a restart is as it says here
        self._views = views
        self._notifier = Notifier() if notifier is None else notifier
        self._watchdog = Watchdog(self._notifier)
        self._meter = RunMeter()
        self._sinks = SinkSet(self._meter.snapshot, lambda: self.pipeline)
        self._status_s = 0.0
        self._reloading = threading.Lock()
        with ExitStack() as stack:
            # Before the engine, which may take minutes to build: what the file asks for in vain is told at once.
            sinks = self._sinks.of(config, starting=True)
            for sink in sinks:
                stack.callback(sink.abandon)
            # A recording's frames all belong to one bundle, and a bundle that is named stays the one.
            is_followed = config.run.bundle is None and not any(is_recording(one.source) for one in config.cameras)
            self._champion: Champion | None = None
            if is_followed:
                self._champion = Champion(self._opened_scorer, self._adjusted, self._reloading, self._trial_spec)
                stack.push(self._champion)
            else:
                path = active_bundle() if config.run.bundle is None else config.run.bundle
                self._named = stack.enter_context(self._opened_scorer(Bundle.open(path)))
            scorer = calibrated(self._scorer, config.detection)
            cameras = [stack.enter_context(open_camera(camera)) for camera in config.cameras]
            if len({camera.is_live for camera in cameras}) > 1:
                raise ConfigError(
                    "[[camera]]: cameras and recordings together",
                    where=config.path,
                    expected="either",
                    fix="A camera never ends, and a recording beside it does: run them apart",
                )
            self.pipeline = Pipeline(
                scorer,
                cameras,
                hysteresis=config.detection.hysteresis(scorer.calibration.threshold),
                lens=None if config.lens is None else config.lens.build(LensSpec),
                governor=self._governor(self._manifest.device()),
                heartbeat=self._beat,
            )
            is_lossless = not self.pipeline.is_live
            failure = next((sink.failure for sink in sinks if isinstance(sink, Deferred) and sink.failure), None)
            if is_lossless and failure is not None:
                raise failure  # nothing is missed on a road: better now than in an hour
            self._log_sink = LogSink()
            self._dispatcher = Dispatcher(
                [self._log_sink, *sinks],
                lossless=is_lossless,
                report=self.pipeline.report,
                close_s=None if is_lossless else _CLOSE_S,
            )
            self._machine = MachineWatch(on_reading=self.pipeline.machine)
            self._meter.pipeline, self._meter.dispatcher = self.pipeline, self._dispatcher
            self._meter.machine, self._meter.drift = self._machine, self._sinks.drift
            refit = RefitHome.of_device()
            self._shadow = ShadowFeed(refit.path, lambda: self.pipeline.scorer.digest)
            self._driving = DrivingMark(refit.path)
            self.pipeline.on_scored = self._on_scored
            stack.pop_all()
        self._stack = ExitStack()
        self._stack.push(self._named if self._champion is None else self._champion)
        self._stack.callback(self._machine.close)
        self._stack.callback(self._shadow.close)
        self._stack.enter_context(self._dispatcher)
        self._stack.enter_context(self.pipeline)

    def __enter__(self) -> ServiceRun:
        return self

    def __exit__(self, *problem: object) -> None:
        self._notifier.stopping()
        self._stack.__exit__(*problem)  # type: ignore[arg-type]

    def run(self, *, max_frames: int | None = None) -> RunSummary:
        """Until `stop`, or for `max_frames`."""
        self._machine.start()
        self._shadow.start()
        if self._champion is not None:
            self._champion.attach(self.pipeline)
        self._notifier.ready(f"waiting for frames of {len(self.config.cameras)} cameras")
        detection = self.config.detection
        calibration = self.pipeline.scorer.calibration
        return run_session(
            self.pipeline,
            [self._meter, *([] if self._champion is None else [self._champion]), self._dispatcher, *self._views],
            sources=[source.name for source in self.pipeline.sources],
            alarms_per_hour=None if detection.threshold is not None else calibration.alarms_per_hour,
            device=self.config.run.device,
            max_frames=max_frames,
        )

    def stop(self) -> None:
        """End the run at its next frame. Safe in a signal handler."""
        self.pipeline.stop()

    def reload_soon(self) -> None:
        """Load the configuration anew, in a thread of its own, while frames go on. Safe in a signal handler."""
        threading.Thread(target=self.reload, name="edgevad reload", daemon=True).start()

    def reload(self) -> None:
        """Load the configuration anew: threshold, window and sinks change between two frames, and none is lost.

        What cannot be loaded is told as an incident, and the settings stay as they were.
        """
        with self._reloading:
            self._notifier.reloading()
            if self._champion is not None:
                self._champion.look()
            try:
                newer = load_config(self.config.path)
                opened = self._scorer
                scorer = calibrated(opened, newer.detection)
                hysteresis = newer.detection.hysteresis(scorer.calibration.threshold)
                sinks = self._sinks.of(newer)
            except Exception as error:  # whatever it is, the vehicle goes on as before
                if not isinstance(error, EdgevadError):
                    _log.exception("the settings cannot be loaded")
                self.pipeline.report(Incident.once("config", "refused", f"the settings stay as they were: {error}"))
                self._notifier.ready()
                return
            swapped = threading.Event()
            self.pipeline.call(lambda: self._swap(newer, opened, scorer, hysteresis, sinks, swapped))
            while not (swapped.wait(1.0) or self.pipeline.is_over):
                pass
            self._notifier.ready()

    def _swap(
        self,
        newer: RunConfig,
        opened: Scorer,
        scorer: Scorer,
        hysteresis: Hysteresis,
        sinks: list[Sink],
        swapped: threading.Event,
    ) -> None:
        if opened is not self._scorer:  # an engine failed meanwhile, and the bundle before is in use again
            scorer = calibrated(self._scorer, newer.detection)
            hysteresis = newer.detection.hysteresis(scorer.calibration.threshold)
        restart = self._started.needs_restart(newer)
        later = f"; {', '.join(restart)} changed as well, which takes a restart" if restart else ""
        self.pipeline.apply(scorer.calibration, hysteresis)
        self._dispatcher.replace([self._log_sink, *sinks])
        logs = newer.logging
        configure_logging(level=logs.level, format=logs.format, repeat_s=logs.repeat_s)
        self.config = newer
        self.pipeline.report(
            Incident.once("config", "loaded", f"settings loaded anew: threshold {hysteresis.threshold:.2f}{later}")
        )
        swapped.set()

    @property
    def _scorer(self) -> Scorer:
        """What is in use, as it was opened."""
        return self._named if self._champion is None else self._champion.scorer

    def _adjusted(self, scorer: Scorer) -> tuple[Scorer, Hysteresis]:
        """`scorer` as the settings in force ask for it, and when events start."""
        adjusted = calibrated(scorer, self.config.detection)
        return adjusted, self.config.detection.hysteresis(adjusted.calibration.threshold)

    def _trial_spec(self, manifest: Manifest | None) -> TrialSpec:
        detection = self.config.detection
        budget = detection.alarms_per_hour
        if budget is None and manifest is not None and detection.threshold is None:
            budget = manifest.calibration.alarms_per_hour
        return self.config.trial.spec(manifest, budget)

    def _opened_scorer(self, bundle: Bundle) -> Scorer:
        run = self.config.run

        def on_build(step: object) -> None:
            self._notifier.extend_timeout(_BUILD_STEP_S)
            self._notifier.status("building the engine")

        scorer = Scorer.from_bundle(bundle, backend=run.backend, threads=run.threads, on_build=on_build)
        self._manifest = bundle.manifest
        return scorer

    def _governor(self, target: Target) -> Governor | None:
        section = self.config.governor
        if section is None:
            return None
        rates = [camera.fps_hz for camera in self.config.cameras]
        known = [rate for rate in rates if rate is not None]
        fastest = max(known) if len(known) == len(rates) else None
        return Governor(section.spec(target), fastest)

    def _on_scored(self, prepared: PreparedFrame, result: Result) -> None:
        """For those who bring the model up to date: the vehicle drives; and the frame, where a challenger is tried."""
        if self.pipeline.is_live:
            self._driving.frames_came()
        self._shadow.push(prepared, result)

    def _beat(self) -> None:
        self._meter.beat()
        self._watchdog.beat()
        now_s = time.monotonic()
        if now_s - self._status_s >= _STATUS_EVERY_S:
            self._status_s = now_s
            self._notifier.status(self._meter.line())


def open_camera(camera: CameraConfig) -> Source:
    """Raises what `open_source` does, but for a camera that is not there: that is waited for."""
    return open_source(
        camera.address(),
        fps_hz=camera.fps_hz,
        gap_s=camera.gap_s,
        timeout_s=camera.timeout_s,
        stale_s=camera.stale_s,
        reconnect=camera.reconnect,
        wait=camera.reconnect,
        name=camera.name,
    )


def calibrated(scorer: Scorer, detection: DetectionConfig) -> Scorer:
    """`scorer` with the window, budget or threshold that the section asks for."""
    return scorer.adjusted(
        window=detection.window,
        window_s=detection.window_s,
        alarms_per_hour=detection.alarms_per_hour,
        threshold=detection.threshold,
    )

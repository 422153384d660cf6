"""A run without a configuration file: `edgevad run --camera 0 --events DIR`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from edgevad.errors import OptionError
from edgevad.events.dispatch import Dispatcher
from edgevad.events.jsonl import JsonlSink
from edgevad.events.sink import Sink
from edgevad.report.run_view import LinesView, LiveView
from edgevad.runtime.lens import LensSpec
from edgevad.runtime.pipeline import Pipeline
from edgevad.runtime.scorer import Scorer
from edgevad.service.keeping import DrivesConfig, EventsConfig
from edgevad.service.sections import DetectionConfig
from edgevad.service.sinks import drive_log, recorder, slow_learner
from edgevad.service.watching import LearningConfig
from edgevad.sources.source import Source

__all__ = ["RunOutputs", "open_outputs", "pipeline_of"]

# Sources of mixed or unknown rate play at that of most cars' recorders.
_PLAYED_HZ = 20.0


@dataclass(frozen=True)
class RunOutputs:
    """Where the results of a run go; None or False: not there.

    Attributes:
        out: folder for JSON lines.
        log: folder to log drives to.
        events: folder to record events to.
        save: annotated video.
        learn: remember what is normal on the road, slowly.
        show: a window.
        quiet: nothing on the terminal.
    """

    out: Path | None = None
    log: Path | None = None
    events: Path | None = None
    save: Path | None = None
    learn: bool = False
    show: bool = False
    quiet: bool = False


def pipeline_of(scorer: Scorer, sources: Sequence[Source]) -> Pipeline:
    """Cameras are asked whether their lens shows anything, and given time to find their exposure."""
    if not sources[0].is_live:
        return Pipeline(scorer, sources)
    hysteresis = DetectionConfig().hysteresis(scorer.calibration.threshold)
    return Pipeline(scorer, sources, hysteresis=hysteresis, lens=LensSpec())


def open_outputs(stack: ExitStack, pipeline: Pipeline, outputs: RunOutputs) -> list[Sink]:
    """The sinks of a run; `stack` closes them. What takes long gets a thread of its own.

    Raises:
        OptionError: the recording that is scored would be written over.
        EdgevadError: a sink cannot be opened; those that were are closed.
    """
    with ExitStack() as made:
        sinks = _opened(made, pipeline, outputs)
        if pipeline.is_live or outputs.learn or outputs.log is not None or outputs.events is not None:
            # It closes them itself, and waits no longer than it says for one that hangs.
            made.pop_all()
            sinks = [Dispatcher(sinks, lossless=not pipeline.is_live, report=pipeline.report)]
            stack.enter_context(sinks[0])
        else:
            stack.push(made.pop_all())
    # What is drawn is drawn in the main thread.
    threshold = pipeline.hysteresis.threshold
    if outputs.show:
        from edgevad.report.annotated_video import WindowSink
        from edgevad.report.overlay import Annotator

        sinks.append(stack.enter_context(WindowSink(Annotator(threshold), pipeline.stop)))
    if not outputs.quiet:
        console = Console(stderr=True)
        view = LiveView if console.is_terminal else LinesView
        sinks.append(stack.enter_context(view(console, pipeline.sources, threshold)))
    return sinks


def _opened(made: ExitStack, pipeline: Pipeline, outputs: RunOutputs) -> list[Sink]:
    sinks: list[Sink] = []
    if outputs.save is not None:
        from edgevad.report.annotated_video import VideoSink
        from edgevad.report.overlay import Annotator

        if any(source.reads(outputs.save) for source in pipeline.sources):
            raise OptionError("the recording to be scored", where=outputs.save, fix="Choose another name for --save")
        if len(pipeline.sources) > 1:
            raise OptionError("--save takes one camera", where=outputs.save, fix="--events keeps clips of all of them")
        fps_hz = pipeline.sources[0].fps_hint_hz or _PLAYED_HZ
        annotator = Annotator(pipeline.hysteresis.threshold)
        sinks.append(made.enter_context(VideoSink(outputs.save, annotator, fps_hz=fps_hz)))
    if outputs.events is not None:
        sinks.append(made.enter_context(recorder(EventsConfig(dir=outputs.events))))
    if outputs.log is not None:
        sinks.append(made.enter_context(drive_log(DrivesConfig(dir=outputs.log))))
    if outputs.learn:
        sinks.append(made.enter_context(slow_learner(LearningConfig(), lambda: pipeline)))
    if outputs.out is not None:
        # After those that refuse more: it replaces the results of an earlier run at once.
        sinks.append(made.enter_context(JsonlSink(outputs.out)))
    return sinks

"""edgevad run: score a camera or recordings with a bundle, frame by frame."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from edgevad.cli._options import (
    BackendName,
    FpsHz,
    IncludeDeleted,
    NewAlarmsPerHour,
    NewThreshold,
    NewWindow,
    NewWindowLength,
    recalibrated,
)

if TYPE_CHECKING:
    from edgevad.events.sink import Sink
    from edgevad.runtime.pipeline import Pipeline
    from edgevad.runtime.session import RunSummary

__all__ = ["register"]

# ruff: noqa: UP045 - typer on Python 3.10 reads Optional at run time


def register(app: typer.Typer) -> None:
    """Add `run` to the application."""
    app.command("run")(run)


def run(
    camera: Annotated[Optional[str], typer.Option(help="Camera: index or /dev/videoN.", show_default=False)] = None,
    source: Annotated[
        Optional[list[str]],
        typer.Option(
            "--source", help="rtsp://, video, images, folder, glob, tub …; give it again for more.", show_default=False
        ),
    ] = None,
    bundle: Annotated[
        Optional[Path],
        typer.Option(help="Folder or .edgevad file made by edgevad export.", show_default="the active one"),
    ] = None,
    out: Annotated[
        Optional[Path], typer.Option(help="Folder for frames.jsonl, events.jsonl, summary.json.", show_default=False)
    ] = None,
    save: Annotated[Optional[Path], typer.Option(help="Annotated video to write (.mp4).", show_default=False)] = None,
    show: Annotated[bool, typer.Option("--show", help="Show annotated frames in a window; q quits.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
    window: NewWindow = None,
    window_s: NewWindowLength = None,
    alarms_per_hour: NewAlarmsPerHour = None,
    threshold: NewThreshold = None,
    backend: BackendName = None,
    threads: Annotated[Optional[int], typer.Option(help="Threads of one inference.", show_default="1")] = None,
    max_frames: Annotated[
        Optional[int], typer.Option(min=1, help="Stop after this many frames.", show_default=False)
    ] = None,
    fps_hz: FpsHz = None,
    include_deleted: IncludeDeleted = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Nothing on the terminal while running.")] = False,
) -> None:
    """Score a camera or recordings frame by frame; say when something is out of the ordinary."""
    from edgevad._allocator import keep_freed_memory
    from edgevad.bundle import active_bundle
    from edgevad.errors import OptionError
    from edgevad.report.build_progress import build_progress
    from edgevad.runtime.pipeline import Pipeline
    from edgevad.runtime.scorer import Scorer
    from edgevad.runtime.session import run_session
    from edgevad.sources import open_source
    from edgevad.sources.source import printable

    keep_freed_memory()  # frames are freed and needed again all the time
    sources = list(source or [])
    if (camera is None) == (not sources):
        raise OptionError("exactly one of --camera and --source is needed", fix="For example: edgevad run --camera 0")
    with ExitStack() as stack:
        chosen = active_bundle() if bundle is None else bundle
        with build_progress(quiet=quiet) as on_build:
            opened_scorer = Scorer.from_bundle(chosen, backend=backend, threads=threads, on_build=on_build)
            scorer = stack.enter_context(opened_scorer)
        scorer = recalibrated(scorer, window, window_s, alarms_per_hour, threshold)
        # One source is passed as it is: a list of one is a chain, and a camera cannot be in a chain.
        spec = camera if camera is not None else sources[0] if len(sources) == 1 else sources
        opened = stack.enter_context(open_source(spec, fps_hz=fps_hz, include_deleted=include_deleted))
        if save is not None and opened.reads(save):
            raise OptionError("the recording to be scored", where=save, fix="Choose another name for --save")
        pipeline = stack.enter_context(Pipeline(scorer, opened))
        sinks = _open_sinks(stack, pipeline, out, save, show, quiet)
        with _stop_on_signal(pipeline):
            summary = run_session(
                pipeline,
                sinks,
                # The address of a stream holds its password; its name does not.
                sources=[opened.name] if opened.is_live else [printable(name) for name in sources or [str(camera)]],
                alarms_per_hour=None if threshold is not None else scorer.calibration.alarms_per_hour,
                max_frames=max_frames,
            )
    _report(summary, _written(summary, out, save), json_output)
    if summary.interrupted and not opened.is_live:
        raise typer.Exit(130)


def _open_sinks(
    stack: ExitStack, pipeline: Pipeline, out: Path | None, save: Path | None, show: bool, quiet: bool
) -> list[Sink]:
    """What this run feeds; `stack` closes each of them."""
    from rich.console import Console

    from edgevad.events.jsonl import JsonlSink
    from edgevad.report.run_view import LinesView, LiveView

    sources = pipeline.sources
    threshold = pipeline.hysteresis.threshold
    sinks: list[Sink] = []
    if save is not None or show:
        from edgevad.report.annotated_video import VideoSink, WindowSink
        from edgevad.report.overlay import Annotator

        annotator = Annotator(threshold)
        if save is not None:
            # Sources of mixed or unknown rate play at that of most cars' recorders.
            sinks.append(stack.enter_context(VideoSink(save, annotator, fps_hz=sources[0].fps_hint_hz or 20.0)))
        if show:
            annotator = Annotator(threshold)
            sinks.append(stack.enter_context(WindowSink(annotator, pipeline.stop)))
    if out is not None:
        # After those that refuse more: it replaces the results of an earlier run at once.
        sinks.append(stack.enter_context(JsonlSink(out)))
    if not quiet:
        console = Console(stderr=True)
        sinks.append(stack.enter_context((LiveView if console.is_terminal else LinesView)(console, sources, threshold)))
    return sinks


@contextmanager
def _stop_on_signal(pipeline: Pipeline) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the run cleanly; a second one ends it at once."""

    def stop(number: int, stack: Any) -> None:
        signal.signal(number, signal.default_int_handler)
        pipeline.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _written(summary: RunSummary, out: Path | None, save: Path | None) -> list[str]:
    from edgevad.events.jsonl import EVENTS_NAME, FRAMES_NAME, INCIDENTS_NAME, SUMMARY_NAME

    files: list[str] = []
    if out is not None:
        files += [str(out / name) for name in (FRAMES_NAME, EVENTS_NAME, INCIDENTS_NAME, SUMMARY_NAME)]
    if save is not None and summary.frames:
        files.append(str(save))
    return files


def _report(summary: RunSummary, files: list[str], json_output: bool) -> None:
    if json_output:
        print(json.dumps({**summary.to_json(), "files": files}))
        return
    from rich.console import Console

    from edgevad.report.run_view import summary_table

    Console().print(summary_table(summary, files))

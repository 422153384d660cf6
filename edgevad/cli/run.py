"""edgevad run: score a camera or recordings with a bundle, frame by frame."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edgevad.cli._options import (
    BackendName,
    FpsHz,
    IncludeDeleted,
    NewAlarmsPerHour,
    NewThreshold,
    NewWindow,
    NewWindowLength,
)

if TYPE_CHECKING:
    from edgevad.runtime.scorer import Scorer
    from edgevad.runtime.session import RunSummary
    from edgevad.service.adhoc import RunOutputs

__all__ = ["register"]

# ruff: noqa: UP045 - typer on Python 3.10 reads Optional at run time


def register(app: typer.Typer) -> None:
    """Add `run` to the application."""
    app.command("run")(run)


def run(
    camera: Annotated[
        Optional[list[str]],
        typer.Option(help="Camera: index, /dev/videoN, csi://, rtsp://; give it again for more.", show_default=False),
    ] = None,
    source: Annotated[
        Optional[list[str]],
        typer.Option(
            "--source",
            help="Video, images, folder, glob, tub, drive …, or a camera; again for more.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Optional[Path],
        typer.Option(
            help="Configuration of a vehicle (edgevad config example); most else stands there.", show_default=False
        ),
    ] = None,
    bundle: Annotated[
        Optional[Path],
        typer.Option(help="Folder or .edgevad file made by edgevad export.", show_default="the active one"),
    ] = None,
    out: Annotated[
        Optional[Path], typer.Option(help="Folder for results as JSON lines, and summary.json.", show_default=False)
    ] = None,
    log: Annotated[
        Optional[Path], typer.Option(help="Folder to log drives to (MCAP), see edgevad drives.", show_default=False)
    ] = None,
    events: Annotated[
        Optional[Path], typer.Option(help="Folder to record events to, see edgevad events.", show_default=False)
    ] = None,
    save: Annotated[Optional[Path], typer.Option(help="Annotated video to write (.mp4).", show_default=False)] = None,
    learn_slowly: Annotated[
        bool, typer.Option("--learn-slowly", help="Remember what is normal on the road, a little at a time.")
    ] = False,
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
    """Score cameras or recordings frame by frame; say when something is out of the ordinary."""
    from edgevad._allocator import keep_freed_memory
    from edgevad.errors import OptionError
    from edgevad.runtime.session import run_session
    from edgevad.service.adhoc import RunOutputs, open_outputs, pipeline_of
    from edgevad.service.signals import obeying_signals
    from edgevad.sources import open_sources
    from edgevad.sources.source import printable

    keep_freed_memory()  # frames are freed and needed again all the time
    named = [*(camera or []), *(source or [])]
    if config is not None:
        elsewhere = {
            "--camera or --source": named,
            "--bundle": bundle,
            "--out": out,
            "--log": log,
            "--events": events,
            "--save": save,
            "--learn-slowly": learn_slowly,
            "--show": show,
            "--window": window,
            "--window-s": window_s,
            "--alarms-per-hour": alarms_per_hour,
            "--threshold": threshold,
            "--backend": backend,
            "--threads": threads,
            "--fps": fps_hz,
            "--include-deleted": include_deleted,
        }
        # A threshold of 0 is one; it is equal to False.
        if given := [
            name for name, value in elsewhere.items() if value is not None and value is not False and value != []
        ]:
            raise OptionError(f"{given[0]} beside --config", fix="Put it into the configuration, or leave --config out")
        _run_config(config, max_frames=max_frames, json_output=json_output)
        return
    if not named:
        raise OptionError("nothing to score is named", fix="For example: edgevad run --camera 0")
    outputs = RunOutputs(out=out, log=log, events=events, save=save, learn=learn_slowly, show=show, quiet=quiet)
    with ExitStack() as stack:
        scorer = stack.enter_context(_opened_scorer(bundle, backend, threads, quiet=quiet))
        scorer = scorer.adjusted(window=window, window_s=window_s, alarms_per_hour=alarms_per_hour, threshold=threshold)
        sources = open_sources(named, fps_hz=fps_hz, include_deleted=include_deleted, reconnect=True)
        for opened in sources:
            stack.enter_context(opened)
        pipeline = stack.enter_context(pipeline_of(scorer, sources))
        sinks = open_outputs(stack, pipeline, outputs)
        with obeying_signals(pipeline.stop):
            summary = run_session(
                pipeline,
                sinks,
                # The address of a stream holds its password; its name does not.
                sources=[one.name for one in sources] if pipeline.is_live else [printable(name) for name in named],
                alarms_per_hour=None if threshold is not None else scorer.calibration.alarms_per_hour,
                max_frames=max_frames,
            )
    _report(summary, _written(summary, outputs), json_output)
    if summary.interrupted and not pipeline.is_live:
        raise typer.Exit(130)


def _run_config(config: Path, *, max_frames: int | None, json_output: bool) -> None:
    from edgevad.service.running import run_service

    summary = run_service(config, max_frames=max_frames)
    if json_output:
        print(json.dumps({**summary.to_json(), "files": []}))


def _opened_scorer(bundle: Path | None, backend: str | None, threads: int | None, *, quiet: bool) -> Scorer:
    from edgevad.bundle import active_bundle
    from edgevad.report.build_progress import build_progress
    from edgevad.runtime.scorer import Scorer

    chosen = active_bundle() if bundle is None else bundle
    with build_progress(quiet=quiet) as on_build:
        return Scorer.from_bundle(chosen, backend=backend, threads=threads, on_build=on_build)


def _written(summary: RunSummary, outputs: RunOutputs) -> list[str]:
    from edgevad.events.jsonl import EVENTS_NAME, FRAMES_NAME, INCIDENTS_NAME, SUMMARY_NAME

    files: list[str] = []
    if outputs.out is not None:
        files += [str(outputs.out / name) for name in (FRAMES_NAME, EVENTS_NAME, INCIDENTS_NAME, SUMMARY_NAME)]
    if outputs.save is not None and summary.frames:
        files.append(str(outputs.save))
    return files + [str(folder) for folder in (outputs.events, outputs.log) if folder is not None]


def _report(summary: RunSummary, files: list[str], json_output: bool) -> None:
    if json_output:
        print(json.dumps({**summary.to_json(), "files": files}))
        return
    from rich.console import Console

    from edgevad.report.run_view import summary_table

    Console().print(summary_table(summary, files))

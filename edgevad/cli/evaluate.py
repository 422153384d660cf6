"""edgevad evaluate: what a model or bundle is worth on a labelled recording."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edgevad.cli._options import (
    FpsHz,
    IncludeDeleted,
    Json,
    NewAlarmsPerHour,
    NewThreshold,
    NewWindow,
    NewWindowLength,
    SourcesArgument,
    recalibrated,
)

if TYPE_CHECKING:
    from edgevad.evaluation.evaluate import Evaluation

__all__ = ["register"]

# ruff: noqa: UP045 - typer on Python 3.10 reads Optional at run time


def register(app: typer.Typer) -> None:
    """Add `evaluate` to the application."""
    app.command("evaluate")(evaluate)


def evaluate(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL|BUNDLE",
            help="Folder made by edgevad train or edgevad export.",
            show_default=False,
        ),
    ],
    sources: SourcesArgument,
    labels: Annotated[
        Path,
        typer.Option(
            help="CSV with frame,level[,event][,segment] (level 0 normal, 1 ambiguous, 2 anomaly), "
            "first,last,level[,event] or clip,frame,anomaly.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Optional[Path], typer.Option(help="Folder for metrics.json, scores.csv, evaluation.png.", show_default=False)
    ] = None,
    window: NewWindow = None,
    window_s: NewWindowLength = None,
    alarms_per_hour: NewAlarmsPerHour = None,
    threshold: NewThreshold = None,
    fps_hz: FpsHz = None,
    include_deleted: IncludeDeleted = False,
    json_output: Json = False,
) -> None:
    """Score a labelled recording as `edgevad run` would and compare the result with its labels."""
    from dataclasses import replace

    from edgevad._files import writable_directory
    from edgevad.evaluation.evaluate import evaluate as evaluate_scorer
    from edgevad.evaluation.labels import read_labels
    from edgevad.evaluation.metrics import sklearn_metrics
    from edgevad.evaluation.opening import open_scorer
    from edgevad.report.evaluation_files import write_evaluation
    from edgevad.report.plots import require_matplotlib
    from edgevad.report.progress import frame_progress
    from edgevad.sources import open_source

    # Whatever can be wrong is found before a long recording is scored.
    sklearn_metrics()
    truth = read_labels(labels)
    if out is not None:
        require_matplotlib()
        writable_directory(out)
    with ExitStack() as stack:
        scorer = recalibrated(stack.enter_context(open_scorer(model)), window, window_s, alarms_per_hour, threshold)
        spec = sources[0] if len(sources) == 1 else sources
        source = stack.enter_context(open_source(spec, fps_hz=fps_hz, include_deleted=include_deleted))
        on_frame = stack.enter_context(frame_progress("scoring", source.frame_count_hint))
        evaluation = evaluate_scorer(scorer, source, truth, on_frame=on_frame)
    if threshold is not None:
        evaluation = replace(evaluation, alarms_per_hour=None)
    files = [] if out is None else write_evaluation(evaluation, out)
    _report(evaluation, files, json_output)


def _report(evaluation: Evaluation, files: list[str], json_output: bool) -> None:
    if json_output:
        print(json.dumps({**evaluation.to_json(), "files": files}, allow_nan=False))
        return
    from rich.console import Console

    from edgevad.report.evaluation_view import evaluation_tables

    Console().print(evaluation_tables(evaluation, files))

"""edgevad evaluate: what a model or bundle is worth on a labelled recording."""

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
    Json,
    LayoutName,
    NewAlarmsPerHour,
    NewThreshold,
    NewWindow,
    NewWindowLength,
    SourcesArgument,
)

if TYPE_CHECKING:
    from edgevad.evaluation.evaluate import Evaluation
    from edgevad.evaluation.labels import Labels
    from edgevad.sources import Source

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
            help="Folder made by edgevad train, folder or .edgevad file made by edgevad export.",
            show_default=False,
        ),
    ],
    sources: SourcesArgument,
    labels: Annotated[
        Optional[Path],
        typer.Option(
            help="CSV with frame,level[,event][,segment] (level 0 normal, 1 ambiguous, 2 anomaly), "
            "first,last,level[,event] or clip,frame,anomaly.",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        bool, typer.Option("--dataset", help="SOURCE is the folder of a data set: its test clips, with its own labels.")
    ] = False,
    layout: LayoutName = None,
    out: Annotated[
        Optional[Path], typer.Option(help="Folder for metrics.json, scores.csv, evaluation.png.", show_default=False)
    ] = None,
    window: NewWindow = None,
    window_s: NewWindowLength = None,
    alarms_per_hour: NewAlarmsPerHour = None,
    threshold: NewThreshold = None,
    backend: BackendName = None,
    fps_hz: FpsHz = None,
    include_deleted: IncludeDeleted = False,
    json_output: Json = False,
) -> None:
    """Score a labelled recording as `edgevad run` would and compare the result with its labels."""
    from dataclasses import replace

    from edgevad._files import writable_directory
    from edgevad.evaluation.evaluate import evaluate as evaluate_scorer
    from edgevad.evaluation.metrics import sklearn_metrics
    from edgevad.evaluation.opening import open_scorer
    from edgevad.report.build_progress import build_progress
    from edgevad.report.evaluation_files import write_evaluation
    from edgevad.report.plots import require_matplotlib
    from edgevad.report.progress import frame_progress

    # Whatever can be wrong is found before a long recording is scored.
    sklearn_metrics()
    with ExitStack() as stack:
        if dataset:
            recording, truth = _dataset_recording(sources, labels, layout, fps_hz, include_deleted)
        else:
            recording, truth = _recording(sources, labels, layout, fps_hz, include_deleted)
        source = stack.enter_context(recording)
        if out is not None:
            require_matplotlib()
            writable_directory(out)
        with build_progress() as on_build:
            opened = stack.enter_context(open_scorer(model, backend=backend, on_build=on_build))
        scorer = opened.adjusted(window=window, window_s=window_s, alarms_per_hour=alarms_per_hour, threshold=threshold)
        on_frame = stack.enter_context(frame_progress("scoring", source.frame_count_hint))
        evaluation = evaluate_scorer(scorer, source, truth, on_frame=on_frame)
    if threshold is not None:
        evaluation = replace(evaluation, alarms_per_hour=None)
    files = [] if out is None else write_evaluation(evaluation, out)
    _report(evaluation, files, json_output)


def _recording(
    sources: list[str], labels: Path | None, layout: str | None, fps_hz: float | None, include_deleted: bool
) -> tuple[Source, Labels]:
    """The recording that was named, and its label file."""
    from edgevad.errors import OptionError
    from edgevad.evaluation.labels import read_labels
    from edgevad.sources import open_source

    if layout is not None:
        raise OptionError("--layout is about data sets", fix="Add --dataset")
    if labels is None:
        raise OptionError(
            "there are no labels", expected="--labels FILE, or --dataset for a folder that brings its own"
        )
    truth = read_labels(labels)
    spec = sources[0] if len(sources) == 1 else sources
    return open_source(spec, fps_hz=fps_hz, include_deleted=include_deleted), truth


def _dataset_recording(
    sources: list[str], labels: Path | None, layout: str | None, fps_hz: float | None, include_deleted: bool
) -> tuple[Source, Labels]:
    """The test clips of the data set that was named, and their labels."""
    from edgevad.datasets import labelled_recording, open_dataset
    from edgevad.errors import OptionError

    if labels is not None:
        raise OptionError("both --labels and --dataset are given", expected="one of them")
    if include_deleted:
        raise OptionError("--include-deleted is about Donkeycar tubs", fix="Leave it out with --dataset")
    if len(sources) != 1:
        raise OptionError(f"{len(sources)} sources are named with --dataset", expected="the folder of one data set")
    found = open_dataset(sources[0], layout)
    return labelled_recording(found.test, found.path, fps_hz=fps_hz)


def _report(evaluation: Evaluation, files: list[str], json_output: bool) -> None:
    if json_output:
        print(json.dumps({**evaluation.to_json(), "files": files}, allow_nan=False))
        return
    from rich.console import Console

    from edgevad.report.evaluation_view import evaluation_tables

    Console().print(evaluation_tables(evaluation, files))

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from edgevad.evaluation.evaluate import Evaluation, evaluate
from edgevad.evaluation.labels import Labels
from edgevad.evaluation.opening import open_scorer
from edgevad.report.evaluation_view import evaluation_tables
from edgevad.sources import open_source


def judged(bundle: Path, video: Path) -> Evaluation:
    level = np.zeros(120, np.int8)
    level[60:80], level[85:95], level[20:22] = 2, 1, 2
    names = tuple("[bold]square" if k in range(60, 80) else "" for k in range(120))
    with open_scorer(bundle) as scorer, open_source(video) as source:
        return evaluate(scorer, source, Labels(level, names))


def text_of(evaluation: Evaluation, files: list[str]) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(evaluation_tables(evaluation, files))
    return capture.get()


def test_the_headline_comes_first_and_each_kind_has_its_line(tiny_bundle: Path, tiny_video: Path) -> None:
    evaluation = judged(tiny_bundle, tiny_video)
    lines = text_of(evaluation, ["a/metrics.json"]).splitlines()
    assert lines[0].split() == ["frame", "AUROC", f"{evaluation.auroc:.3f}"]
    assert lines[1].split() == ["events", "found", "1", "of", "2"]
    assert lines[2].startswith("false alarms   0 (0.0 an hour)")
    assert any("for 1 false alarm an hour" in line for line in lines)
    assert any("10 labelled ambiguous" in line for line in lines)
    assert any("a/metrics.json" in line for line in lines)
    square = next(line for line in lines if "[bold]square" in line)
    assert "1 of 1" in square
    assert "20" in square
    unnamed = next(line for line in lines if "│ anomaly" in line)
    assert "0 of 1" in unnamed


def test_a_given_threshold_and_undefined_metrics(tiny_bundle: Path, tiny_video: Path) -> None:
    evaluation = judged(tiny_bundle, tiny_video)
    window = replace(evaluation.series["window"], auroc=None)
    text = text_of(
        replace(evaluation, alarms_per_hour=None, series={**evaluation.series, "window": window}), []
    ).splitlines()
    assert text[0].split() == ["frame", "AUROC", "n/a"]
    assert any("(given)" in line for line in text)
    assert not any("written" in line for line in text)

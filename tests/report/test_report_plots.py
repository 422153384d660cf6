from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgevad.errors import MissingExtraError
from edgevad.evaluation.evaluate import Evaluation, evaluate
from edgevad.evaluation.labels import Labels
from edgevad.evaluation.opening import open_scorer
from edgevad.report.plots import _line, plot_evaluation
from edgevad.sources import open_source


@pytest.fixture(scope="module")
def evaluation(tiny_bundle: Path, tiny_video: Path) -> Evaluation:
    level = np.zeros(120, np.int8)
    level[60:80], level[85:95], level[20:22] = 2, 1, 2
    labels = Labels(level, tuple(f"a $ sign {k // 50}" if level[k] else "" for k in range(120)), np.arange(120) // 100)
    with open_scorer(tiny_bundle) as scorer, open_source(tiny_video) as source:
        return evaluate(scorer, source, labels)


def picture(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None
    return image


def has(image: np.ndarray, color: str) -> bool:
    """Whether a good many pixels are exactly of this colour, "#rrggbb"."""
    bgr = [int(color[k : k + 2], 16) for k in (5, 3, 1)]
    return int((image == bgr).all(axis=2).sum()) > 50


def test_the_picture_shows_what_it_should(evaluation: Evaluation, tmp_path: Path) -> None:
    plot_evaluation(evaluation, tmp_path / "a.png")
    image = picture(tmp_path / "a.png")
    assert image.shape == (1200, 1400, 3)
    assert has(image, "#0072b2")  # scores and predicted events
    assert has(image, "#e69f00")  # labelled events
    assert has(image, "#009e73")  # a top frame that is an anomaly
    assert evaluation.top_frames


def test_false_alarms_far_scores_and_names_in_any_script(evaluation: Evaluation, tmp_path: Path) -> None:
    frames = replace(evaluation.frames, anomaly_score=evaluation.frames.anomaly_score * 1e6)
    match = replace(evaluation.match, false_alarms=(True,) * len(evaluation.events))
    odd = replace(evaluation, name="模型 $x_{$", source="/path/" * 40, frames=frames, match=match, top_frames=())
    plot_evaluation(odd, tmp_path / "odd.png")
    image = picture(tmp_path / "odd.png")
    assert has(image, "#d55e00")
    assert image.shape[0] < 1200  # no frames at its foot


def test_an_evaluation_without_metrics_or_events_is_drawn(evaluation: Evaluation, tmp_path: Path) -> None:
    normal = replace(evaluation.frames, level=np.zeros(120, np.int8), event=("",) * 120)
    match = replace(evaluation.match, labelled=(), found=(), false_alarms=())
    plot_evaluation(replace(evaluation, frames=normal, events=(), match=match, top_frames=()), tmp_path / "normal.png")
    image = picture(tmp_path / "normal.png")
    assert has(image, "#0072b2")
    assert not has(image, "#d55e00")
    assert not has(image, "#e69f00")


def test_long_lines_keep_their_peaks_and_their_gaps() -> None:
    score = np.zeros(10_000)
    score[4321], score[0] = 7.0, np.nan
    index, line = _line(score, np.arange(10_000) // 5000)
    assert len(line) < 3100
    assert np.nanmax(line) == 7.0
    assert abs(index[np.nanargmax(line)] - 4321) <= 2
    gaps = np.flatnonzero(np.isnan(index))
    assert len(gaps) == 1
    assert index[gaps[0] - 1] < 5000 + 4 < index[gaps[0] + 1] + 8
    short, same = _line(np.array([1.0, 2.0]), np.zeros(2, np.int64))
    assert (short.tolist(), same.tolist()) == ([0.0, 1.0], [1.0, 2.0])


def test_without_matplotlib_the_extra_is_named(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgevad\[report\]'"):
        plot_evaluation(evaluation, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())

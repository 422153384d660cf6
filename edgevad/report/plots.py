"""One picture of an evaluation: scores over time, ROC and precision-recall curves, the highest-scoring frames."""

from __future__ import annotations

import warnings
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from edgevad._extras import require
from edgevad._files import atomic_file
from edgevad.evaluation.evaluate import Evaluation, SeriesName
from edgevad.evaluation.labels import AMBIGUOUS, ANOMALY
from edgevad.evaluation.metrics import curves
from edgevad.evaluation.top_frames import TopFrame
from edgevad.report.overlay import runs_of

__all__ = ["plot_evaluation", "require_matplotlib"]

# Okabe and Ito's palette, which keeps apart for colour-blind eyes; meanings differ in shape or place as well.
_BLUE, _ORANGE, _VERMILION, _GREEN, _GRAY, _DARK = "#0072b2", "#e69f00", "#d55e00", "#009e73", "#8c8c8c", "#333333"
_SERIES_STYLE: dict[SeriesName, tuple[str, str, str]] = {
    "window": ("as the runtime scores", _BLUE, "-"),
    "frame": ("frame score, no window", _GRAY, ":"),
    "centred": ("centred window (offline)", _GREEN, "--"),
}
_COLUMNS = 3000  # a longer recording has several frames in each of these steps of the time line
_CURVE_POINTS = 2000
_MOST_BORDERS = 200  # with more segments, their borders would be all there is to see


def require_matplotlib() -> Any:
    """Matplotlib's figure module.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    return require("matplotlib.figure", extra="report", needed_for="the evaluation's picture")


def plot_evaluation(evaluation: Evaluation, path: str | PathLike[str]) -> None:
    """Draw `evaluation` as a PNG.

    Raises:
        MissingExtraError: matplotlib or scikit-learn is not installed.
        OutputError: the file cannot be written.
    """
    figure = require_matplotlib().Figure(figsize=(14, 12 if evaluation.top_frames else 9.4), layout="constrained")
    rows = figure.add_gridspec(4, 1, height_ratios=[3.2, 0.7, 4.2, 2.6 if evaluation.top_frames else 0.01])
    figure.get_layout_engine().set(h_pad=0.09)
    _plain(figure.suptitle(_title(evaluation), fontsize=14, fontweight="bold", x=0.01, ha="left"))
    timeline = figure.add_subplot(rows[0])
    _draw_timeline(timeline, evaluation)
    _draw_events(figure.add_subplot(rows[1], sharex=timeline), evaluation)
    roc, recall = rows[2].subgridspec(1, 2).subplots()
    _draw_curves(roc, recall, evaluation)
    if evaluation.top_frames:
        cells = rows[3].subgridspec(1, len(evaluation.top_frames)).subplots(squeeze=False)[0]
        for cell, top in zip(cells, evaluation.top_frames, strict=True):
            _draw_frame(cell, top, evaluation)
    with warnings.catch_warnings():
        # Labels may be in any script; what the font does not have is drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        with atomic_file(path) as stream:
            figure.savefig(stream, format="png", dpi=100)


def _title(evaluation: Evaluation) -> str:
    auroc = "undefined" if evaluation.auroc is None else f"{evaluation.auroc:.3f}"
    match, alarms = evaluation.match, evaluation.false_alarms
    return (
        f"{_shortened(evaluation.name, 30)} on {_shortened(evaluation.source, 70)}\n"
        f"frame AUROC {auroc}, {sum(match.found)} of {len(match.found)} events found, "
        f"{alarms} false alarm{'' if alarms == 1 else 's'} in {evaluation.frames.duration_s / 60:.1f} min"
    )


def _draw_timeline(axis: Any, evaluation: Evaluation) -> None:
    frames = evaluation.frames
    _shade(axis, frames.level == AMBIGUOUS, color=_GRAY, alpha=0.2, label="labelled ambiguous")
    _shade(axis, frames.level == ANOMALY, color=_ORANGE, alpha=0.45, label="labelled anomaly")
    index, score = _line(frames.anomaly_score, frames.segment)
    axis.plot(index, score, color=_BLUE, linewidth=0.9, label="anomaly score")
    threshold = evaluation.threshold
    axis.axhline(threshold, color=_DARK, linewidth=1.2, linestyle="--", label=f"threshold {threshold:.2f}")
    # Far beyond the threshold it does not matter how far: keep what lies around it legible.
    if np.nanmax(score) > 8 * max(abs(threshold), 1.0):
        axis.set_yscale("asinh", linear_width=max(abs(threshold), 1.0))
    axis.set_xlim(-0.5, len(frames) - 0.5)
    _mark_segments(axis, frames.segment)
    axis.set_ylabel("anomaly score")
    axis.tick_params(labelbottom=False)
    axis.grid(axis="y", alpha=0.25)
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, frameon=False, borderaxespad=0.2, fontsize=10)


def _draw_events(axis: Any, evaluation: Evaluation) -> None:
    """Two lanes under the time line: labelled events, filled if found, and predicted ones, crossed if false."""
    match = evaluation.match
    labelled = [(event.first, event.last) for event in match.labelled]
    predicted = [(event.start_frame, event.end_frame) for event in evaluation.events]
    found, false = np.array(match.found, np.bool_), np.array(match.false_alarms, np.bool_)
    _bars(axis, labelled, found, 1, _ORANGE, filled=True)
    _bars(axis, labelled, ~found, 1, _ORANGE, filled=False)
    _bars(axis, predicted, ~false, 0, _BLUE, filled=True)
    _bars(axis, predicted, false, 0, _VERMILION, filled=True)
    middles = [(first + last) / 2 for (first, last), wrong in zip(predicted, false, strict=True) if wrong]
    axis.plot(middles, [-0.62] * len(middles), "x", color=_VERMILION, markersize=6, markeredgewidth=1.8)
    axis.set_ylim(-0.95, 1.5)
    _mark_segments(axis, evaluation.frames.segment)
    axis.set_yticks([1, 0], ["labelled (hollow: missed)", "predicted (crossed: false)"])
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("frame")
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def _draw_curves(roc: Any, recall: Any, evaluation: Evaluation) -> None:
    for name in _SERIES_STYLE:
        found = curves(evaluation.scores(name), evaluation.frames.level)
        if found is None:
            continue
        metrics = evaluation.series[name]
        label, color, style = _SERIES_STYLE[name]
        keep: dict[str, Any] = {"color": color, "linestyle": style, "linewidth": 1.4}
        if name == "window":
            keep |= {"linewidth": 2.2, "zorder": 3}
        x, y = _thinned(found.false_positive_rate, found.true_positive_rate)
        roc.plot(x, y, label=f"{label}: {metrics.auroc:.3f}", **keep)
        x, y = _thinned(found.recall, found.precision)
        recall.plot(x, y, label=f"{label}: {metrics.average_precision:.3f}", drawstyle="steps-pre", **keep)
    metrics = evaluation.series["window"]
    chance = metrics.anomalies / max(metrics.frames, 1)
    roc.plot([0, 1], [0, 1], color=_GRAY, linewidth=0.8, label="chance: 0.500")
    recall.axhline(chance, color=_GRAY, linewidth=0.8, label=f"chance: {chance:.3f}")
    now = evaluation.detection
    if now.precision is not None and now.recall is not None:
        recall.plot(now.recall, now.precision, "o", color=_DARK, markersize=8, label="at the threshold")
    roc.set(
        title="ROC: area under the curve", xlabel="share of normal frames called", ylabel="share of anomalies called"
    )
    recall.set(title="Precision and recall: average precision", xlabel="recall", ylabel="precision")
    for axis, place in ((roc, "lower right"), (recall, "best")):
        axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03))
        axis.grid(alpha=0.25)
        axis.legend(loc=place, fontsize=10, framealpha=0.9)


def _draw_frame(axis: Any, top: TopFrame, evaluation: Evaluation) -> None:
    level = int(evaluation.frames.level[top.index])
    verdict, color = {
        ANOMALY: ("✓ anomaly", _GREEN),
        AMBIGUOUS: ("ambiguous", _GRAY),
    }.get(level, ("✗ normal", _VERMILION))
    height, width = top.image.shape[:2]
    axis.imshow(top.image[..., ::-1], extent=(0, width, height, 0))
    strength = _strength(top.heatmap)
    axis.imshow(
        strength, extent=(0, width, height, 0), cmap="inferno", alpha=0.65 * strength, interpolation="bilinear", vmin=0
    )
    title = f"frame {top.index}: {verdict}" + ("" if top.is_anomaly else ", no alarm")
    _plain(axis.set_title(title, fontsize=10, color=_DARK))
    name = evaluation.frames.event[top.index]
    _plain(axis.set_xlabel(f"frame score {top.frame_score:.3g}\n{_shortened(name, 32, keep_end=False)}", fontsize=9))
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(color=color, linewidth=4)


def _mark_segments(axis: Any, segment: npt.NDArray[np.int64]) -> None:
    borders = np.flatnonzero(np.diff(segment)) + 0.5
    if len(borders) <= _MOST_BORDERS:
        for k, border in enumerate(borders):
            label = "_" if k else "gap in the recording"  # matplotlib's legend leaves out what begins with "_"
            axis.axvline(border, color=_DARK, linewidth=0.7, linestyle=":", zorder=3, label=label)


def _shade(axis: Any, flags: npt.NDArray[np.bool_], **style: Any) -> None:
    spans = [(start - 0.5, end - start) for start, end in runs_of(flags)]
    if spans:
        axis.broken_barh(spans, (0, 1), transform=axis.get_xaxis_transform(), linewidth=0, **style)


def _bars(
    axis: Any, spans: list[tuple[int, int]], chosen: npt.NDArray[np.bool_], lane: int, color: str, *, filled: bool
) -> None:
    bars = [(first - 0.5, last - first + 1) for (first, last), take in zip(spans, chosen, strict=True) if take]
    if bars:
        # The edge keeps a short event of a long recording visible.
        face = color if filled else "none"
        axis.broken_barh(bars, (lane - 0.35, 0.7), facecolor=face, edgecolor=color, linewidth=1.5)


def _line(
    score: npt.NDArray[np.float64], segment: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Points of the score's line, interrupted between segments; where there are too many, the highest of each step."""
    step = -(-len(score) // _COLUMNS)
    starts = np.arange(0, len(score), step)
    index = starts + (np.minimum(starts + step, len(score)) - starts - 1) / 2
    highest = np.fmax.reduceat(score, starts)
    breaks = np.flatnonzero(np.diff(segment[starts])) + 1
    return np.insert(index, breaks, np.nan), np.insert(highest, breaks, np.nan)


def _thinned(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if len(x) <= _CURVE_POINTS:
        return x, y
    keep = np.unique(np.linspace(0, len(x) - 1, _CURVE_POINTS).round().astype(np.intp))
    return x[keep], y[keep]


def _strength(heatmap: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Local errors as shares of the largest, the lower two fifths left out: where, the score says how much."""
    peak = float(heatmap.max())
    share = heatmap / peak if peak > 0 else np.zeros_like(heatmap)
    return np.asarray(np.clip((share - 0.4) / 0.6, 0, 1), dtype=np.float32)


def _plain(text: Any) -> None:
    # A dollar sign in a file's or an event's name is no formula.
    text.set_parse_math(False)


def _shortened(text: str, length: int = 60, *, keep_end: bool = True) -> str:
    if len(text) <= length:
        return text
    return "…" + text[1 - length :] if keep_end else text[: length - 1] + "…"

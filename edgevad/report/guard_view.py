"""What an export chose and why: as a table on the terminal, and as a picture for the bundle."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table
from rich.text import Text

from edgevad.bundle.manifest import Calibration
from edgevad.report.plots import require_matplotlib

if TYPE_CHECKING:
    from edgevad.calibration.judging import Judged
    from edgevad.export.precision import Choice

__all__ = ["guard_png", "guard_rows"]

_BLUE, _VERMILION, _GRAY, _DARK = "#0072b2", "#d55e00", "#8c8c8c", "#333333"


def guard_rows(table: Table, guard: dict[str, Any]) -> None:
    """Add rows about the manifest's `guard` to a table of two columns."""
    table.add_row("precision", Text(guard["precision"].upper(), style="bold"))
    table.add_row("why", Text(guard["why"]))
    agreement = guard["agreement"]
    if agreement is not None:
        ranks = ", ".join(f"{name} {value:.4f}" for name, value in agreement["rank"].items())
        table.add_row("rank correlation", ranks)
        table.add_row("flips", f"{agreement['flips']:.2%} of {agreement['frames']} held-out frames")
        table.add_row(
            "top 5 %", f"{agreement['tail']:.1%} of it kept; heatmaps correlate by {agreement['heatmap']:.4f}"
        )
        if agreement["auroc"] is not None:  # there were no labels, or of one kind only
            table.add_row("AUROC", f"{agreement['auroc'][0]:.4f} in FP32, {agreement['auroc'][1]:.4f} now")
    if guard["milliseconds_a_frame"] is not None:
        values = guard["milliseconds_a_frame"]
        table.add_row("on this CPU", ", ".join(f"{name} {value:.2f} ms" for name, value in values.items()))
    parser = guard["tensorrt_rtx"]
    if parser is not None and parser["crashed"]:
        table.add_row("parser", f"TensorRT-RTX gave no answer ({'; '.join(parser['messages'][:1])})")
    elif parser is not None:
        table.add_row("parser", f"TensorRT-RTX {parser['version']} parses the graph and builds it")


def guard_png(choice: Choice, reference: Judged, calibration: Calibration) -> bytes:
    """A picture of the chosen graph against the float one: scores over time, one against the other, and layers' costs.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    figure = require_matplotlib().Figure(figsize=(13, 7.5), layout="constrained")
    figure.suptitle(_wrapped(choice.why), fontsize=11, x=0.01, ha="left")
    rows = figure.add_gridspec(2, 2, height_ratios=[1, 1.2])
    timeline = figure.add_subplot(rows[0, :])
    _draw_timeline(timeline, choice, reference, calibration)
    _draw_scatter(figure.add_subplot(rows[1, 0]), choice, reference, calibration)
    _draw_attempts(figure.add_subplot(rows[1, 1]), choice)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()


def _draw_timeline(axis: Any, choice: Choice, reference: Judged, calibration: Calibration) -> None:
    axis.plot(reference.anomaly, color=_GRAY, linewidth=2.5, label="FP32")
    if choice.judged is not None:
        axis.plot(choice.judged.anomaly, color=_BLUE, linewidth=0.8, label=choice.precision.upper())
    axis.axhline(calibration.threshold, color=_VERMILION, linestyle="--", linewidth=1, label="threshold")
    axis.set(xlabel="held-out frame", ylabel="anomaly score", title="What the car is told")
    axis.legend(loc="upper right", frameon=False, ncols=3)


def _draw_scatter(axis: Any, choice: Choice, reference: Judged, calibration: Calibration) -> None:
    axis.set(xlabel="anomaly score in FP32", ylabel=f"in {choice.precision.upper()}", title="Frame by frame")
    other = reference if choice.judged is None else choice.judged
    ends = [float(np.min(reference.anomaly)), float(np.max(reference.anomaly))]
    axis.plot(ends, ends, color=_GRAY, linewidth=1)
    axis.scatter(reference.anomaly, other.anomaly, s=6, color=_BLUE, alpha=0.5, edgecolors="none")
    for line in (axis.axhline, axis.axvline):
        line(calibration.threshold, color=_VERMILION, linestyle="--", linewidth=1)


def _draw_attempts(axis: Any, choice: Choice) -> None:
    """Layers' costs where a sweep was made, else what each attempt lost."""
    if choice.layer_cost:
        names = list(choice.layer_cost)
        costs = [max(value, 1e-6) for value in choice.layer_cost.values()]
        kept = choice.attempts[-1].float_layers if choice.attempts else ()
        colors = [_VERMILION if name in kept else _BLUE for name in names]
        title = "Rank correlation that each layer costs in INT8 (red: kept in float)"
    else:
        names = [f"{one.precision} {one.method or ''}".strip() for one in choice.attempts]
        costs = [max(one.agreement.rank_loss, 1e-6) for one in choice.attempts]
        colors = [_BLUE if one.agreement.passed else _VERMILION for one in choice.attempts]
        title = "Rank correlation that each attempt lost (red: refused)"
    axis.barh(range(len(names)), costs, color=colors, height=0.6)
    axis.set_yticks(range(len(names)), [name.removeprefix("autoencoder.") for name in names], color=_DARK)
    axis.set_ylim(max(len(names), 4) - 0.5, -0.5)  # the first on top, and no bar as high as the picture
    axis.set(xscale="log", xlabel="1 - rank correlation", title=title)


def _wrapped(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text.replace("$", r"\$"), 130))

"""Drift as a picture: every figure of every camera, day by day, beside the margin within which days may differ."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np

from edgevad._files import atomic_file
from edgevad.refit.drift import DriftDay, DriftReport
from edgevad.report.plots import require_matplotlib

__all__ = ["plot_drift", "require_matplotlib"]

_BLUE, _VERMILION, _GRAY = "#0072b2", "#d55e00", "#8c8c8c"
_COLUMNS = 3
_CAMERAS = ("o", "s", "^", "D", "v", "P", "X", "*")
_MOST_LABELS = 8


def plot_drift(report: DriftReport, path: str | PathLike[str]) -> None:
    """Draw `report` as a PNG.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    names = list(dict.fromkeys(name for day in report.days for name in day.comparison.effects))
    rows = -(-len(names) // _COLUMNS)
    figure = require_matplotlib().Figure(figsize=(14, 1.4 + 1.9 * rows), layout="constrained")
    what = report.advice.what
    title = f"{report.bundle}: {'nothing to be done' if what == 'none' else what}"
    figure.suptitle(title, fontsize=14, fontweight="bold", x=0.01, ha="left").set_parse_math(False)
    axes = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    days = list(dict.fromkeys(day.day for day in report.days))
    for axis, name in zip(axes, names, strict=False):
        _draw(axis, name, report, days)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    with atomic_file(path) as stream:
        figure.savefig(stream, format="png", dpi=100)


def _draw(axis: Any, name: str, report: DriftReport, days: list[str]) -> None:
    axis.axhline(0.5, color=_GRAY, lw=0.8)
    by_camera: dict[str, list[DriftDay]] = {}
    for day in report.days:
        by_camera.setdefault(day.camera, []).append(day)
    for marker, (camera, own) in zip(_CAMERAS, by_camera.items(), strict=False):
        known = [(day, day.comparison.effects[name][0]) for day in own if name in day.comparison.effects]
        margin = max((effect.margin for _, effect in known), default=0.0)
        axis.axhspan(0.5 - margin, 0.5 + margin, color=_GRAY, alpha=0.18 / len(by_camera), lw=0)
        x = np.array([days.index(day.day) for day, _ in known], dtype=float)
        value, low, high = (np.array([getattr(effect, key) for _, effect in known]) for key in ("value", "low", "high"))
        told = np.array([any(one == name for one, _ in day.comparison.found) for day, _ in known], dtype=bool)
        axis.vlines(x, low, high, color=_BLUE, alpha=0.35, lw=1.2)
        axis.plot(x, value, color=_BLUE, lw=0.8, alpha=0.6)
        axis.scatter(x[~told], value[~told], s=14, color=_BLUE, marker=marker, label=camera)
        # Filled in another colour, and larger: seen without colours as well.
        axis.scatter(x[told], value[told], s=42, color=_VERMILION, marker=marker, zorder=3)
    axis.set_title(name, fontsize=9, loc="left")
    axis.set_ylim(-0.04, 1.04)
    axis.set_yticks([0, 0.5, 1], ["lower", "as was", "higher"], fontsize=7)
    step = max(1, -(-len(days) // _MOST_LABELS))
    ticks = range(0, len(days), step)
    axis.set_xticks(list(ticks), [days[k][5:] for k in ticks], fontsize=7)
    if len(by_camera) > 1:
        for text in axis.legend(fontsize=6, loc="lower right").get_texts():
            text.set_parse_math(False)

"""Pictures of the method's results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

__all__ = ["plot_method"]

ROWS = {
    "ours": "#0072b2",
    "weight 0": "#56b4e9",
    "nearest 5 frames, log (keeps all)": "#999999",
    "PCA 16, log, largest local residual": "#bbbbbb",
    "largest flow": "#e69f00",
    "rarity of five statistics": "#cc79a7",
    "largest frame difference": "#dddddd",
    "paper": "#d55e00",
}


def plot_method(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Bars of the headline AUROC for each set and row, fitted whole and as a stream; dots are seeds."""
    sets = sorted({result["set"] for result in results})
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    for axis, protocol in zip(figure.subplots(2, 1, sharey=True), ("whole", "stream"), strict=True):
        width = 0.8 / len(ROWS)
        for k, (row, color) in enumerate(ROWS.items()):
            for place, name in enumerate(sets):
                values = [r["auroc"] for r in results if (r["set"], r["row"], r["protocol"]) == (name, row, protocol)]
                if values:
                    x = place + (k - len(ROWS) / 2 + 0.5) * width
                    label = row if place == 0 else None
                    axis.bar(x, np.mean(values) - 0.2, width, bottom=0.2, color=color, label=label)
                    axis.plot([x] * len(values), values, ".", color="black", markersize=3)
        axis.set_xticks(range(len(sets)), sets)
        axis.set_ylim(0.2, 1.0)
        axis.axhline(0.5, color="black", linewidth=0.6, linestyle=":")
        axis.set_ylabel("frame AUROC")
        axis.set_title("fitted on what is scored" if protocol == "whole" else "fitted on the first 60 %, then the rest")
        axis.grid(axis="y", alpha=0.25)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=4, fontsize=8, frameon=False, loc="outside upper center")
    figure.savefig(path, dpi=110)
